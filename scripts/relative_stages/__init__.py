"""Learning from edits, on a CPU: a tiny model learns in three stages which of two scenes is better.

    bash scripts/relative.sh

`parts.py` makes what the stages learn from: scenes, edits of them, anchors in words, a base that sees. `compared.py`
evaluates the last two stages, `report.py` writes the tables, and `__main__.py` is the command.
"""
