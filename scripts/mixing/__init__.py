"""Two halves of the demo's raters on scales of their own, learnt together and each alone, with the same budget.

    bash scripts/reproduce_mixing.sh

`halves.py` draws the scenes and writes a file of ratings for each half, `runs.py` trains and scores one run,
`table.py` computes differences with their intervals and writes them down, and `__main__.py` is the command.
"""
