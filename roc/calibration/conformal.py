"""Split-conformal intervals: how wide they must be to hold a share of ratings, whatever the model is.

Let r_1 <= ... <= r_n be the distances of ratings from scores on photos that were not trained on. For one photo more of
the same kind, each of the n + 1 ranks of its distance is as likely as any other. So score +- r_k holds its rating with
a probability of at least k / (n + 1), and k = ceil((n + 1) * level) gives the level; nothing is assumed of the model or
of the form of its errors. Where k is larger than n, no width is enough, and more ratings are needed.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from fractions import Fraction

from roc.data.counts import counted


def rank_for(rows: int, level: float) -> int:
    """Gives k = ceil((rows + 1) * level), exactly; above `rows` there are too few."""
    return math.ceil((rows + 1) * Fraction(str(level)))


def fewest_rows(level: float) -> int:
    """Gives the smallest number n of ratings with ceil((n + 1) * level) <= n: level / (1 - level), rounded up."""
    share = Fraction(str(level))
    return math.ceil(share / (1 - share))


def half_width(distances: Sequence[float], level: float) -> float:
    """Gives the k-th smallest of n distances, k = ceil((n + 1) * level).

    Args:
        distances: (n,) of ratings from scores, from 0 on.
        level: Share of ratings that intervals of this half width hold.

    Raises:
        ValueError: If there are too few; the message names the number needed.

    Example:
        >>> half_width([0.3, 0.1, 0.2, 0.4], 0.5)  # k = ceil(5 * 0.5) = 3
        0.3
    """
    rank = rank_for(len(distances), level)
    if rank > len(distances):
        came = counted(len(distances), "rating is", "ratings are")
        raise ValueError(f"{came} too few for intervals at {level:g}; it takes {fewest_rows(level)} or more")
    return sorted(distances)[rank - 1]


def widths_of_thirds(
    scores: Sequence[float], distances: Sequence[float], level: float
) -> tuple[tuple[float, float], tuple[float, ...]]:
    """Gives a half width for each third of the scores, so that the level holds in each and not in all together alone.

    The promise of one width is kept in all by wide intervals here and narrow ones there. Within a third ranks are as
    exchangeable as in all, so that each can be calibrated for itself.

    Args:
        scores: (n,) of the rated photos.
        distances: (n,) of their ratings from the scores.
        level: As for `half_width`.

    Returns:
        The two borders, of which a score that is equal to one belongs above it, and three half widths, from low to
        high scores.

    Raises:
        ValueError: If a third has too few ratings.

    Example:
        >>> widths_of_thirds([1, 2, 3], [0.1, 0.2, 0.3], 0.5)
        ((2.0, 3.0), (0.1, 0.2, 0.3))
    """
    ordered = sorted(scores)
    borders = [float(ordered[len(ordered) * part // 3]) for part in (1, 2)] if ordered else [0.0, 0.0]
    parts: list[list[float]] = [[], [], []]
    for score, distance in zip(scores, distances, strict=True):
        parts[bisect_right(borders, score)].append(distance)
    fewest = min(map(len, parts))
    if fewest < fewest_rows(level):
        raise ValueError(
            f"a third of the scores has {fewest} ratings, and intervals at {level:g} take {fewest_rows(level)} or more"
        )
    return (borders[0], borders[1]), tuple(half_width(part, level) for part in parts)


def likely_coverage(rows: int, level: float) -> tuple[float, float]:
    """Gives the share of ratings that intervals of one calibration hold in the long run, in 9 of 10 calibrations.

    With distances that are all different, this share is distributed as Beta(k, n + 1 - k): the level is met on average,
    and nearer with more ratings.

    Returns:
        The 5% and the 95% quantile.
    """
    from scipy.stats import beta

    rank = rank_for(rows, level)
    low, high = beta.ppf((0.05, 0.95), rank, rows + 1 - rank)
    return float(low), float(high)
