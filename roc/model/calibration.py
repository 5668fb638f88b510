"""What `roc calibrate` adds to a declaration: a temperature, a line onto another rating scale, and intervals.

The three are fitted on ratings that the model was not trained on (roc/calibration) and stored with a fingerprint of
these. The temperature divides the logits of the levels (`ScoreHead`); the line has moved the ranges of the declaration,
so that levels, scores and spreads follow; an interval is a half width around each score. This file needs neither numpy
nor torch.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from roc.score_space import Range

MOST_QUANTILES = 201
"""Values that stand for a set of scores; of fewer scores, all are kept."""


@dataclass(frozen=True)
class Intervals:
    """Split-conformal intervals around the scores of a model.

    Attributes:
        level: Share of ratings that the intervals hold, above 0 and below 1.
        half_widths: Attribute -> half the width of its intervals in native units or, where `scaled`, in standard
            deviations of the head.
        rows: Attribute -> number of ratings that this rests on.
        scores: Attribute -> quantiles of the scores of the rated photos, ascending, for noticing photos unlike them.
        stds: Attribute -> the same of the standard deviations.
        thirds: Attribute -> (two borders between thirds of its scores, three half widths in place of the one);
            attributes without an entry have one width for all scores.
        scaled: Whether the width follows the standard deviation of each score.

    Raises:
        ValueError: If a value cannot be.
    """

    level: float
    half_widths: Mapping[str, float] = field(hash=False)
    rows: Mapping[str, int] = field(hash=False)
    scores: Mapping[str, tuple[float, ...]] = field(hash=False, repr=False)
    stds: Mapping[str, tuple[float, ...]] = field(hash=False, repr=False)
    thirds: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] = field(default_factory=dict, hash=False)
    scaled: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.level < 1:
            raise ValueError(f"the level of the intervals is {self.level!r}; expected a share between 0 and 1")
        object.__setattr__(self, "half_widths", {name: float(width) for name, width in self.half_widths.items()})
        if not all(math.isfinite(width) and width >= 0 for width in self.half_widths.values()):
            raise ValueError(f"half_widths of the intervals are {dict(self.half_widths)!r}; expected numbers from 0 on")
        for name in ("scores", "stds"):
            kept = {key: tuple(float(value) for value in values) for key, values in getattr(self, name).items()}
            if not all(len(values) > 1 and list(values) == sorted(values) for values in kept.values()):
                raise ValueError(f"{name} of the intervals are no ascending quantiles")
            object.__setattr__(self, name, kept)
        object.__setattr__(self, "rows", {name: int(count) for name, count in self.rows.items()})
        thirds = {name: tuple(tuple(map(float, part)) for part in parts) for name, parts in self.thirds.items()}
        for name, parts in thirds.items():
            if [len(part) for part in parts] != [2, 3] or parts[0][0] > parts[0][1] or min(parts[1]) < 0:
                raise ValueError(f"the thirds of {name} are {parts!r}; expected two borders and three half widths")
        object.__setattr__(self, "thirds", thirds)

    def half_width(self, attribute: str, value: float) -> float:
        """Gives half the width of the interval around a score, as `half_widths` has it, or that of its third."""
        if attribute not in self.thirds:
            return self.half_widths[attribute]
        borders, widths = self.thirds[attribute]
        return widths[bisect_right(borders, value)]

    def around(self, attribute: str, value: float, std: float, within: Range) -> tuple[float, float] | None:
        """Gives the interval around a score.

        Args:
            attribute: Name of the score.
            value, std: The score and its standard deviation, native scale.
            within: Range of the ratings; an interval does not reach beyond it, because no rating does.

        Returns:
            (low, high) in native units; None for an attribute that was not calibrated.
        """
        if attribute not in self.half_widths:
            return None
        half = self.half_width(attribute, value) * (std if self.scaled else 1.0)
        low, high = within
        return min(max(value - half, low), high), max(min(value + half, high), low)

    def to_dict(self) -> dict[str, Any]:
        """Gives the fields by name, ready for JSON."""
        return {
            "level": self.level,
            "scaled": self.scaled,
            "half_widths": dict(self.half_widths),
            "rows": dict(self.rows),
            **({"thirds": thirds} if (thirds := _lists(self.thirds)) else {}),
            "scores": {name: list(values) for name, values in self.scores.items()},
            "stds": {name: list(values) for name, values in self.stds.items()},
        }


def _lists(thirds: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]]) -> dict[str, list[list[float]]]:
    return {name: [list(part) for part in parts] for name, parts in thirds.items()}


@dataclass(frozen=True)
class Affine:
    """Lines that have moved the scores onto the scale of other raters: intercept + slope * score before.

    Attributes:
        lines: Attribute -> (intercept, slope), slopes above 0.
        before: Attribute -> its range before, of every attribute of the declaration.
        ratings: Attribute -> the range on which these raters rate; it need not be the range that scores can take.
        unit: What a step of that scale is called ("stars"); None = it has no name.

    Raises:
        ValueError: If a slope is not above 0, or a number is not finite.
    """

    lines: Mapping[str, tuple[float, float]] = field(hash=False)
    before: Mapping[str, Range] = field(hash=False)
    ratings: Mapping[str, Range] = field(hash=False)
    unit: str | None = None

    def __post_init__(self) -> None:
        for name in ("lines", "before", "ratings"):
            kept = {key: tuple(map(float, pair)) for key, pair in getattr(self, name).items()}
            if not all(len(pair) == 2 and all(map(math.isfinite, pair)) for pair in kept.values()):
                raise ValueError(f"{name} of the affine calibration is {getattr(self, name)!r}; expected pairs")
            object.__setattr__(self, name, kept)
        if any(slope <= 0 for _, slope in self.lines.values()):
            raise ValueError(f"lines of the affine calibration are {dict(self.lines)!r}; expected slopes above 0")
        if not isinstance(self.unit, str | None):
            raise ValueError(f"unit of the affine calibration is {self.unit!r}; expected text or null")

    def to_dict(self) -> dict[str, Any]:
        """Gives the fields by name, ready for JSON; `unit` only where there is one."""
        pairs = {name: {k: list(v) for k, v in getattr(self, name).items()} for name in ("lines", "before", "ratings")}
        return pairs | ({} if self.unit is None else {"unit": self.unit})


@dataclass(frozen=True)
class Calibration:
    """What was fitted on held-out ratings, and on which.

    Attributes:
        data: Fingerprint of the ratings, hexadecimal digits.
        rows: Number of rated photos.
        earlier: Fingerprint of the ratings that temperature and lines were fitted to, where these are others.
        sample: Fingerprints of some of the photos, the smallest ones, by which the same photos are recognised.
        temperature: Divides the logits of the levels; above 0, 1 = they are as trained.
        affine: Lines onto another rating scale; None = the scale is that of the training.
        intervals: None = none were asked for.
        version: Release of roc that calibrated.

    Raises:
        ValueError: If a value cannot be.
    """

    data: str
    rows: int
    earlier: str | None = None
    sample: tuple[str, ...] = field(default=(), repr=False)
    temperature: float = 1.0
    affine: Affine | None = None
    intervals: Intervals | None = None
    version: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "sample", tuple(self.sample))
        number = isinstance(self.temperature, int | float) and not isinstance(self.temperature, bool)
        if not number or not math.isfinite(self.temperature) or self.temperature <= 0:
            raise ValueError(f"the temperature is {self.temperature!r}; expected a number above 0")

    @property
    def moves_scores(self) -> bool:
        """Whether scores are others than without it: by a temperature or a line."""
        return self.temperature != 1 or self.affine is not None

    def to_dict(self) -> dict[str, Any]:
        """Gives the fields by name, ready for JSON, without what was not asked for."""
        values: dict[str, Any] = {"data": self.data, "rows": self.rows, "version": self.version}
        if self.earlier is not None:
            values["earlier"] = self.earlier
        if self.temperature != 1:
            values["temperature"] = self.temperature
        for name in ("affine", "intervals"):
            if getattr(self, name) is not None:
                values[name] = getattr(self, name).to_dict()
        return values | {"sample": list(self.sample)}

    @classmethod
    def from_dict(cls, values: Any) -> Calibration:
        """Reads what `to_dict` wrote.

        Raises:
            ValueError: If it is something else.
        """
        try:
            parts = {"affine": Affine, "intervals": Intervals}
            read = {name: kind(**values[name]) for name, kind in parts.items() if values.get(name) is not None}
            return cls(**{**values, **read})
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"calibration of config.roc cannot be used: {error}; calibrate anew") from error


def share_below(quantiles: Sequence[float], value: float, side: str = "middle") -> float:
    """Tells which share of a set lies below a value, read off quantiles of the set.

    Args:
        quantiles: Of evenly spaced shares from 0 to 1, ascending, at least two.
        value: The value.
        side: "left" counts values below it, "right" those equal to it too, "middle" half of these.

    Returns:
        A share from 0 to 1, linear between quantiles.
    """
    first, behind = bisect_left(quantiles, value), bisect_right(quantiles, value)
    if first == 0 and behind == 0:
        return 0.0
    if first == len(quantiles):
        return 1.0
    if first == behind:
        below, above = quantiles[first - 1], quantiles[first]
        place = first - 1 + (value - below) / (above - below)
    else:
        place = {"left": first, "right": behind - 1, "middle": (first + behind - 1) / 2}[side]
    return place / (len(quantiles) - 1)


def quantiles_of(values: Sequence[float]) -> tuple[float, ...]:
    """Gives quantiles that stand for a set of at least two values, ascending, six digits of each.

    These are all values, or of many those of 201 evenly spaced shares; between two values a quantile is linear.
    """
    ordered = sorted(float(value) for value in values)
    if len(ordered) > MOST_QUANTILES:
        places = [share * (len(ordered) - 1) / (MOST_QUANTILES - 1) for share in range(MOST_QUANTILES)]
        pairs = ((ordered[math.floor(place)], ordered[math.ceil(place)], place % 1) for place in places)
        ordered = [low + (high - low) * part for low, high, part in pairs]
    return tuple(float(f"{value:.6g}") for value in ordered)
