"""The score head and how a model carries it.

`head` and `losses` are the paper's equations; `modeling` and `attachment` give a model the head, `declaration` says
what the head means, `collator` and `processing` make its inputs; `families` and `parts` hold facts about models,
`device` about the machine; `adapters`, `float8` and `float32_tower` are about tuning and number formats; `memory`
counts what a model takes by its `blocks`, and `memory_table` shows it; `mplug_owl2/` is the published model.
"""
