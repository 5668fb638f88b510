"""`roc compare`: the words go to the room that does the work."""

from roc.evaluation.compare import main

__all__ = ["main"]
