"""Images in, scores out.

`assessment` is the call users make, `one_forward` the single pass behind it, `results` what comes back. `sources` and
`urls` find images, `prepare` readies them, `batches` groups and scores them; `local` and `cluster` are the engines that
do so for many. `run` is a whole `roc score`: `options` what it is asked, `journal` what it has done so far, `outputs`
its files, `selection` and `gallery` the best of them.
"""
