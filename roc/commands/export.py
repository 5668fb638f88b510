"""`roc export`: the words go to the room that does the work."""

from roc.checkpoint.export import main

__all__ = ["main"]
