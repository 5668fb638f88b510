"""Scores as means over a picture and its mirror image, where the declaration has `score_flip`.

A picture is as good as its mirror image, so where the two get different scores, part of the difference is noise, and
their mean has less of it. The mean is that of the two distributions over the levels, so that the score is the mean of
the two scores; a temperature acts on the mean. Text, masks and whatever else stands in a batch are the same for both.

Pixels are mirrored in the batch, which is the mirror image only where a model takes whole pictures. Tiles and patches
in rows would each be mirrored at its place, and padding would change its side; such models are refused.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image, ImageOps

if TYPE_CHECKING:
    from roc.model.collator import RocCollator

_PIXELS = "pixel_values"

_SIZES = ((960, 400), (400, 960))
"""Wide and tall, so that a processor that cuts pictures into tiles or pads them does so with one of them."""

_ROUNDING = 0.1
"""Share of the mean deviation of pixels by which a mirrored batch may differ: a crop may be off by one pixel."""


def mirrored(inputs: dict[str, Any]) -> dict[str, Any] | None:
    """Gives the inputs of a model with every picture mirrored left to right.

    Args:
        inputs: Of the model; `pixel_values` are (n, 3, H, W).

    Returns:
        The same objects beside the pixels; None where there are no pictures.

    Raises:
        ValueError: If the pixels have another shape.
    """
    pixels = inputs.get(_PIXELS)
    if pixels is None:
        return None
    if not _are_whole(pixels):
        raise ValueError(
            f"the checkpoint declares score_flip, and pixel_values are {_shape(pixels)}; only whole pictures, "
            "(n, 3, H, W), can be mirrored"
        )
    return {**inputs, _PIXELS: pixels.flip(-1)}


def mean_logits(logits: torch.Tensor, of_mirror: torch.Tensor, temperature: float) -> torch.Tensor:
    """Computes the logits of the mean of two distributions over the levels.

    Args:
        logits, of_mirror: (..., N) level logits of the head, which has divided them by its temperature.
        temperature: Of the head. It acts on the mean of the distributions as they were trained.

    Returns:
        (..., N): where the temperature is 1, the log of the mean of both softmaxes.
    """
    both = (torch.stack([logits, of_mirror]) * temperature).log_softmax(dim=-1)
    return (both.logsumexp(dim=0) - math.log(2)) / temperature


def check_mirrors(collator: RocCollator) -> None:
    """Makes sure that mirroring the pixels of a batch gives the batch of the mirrored pictures.

    Args:
        collator: Of the model.

    Raises:
        ValueError: If it does not, with the reason: `its pictures ...`.
    """
    pictures = [_picture(size) for size in _SIZES]
    try:
        batch, other = (collator.scoring_batch(one) for one in (pictures, [ImageOps.mirror(one) for one in pictures]))
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(f"its pictures of different shapes make no batch ({error})".replace("\n", " ")) from error
    pixels = batch.get(_PIXELS)
    if not _are_whole(pixels):
        raise ValueError(f"its pictures come as {_shape(pixels)}, not whole as (n, 3, H, W)")
    if len(pixels) != len(pictures):
        raise ValueError(f"its pictures are cut into tiles: {len(pixels)} for {len(pictures)} pictures")
    apart = (pixels.flip(-1).float() - other[_PIXELS].float()).abs().mean()
    if not apart <= _ROUNDING * (pixels.float() - pixels.float().mean()).abs().mean():
        raise ValueError("its pictures are padded or laid out so that mirrored pixels are no mirror image")
    changed = [name for name in batch if name != _PIXELS and not torch.equal(batch[name], other[name])]
    if changed:
        raise ValueError(f"{changed[0]} of a picture is another than that of its mirror image")


def _picture(size: tuple[int, int]) -> Image.Image:
    """Draws a smooth picture that is not its own mirror image."""
    down = Image.linear_gradient("L")
    across = down.rotate(90)
    return Image.merge("RGB", (across, down, across)).resize(size)


def _are_whole(pixels: Any) -> bool:
    return torch.is_tensor(pixels) and pixels.ndim == 4 and pixels.shape[1] == 3


def _shape(pixels: Any) -> str:
    return str(tuple(pixels.shape)) if torch.is_tensor(pixels) else "no tensor called pixel_values"
