"""What a declaration holds of a calibration: a temperature, and a line onto another rating scale.

Both are fitted on ratings that the model was not trained on (roc/calibration) and stored with a fingerprint of these.
The temperature divides the logits of the levels (`ScoreHead`); the line has moved the ranges of the declaration, so
that levels, scores and spreads follow. This file needs neither numpy nor torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from roc.score_space import Range


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
        temperature: Divides the logits of the levels; above 0, 1 = they are as trained.
        affine: Lines onto another rating scale; None = the scale is that of the training.
        version: Release of roc that calibrated.

    Raises:
        ValueError: If a value cannot be.
    """

    data: str
    rows: int
    temperature: float = 1.0
    affine: Affine | None = None
    version: str = ""

    def __post_init__(self) -> None:
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
        if self.temperature != 1:
            values["temperature"] = self.temperature
        if self.affine is not None:
            values["affine"] = self.affine.to_dict()
        return values

    @classmethod
    def from_dict(cls, values: Any) -> Calibration:
        """Reads what `to_dict` wrote.

        Raises:
            ValueError: If it is something else.
        """
        try:
            affine = values.get("affine")
            return cls(**{**values, "affine": None if affine is None else Affine(**affine)})
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"calibration of config.roc cannot be used: {error}; calibrate anew") from error
