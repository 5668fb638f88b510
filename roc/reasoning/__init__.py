"""Aes-R1: critiques that teach a model to think first.

`corpus` has an author write about rated photos, with the score known, and another judge each text; `config` is what it
is asked. `tiers` are the three tones and how photos are chosen, `wording` the prompts and the form of an answer,
`filters` what rejects a text. Authors answer requests behind the interface of `authors`: `chat` any OpenAI-compatible
endpoint, `local_model` a model of transformers; `embedded` (for the demo's scenes) and `measured` (for any photo)
choose among the `sentences` that are true of a picture. `replies` keeps every answer in a journal and counts its cost,
`outputs` are the files. `aescot` reads critiques of others, `look` counts and shows a corpus. `rapo` reinforces a model
that was taught on one.
"""
