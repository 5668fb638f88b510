"""The main job: teach a model the score head.

`config` holds the settings and `published_flags` what the published script's flags become; `job` runs them, `trainer`
is the loop, `samples` the data set it reads, `weight_average` the running mean of the weights.
"""
