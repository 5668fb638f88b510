"""Whether photos are unlike those that a checkpoint was calibrated on, seen by their scores and their spreads.

Intervals hold their share of ratings for photos of the same kind. The two-sample Kolmogorov-Smirnov statistic D, the
largest difference between two cumulative shares, compares scores, and standard deviations, with the quantiles that the
calibration kept. Photos are called unlike where D is both significant (p < 0.001: above 1.95 * sqrt(1/n + 1/m)) and
large (above 0.15), since with thousands of photos any difference is significant. Few photos are never called so: of
ten, D would have to be above 0.62. Photos may differ in ways that move neither scores nor spreads; these go unseen.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from roc.model.calibration import share_below
from roc.model.declaration import Declaration

SIGNIFICANT = math.sqrt(-math.log(0.001 / 2) / 2)
"""Critical value of D * sqrt(n m / (n + m)) at p = 0.001."""

LARGE = 0.15
"""Difference of two cumulative shares from which photos may be called unlike."""


class Drift:
    """Scores of photos, collected to be compared with those of a calibration.

    Args:
        declaration: Of the model; without intervals nothing is collected.
    """

    def __init__(self, declaration: Declaration) -> None:
        calibration = declaration.calibration
        self._intervals = None if calibration is None else calibration.intervals
        self._first = declaration.attributes[0]
        self._values: dict[tuple[str, str], list[float]] = {}

    def __bool__(self) -> bool:
        return self._intervals is not None

    def add(self, attribute: str, value: float | None, std: float | None = None) -> None:
        """Adds a score, with its standard deviation where that is known."""
        for kind, number in (("scores", value), ("stds", std)):
            if self._intervals is not None and number is not None and math.isfinite(number):
                self._values.setdefault((kind, attribute), []).append(number)

    def add_row(self, row: Mapping[str, Any]) -> None:
        """Adds the scores of a row of `roc score`."""
        for name in self._intervals.scores if self._intervals is not None else ():
            if name == self._first:
                self.add(name, row.get("prediction"), row.get("std"))
            else:
                self.add(name, row.get(f"prediction.{name}"))

    def notes(self) -> list[str]:
        """Says in what the photos are unlike those of the calibration; empty where nothing shows it."""
        if self._intervals is None:
            return []
        found = []
        for (kind, attribute), values in self._values.items():
            quantiles = getattr(self._intervals, kind).get(attribute)
            rows = self._intervals.rows.get(attribute)
            if quantiles is None or not rows:
                continue
            distance = largest_difference(quantiles, values)
            if distance > max(LARGE, SIGNIFICANT * math.sqrt(1 / rows + 1 / len(values))):
                what = "scores" if kind == "scores" else "spreads"
                middle = sorted(values)[len(values) // 2]
                found.append(
                    f"{what} of {attribute} (median {middle:.3g}; {quantiles[len(quantiles) // 2]:.3g} in the "
                    f"calibration; KS distance {distance:.2f})"
                )
        if not found:
            return []
        return [
            f"these photos are unlike those of the calibration by their {' and '.join(found)}: intervals may hold "
            f"less than {self._intervals.level:.0%} of their ratings; calibrate on photos like these"
        ]


def largest_difference(quantiles: Sequence[float], values: Iterable[float]) -> float:
    """Computes the Kolmogorov-Smirnov distance between a set, given by its quantiles, and a sample.

    Args:
        quantiles: Of evenly spaced shares from 0 to 1, ascending.
        values: The sample, at least one.

    Returns:
        0 to 1.
    """
    ordered = sorted(values)
    count, largest, place = len(ordered), 0.0, 0
    while place < count:
        end = place
        while end < count and ordered[end] == ordered[place]:
            end += 1
        value = ordered[place]
        before = abs(share_below(quantiles, value, "left") - place / count)
        after = abs(share_below(quantiles, value, "right") - end / count)
        largest, place = max(largest, before, after), end
    return largest
