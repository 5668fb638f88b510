"""`roc doctor`: the words go to the room that does the work."""

from roc.doctor.checks import main

__all__ = ["main"]
