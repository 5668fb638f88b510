"""Images in, scores out.

`assessment` is the call users make, `one_forward` the single pass behind it, `results` what comes back; `sources` and
`urls` find images, `batches` and `cluster` score many, `journal` keeps what is done, `gallery` shows it.
"""
