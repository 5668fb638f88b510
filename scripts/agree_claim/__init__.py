"""The claim of AGREE, tested: a plain scorer against the nine rows of the published ablation, everything else the same.

    bash scripts/reproduce_agree.sh

`arms.py` is the rows with their switches and the paper's numbers. `scenes.py` draws pictures whose leading attribute is
known; `data.py` holds both data sets. `parts.py` makes what the runs of a data set share: encoder, folds, table of
sensitivities, anchors. `runs.py` trains and scores one run, `effects.py` computes differences with their intervals,
`table.py` writes them down, and `__main__.py` is the command.
"""
