"""The main job: teach a model the score head.

`config` declares the settings, `reasoning_config` those of rows with critiques, `pair_config` those of pairs,
`mixing_config` those of several data sets, `published_flags` translates those of the published script, `checks` finds
at once what costs nothing to find. `job` runs the steps: `run` is the folder, `processes` the launcher's processes,
`data` the records, `row_lengths` their lengths, `build` the model, `earlier_head` what becomes of the head of a
checkpoint, `backbone` that of a vision encoder alone, `wording` the question and the answer, `reasoning` what rows with
critiques take, `mixed_data`, `learnt_links` and `mixed_evaluation` what several data sets on scales of their own take,
`arguments` the trainer's settings, `finish` the checkpoint and its report. `trainer` is the loop, `samples` the data
set it reads, `validation` the metrics of its validations, `stages` the learning rates of the parts and when each joins,
`regularisation` dropout before the head and the momentum of batch normalisation, `kept_features` what a frozen tower
gave for a picture before, `weight_average` the running mean of the weights, `error_weights` a larger weight for rows
that stay wrong, with the arithmetic of `error_tracker` and the settings of `error_aware_config`, `saved_states` what it
saves and goes on from, `states` the folders of that, `progress` what is seen of it.
"""
