"""The scale of scores: their range, the levels that the head spreads over it, and the mapping to 0..1.

Photos are rated on many scales: AVA from 1 to 10, PARA from 1 to 5, AADB from 0 to 1. A `ScoreSpace` describes one of
them and belongs to a data set and to a checkpoint, so that a number is never read on the wrong scale. The literature
uses two mappings to the unit scale, which differ for every range that does not start at 0:

* `minmax`: `unit = (score - min) / (max - min)`, so the lowest score is 0;
* `max`: `unit = score / max`, so on 1..5 the lowest score is 0.2.

The choice is part of the record. Rank correlations do not depend on it; errors on the unit scale do.

This file needs neither numpy nor torch, but its arithmetic works on their arrays.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

TOLERANCE = 1e-6
"""Distance that a score may lie outside its range, on the native scale, because text files round."""

MODES = ("minmax", "max")


@dataclass(frozen=True)
class ScoreSpace:
    """The native scale of a set of scores; larger is better.

    Args:
        min_score: Lowest possible score, on the native scale.
        max_score: Highest possible score; above `min_score`.
        num_levels: Number N of levels of the score head, at least 2, evenly spaced from lowest to highest.
        mode: Mapping to the unit scale, `minmax` or `max` (see this file's docstring).

    Raises:
        ValueError: If the range is empty or not finite, there are fewer than two levels, or the mode is unknown.

    Example:
        >>> space = ScoreSpace(1, 5, num_levels=5)
        >>> space.levels
        (1.0, 2.0, 3.0, 4.0, 5.0)
        >>> space.to_unit(2.0)
        0.25
    """

    min_score: float = 1.0
    max_score: float = 10.0
    num_levels: int = 10
    mode: str = "minmax"

    def __post_init__(self) -> None:
        for name in ("min_score", "max_score"):
            object.__setattr__(self, name, _finite(getattr(self, name), name))
        try:
            num_levels = operator.index(self.num_levels)
        except TypeError:
            raise ValueError(f"num_levels is {self.num_levels!r}; expected a whole number of at least 2") from None
        object.__setattr__(self, "num_levels", num_levels)

        if self.min_score >= self.max_score:
            raise ValueError(
                f"the score range {self.min_score:g}..{self.max_score:g} is empty; "
                "give a max_score that is larger than min_score"
            )
        if num_levels < 2:
            raise ValueError(f"num_levels is {num_levels}; a range needs at least 2 levels, its two ends")
        if self.mode not in MODES:
            raise ValueError(f"score mode is {self.mode!r}; expected one of {', '.join(MODES)}")
        if self.mode == "max" and self.max_score <= 0:
            raise ValueError(
                f"score mode 'max' divides by max_score, which is {self.max_score:g}; "
                "give a max_score above 0, or use mode 'minmax'"
            )

    @property
    def levels(self) -> tuple[float, ...]:
        """The N level values on the native scale, evenly spaced, both ends of the range included."""
        steps = self.num_levels - 1
        inner = (self.min_score + self.width * (step / steps) for step in range(steps))
        # The last level is not computed, because lo + (hi - lo) need not round to hi.
        return (*inner, self.max_score)

    @property
    def range(self) -> tuple[float, float]:
        """Lowest and highest score."""
        return self.min_score, self.max_score

    @property
    def width(self) -> float:
        """Highest minus lowest score."""
        return self.max_score - self.min_score

    @property
    def midpoint(self) -> float:
        """Middle of the range: the prediction of a head that prefers no level."""
        return (self.min_score + self.max_score) / 2

    @property
    def unit_width(self) -> float:
        """Length of the unit scale in native scores: divided by it, a native error becomes one on the unit scale."""
        return self.max_score if self.mode == "max" else self.width

    def to_unit(self, score: Any) -> Any:
        """Converts from the native to the unit scale.

        Args:
            score: A number, numpy array or tensor on the native scale, neither checked nor clipped.

        Returns:
            The same type on the unit scale; 1 is the highest score.
        """
        if self.mode == "max":
            return score / self.max_score
        return (score - self.min_score) / self.width

    def from_unit(self, unit: Any) -> Any:
        """Converts from the unit to the native scale: the inverse of `to_unit`.

        Args:
            unit: A number, numpy array or tensor on the unit scale, neither checked nor clipped.

        Returns:
            The same type on the native scale.
        """
        if self.mode == "max":
            return unit * self.max_score
        return unit * self.width + self.min_score

    def check(self, score: Any, what: str = "score") -> float:
        """Makes sure that one score lies in the range.

        Args:
            score: A number on the native scale.
            what: Name of the number in the error message, such as `"gt_score"` or `"the score of photo 12"`.

        Returns:
            The score as a float, neither rounded nor clipped.

        Raises:
            ValueError: If it is no number, NaN or infinite, or outside the range by more than 1e-6.
        """
        value = _finite(score, what)
        if not self.min_score - TOLERANCE <= value <= self.max_score + TOLERANCE:
            raise ValueError(
                f"{what} is {value:g}, outside the range {self.min_score:g}..{self.max_score:g}; "
                "correct the score, or declare the range it was given on (min_score, max_score)"
            )
        return value

    def to_dict(self) -> dict[str, float | int | str]:
        """Returns the four fields by name, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ScoreSpace:
        """Reads back what `to_dict` wrote.

        Args:
            values: A mapping with `min_score`, `max_score`, `num_levels` and, if it is not `minmax`, `mode`. Other keys
                are ignored.

        Raises:
            ValueError: If one of the first three is missing (a range is never guessed), or a value is not allowed.
        """
        missing = [name for name in ("min_score", "max_score", "num_levels") if name not in values]
        if missing:
            raise ValueError(f"a score space needs {', '.join(missing)}; found only: {', '.join(values) or 'nothing'}")
        return cls(**{field.name: values[field.name] for field in fields(cls) if field.name in values})


def _finite(value: Any, what: str) -> float:
    """Converts to a float; ValueError if it is no number, NaN or infinite."""
    # float() also reads "7" and True; a score that is text or a truth value is a mistake in the data.
    is_number = not isinstance(value, (str, bytes, bool))
    try:
        number = float(value) if is_number else None
    except (TypeError, ValueError):
        number = None
    if number is None:
        raise ValueError(f"{what} is {value!r}; expected a number")
    if not math.isfinite(number):
        raise ValueError(f"{what} is {number}; expected a finite number")
    return number
