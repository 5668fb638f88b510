"""Checkpoints on disk.

`folder` loads and saves, `names` tells what a name stands for, `weights` refuses tensors that do not fit, `fingerprint`
recognises weights, `card` writes the model card, `head_file` holds the head alone, `export` the other forms of a
checkpoint, `vllm` those for vLLM.
"""
