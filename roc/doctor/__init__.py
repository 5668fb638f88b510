"""`roc doctor`: whether the score head fits a model, and what to set.

`candidate` loads a model and attaches the head, `checks` tries every promise of roc on it, `advice` says what to set,
`sensitivity` measures how far scores move when only the size, shape or compression of an image changes.
"""
