"""Thinking first, on a CPU: a small model that learns to write critiques of scenes, or of photos, and is reinforced.

    bash scripts/reason.sh
    bash scripts/reproduce_reasoning.sh [--photos ratings.csv --min_score 1 --max_score 5]

`parts.py` makes what both start from: scenes, corpus, a base that sees; `photos.py` does so with photos. `__main__.py`
is the first command, the way from there to a reinforced model, and `report.py` its tables. `ablation.py` is the second,
`arms.py` what it compares, and `table.py` its table.
"""
