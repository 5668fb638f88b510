"""Images in, scores out.

`assessment` is the call users make, `frame` the one for pandas, `one_forward` the single pass behind it, `results` what
comes back, `scales` the same on the scale of a data set, `ranking` who beats whom, `comparing` two pictures in one
question and `pair_batches` many such pairs, `reasoning` critiques that come first, `features` what the score head
reads. `sources`, `archives` and `urls` find images, `prepare` readies them in the processes of `readers`, `batches`
groups and scores them; `local` and `cluster` are the engines that do so for many. `run` is a whole `roc score` and
`finished` the same command after its end: `options` what it is asked, `identity` and `stamps` the model and the
pictures it is bound to, `journal` what it has done so far, `outputs` its files, `selection`, `bursts`, `copies` and
`gallery` the best of them, `stars` what photo programs show of all, `drift` whether its pictures are like those of a
calibration.
"""
