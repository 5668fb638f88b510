"""Configuration of a vision backbone that carries the score head."""

from __future__ import annotations

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig

IMAGE_TOKEN, PAD_TOKEN = "<image>", "<pad>"
VOCABULARY = (PAD_TOKEN, IMAGE_TOKEN)
"""Tokens by their ids; `[SCORE]` is the next one."""


@strict
class BackboneConfig(PreTrainedConfig):
    """The whole model.

    Args:
        vision_config: Configuration of the encoder, as an object or a dictionary.
        vision_channels: C, channels of its feature map.
        hidden_size: H, width of what the score head reads.
        max_places: Longest row: the picture and the scores of its answer.
        vocab_size: Rows of the vocabulary: `VOCABULARY` and `[SCORE]`.
        **kwargs: Further keys become attributes.
    """

    model_type = "roc_backbone"
    sub_configs = {"vision_config": AutoConfig}

    vision_config: dict | PreTrainedConfig | None = None
    vision_channels: int = 0
    hidden_size: int = 256
    max_places: int = 64
    vocab_size: int = len(VOCABULARY) + 1
    pad_token_id: int | None = VOCABULARY.index(PAD_TOKEN)
    image_token_id: int = VOCABULARY.index(IMAGE_TOKEN)
    tie_word_embeddings: bool = True

    def __post_init__(self, **kwargs: Any) -> None:
        if isinstance(self.vision_config, dict):
            values = dict(self.vision_config)
            self.vision_config = AutoConfig.for_model(values.pop("model_type"), **values)
        super().__post_init__(**kwargs)
