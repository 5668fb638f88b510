"""One file per public data set: its published layout, and how it becomes records. `convert.py` is the command."""
