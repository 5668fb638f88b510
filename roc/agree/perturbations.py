"""The five perturbations of AGREE (Eq. 5): each moves one photometric attribute of a picture a little up or down.

Sensitivity is the difference of the scores of both, divided by twice the size of the change. The paper does not publish
its operators; these keep the luma of the picture where the attribute allows it. Each is a plain function of a batch of
RGB pictures (B, 3, H, W) in [0, 1], of any floating-point dtype. It is differentiable; where the result is cut off at 0
or 1, the gradient is 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from roc.agree.attributes import DELTA
from roc.agree.batches import as_batch, luma, smoothed

SMALLEST = 2
"""Fewest pixels on each side: the smallest blur is reflected by 1."""

_FULL_TURN = math.pi / 2
_FULL_BLUR = 0.2
_SIGMA = 0.004
_SMALLEST_SIGMA = math.sqrt(0.5)
_YIQ = ((0.299, 0.587, 0.114), (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))


def brightness(pictures: Tensor, change: float) -> Tensor:
    """Multiplies by `1 + change`.

    Args:
        pictures: (B, 3, H, W) in [0, 1].
        change: From -1 to 1, not 0; negative makes the picture darker.

    Returns:
        (B, 3, H, W) in [0, 1].

    Raises:
        ValueError: For another change, or as `roc.agree.batches.as_batch` says.
    """
    batch = _checked(pictures, change)
    return _cut(batch * (1 + change), pictures)


def contrast(pictures: Tensor, change: float) -> Tensor:
    """Moves every pixel away from the mean luma of its picture, by the factor `1 + change`.

    Args:
        pictures: (B, 3, H, W) in [0, 1].
        change: From -1 to 1, not 0; negative makes the picture flatter.

    Returns:
        (B, 3, H, W) in [0, 1].

    Raises:
        ValueError: For another change, or as `roc.agree.batches.as_batch` says.
    """
    batch = _checked(pictures, change)
    mean = luma(batch).mean(dim=(2, 3), keepdim=True)
    return _cut(mean + (batch - mean) * (1 + change), pictures)


def saturation(pictures: Tensor, change: float) -> Tensor:
    """Moves every pixel away from its own luma, by the factor `1 + change`.

    Args:
        pictures: (B, 3, H, W) in [0, 1].
        change: From -1 to 1, not 0; negative makes the picture greyer.

    Returns:
        (B, 3, H, W) in [0, 1].

    Raises:
        ValueError: For another change, or as `roc.agree.batches.as_batch` says.
    """
    batch = _checked(pictures, change)
    grey = luma(batch)
    return _cut(grey + (batch - grey) * (1 + change), pictures)


def hue(pictures: Tensor, change: float) -> Tensor:
    """Turns the colours by `change` times 90 degrees in the I, Q plane of YIQ; Y stays.

    Args:
        pictures: (B, 3, H, W) in [0, 1].
        change: From -1 to 1, not 0; the sign is the direction of the turn.

    Returns:
        (B, 3, H, W) in [0, 1].

    Raises:
        ValueError: For another change, or as `roc.agree.batches.as_batch` says.
    """
    batch = _checked(pictures, change)
    cosine, sine = math.cos(change * _FULL_TURN), math.sin(change * _FULL_TURN)
    to_yiq = torch.tensor(_YIQ, dtype=torch.float64)
    turn = torch.tensor([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]], dtype=torch.float64)
    matrix = (torch.linalg.inv(to_yiq) @ turn @ to_yiq).to(batch)
    return _cut((matrix @ batch.flatten(2)).view_as(batch), pictures)


def blur(pictures: Tensor, change: float) -> Tensor:
    """Blurs the picture, or sharpens it by an unsharp mask: adds `change / 0.2` times what a blur would change.

    The blur is a Gaussian whose sigma is 0.4% of the short side, 2 pixels at 512. Below 177 pixels, where that would
    hardly reach the next pixel, it is the binomial filter of 3 x 3.

    Args:
        pictures: (B, 3, H, W) in [0, 1].
        change: From -1 to 0.2, not 0; 0.2 is the blurred picture itself, negative sharpens.

    Returns:
        (B, 3, H, W) in [0, 1].

    Raises:
        ValueError: For another change, or as `roc.agree.batches.as_batch` says.
    """
    batch = _checked(pictures, change, highest=_FULL_BLUR)
    blurred = smoothed(batch, _blur_kernel(min(batch.shape[2:])))
    return _cut(batch + (change / _FULL_BLUR) * (blurred - batch), pictures)


PERTURBATIONS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "brightness": brightness,
    "contrast": contrast,
    "saturation": saturation,
    "hue": hue,
    "blur": blur,
}
"""Attribute -> its perturbation."""


def both_ways(pictures: Tensor, attribute: str, delta: float = DELTA) -> tuple[Tensor, Tensor]:
    """Moves one attribute of each picture up and down.

    Args:
        pictures: (B, 3, H, W) in [0, 1], of any floating-point dtype, H and W at least 2.
        attribute: A key of `PERTURBATIONS`.
        delta: Size of the change, above 0 and at most 1; at most 0.2 for blur.

    Returns:
        The pictures with more and with less of it, (B, 3, H, W) each; for hue, turned in both directions.

    Raises:
        ValueError: For an unknown attribute, another delta, or as `roc.agree.batches.as_batch` says.
    """
    if attribute not in PERTURBATIONS:
        raise ValueError(f"attribute is {attribute!r}; expected one of {', '.join(PERTURBATIONS)}")
    if not delta > 0:
        raise ValueError(f"delta is {delta}; expected a number above 0")
    return PERTURBATIONS[attribute](pictures, delta), PERTURBATIONS[attribute](pictures, -delta)


def _checked(pictures: Tensor, change: float, highest: float = 1) -> Tensor:
    if not -1 <= change <= highest or change == 0:
        raise ValueError(f"the change is {change}; expected a number from -1 to {highest}, but not 0")
    return as_batch(pictures, SMALLEST)


def _cut(batch: Tensor, pictures: Tensor) -> Tensor:
    return batch.clamp(0, 1).to(pictures.dtype)


def _blur_kernel(side: int) -> list[float]:
    """The weights of the blur from the centre outwards, for a short side of so many pixels."""
    sigma = _SIGMA * side
    if sigma < _SMALLEST_SIGMA:  # that of the binomial filter
        return [0.5, 0.25]
    weights = [math.exp(-(step**2) / (2 * sigma**2)) for step in range(math.ceil(3 * sigma) + 1)]
    total = 2 * sum(weights) - weights[0]
    return [weight / total for weight in weights]
