"""The scale of scores: their range, the levels that the head spreads over it, and the mapping to 0..1.

Photos are rated on many scales: AVA from 1 to 10, PARA from 1 to 5, AADB from 0 to 1. A `ScoreSpace` describes one of
them and belongs to a data set and to a checkpoint, so that a number is never read on the wrong scale. The literature
uses two mappings to the unit scale, which differ for every range that does not start at 0:

* `minmax`: `unit = (score - min) / (max - min)`, so the lowest score is 0;
* `max`: `unit = score / max`, so on 1..5 the lowest score is 0.2.

The choice is part of the record. Rank correlations do not depend on it; errors on the unit scale do.

Attributes of one image may be rated on other ranges: AADB's light lies on -1..1 beside an overall score on 0..1, the
effect of an edit on -10..10 beside a score on 0..10. Such ranges are named in `attribute_ranges`, and `of` gives the
space of one attribute. Settings write them as `delta=-10:10` (`parse_ranges`).

This file needs neither numpy nor torch, but its arithmetic works on their arrays.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

REWARD_SCALES = ("unit", "native", "percentile", "reference")
"""Scales of rewards (docs/calibration.md); no data set of `--mix` may have such a name."""

TOLERANCE = 1e-6
"""Distance that a score may lie outside its range, on the native scale, because text files round."""

MODES = ("minmax", "max")

Range = tuple[float, float]
"""Lowest and highest score."""

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_ATTRIBUTE_RANGE = re.compile(rf"\s*([^=]*[^=\s])\s*=\s*({_NUMBER})\s*:\s*({_NUMBER})(?=\s|$)")


@dataclass(frozen=True)
class ScoreSpace:
    """The native scale of a set of scores; larger is better.

    Args:
        min_score: Lowest possible score, on the native scale.
        max_score: Highest possible score; above `min_score`.
        num_levels: Number N of levels of the score head, at least 2, evenly spaced from lowest to highest.
        mode: Mapping to the unit scale, `minmax` or `max` (see this file's docstring).
        attribute_ranges: Attribute -> (lowest, highest) score, for attributes on another range; levels and mode are
            shared. A range that equals `min_score..max_score` is left out.

    Raises:
        ValueError: If a range is empty or not finite, there are fewer than two levels, or the mode is unknown.

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
    attribute_ranges: Mapping[str, Range] = field(default_factory=dict, hash=False)

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
        object.__setattr__(self, "attribute_ranges", self._checked_ranges())

    def _checked_ranges(self) -> dict[str, Range]:
        checked = {}
        for name, ends in dict(self.attribute_ranges).items():
            if not isinstance(ends, list | tuple) or len(ends) != 2:
                raise ValueError(f"the range of {name!r} is {ends!r}; expected its lowest and its highest score")
            try:
                own = replace(self, min_score=ends[0], max_score=ends[1], attribute_ranges={})
            except ValueError as error:
                raise ValueError(f"the range of {name!r}: {error}") from None
            if own.range != self.range:
                checked[name] = own.range
        return checked

    def of(self, attribute: str) -> ScoreSpace:
        """Returns the space of one attribute: its own range where it has one, otherwise the common one."""
        if not self.attribute_ranges:
            return self
        low, high = self.attribute_ranges.get(attribute, self.range)
        return replace(self, min_score=low, max_score=high, attribute_ranges={})

    def led_by(self, attributes: Sequence[str]) -> ScoreSpace:
        """Returns the same ranges with that of the first attribute as the common one.

        Args:
            attributes: All attributes, at least one.

        Raises:
            ValueError: If a range is given for another attribute.
        """
        if not self.attribute_ranges:
            return self
        unknown = [name for name in self.attribute_ranges if name not in attributes]
        if unknown:
            raise ValueError(
                f"there is a range for {', '.join(unknown)}, but the attributes are {', '.join(attributes)}; name it "
                "among them, or leave its range out"
            )
        first, *others = attributes
        return replace(self.of(first), attribute_ranges={name: self.of(name).range for name in others})

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

    def check(self, score: Any, what: str = "score", *, settings: str = "min_score, max_score") -> float:
        """Makes sure that one score lies in the range.

        Args:
            score: A number on the native scale.
            what: Name of the number in the error message, such as `"gt_score"` or `"the score of photo 12"`.
            settings: Those that declare the range, for the message.

        Returns:
            The score as a float, neither rounded nor clipped.

        Raises:
            ValueError: If it is no number, NaN or infinite, or outside the range by more than 1e-6.
        """
        value = _finite(score, what)
        if not self.min_score - TOLERANCE <= value <= self.max_score + TOLERANCE:
            raise ValueError(
                f"{what} is {value:g}, outside the range {self.min_score:g}..{self.max_score:g}; "
                f"correct the score, or declare the range it was given on ({settings})"
            )
        return value

    @property
    def ranges(self) -> dict[str, Any]:
        """The ranges by name, ready for JSON: `min_score`, `max_score` and, where there are any, `attribute_ranges`."""
        return {name: value for name, value in self.to_dict().items() if name not in ("num_levels", "mode")}

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields by name, ready for JSON; `attribute_ranges` only where there are any."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        ranges = values.pop("attribute_ranges")
        return values | ({"attribute_ranges": {name: list(ends) for name, ends in ranges.items()}} if ranges else {})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ScoreSpace:
        """Reads back what `to_dict` wrote.

        Args:
            values: A mapping with `min_score`, `max_score`, `num_levels` and, if it is not `minmax`, `mode`, and, if
                there are any, `attribute_ranges`. Other keys are ignored.

        Raises:
            ValueError: If one of the first three is missing (a range is never guessed), or a value is not allowed.
        """
        missing = [name for name in ("min_score", "max_score", "num_levels") if name not in values]
        if missing:
            raise ValueError(f"a score space needs {', '.join(missing)}; found only: {', '.join(values) or 'nothing'}")
        return cls(**{field.name: values[field.name] for field in fields(cls) if field.name in values})


def parse_ranges(words: Iterable[str]) -> dict[str, Range]:
    """Reads ranges of attributes as settings write them.

    Args:
        words: `NAME=LOWEST:HIGHEST`, one or several in a word, separated by spaces.

    Returns:
        Attribute -> (lowest, highest) score.

    Raises:
        ValueError: If a word has another form, a range is empty, or a name stands there twice.

    Example:
        >>> parse_ranges(["delta=-10:10 light=0:5"])
        {'delta': (-10.0, 10.0), 'light': (0.0, 5.0)}
    """
    found: dict[str, Range] = {}
    for word in words:
        place = 0
        while word[place:].strip():
            match = _ATTRIBUTE_RANGE.match(word, place)
            if match is None:
                raise ValueError(f"{word[place:].strip()!r} is no range of an attribute; expected NAME=LOWEST:HIGHEST")
            name, low, high = match[1], float(match[2]), float(match[3])
            if name in found:
                raise ValueError(f"{name!r} is given two ranges; keep one")
            if not low < high:
                raise ValueError(f"the range of {name!r} is {match[2]}:{match[3]}; expected the lowest score first")
            found[name] = (low, high)
            place = match.end()
    return found


def range_faults(words: Sequence[str], attributes: Sequence[str] | None = None) -> list[tuple[str, str]]:
    """Finds what is wrong with the setting `attribute_ranges`, as `Settings.faults` gives it.

    Args:
        words: The setting.
        attributes: All attributes; None where they are not known.
    """
    try:
        named = parse_ranges(words)
    except ValueError as error:
        return [("attribute_ranges", f"attribute_ranges: {error}")]
    unknown = [name for name in named if attributes is not None and name not in attributes]
    if not unknown:
        return []
    return [
        (
            "attribute_ranges",
            f"attribute_ranges names {', '.join(unknown)}, but attributes is {', '.join(attributes)}; add it there, or "
            "leave its range out",
        )
    ]


def range_in(facts: Mapping[str, Any], attribute: str) -> Range:
    """Reads the range of one attribute from a mapping that holds what `ScoreSpace.ranges` gives."""
    low, high = facts.get("attribute_ranges", {}).get(attribute, (facts["min_score"], facts["max_score"]))
    return low, high


def ranges_text(facts: Mapping[str, Any], attributes: Iterable[str]) -> str:
    """Says on which range attributes are, those of one range together: `overall, light on 0..10, delta on -10..10`.

    Args:
        facts: Holds what `ScoreSpace.ranges` gives.
        attributes: Names of the attributes.
    """
    names: dict[Range, list[str]] = {}
    for name in attributes:
        names.setdefault(range_in(facts, name), []).append(name)
    return ", ".join(f"{', '.join(those)} on {low:g}..{high:g}" for (low, high), those in names.items())


def range_words(ranges: Mapping[str, Range]) -> list[str]:
    """Writes ranges of attributes as settings take them: `["delta=-10:10"]`."""
    return [f"{name}={low:g}:{high:g}" for name, (low, high) in ranges.items()]


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
