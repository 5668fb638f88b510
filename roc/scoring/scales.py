"""Scores of a model that was trained on several data sets, read on the native scale of one of them (docs/mixing.md)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from roc.model.scales import DataScale
from roc.scoring.results import Assessed, Score


def on_scale(assessed: Assessed, scale: DataScale) -> Assessed:
    """Reads the scores of one image on the scale of a data set; the order of images stays.

    Args:
        assessed: On the declared scale of the model.
        scale: One of `declaration.scales`.

    Returns:
        The same with scores on that scale; an answer keeps its words, and with them the numbers of the shared score.
    """
    moved = {
        name: None if score is None else score_on_scale(score, scale, name) for name, score in assessed.scores.items()
    }
    return replace(assessed, scores=moved)


def score_on_scale(score: Score, scale: DataScale, attribute: str) -> Score:
    """Reads one score on the scale of a data set.

    Its place among the photos of a reference (`percentile`, `reward`) stays; an interval and a unit are of the shared
    score alone and are left out. The value is what the link gives for the shared score. The probability of a shared
    level goes to the two levels of the new scale around its own value there; as a link is no straight line, the mean of
    these need not be the value.

    Args:
        score: On the declared scale of the model.
        scale: Of the data set.
        attribute: Name of the score.
    """
    low, high = scale.range
    steps = len(score.levels) - 1
    levels = [low + (high - low) * step / steps for step in range(steps + 1)]
    shares = [0.0] * (steps + 1)
    for level, share in zip(score.levels, score.distribution, strict=True):
        place = (scale.move(_unit(level, score.range), attribute) - low) / (high - low) * steps
        left = min(int(place), steps - 1)
        shares[left] += share * (1 - (place - left))
        shares[left + 1] += share * (place - left)
    return replace(
        score,
        value=scale.move(_unit(score.value, score.range), attribute),
        std=_spread(levels, shares),
        distribution=tuple(shares),
        levels=tuple(levels),
        range=scale.range,
        **dict.fromkeys(("low", "high", "coverage", "unit")),
    )


def _unit(value: float, ends: tuple[float, float]) -> float:
    return (value - ends[0]) / (ends[1] - ends[0])


def _spread(levels: Sequence[float], shares: Sequence[float]) -> float:
    mean = math.fsum(level * share for level, share in zip(levels, shares, strict=True))
    return math.sqrt(math.fsum(share * (level - mean) ** 2 for level, share in zip(levels, shares, strict=True)))
