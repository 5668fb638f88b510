"""Puts an encoder and the readout together, with the processor that goes with them."""

from __future__ import annotations

import copy

import torch
from transformers import LlavaProcessor, PreTrainedConfig, PreTrainedModel

from roc.model.backbone.configuration import BackboneConfig
from roc.model.backbone.encoder import feature_map
from roc.model.backbone.inputs import Pictures, build_processor
from roc.model.backbone.modeling import BackboneForScoring


def is_backbone(config: PreTrainedConfig) -> bool:
    """Tells whether a configuration is that of a backbone with readout."""
    return isinstance(config, BackboneConfig)


def build_host(
    encoder: PreTrainedModel, pictures: Pictures, hidden_size: int = 256
) -> tuple[BackboneForScoring, LlavaProcessor]:
    """Builds a model that `roc.model.attachment.attach` takes, around an encoder.

    Args:
        encoder: From `roc.model.backbone.encoder`; it becomes a part of the model.
        pictures: How it takes pictures.
        hidden_size: H, width of what the score head reads.

    Returns:
        The model in evaluation mode, the readout with weights from the global random state, and its processor.

    Raises:
        ValueError: If the encoder cannot take such pictures, or gives no feature map.
    """
    config = BackboneConfig(
        vision_config=copy.deepcopy(encoder.config),
        vision_channels=_channels(encoder, pictures),
        hidden_size=hidden_size,
    )
    model = BackboneForScoring(config)
    model.vision_tower = encoder
    model.name_or_path = model.config.name_or_path = encoder.name_or_path
    return model.to(encoder.dtype).eval(), build_processor(pictures)


@torch.no_grad()
def _channels(encoder: PreTrainedModel, pictures: Pictures) -> int:
    """Counts the channels of the feature map, which configurations name in many ways."""
    weight = next(encoder.parameters())
    blank = torch.zeros(1, 3, pictures.side, pictures.side, dtype=weight.dtype, device=weight.device)
    try:
        return feature_map(encoder.eval(), blank).shape[1]
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"{type(encoder).__name__} cannot take pictures of {pictures.side} x {pictures.side}: {error}"
        ) from error
