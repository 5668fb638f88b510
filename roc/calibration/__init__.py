"""What the scores of a trained model are worth, found on photos that it was not trained on.

`calibrate` is the job of `roc calibrate`, on ratings that `held_out` reads and scores: `conformal` gives intervals,
`temperature` distributions nearer to the votes, `affine` a line onto the scale of other raters. `reference` is the job
of `roc reference`; `removal` takes either back. `options` are those of both. What is found is kept in the declaration
(roc/model/calibration.py and roc/model/reference.py), where everything that scores reads it.
"""
