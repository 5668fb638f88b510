"""Bootstrap: how far a metric would move with another draw of the same number of photos.

Rows are drawn with replacement, the same draws for every metric, and each metric is computed anew on each draw. No row
is copied or sorted again: a resample is represented by how often each row was drawn, and the statistics here work on
these counts.

The work grows with rows times resamples. Above 50,000 rows fewer resamples are drawn than asked for, though never fewer
than 100: with that many rows the interval is so narrow that the noise of its ends does not matter, and a thousand would
take many minutes. `resamples_for` gives the number that is drawn, so that a report can state it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from roc.evaluation.ranks import tie_groups

Array = NDArray[np.float64]

Statistic = Callable[[Array], Array]
"""A metric on resampled rows: (k, n) counts, how often each row was drawn, to (k,) values."""

_CHUNK = 2_000_000
"""Resampled values held at once, so that 20,000 rows need no gigabytes."""

_MOST_ROWS_PAIRED = 1000
"""Up to this number of rows, comparing all pairs at once is faster than sorting each resample."""

_MOST_ROWS_DRAWN = 50_000_000
_FEWEST_RESAMPLES = 100


def resamples_for(n: int, n_resamples: int) -> int:
    """Number of resamples that are drawn of `n` rows when `n_resamples` are asked for."""
    return min(n_resamples, max(_FEWEST_RESAMPLES, _MOST_ROWS_DRAWN // max(n, 1)))


def resample(statistics: Mapping[str, Statistic], n: int, n_resamples: int, seed: int) -> dict[str, Array]:
    """Computes several statistics on the same resamples.

    Args:
        statistics: Name -> statistic of `n` rows.
        n: Number of rows, at least 1.
        n_resamples: Number of resamples asked for; `resamples_for` says how many are drawn.
        seed: Seed of the draws. The same seed and number of rows give the same draws.

    Returns:
        Name -> (resamples,) values.
    """
    parts: dict[str, list[Array]] = {name: [] for name in statistics}
    for counts in draws(n, resamples_for(n, n_resamples), seed):
        for name, statistic in statistics.items():
            parts[name].append(statistic(counts))
    return {name: np.concatenate(part) for name, part in parts.items()}


def interval(values: Array) -> tuple[float, float]:
    """The central 95% of resampled values; NaN, for a resample on which the statistic has no value, is left out."""
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)


def draws(n: int, n_resamples: int, seed: int) -> Iterator[Array]:
    """Yields how often each of n rows is drawn in each resample, (k, n) counts at a time."""
    generator = np.random.default_rng(seed)
    step = max(1, _CHUNK // n)
    for start in range(0, n_resamples, step):
        k = min(step, n_resamples - start)
        drawn = generator.integers(0, n, size=(k, n)) + n * np.arange(k)[:, None]
        yield np.bincount(drawn.ravel(), minlength=k * n).reshape(k, n).astype(np.float64)


def resampled_mean(values: Array) -> Statistic:
    """The mean of `values`, (n,), as a statistic."""
    return lambda counts: counts @ values / len(values)


def resampled_pearson(counts: Array, x: Array, y: Array) -> Array:
    """Correlation of each resample, (k,); `x` and `y` are (n,), or (k, n) where they differ between resamples.

    0 for a resample in which either is constant.
    """
    n = counts.shape[1]
    # Centred first, so that the differences of squares below do not lose digits.
    x, y = x - x.mean(), y - y.mean()
    mean_x, mean_y = (counts * x).sum(axis=1) / n, (counts * y).sum(axis=1) / n
    var_x = (counts * x * x).sum(axis=1) / n - mean_x**2
    var_y = (counts * y * y).sum(axis=1) / n - mean_y**2
    covariance = (counts * x * y).sum(axis=1) / n - mean_x * mean_y
    varies = (var_x > 1e-12 * x.var()) & (var_y > 1e-12 * y.var())
    spread = np.sqrt(np.where(varies, var_x * var_y, 1.0))
    return np.where(varies, np.clip(covariance / spread, -1, 1), 0.0)


def resampled_ranks(counts: Array, values: Array) -> Array:
    """Average rank of every row within each resample, (k, n), computed from the counts without sorting again.

    Ties are those of all `values`, (n,), in every resample: equal to within 1e-9 of their range.
    """
    groups = tie_groups(values)
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
    drawn = np.add.reduceat(counts[:, order], starts, axis=1)  # (k, distinct values)
    average = np.cumsum(drawn, axis=1) - (drawn - 1) / 2
    return average[:, groups]


def resampled_kendall(counts: Array, x: Array, y: Array) -> Array:
    """Kendall's tau-b of each resample, (k,), with ties as in `resampled_ranks`; 0 where `x` or `y` is constant."""
    x, y = tie_groups(x), tie_groups(y)
    if len(x) <= _MOST_ROWS_PAIRED:
        return _paired_kendall(counts, x, y)
    rows = np.arange(len(x))
    resamples = (np.repeat(rows, row_counts.astype(np.int64)) for row_counts in counts)
    taus = np.array([stats.kendalltau(x[drawn], y[drawn]).statistic for drawn in resamples])
    return np.nan_to_num(taus, nan=0.0)


def _paired_kendall(counts: Array, x: NDArray[np.int64], y: NDArray[np.int64]) -> Array:
    """The same from the signs of all pairs of rows: those that agree less those that do not, over those not tied."""
    signs_x, signs_y = (np.sign(values[:, None] - values[None, :]).astype(np.float64) for values in (x, y))  # (n, n)
    agreeing, untied_x, untied_y = (
        ((counts @ pairs) * counts).sum(axis=1) for pairs in (signs_x * signs_y, np.abs(signs_x), np.abs(signs_y))
    )
    varies = (untied_x > 0) & (untied_y > 0)
    spread = np.sqrt(np.where(varies, untied_x, 1.0)) * np.sqrt(np.where(varies, untied_y, 1.0))
    return np.where(varies, np.clip(agreeing / spread, -1, 1), 0.0)
