"""The papers' claim, tested: seven ways of teaching a score to one model, everything else the same.

    bash scripts/reproduce_ablation.sh

`arms.py` is how each way writes, trains and reads a score; the three that are not ours live there, not in the package.
`base.py` is the model that they start from, `data.py` holds the pictures, `runs.py` trains and scores one run,
`schedule.py` executes many, `table.py` turns them into a table, and `__main__.py` is the command.
"""
