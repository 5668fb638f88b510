"""Sensitivities and routing weights of AGREE (Eq. 5 and 6), as plain functions on values keyed by attribute name.

The released code kept the five values in a row and numbered them in two orders, so that blur and saturation traded
their weights. Here every value is looked up by its name; the order of a mapping means nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor

from roc.agree.attributes import ATTRIBUTES, DELTA
from roc.agree.perturbations import both_ways

EPSILON = 1e-8
"""Added to the denominator of Eq. 6, as the released code does."""

ByName = Mapping[str, Tensor]
"""Attribute -> (B,) values; all five, in any order."""


def sensitivities(f: Callable[[Tensor], Tensor], pictures: Tensor, delta: float = DELTA) -> dict[str, Tensor]:
    """Measures how much a score depends on each attribute, by ten passes (Eq. 5).

    Args:
        f: Takes pictures (B, 3, H, W) in [0, 1] and returns their scores (B,).
        pictures: (B, 3, H, W) in [0, 1], H and W at least 2.
        delta: Size of the perturbations, above 0 and at most 0.2.

    Returns:
        Attribute -> (B,) `|f(more) - f(less)| / (2 delta)`, at least 0.

    Raises:
        ValueError: If f gives anything but B finite numbers, or as `both_ways` says.
    """
    found = {}
    for name in ATTRIBUTES:
        more, less = (_scores(f, batch) for batch in both_ways(pictures, name, delta))
        found[name] = from_scores(more, less, delta)
    return found


def from_scores(more: Tensor, less: Tensor, delta: float) -> Tensor:
    """Computes the sensitivity from the scores of both perturbations (Eq. 5), in units of the score per unit change."""
    return (more - less).abs() / (2 * delta)


def routing_weights(
    sensitivity: ByName,
    medians: Mapping[str, float] | None = None,
    *,
    flat: Literal["uniform", "zero"] = "uniform",
    temperature: float | None = None,
) -> dict[str, Tensor]:
    """Computes the share of each attribute (Eq. 6): `s_k / (sum s_j + 1e-8)`, negative values taken for 0.

    Args:
        sensitivity: Attribute -> (B,).
        medians: Attribute -> the median of its sensitivities over a data set, for the calibrated form: a change of 20%
            in saturation moves any score less than one in brightness, so each value is divided by its median first.
            None is Eq. 6 as published.
        flat: What a photo gets all of whose sensitivities are 0: the same weight for each attribute, or "zero" as the
            released code, which silences every branch.
        temperature: Takes the softmax of the values over it in place of their shares, an alternative that is not
            published; above 0.

    Returns:
        Attribute -> (B,) in [0, 1], in the order of `ATTRIBUTES`; each photo's sum to 1, to within 1e-8 over its sum.

    Raises:
        ValueError: If names are missing or unknown, a value is NaN or infinite, or a median or the temperature is not
            above 0.
    """
    check_names(sensitivity, "sensitivity")
    values = torch.stack([torch.as_tensor(sensitivity[name]) for name in ATTRIBUTES])  # (5, B)
    values = values if values.is_floating_point() else values.double()
    if not values.isfinite().all():
        raise ValueError("a sensitivity is NaN or infinite; expected numbers of at least 0")
    values = values.clamp(min=0)
    if medians is not None:
        check_names(medians, "medians")
        if still := [name for name in ATTRIBUTES if not medians[name] > 0]:
            raise ValueError(
                f"the median sensitivity to {', '.join(still)} is not above 0, so nothing can be divided by it; take "
                "the published form, without medians"
            )
        values = values / (values.new_tensor([medians[name] for name in ATTRIBUTES])[:, None] + EPSILON)
    if temperature is not None:
        if not temperature > 0:
            raise ValueError(f"the temperature is {temperature}; expected above 0")
        return dict(zip(ATTRIBUTES, (values / temperature).softmax(dim=0), strict=True))
    weights = values / (values.sum(dim=0) + EPSILON)
    if flat == "uniform":
        weights = torch.where((values == 0).all(dim=0), 1 / len(ATTRIBUTES), weights)
    return dict(zip(ATTRIBUTES, weights, strict=True))


def medians_of(sensitivity: ByName) -> dict[str, float]:
    """Computes the median of each attribute over the photos; of an even number, the mean of the two in the middle."""
    check_names(sensitivity, "sensitivity")
    return {name: torch.as_tensor(sensitivity[name]).double().quantile(0.5).item() for name in ATTRIBUTES}


def check_names(values: Mapping[str, object], what: str) -> None:
    """Makes sure that there is a value for each of the five attributes and for nothing else.

    Raises:
        ValueError: Names are missing or unknown.
    """
    missing = [name for name in ATTRIBUTES if name not in values]
    unknown = [name for name in values if name not in ATTRIBUTES]
    if missing or unknown:
        faults = [f"lacks {', '.join(missing)}"] * bool(missing) + [f"has {', '.join(unknown)}"] * bool(unknown)
        raise ValueError(f"{what} {' and '.join(faults)}; expected {', '.join(ATTRIBUTES)}, by these names")


def _scores(f: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
    with torch.no_grad():
        scores = torch.as_tensor(f(batch))
    if scores.shape != (len(batch),) or not scores.isfinite().all():
        raise ValueError(f"f gave {scores} for {len(batch)} pictures; expected one finite number for each")
    return scores
