"""The five attribute maps of AGREE (Eq. 1): pictures that show one photometric attribute of a picture.

Each map is a plain function of a batch of RGB pictures (B, 3, H, W) in [0, 1], of any floating-point dtype, with sides
of at least 5 pixels. It returns values in [0, 1] of the same dtype, one plane, or three for hue. A picture that cannot
be used is an error; the released code silently took the picture itself for its map. The maps are differentiable
wherever their formulas are; where a maximum has ties or a root is 0, they have a finite subgradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from roc.agree.batches import as_batch, luma, reflected
from roc.agree.quantiles import tail_quantiles

SMALLEST = 5
"""Fewest pixels on each side: the filter of 9 pixels is reflected by 4."""

_EPSILON = 1e-6
_TAIL = 0.01
_WINDOW = 9
_EDGES, _TEXTURE = 0.6, 0.4


def brightness(pictures: Tensor) -> Tensor:
    """Luma, `0.2989 R + 0.5870 G + 0.1140 B`.

    Args:
        pictures: (B, 3, H, W) in [0, 1].

    Returns:
        (B, 1, H, W) in [0, 0.9999].

    Raises:
        ValueError: As `roc.agree.batches.as_batch` says.
    """
    return luma(as_batch(pictures, SMALLEST)).to(pictures.dtype)


def edges(pictures: Tensor) -> Tensor:
    """Magnitude of the Sobel gradient of luma, stretched between its 1% and 99% quantiles; a part of `contrast`.

    Args:
        pictures: (B, 3, H, W) in [0, 1].

    Returns:
        (B, 1, H, W) in [0, 1]; 0 everywhere for a flat picture.

    Raises:
        ValueError: As `roc.agree.batches.as_batch` says.
    """
    return _edges(luma(as_batch(pictures, SMALLEST))).to(pictures.dtype)


def contrast(pictures: Tensor) -> Tensor:
    """Edges and texture: `0.6 edges + 0.4 RMS contrast` in windows of 9 x 9, the latter stretched as the edges are.

    Args:
        pictures: (B, 3, H, W) in [0, 1].

    Returns:
        (B, 1, H, W) in [0, 1]; 0 everywhere for a flat picture.

    Raises:
        ValueError: As `roc.agree.batches.as_batch` says.
    """
    return _contrast(luma(as_batch(pictures, SMALLEST))).to(pictures.dtype)


def saturation(pictures: Tensor) -> Tensor:
    """Saturation of HSV, `(max - min) / max`; 0 for black.

    Args:
        pictures: (B, 3, H, W) in [0, 1].

    Returns:
        (B, 1, H, W) in [0, 1].

    Raises:
        ValueError: As `roc.agree.batches.as_batch` says.
    """
    return _saturation_and_hue(as_batch(pictures, SMALLEST))[0].to(pictures.dtype)


def hue(pictures: Tensor) -> Tensor:
    """Hue of HSV as three cosines 120 degrees apart, drawn towards 0.5 where there is little saturation.

    Args:
        pictures: (B, 3, H, W) in [0, 1].

    Returns:
        (B, 3, H, W) in [0, 1]; 0.5 for grey.

    Raises:
        ValueError: As `roc.agree.batches.as_batch` says.
    """
    return _saturation_and_hue(as_batch(pictures, SMALLEST))[1].to(pictures.dtype)


def blur(pictures: Tensor) -> Tensor:
    """Absence of detail: 1 minus the absolute Laplacian of luma, stretched between its 1% and 99% quantiles.

    Args:
        pictures: (B, 3, H, W) in [0, 1].

    Returns:
        (B, 1, H, W) in [0, 1], high where the picture is smooth; 1 everywhere for a flat picture.

    Raises:
        ValueError: As `roc.agree.batches.as_batch` says.
    """
    return _blur(luma(as_batch(pictures, SMALLEST))).to(pictures.dtype)


MAPS: dict[str, Callable[[Tensor], Tensor]] = {
    "brightness": brightness,
    "contrast": contrast,
    "saturation": saturation,
    "hue": hue,
    "blur": blur,
}
"""Attribute -> its map."""


def attribute_maps(pictures: Tensor) -> dict[str, Tensor]:
    """Computes all five maps at once, as pictures of three channels that an image encoder takes.

    Args:
        pictures: (B, 3, H, W) in [0, 1], of any floating-point dtype, H and W at least 5.

    Returns:
        Attribute -> (B, 3, H, W) in [0, 1], not yet normalised for an encoder. The channels of a map of one plane are
        views of that plane: clone before writing into them.

    Raises:
        TypeError: If `pictures` is no tensor.
        ValueError: As `roc.agree.batches.as_batch` says.
    """
    batch = as_batch(pictures, SMALLEST)
    grey = luma(batch)
    saturated, hues = _saturation_and_hue(batch)
    planes = {
        "brightness": grey,
        "contrast": _contrast(grey),
        "saturation": saturated,
        "hue": hues,
        "blur": _blur(grey),
    }
    return {name: plane.to(pictures.dtype).expand_as(pictures) for name, plane in planes.items()}


# The functions below write into intermediate results where they can: fresh memory costs more than the arithmetic. Where
# a gradient needs what is written over, autograd keeps a copy.


def _edges(grey: Tensor) -> Tensor:
    return _stretched(_gradient(reflected(grey, 1)))


def _contrast(grey: Tensor) -> Tensor:
    # A variance does not depend on the mean of the picture, but its rounding does.
    centred = grey - grey.detach().mean(dim=(2, 3), keepdim=True)
    texture = _stretched(_deviation(reflected(centred, _WINDOW // 2)))
    return _edges(grey).mul_(_EDGES).add_(texture, alpha=_TEXTURE)


def _blur(grey: Tensor) -> Tensor:
    return _stretched(_laplacian(reflected(grey, 1))).neg_().add_(1)


def _gradient(padded: Tensor) -> Tensor:
    """The magnitude of the Sobel gradient."""
    column = (padded[..., :-2, :] + padded[..., 2:, :]).add_(padded[..., 1:-1, :], alpha=2)
    row = (padded[..., :-2] + padded[..., 2:]).add_(padded[..., 1:-1], alpha=2)
    across, down = column[..., 2:] - column[..., :-2], row[..., 2:, :] - row[..., :-2, :]
    return _root(across.square_().add_(down.square_()))


def _deviation(padded: Tensor) -> Tensor:
    """The standard deviation in the window around each pixel."""
    total, squares = (_windows(_windows(values, 2), 3) for values in (padded, padded.square()))
    return _root(squares.sub_(total.square_(), alpha=1 / _WINDOW**2).div_(_WINDOW**2))


def _windows(values: Tensor, axis: int) -> Tensor:
    """Sums of 9 neighbours along an axis, as sums of 3 sums of 3."""
    for step in (1, 3):
        size = values.shape[axis] - 2 * step
        first, second, third = (values.narrow(axis, number * step, size) for number in range(3))
        values = (first + second).add_(third)
    return values


def _laplacian(padded: Tensor) -> Tensor:
    """The absolute Laplacian of four neighbours."""
    beside = padded[..., 1:-1, :-2] + padded[..., 1:-1, 2:]
    above = padded[..., :-2, 1:-1] + padded[..., 2:, 1:-1]
    # Both sums are rounded alike where the picture is flat, so that exactly 0 remains.
    return beside.add_(above).sub_(padded[..., 1:-1, 1:-1], alpha=4).abs_()


def _saturation_and_hue(batch: Tensor) -> tuple[Tensor, Tensor]:
    """Saturation, (B, 1, H, W), and the three planes of hue, (B, 3, H, W)."""
    red, green, blue = batch.split(1, dim=1)
    highest = batch.amax(dim=1, keepdim=True)
    spread = highest - batch.amin(dim=1, keepdim=True)
    # Signs tell 0 from more in a quarter of the time of a comparison and `torch.where`; `lerp` by 0 or 1 is exact.
    saturated = (spread / (highest + _EPSILON)).mul_((highest - _EPSILON).sign_().clamp_min_(0))
    # One sixth of the circle for each unit; red may be negative. Of equal channels red counts as the highest, then
    # green.
    scale = (spread + _EPSILON).reciprocal_()
    at_green, at_blue = (blue - red).mul_(scale).add_(2), (red - green).mul_(scale).add_(4)
    angle = torch.lerp(at_green, at_blue, (highest - green).sign_())
    angle = torch.lerp((green - blue).mul_(scale), angle, (highest - red).sign_()).mul_(math.pi / 3)
    shifts = torch.tensor([0, 2, 4], device=batch.device, dtype=batch.dtype).mul_(math.pi / 3).view(1, 3, 1, 1)
    return saturated, (angle + shifts).cos_().mul_(saturated * 0.5).add_(0.5)


def _root(squares: Tensor) -> Tensor:
    """The root of what is never negative but for rounding, with the gradient 0 at 0 in place of an infinite one."""
    return squares.clamp_min_(torch.finfo(squares.dtype).tiny).sqrt_()


def _stretched(plane: Tensor) -> Tensor:
    """Maps the 1% and 99% quantiles of each picture to 0 and 1 and cuts off what lies beyond; all 0 if they agree."""
    low, high = (value.view(-1, 1, 1, 1) for value in tail_quantiles(plane.flatten(1), _TAIL))
    return (plane - low).div_(high - low + _EPSILON).clamp_(0, 1)
