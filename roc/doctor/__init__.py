"""Whether the score head fits a model, and what to set.

`checks` tries a model part by part, `sensitivity` measures how its scores react to changes of the image.
"""
