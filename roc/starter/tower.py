"""The vision tower: the weights of EfficientNet-Lite in transformers' own `EfficientNetModel`, bit for bit.

EfficientNet-Lite has no squeeze-and-excitation, the stock class always has. Its layers get one channel, weights of zero
and a bias of 40 before the sigmoid, which is 1 in float32: the product changes no bit, and since the gradient is 0,
neither does training.

Image sizes have to be multiples of 32: at others TensorFlow's "same" padding, which the weights were trained with,
differs from layer to layer.
"""

from __future__ import annotations

import io
import pickle
import re

import torch
from transformers import EfficientNetConfig, EfficientNetModel

from roc.starter.sizes import Stage, TowerRecord

PIXEL_MEAN, PIXEL_STD = 127 / 255, 128 / 255
"""The tower takes (pixel - 127) / 128 of pixels in 0..255."""

TOLERANCE = 1e-3
"""Most that a recorded number may differ on another processor. Features lie in 0..6; the last bits give about 1e-6."""

_ALWAYS_OPEN = 40.0

_NAMES = (
    (r"_conv_stem\.", "embeddings.convolution."),
    (r"_bn0\.", "embeddings.batchnorm."),
    (r"_blocks\.(\d+)\._expand_conv\.", r"encoder.blocks.\1.expansion.expand_conv."),
    (r"_blocks\.(\d+)\._bn0\.", r"encoder.blocks.\1.expansion.expand_bn."),
    (r"_blocks\.(\d+)\._depthwise_conv\.", r"encoder.blocks.\1.depthwise_conv.depthwise_conv."),
    (r"_blocks\.(\d+)\._bn1\.", r"encoder.blocks.\1.depthwise_conv.depthwise_norm."),
    (r"_blocks\.(\d+)\._project_conv\.", r"encoder.blocks.\1.projection.project_conv."),
    (r"_blocks\.(\d+)\._bn2\.", r"encoder.blocks.\1.projection.project_bn."),
    (r"_conv_head\.", "encoder.top_conv."),
    (r"_bn1\.", "encoder.top_bn."),
)


_STEM, _FEATURES = 32, 1280  # fixed by the architecture


def tower_config(stages: tuple[Stage, ...], image_size: int) -> EfficientNetConfig:
    """Makes the configuration of the stock class for these stages.

    Args:
        stages: The blocks.
        image_size: Side of the pictures in pixels, a multiple of 32.
    """
    channels = [stage.channels for stage in stages]
    return EfficientNetConfig(
        image_size=image_size,
        width_coefficient=1.0,
        depth_coefficient=1.0,
        kernel_sizes=[stage.kernel for stage in stages],
        in_channels=[_STEM, *channels[:-1]],
        out_channels=channels,
        strides=[stage.stride for stage in stages],
        num_block_repeats=[stage.repeats for stage in stages],
        expand_ratios=[stage.expansion for stage in stages],
        squeeze_expansion_ratio=0.0,
        hidden_act="relu6",
        hidden_dim=_FEATURES,
        batch_norm_eps=1e-3,
        # In torch's sense, which the stock class passes it on in; its default of 0.99 would keep the last batch alone.
        batch_norm_momentum=0.1,
        # Its dropout is per element, not per block as the weights were trained with, and also changes a frozen tower.
        drop_connect_rate=0.0,
        hidden_size=_FEATURES,
    )


def load_tower(tower: EfficientNetModel, content: bytes) -> dict[str, torch.Tensor]:
    """Fills a tower with published weights.

    Args:
        tower: Made from `tower_config`; changed in place.
        content: A `.pth` file of EfficientNet-Lite. Its classifier is left out.

    Returns:
        The weights by the tower's own names, apart from those that the tower now holds.

    Raises:
        ValueError: The weights are not those of this architecture.
    """
    try:
        published = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ValueError("the tower's weights are not plain tensors; nothing of them was read") from None
    weights = {_own_name(name): value for name, value in published.items() if not name.startswith("_fc.")}
    for name, value in tower.state_dict().items():
        if ".squeeze_excite." in name:
            weights[name] = torch.full_like(value, _ALWAYS_OPEN if name.endswith(".expand.bias") else 0.0)
    try:
        tower.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"the tower's weights are not those of its architecture: {reason}") from None
    return weights


def _own_name(name: str) -> str:
    for pattern, replacement in _NAMES:
        if re.match(pattern, name):
            return re.sub("^" + pattern, replacement, name)
    return name


def check_pixels(side: int = 224) -> torch.Tensor:
    """Makes the picture that recorded features belong to, by integer arithmetic: (1, 3, side, side), normalised."""
    rows, columns = torch.arange(side).view(1, side, 1), torch.arange(side).view(1, 1, side)
    channel = torch.arange(3).view(3, 1, 1)
    pixels = (rows * (3 + channel) + columns * (5 - channel) + (rows * columns) // (7 + channel)) % 256
    return ((pixels.float() - 127) / 128)[None]


def tower_difference(tower: EfficientNetModel, record: TowerRecord) -> float:
    """Measures how far a tower is from recorded features: the largest absolute difference of their numbers."""
    with torch.inference_mode():
        features = tower.eval()(check_pixels()).last_hidden_state.double()
    found = torch.cat([features.mean((0, 2, 3))[list(record.channels)], features.mean().view(1)])
    return (found - torch.tensor([*record.values, record.mean], dtype=torch.float64)).abs().max().item()
