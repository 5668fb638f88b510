"""The reference of a model: the scores of a set of photos, by which another score becomes a percentile and a reward.

`roc reference` stores it in the declaration. A percentile says which share of these photos scores lower. The reward is
a logistic function of the score: 0.5 at the median of the reference, 0.75 half an interquartile range above it. It is
bounded by 0 and 1 and rises everywhere, so that scores above all of the reference still differ. This file needs neither
numpy nor torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from roc.model.calibration import share_below

_STEEPNESS = 2 * math.log(3)
"""logistic(ln 3) = 0.75, half an interquartile range above the median."""


@dataclass(frozen=True)
class Reference:
    """Scores of a set of photos.

    Attributes:
        name: What the set is called.
        data: Fingerprint of the photos, hexadecimal digits.
        photos: Their number.
        quantiles: Attribute -> quantiles of its scores, ascending, of evenly spaced shares from 0 to 1.
        version: Release of roc that wrote it.

    Raises:
        ValueError: If quantiles do not ascend, or the middle half of them is one value.
    """

    name: str
    data: str
    photos: int
    quantiles: Mapping[str, tuple[float, ...]] = field(hash=False, repr=False)
    version: str = ""

    def __post_init__(self) -> None:
        kept = {name: tuple(map(float, values)) for name, values in self.quantiles.items()}
        for name, values in kept.items():
            if len(values) < 2 or list(values) != sorted(values):
                raise ValueError(f"the reference of {name} is no list of ascending quantiles")
        object.__setattr__(self, "quantiles", kept)
        for name in kept:
            if self._quartiles(name)[2] <= self._quartiles(name)[0]:
                raise ValueError(
                    f"half of the {self.photos} photos or more have one and the same score of {name}, so they are no "
                    "scale for others; take photos that differ, or a model that tells them apart"
                )

    def _quartiles(self, attribute: str) -> list[float]:
        values = self.quantiles[attribute]
        found = []
        for share in (0.25, 0.5, 0.75):
            place = share * (len(values) - 1)
            low, high = values[math.floor(place)], values[math.ceil(place)]
            found.append(low + (high - low) * (place % 1))
        return found

    def percentile(self, attribute: str, value: float) -> float | None:
        """Tells how many percent of the photos score below a value, those that score the same counted half.

        Returns:
            0 to 100; None for an attribute that has no reference.
        """
        if attribute not in self.quantiles:
            return None
        return 100 * share_below(self.quantiles[attribute], value)

    def reward(self, attribute: str, value: float) -> float | None:
        """Gives a score as a reward between 0 and 1: 1 / (1 + exp(-2 ln 3 (value - median) / interquartile range)).

        Returns:
            None for an attribute that has no reference.
        """
        if attribute not in self.quantiles:
            return None
        low, middle, high = self._quartiles(attribute)
        steps = _STEEPNESS * (value - middle) / (high - low)
        return 1 / (1 + math.exp(-steps)) if steps >= 0 else math.exp(steps) / (1 + math.exp(steps))

    def to_dict(self) -> dict[str, Any]:
        """Gives the fields by name, ready for JSON."""
        quantiles = {name: list(values) for name, values in self.quantiles.items()}
        about = {"name": self.name, "data": self.data, "photos": self.photos, "version": self.version}
        return about | {"quantiles": quantiles}

    @classmethod
    def from_dict(cls, values: Any) -> Reference:
        """Reads what `to_dict` wrote.

        Raises:
            ValueError: If it is something else.
        """
        try:
            return cls(**values)
        except (TypeError, AttributeError) as error:
            raise ValueError(f"reference of config.roc cannot be used: {error}; make it anew") from error
