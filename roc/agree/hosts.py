"""Where the module of AGREE joins a model: behind the tower of a vision backbone, or at the visual tokens of another.

Both are found through the model, so that a copy of the model has places of its own, and both can be left again.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from roc.agree.anchor_text import OVERALL
from roc.agree.attributes import NAME
from roc.model.backbone import BackboneForScoring


def channels_of(model: PreTrainedModel) -> int:
    """Finds the width of the features that the module joins.

    Raises:
        ValueError: If the model has no place for it.
    """
    if isinstance(model, BackboneForScoring):
        return model.config.vision_channels
    _inner(model)
    return model.get_input_embeddings().weight.shape[1]


def join(model: PreTrainedModel) -> None:
    """Puts the module into its place."""
    if isinstance(model, BackboneForScoring):
        model.vision_tower.register_forward_hook(_Behind(model), with_kwargs=True)
    else:
        _inner(model).get_image_features = ImageFeatures(model)


def leave(model: PreTrainedModel) -> None:
    """Takes the module out of its place again."""
    if isinstance(model, BackboneForScoring):
        hooks = model.vision_tower._forward_hooks
        for key in [key for key, hook in hooks.items() if isinstance(hook, _Behind)]:
            del hooks[key]
            model.vision_tower._forward_hooks_with_kwargs.pop(key, None)
    else:
        del _inner(model).get_image_features


def place_text(model: PreTrainedModel) -> str:
    """Names the place of the module in words."""
    if isinstance(model, BackboneForScoring):
        return f"behind the feature map of {model.config.vision_channels} channels"
    return f"at the visual tokens, {model.get_input_embeddings().weight.shape[1]} wide"


class _Behind:
    """The hook; it finds the module through its model, so that a copy of the model has hooks of its own."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model

    def __call__(self, tower: nn.Module, args: tuple, kwargs: dict[str, Any], output: Any) -> Any:
        pixel_values = args[0] if args else kwargs["pixel_values"]
        return self.model.extensions[NAME].behind(tower, pixel_values, output)


class ImageFeatures:
    """Stands in for `get_image_features` of a multimodal model: its visual tokens, with the residual of the branches.

    Args:
        model: Carries the module.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model

    @property
    def __signature__(self) -> inspect.Signature:
        # `generate` chooses by it what it passes on.
        inner = _inner(self.model)
        return inspect.signature(type(inner).get_image_features.__get__(inner))

    def __call__(self, pixel_values: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Computes the features of pictures, and of their maps.

        Raises:
            ValueError: If they are not one piece of tokens for each picture.
        """
        inner, module = _inner(self.model), self.model.extensions[NAME]
        own = type(inner).get_image_features
        output = own(inner, pixel_values, *args, **kwargs)
        tokens = _tokens(inner, output)
        patches = Patches.of(inner.config)
        grids = next((one for one in (*args, kwargs.get("image_grid_thw")) if torch.is_tensor(one)), None)
        encoded = {OVERALL: torch.cat(tokens)}
        with kept_statistics(inner):
            for name, pixels in module.maps(pixel_values, grids if pixel_values.ndim == 2 else None, patches).items():
                encoded[name] = torch.cat(_tokens(inner, own(inner, pixels, *args, **kwargs)))
        counts = [len(part) for part in tokens]
        added = module.residual(encoded, counts).split(counts)
        joined = [part + more for part, more in zip(tokens, added, strict=True)]
        output.pooler_output = torch.stack(joined) if torch.is_tensor(output.pooler_output) else joined
        return output


@dataclass(frozen=True)
class Patches:
    """How a processor cuts pictures into rows of patches: those that become one token stand together.

    Attributes:
        side: Side of a patch in pixels.
        frames: Frames of a patch; those of a still picture are alike.
        merged: Patches along each side of a token.
    """

    side: int
    frames: int
    merged: int

    @classmethod
    def of(cls, config: PreTrainedConfig) -> Patches | None:
        """Reads the layout off a configuration; None where it has none."""
        vision = getattr(config, "vision_config", None)
        values = [getattr(vision, name, None) for name in ("patch_size", "temporal_patch_size", "spatial_merge_size")]
        return None if None in values else cls(*values)

    def divided(self, pixel_values: Tensor, grids: Tensor) -> Iterator[tuple[Tensor, list[int]]]:
        """Gives the rows of each picture with its grid."""
        return zip(pixel_values.split(grids.prod(dim=1).tolist()), grids.tolist(), strict=True)

    def picture(self, rows: Tensor, grid: Sequence[int]) -> Tensor:
        """Puts rows of patches together to a picture (T F, 3, H, W)."""
        time, height, width = grid
        m, side = self.merged, self.side
        parts = rows.view(time, height // m, width // m, m, m, 3, self.frames, side, side)
        # time, frame, channel, then for each axis: token, patch within it, pixel
        return parts.permute(0, 6, 5, 1, 3, 7, 2, 4, 8).reshape(time * self.frames, 3, height * side, width * side)

    def rows(self, picture: Tensor, grid: Sequence[int]) -> Tensor:
        """Cuts a picture into rows again."""
        time, height, width = grid
        m, side = self.merged, self.side
        parts = picture.reshape(time, self.frames, 3, height // m, m, side, width // m, m, side)
        return parts.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(time * height * width, -1)


@contextlib.contextmanager
def kept_statistics(tower: nn.Module) -> Iterator[None]:
    """Keeps batch normalisation at its running statistics, which are those of pictures, not of maps."""
    layers = [
        module for module in tower.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training
    ]
    for layer in layers:
        layer.eval()
    try:
        yield
    finally:
        for layer in layers:
            layer.train()


def _inner(model: PreTrainedModel) -> PreTrainedModel:
    """Finds the part of a multimodal model that encodes pictures.

    Raises:
        ValueError: If there is none.
    """
    inner = getattr(model, "model", None)
    if not hasattr(type(inner), "get_image_features"):
        raise ValueError(
            f"AGREE joins the features of pictures, and a {type(model).__name__} has no get_image_features that its "
            "forward takes them from; train with --host backbone."
        )
    return inner


def _tokens(inner: PreTrainedModel, output: Any) -> list[Tensor]:
    """Reads the visual tokens (T, H) of each picture off what `get_image_features` gives."""
    found = getattr(output, "pooler_output", None)
    parts = [found] if found is None else list(found)
    if not all(torch.is_tensor(part) and part.ndim == 2 for part in parts):
        shapes = ", ".join(str(tuple(part.shape)) if torch.is_tensor(part) else type(part).__name__ for part in parts)
        raise ValueError(
            f"{type(inner).__name__}.get_image_features gives {shapes or 'nothing'}; AGREE expects the tokens (T, H) "
            "of each picture."
        )
    return parts
