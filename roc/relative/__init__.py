"""RED-Aes: learning from edits which picture is better.

`build` goes from photos to records in `steps` that a journal keeps; `config` is what it is asked. `photos` are found
and written, `votes` on them read, `consensus` agrees on their scores and chooses anchors. `editors` edit, behind one
small interface; `operations` are the edits that need no model. `judges` say how much better or worse an edit is, a
`chat_judge` too, and `scorers` how good one picture is; `asked` makes all of them, `judging` is the phase in which they
work. `agreement` combines and compares judges, `changes` is what they come to. `wording` are questions and answers,
`outputs` the files, `sheet` the page of pairs.
"""
