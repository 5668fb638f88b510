"""What `roc COMMAND` runs: one file for each verb, `line`, the command line that they share, and `progress`, its bar.

`agree`, `attach`, `calibrate`, `compare`, `data` (with `from_xmp`), `doctor`, `evaluate`, `export`, `finetune`, `mcp`,
`personalize`, `rank`, `reasoning`, `reference`, `relative`, `score`, `serve` and `starter` read words, call a room and
print; only they print and exit.
"""
