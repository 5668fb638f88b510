"""What `roc COMMAND` runs: one file for each verb, and `line`, the command line that they share.

`attach`, `compare`, `data`, `doctor`, `evaluate`, `export`, `finetune`, `score` and `serve` read words, call a room and
print; only they print and exit.
"""
