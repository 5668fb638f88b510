"""RED-Aes: learning from edits which picture is better.

`build` goes from photos to records in `steps` that a journal keeps. `config` holds its settings, and `asked` makes the
editors, judges and voters that they name. `photos` finds and writes photos, `votes` reads the votes on them, and
`consensus` agrees on their scores and chooses anchors.

`editing` is the phase in which photos are edited. `editors` has the interface of all editors and the one that needs no
model, with `operations` for its edits. `image_editors` follow `instructions` in words, `pipeline_actors` run such an
editor on a cluster, and `edit_check` marks what they make. `judging` is the phase in which edits are judged: by
`judges`, a `chat_judge`, or `scorers` of pictures.
`agreement` combines and compares what judges say, and `changes` makes a delta of it or a reason to reject the edit.
`wording` holds questions and answers, `outputs` writes the files, and `sheet` the page of pairs.

`train` is the three stages that learn from these files, with the settings of `train_config`. `stage_rows` makes
training rows of them, `pair_table` evaluates the first stage, `group_validation` validates the third one, and
`calibration` brings its scores onto the scale.
"""
