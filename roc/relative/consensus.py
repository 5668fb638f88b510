"""What several scorers say about one photo together, and the photos whose scores anchor the scale.

Scorers that disagree with the rest about a photo are left out of its consensus, by the modified z-score of Iglewicz
and Hoaglin, or count less, by Tukey's biweight. Anchors are the few photos whose absolute score is taught, drawn evenly
over the whole scale.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, median
from typing import Literal, NamedTuple

from roc.data.records import hash_fraction

NORMAL = 0.6745
"""Median of the distances of a normal distribution from its centre, in its standard deviations."""

WIDTH = 6.0
"""Distance of the biweight, in medians of the distances, from which a vote weighs nothing."""

EQUAL = 1e-9
"""Votes as near as this are equal."""


class Consensus(NamedTuple):
    """What the votes on one photo come to.

    Attributes:
        value: The agreed score; None where too few votes are left.
        keep: Whether each vote counts.
        mad: Median distance of the votes from their median.
        spread: Standard deviation of the votes that count; None for fewer than two.
    """

    value: float | None
    keep: tuple[bool, ...]
    mad: float
    spread: float | None


def consensus(
    votes: Sequence[float], rule: Literal["mad", "biweight"] = "mad", *, cutoff: float = 3.5, fewest: int = 3
) -> Consensus:
    """Agrees on the score of a photo.

    Args:
        votes: One score a scorer, all on one scale; at least one.
        rule: "mad": the mean of the votes within `cutoff` of the median; "biweight": their biweight location, where
            a vote weighs less the farther it is out.
        cutoff: For "mad", see `distances`.
        fewest: Votes that have to be left.

    Raises:
        ValueError: For no vote, or one that is no finite number.
    """
    if not votes or not all(map(math.isfinite, votes)):
        raise ValueError(f"the votes are {list(votes)}; expected one finite number or more")
    spread_out = [abs(vote - median(votes)) for vote in votes]
    mad = median(spread_out)
    if rule == "mad":
        keep = tuple(abs(distance) <= cutoff for distance in distances(votes))
        value = fmean(vote for vote, kept in zip(votes, keep, strict=True) if kept)
    else:
        weights = _weights(votes, WIDTH)
        keep = tuple(weight > 0 for weight in weights)
        value = biweight(votes)
    left = [vote for vote, kept in zip(votes, keep, strict=True) if kept]
    centre = fmean(left)
    spread = math.sqrt(math.fsum((vote - centre) ** 2 for vote in left) / (len(left) - 1)) if len(left) > 1 else None
    return Consensus(value if len(left) >= fewest else None, keep, mad, spread)


def distances(votes: Sequence[float]) -> list[float]:
    """Measures how far out each vote is: `0.6745 (vote - median) / MAD`, the modified z-score.

    `|vote - median| / (1.4826 MAD)` is the same number. Where more than half of the votes are equal, the MAD is 0: an
    equal vote is then at 0, every other one at infinity.
    """
    middle = median(votes)
    mad = median(abs(vote - middle) for vote in votes)
    if mad > EQUAL:
        return [NORMAL * (vote - middle) / mad for vote in votes]
    return [0.0 if abs(vote - middle) <= EQUAL else math.copysign(math.inf, vote - middle) for vote in votes]


def biweight(votes: Sequence[float], width: float = WIDTH) -> float:
    """Computes the biweight location of votes: the mean, weighted by `(1 - u^2)^2` with `u` the distance from the
    median over `width` MADs, and by 0 beyond."""
    weights = _weights(votes, width)
    middle = median(votes)
    shift = math.fsum(weight * (vote - middle) for weight, vote in zip(weights, votes, strict=True))
    return middle + shift / math.fsum(weights)


def _weights(votes: Sequence[float], width: float) -> list[float]:
    middle = median(votes)
    mad = median(abs(vote - middle) for vote in votes)
    if mad <= EQUAL:
        return [float(abs(vote - middle) <= EQUAL) for vote in votes]
    shares = [(vote - middle) / (width * mad) for vote in votes]
    return [(1 - share**2) ** 2 if abs(share) < 1 else 0.0 for share in shares]


def choose_anchors(
    scores: Mapping[str, float], count: int, *, scale: tuple[float, float] = (0.0, 10.0), bins: int = 10, seed: int = 0
) -> list[str]:
    """Chooses photos in equal numbers from equal parts of the scale.

    A part with too few photos gives all it has, and the others make up for it, again in equal numbers. Within a part
    a hash of the name decides.

    Args:
        scores: Name -> score.
        count: Photos to choose; all of them where there are no more.
        scale: Lowest and highest score.
        bins: Parts of the scale.
        seed: Another one gives another choice.

    Returns:
        Names, in the order of `scores`.
    """
    low, high = scale
    parts: list[list[str]] = [[] for _ in range(bins)]
    for name in sorted(scores, key=lambda name: hash_fraction(name, f"anchor {seed}")):
        place = int((scores[name] - low) / (high - low) * bins)
        parts[min(bins - 1, max(0, place))].append(name)
    chosen: set[str] = set()
    left = min(count, len(scores))
    for rank in range(max(map(len, parts), default=0)):  # a photo of each part in turn
        row = [part[rank] for part in parts if len(part) > rank]
        if len(row) > left:
            row = sorted(row, key=lambda name: hash_fraction(name, f"last {seed}"))[:left]
        chosen.update(row)
        left -= len(row)
        if not left:
            break
    return [name for name in scores if name in chosen]
