"""Checkpoints on disk.

`folder` loads and saves, `fingerprint` ties an adapter to its base, `card` writes the model card, `export` the forms
other programs read.
"""
