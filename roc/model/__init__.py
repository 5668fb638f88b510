"""The score head and how a model carries it.

`head` and `losses` are the paper's equations; `modeling` and `attachment` give a model the head, `extensions` what a
method adds, `vocabulary` finds the row of `[SCORE]`, `declaration` says what it means, `calibration` what held-out
photos added to that, `reference` which photos scores are compared with, `personal` what a person's ratings did,
`reasoned` the answer with a critique, `stated_score` what gives the score away in one, `comparison` the question about
two pictures, `scales` the scales of data sets that were trained on together, `links` how these are learnt; `collator`
and `processing` make the inputs, `marks` keeps users' text from being read as tokens of the model, `pictures` scales
and pads, `mirror` reads mirror images too, `positions` finds `[SCORE]` in a batch, `lengths` tells how many tokens a
row takes before it is made; `families` and `parts` hold facts about models, `device` about the machine; `adapters`,
`float8`, `int8` and `float32_tower` are about tuning and number formats; `memory` estimates GPU memory from a model's
`blocks`, and `memory_table` shows it; `from_nothing` is what a model without pretrained parts needs; `mplug_owl2/` is
the published model, `backbone/` a vision encoder alone that carries the head.
"""
