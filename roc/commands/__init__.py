"""What `roc COMMAND` runs, one file for each verb.

`score` and `data` so far; the other verbs live with their rooms.
"""
