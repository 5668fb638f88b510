"""The vision encoder inside a model of `transformers`, and its output in one form: a feature map.

Encoders of `AutoModel` and `AutoBackbone` give a map (B, C, h, w), a list of maps, or tokens (B, T, C), in which a
class token and registers may come before the cells of the picture.
"""

from __future__ import annotations

import inspect
import math
from typing import Any

import torch
from torch import nn
from transformers import AutoBackbone, AutoModel, PreTrainedConfig, PreTrainedModel

_MOST_BEFORE = 32
"""Most tokens that are looked for before the cells of a picture."""

_NO_POOLING = "add_pooling_layer"


def encoder_class(config: PreTrainedConfig) -> type[PreTrainedModel]:
    """Looks up the class of `transformers` for the encoder of a configuration.

    Raises:
        ValueError: If neither `AutoModel` nor `AutoBackbone` has one.
    """
    for auto in (AutoModel, AutoBackbone):
        if type(config) in auto._model_mapping:
            return auto._model_mapping[type(config)]
    raise ValueError(f"{config.model_type!r} is a model that neither AutoModel nor AutoBackbone can load.")


def without_pooling(cls: type[PreTrainedModel]) -> dict[str, Any]:
    """Gives the arguments that keep a class from adding a layer behind its feature map, which nothing would read."""
    return {_NO_POOLING: False} if _NO_POOLING in inspect.signature(cls.__init__).parameters else {}


def build_encoder(config: PreTrainedConfig) -> PreTrainedModel:
    """Builds the encoder of a configuration with random weights."""
    cls = encoder_class(config)
    return cls._from_config(config, **without_pooling(cls))


def find_encoder(model: PreTrainedModel) -> PreTrainedModel:
    """Finds the encoder of pictures in a model: the model itself, or the largest part that takes pixels alone.

    Raises:
        ValueError: If there is none; the message says what the model takes.
    """
    for module in model.modules():
        if isinstance(module, PreTrainedModel) and _takes(module)[:1] == ["pixel_values"]:
            return module
    raise ValueError(
        f"{type(model).__name__} takes {', '.join(_takes(model)[:3])}, and no part of it takes pictures of one size "
        "(pixel_values) alone; a backbone is a vision encoder such as ResNet, ConvNeXt, Swin or DINOv2."
    )


def feature_map(encoder: nn.Module, pixel_values: torch.Tensor) -> torch.Tensor:
    """Runs an encoder.

    Args:
        encoder: From `build_encoder` or `find_encoder`.
        pixel_values: (B, 3, S, S).

    Returns:
        (B, C, h, w), the last map.

    Raises:
        ValueError: If its output is none.
    """
    return map_of(encoder(pixel_values), pixel_values)


def map_of(output: Any, pixel_values: torch.Tensor) -> torch.Tensor:
    """Reads the feature map off the output of an encoder.

    Args:
        output: What the encoder gave for these pictures.
        pixel_values: (B, 3, S, S).

    Returns:
        (B, C, h, w), the last map.

    Raises:
        ValueError: If there is none.
    """
    maps = getattr(output, "feature_maps", None)
    features = maps[-1] if maps else output[0]
    if features.ndim == 3:
        features = _as_map(features, *pixel_values.shape[-2:])
    if features.ndim != 4:
        raise ValueError(
            f"The encoder gives {tuple(features.shape)} for pictures {tuple(pixel_values.shape)}; expected a feature "
            "map or tokens."
        )
    return features


def _as_map(tokens: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Turns the last tokens of each row into a map of the picture's proportions; those before its cells are left out.

    Raises:
        ValueError: If so many tokens make no such map.
    """
    count = tokens.shape[1]
    for before in range(min(_MOST_BEFORE, count - 1) + 1):
        cells = count - before
        rows = round(math.sqrt(cells * height / width))
        if rows and cells % rows == 0 and rows * width == cells // rows * height:
            return tokens[:, before:].transpose(1, 2).unflatten(2, (rows, cells // rows))
    raise ValueError(f"{count} tokens are no map of a picture of {height} x {width}; give pictures of another size.")


def _takes(module: nn.Module) -> list[str]:
    return [name for name in inspect.signature(module.forward).parameters if name not in ("self", "args", "kwargs")]
