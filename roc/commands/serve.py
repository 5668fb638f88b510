"""`roc serve`: the words go to the room that does the work."""

from roc.server.listen import main

__all__ = ["main"]
