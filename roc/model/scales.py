"""The scales of data sets that a model was trained on together: each with its range and its link from the shared score.

A link is a rising line in pieces over evenly spaced knots on the range of the shared score, the one that the model
declares. It says which rating of its data set goes with a shared score, so that one score can be read on every scale
(docs/mixing.md). `ScaleLinks` (roc/model/links.py) learns links; here is what a declaration keeps of them. This file
needs neither numpy nor torch.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from roc.score_space import Range


@dataclass(frozen=True)
class DataScale:
    """The scale of one data set.

    Attributes:
        name: Of the data set.
        range: Its lowest and highest rating.
        links: Attribute -> the ratings at evenly spaced knots from the lowest to the highest shared score, rising, at
            least two. Without a link, the ranges are mapped linearly onto each other.

    Raises:
        ValueError: If a value cannot be.
    """

    name: str
    range: Range
    links: Mapping[str, tuple[float, ...]] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ValueError(f"the name of a scale is {self.name!r}; expected text")
        object.__setattr__(self, "range", _numbers(self.range, f"the range of the scale {self.name}"))
        if len(self.range) != 2:
            raise ValueError(f"the range of the scale {self.name} is {self.range}; expected its two ends")
        what = f"a link of the scale {self.name}"
        links = {attribute: _numbers(values, what) for attribute, values in dict(self.links).items()}
        object.__setattr__(self, "links", links)

    def move(self, unit: float, attribute: str) -> float:
        """Reads a shared score on this scale.

        Args:
            unit: The shared score, 0 at the lowest and 1 at the highest of its range.
            attribute: Name of the score.

        Returns:
            The rating that goes with it, inside the range of this scale.
        """
        low, high = self.range
        values = self.links.get(attribute, self.range)
        pieces = len(values) - 1
        place = min(max(unit, 0.0), 1.0) * pieces
        left = min(int(place), pieces - 1)
        value = values[left] + (values[left + 1] - values[left]) * (place - left)
        return min(max(value, low), high)

    def unit_of(self, rating: float, attribute: str) -> float:
        """Finds the shared score, on 0..1, that goes with a rating; 0 or 1 where the link does not reach it."""
        values = self.links.get(attribute, self.range)
        right = bisect.bisect_left(values, rating)
        if right == 0:
            return 0.0
        if right == len(values):
            return 1.0
        step = values[right] - values[right - 1]
        return (right - 1 + (rating - values[right - 1]) / step) / (len(values) - 1)

    def to_dict(self) -> dict[str, Any]:
        """Gives the fields by name, ready for JSON; `links` only where there are any."""
        links = {attribute: list(values) for attribute, values in self.links.items()}
        return {"name": self.name, "range": list(self.range)} | ({"links": links} if links else {})

    @classmethod
    def from_dict(cls, values: Any) -> DataScale:
        """Reads what `to_dict` wrote.

        Raises:
            ValueError: If it is something else.
        """
        try:
            return cls(**values)
        except TypeError as error:
            raise ValueError(f"a scale of config.roc cannot be used: {error}") from error


def find_scale(scales: Sequence[DataScale], name: str, where: str) -> DataScale:
    """Finds a scale by name.

    Args:
        scales: Those to choose from.
        name: Of a data set.
        where: Whose scales these are, for the message.

    Raises:
        ValueError: If there is none of this name.
    """
    for scale in scales:
        if scale.name == name:
            return scale
    names = ", ".join(scale.name for scale in scales)
    advice = f"it has {names}. Name one of these, or" if scales else "it was not trained with --mix, so"
    raise ValueError(f"{where} has no scale {name!r}; {advice} leave scale out")


def _numbers(values: Any, what: str) -> tuple[float, ...]:
    is_list = isinstance(values, list | tuple) and len(values) >= 2
    if not is_list or any(isinstance(one, bool) or not isinstance(one, int | float) for one in values):
        raise ValueError(f"{what} is {values!r}; expected rising numbers, at least two")
    numbers = tuple(map(float, values))
    rising = all(one < other for one, other in zip(numbers, numbers[1:], strict=False))
    if not all(map(math.isfinite, numbers)) or not rising:
        raise ValueError(f"{what} is {values!r}; expected rising numbers, at least two")
    return numbers
