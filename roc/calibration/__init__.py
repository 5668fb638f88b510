"""What the scores of a trained model are worth, found on photos that it was not trained on.

`affine` is a line from scores onto the scale of other raters. What is found is kept in the declaration
(roc/model/calibration.py).
"""
