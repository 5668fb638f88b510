"""`roc evaluate`: the words go to the room that does the work."""

from roc.evaluation.evaluate import main

__all__ = ["main"]
