"""`roc doctor`: whether the score head fits a model, and what to set.

`candidate` loads a model and attaches the head, `checks` tries every promise of roc on it, `gradients` those of
training, `advice` says what to set, `dependence` finds whether scores depend on the picture at all, `sensitivity`
measures how far they move when only the size, shape or compression of an image changes.
"""
