"""Scores on the scale of other raters: one line for each attribute, fitted on a few ratings.

A line is the least-squares fit of ratings by scores, rating = intercept + slope * score, with a slope above 0, so that
it changes no order. It moves the range of the declaration: the mean of evenly spaced levels is moved as each level is,
so that scores, levels, spreads and every range that outputs name follow by themselves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from roc.model.calibration import Affine, Calibration
from roc.model.declaration import Declaration
from roc.score_space import Range, ScoreSpace

FEWEST_RATINGS = 5
"""A line through fewer ratings says more about these than about the raters."""


class Line(NamedTuple):
    """rating = intercept + slope * score."""

    intercept: float
    slope: float

    def __call__(self, score: float) -> float:
        return self.intercept + self.slope * score


def fit_line(scores: Sequence[float], ratings: Sequence[float], what: str = "the scores") -> Line:
    """Fits ratings by scores with least squares.

    Args:
        scores, ratings: (n,) of the same photos, at least two.
        what: Name of the scores, for messages.

    Returns:
        slope = sum (x - mean x)(y - mean y) / sum (x - mean x)^2, intercept = mean y - slope * mean x.

    Raises:
        ValueError: If there are fewer than two photos, all scores are equal, or ratings do not rise with the scores.

    Example:
        >>> fit_line([1, 2, 4], [3, 5, 9])
        Line(intercept=1.0, slope=2.0)
    """
    if len(scores) != len(ratings) or len(scores) < 2:
        raise ValueError(f"got {len(scores)} scores and {len(ratings)} ratings; a line needs two photos or more")
    middle, centre = math.fsum(scores) / len(scores), math.fsum(ratings) / len(ratings)
    spread = math.fsum((x - middle) ** 2 for x in scores)
    if math.sqrt(spread / len(scores)) <= 1e-9 * max(1.0, abs(middle)):
        raise ValueError(f"{what} of all {len(scores)} photos are equal, so no line leads to the ratings")
    slope = math.fsum((x - middle) * (y - centre) for x, y in zip(scores, ratings, strict=True)) / spread
    if slope <= 0:
        raise ValueError(
            f"the ratings do not rise with {what} (slope {slope:.3g}); a line would turn their order around. Rate more "
            "photos, or train on these ratings"
        )
    return Line(centre - slope * middle, slope)


def moved_space(space: ScoreSpace, attributes: Sequence[str], lines: Mapping[str, Line]) -> ScoreSpace:
    """Moves the ranges of attributes along their lines; an attribute without a line keeps its range."""
    ranges: dict[str, Range] = {}
    for name in attributes:
        low, high = space.of(name).range
        line = lines.get(name)
        ranges[name] = (low, high) if line is None else (line(low), line(high))
    first, *others = attributes
    low, high = ranges[first]
    return replace(space, min_score=low, max_score=high, attribute_ranges={name: ranges[name] for name in others})


def with_lines(
    declaration: Declaration,
    lines: Mapping[str, Line],
    calibration: Calibration,
    *,
    ratings: Mapping[str, Range],
    unit: str | None = None,
) -> Declaration:
    """Declares scores on the scale of other raters.

    Args:
        declaration: Of the model, without lines.
        lines: Attribute -> its line, at least one.
        calibration: What else is calibrated, and the fingerprint of the ratings.
        ratings: Attribute -> the range on which it was rated.
        unit: What a step of that scale is called.

    Raises:
        ValueError: If the declaration has lines already, or an attribute is unknown.
    """
    if declaration.calibration is not None and declaration.calibration.affine is not None:
        raise ValueError("the scores were moved onto another scale already; begin from declaration.uncalibrated()")
    unknown = [name for name in lines if name not in declaration.attributes]
    if unknown or not lines:
        raise ValueError(f"lines are for {', '.join(unknown) or 'nothing'}; expected {declaration.attributes}")
    before = {name: declaration.space.of(name).range for name in declaration.attributes}
    affine = Affine(lines=dict(lines), before=before, ratings=dict(ratings), unit=unit)
    space = moved_space(declaration.space, declaration.attributes, lines)
    return replace(declaration, space=space, calibration=replace(calibration, affine=affine))
