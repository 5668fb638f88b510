"""Batches of pictures as the maps and perturbations take them: from images and back, their check, luma and filters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

LUMA = (0.2989, 0.5870, 0.1140)
"""Weights of red, green and blue; their sum is 0.9999, as published."""


def as_tensor(image: Image.Image) -> Tensor:
    """Turns an RGB picture into a batch of one, (1, 3, H, W) in [0, 1], float32."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].contiguous().float().div_(255)


def as_image(picture: Tensor) -> Image.Image:
    """Turns a picture (3, H, W) in [0, 1] into an RGB image."""
    return Image.fromarray(picture.mul(255).round().byte().permute(1, 2, 0).contiguous().numpy())


def as_batch(pictures: Tensor, smallest: int) -> Tensor:
    """Checks a batch of pictures and returns it in a number format that can be computed with.

    Args:
        pictures: (B, 3, H, W), RGB in [0, 1], of any floating-point dtype.
        smallest: Fewest pixels that H and W may have.

    Returns:
        The batch in float64 if it came so, else in float32.

    Raises:
        TypeError: If `pictures` is no tensor.
        ValueError: For another shape or dtype, a smaller picture, an empty batch, or values that are NaN or outside
            [0, 1].
    """
    if not isinstance(pictures, Tensor):
        raise TypeError(
            f"pictures is a {type(pictures).__name__}; expected a tensor (B, 3, H, W) with values in [0, 1]"
        )
    if pictures.ndim != 4 or pictures.shape[1] != 3 or not len(pictures):
        raise ValueError(f"pictures has the shape {tuple(pictures.shape)}; expected (B, 3, H, W) with B at least 1")
    if not pictures.is_floating_point():
        raise ValueError(f"pictures has dtype {pictures.dtype}; expected floating point in [0, 1]: divide uint8 by 255")
    height, width = pictures.shape[2:]
    if min(height, width) < smallest:
        raise ValueError(
            f"the pictures are {width} x {height} pixels; expected at least {smallest} on each side: enlarge them"
        )
    batch = (pictures if pictures.dtype in (torch.float32, torch.float64) else pictures.float()).contiguous()
    low, high = (value.item() for value in batch.detach().aminmax())
    if not (low >= 0 and high <= 1):  # NaN fails both
        raise ValueError(
            f"pictures holds values from {low:g} to {high:g}; expected [0, 1]: undo the normalisation of the processor"
        )
    return batch


def luma(batch: Tensor) -> Tensor:
    """The luma of each pixel: (B, 3, H, W) -> (B, 1, H, W), between 0 and 0.9999."""
    red, green, blue = batch.split(1, dim=1)
    return (LUMA[0] * red).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])


def reflected(batch: Tensor, margin: int) -> Tensor:
    """Adds a margin that mirrors the picture without repeating its edge; H and W have to be larger than `margin`."""
    return F.pad(batch, (margin,) * 4, mode="reflect")


def smoothed(batch: Tensor, kernel: Sequence[float]) -> Tensor:
    """Applies a symmetric filter along both axes, with reflection at the edges.

    Sums of slices are several times as fast on a CPU as a convolution of single channels.

    Args:
        batch: (B, C, H, W).
        kernel: Its weights from the centre outwards; their number is at most the smaller one of H and W.

    Returns:
        (B, C, H, W).
    """
    radius = len(kernel) - 1
    padded = reflected(batch, radius)
    for axis in (2, 3):
        size = padded.shape[axis] - 2 * radius
        batch = padded.narrow(axis, radius, size) * kernel[0]
        for step in range(1, radius + 1):
            pair = padded.narrow(axis, radius - step, size) + padded.narrow(axis, radius + step, size)
            batch = batch.add_(pair, alpha=kernel[step])
        padded = batch
    return batch
