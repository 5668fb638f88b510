"""The score head and how a model carries it.

`head` and `losses` are the paper's equations; `modeling` and `attachment` give a model the head, `collator` and
`processing` its inputs; `families` and `parts` hold facts about models, `adapters`, `float8`, `float32_tower` and
`memory` what number formats and tuning need; `mplug_owl2/` is the published model.
"""
