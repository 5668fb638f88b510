"""Checkpoints on disk.

`folder` loads and saves, `names` tells what a name stands for, `weights` refuses tensors that do not fit, `fingerprint`
recognises weights, `declared` changes the declaration in place, `card` writes the model card, `head_file` holds the
head alone, `personal_head` one that moves scores towards a person's taste, `lookups` what a checkpoint knows of single
pictures, `export` the other forms of a checkpoint, `vllm` those for vLLM.
"""
