"""The score head and how a model carries it.

`head` and `losses` are the paper's equations; `modeling` and `attachment` give a model the head, `declaration` says
what the head means, `collator` and `processing` make its inputs; `families` and `parts` hold facts about models,
`device` about the machine; `adapters`, `float8`, `float32_tower` and `memory` are about tuning and number formats;
`mplug_owl2/` is the published model.
"""
