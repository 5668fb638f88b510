"""Everything to try the library on, made here: rated pictures and a small model.

`scenes` draws a picture from `background`, `things` and `brushes`; `attributes` says what it is worth, `raters` votes
on it, `dataset` writes many of them to disk. `tiny_model` builds the model.
"""
