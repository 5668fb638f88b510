"""Thinking first, on a CPU: a tiny model that learns to write critiques of scenes and is reinforced.

    bash scripts/reason.sh
    bash scripts/reproduce_reasoning.sh

`parts.py` makes what both start from: scenes, corpus, a base that sees. `__main__.py` is the first command, the way
from there to a reinforced model, and `report.py` its tables. `ablation.py` is the second, `arms.py` what it compares,
and `table.py` its table.
"""
