"""One's own taste from few ratings: a small head on a checkpoint, with its score as prior.

`features` are what the score head reads of photos; `opinions` are ratings or pairs and what a score owes them; `fit`
finds the direction that moves the scores; `validation` compares it with the general score on photos that it was not
fitted on; `asking` chooses the pairs that it is least sure of. These need numpy and scipy alone, and the page of
`roc serve` uses them too. `personalize` is the command's work, `options` its flags, `rated` the data file. The result
is a file (roc/checkpoint/personal_head.py) that is scored like any checkpoint.
"""
