"""Checkpoints on disk.

`folder` loads and saves, `fingerprint` recognises weights, `card` writes the model card, `head_file` holds the head
alone, `export` the other forms of a checkpoint, `vllm` those for vLLM.
"""
