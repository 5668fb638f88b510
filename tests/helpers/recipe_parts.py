"""What recipes of several kinds share."""

from __future__ import annotations

SQUARE = {"height": 28, "width": 28}
PLAIN = {"image_token": "<image>"}
BOI = {"image_token": "<image>", "boi_token": "<boi>", "eoi_token": "<eoi>"}
CLIP = {"model_type": "clip_vision_model", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
         "num_attention_heads": 2, "image_size": 28, "patch_size": 7}  # fmt: skip
