"""RED-Aes: learning from edits which picture is better.

`build` goes from photos to records in `steps` that a journal keeps; `config` is what it is asked, `asked` makes whom it
asks. `photos` are found and written, `votes` on them read, `consensus` agrees on their scores and chooses anchors.

`editing` is the phase in which photos are edited. `editors` are one small interface; `operations` are the edits that
need no model, `image_editors` follow `instructions` in words, and `edit_check` marks what they make. `judging` is the
phase in which edits are judged: by `judges`, a `chat_judge`, or `scorers` of single pictures. `agreement` combines and
compares judges, `changes` is what they come to. `wording` are questions and answers, `outputs` the files, `sheet` the
page of pairs.
"""
