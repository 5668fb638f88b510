"""How well predicted scores agree with human ones: correlations, errors, accuracy, distances between distributions.

The single metrics (`srcc`, `plcc`, ...) take two lists of numbers and return a float. Two rules hold for all of them:

* a constant input has no correlation; it gives 0, not NaN;
* fewer than three rows give None: with two rows every correlation is 1 or -1.

`summarize` computes all of them at once, with 95% intervals and with the reasons for every 0 or None. A prediction may
be missing there (None or NaN: the model gave no score); such rows leave every metric and are counted, because any
number put in their place would be an invention.

Intervals come from a percentile bootstrap: rows are drawn with replacement, the same draws for all metrics, and the
2.5% and 97.5% quantiles of each metric are reported. Two things about them are worth knowing. The curve of
`plcc_mapped` is fitted once, on all rows, and kept for the resamples. And the interval tells how much another draw of
photos would move the number, not how much another training run would.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats

Array = NDArray[np.float64]

MIN_ROWS = 3
MIN_ROWS_MAPPED = 5
"""The mapping of `plcc_mapped` has four parameters; with four rows or fewer it fits anything."""

CORRELATIONS = ("srcc", "plcc", "plcc_mapped", "krcc")

_CHUNK = 2_000_000
"""Resampled values held at once, so that 20,000 rows need no gigabytes."""


class UnitWidth(Protocol):
    """The one thing `summarize` needs to know of a `ScoreSpace`: native scores per unit of the unit scale."""

    @property
    def unit_width(self) -> float: ...


def srcc(predictions: ArrayLike, scores: ArrayLike) -> float | None:
    """Spearman rank correlation: the Pearson correlation of the ranks, ties sharing their average rank.

    Args:
        predictions: (n,) predicted scores, on any scale.
        scores: (n,) human scores, on any scale.

    Returns:
        In -1..1, higher is better; 0 if either input is constant; None with fewer than 3 rows.

    Raises:
        ValueError: if the lengths differ or a value is not finite.
    """
    return _correlation(predictions, scores, lambda x, y: _pearson(stats.rankdata(x), stats.rankdata(y)))


def plcc(predictions: ArrayLike, scores: ArrayLike) -> float | None:
    """Pearson correlation of the values as they are, with no fitted curve. Arguments and result as `srcc`."""
    return _correlation(predictions, scores, _pearson)


def plcc_mapped(predictions: ArrayLike, scores: ArrayLike) -> float | None:
    """Pearson correlation after a logistic curve was fitted to turn predictions into scores.

    The curve is the four-parameter logistic `(b1 - b2) / (1 + exp(-(x - b3) / |b4|)) + b2` of video quality studies. It
    is fitted on the very rows it is judged on, so the result is a little flattering, and a curve that falls turns a
    reversed prediction into a positive number. Never compare it with a raw PLCC.

    Args and errors as `srcc`.

    Returns:
        In 0..1; 0 if either input is constant; None with fewer than 5 rows or where the curve cannot be fitted.
    """
    x, y = _pairs(predictions, scores)
    if len(x) < MIN_ROWS_MAPPED:
        return None
    if _is_constant(x) or _is_constant(y):
        return 0.0
    mapped = _fit_logistic(x, y)
    return None if mapped is None else _pearson(mapped, y)


def krcc(predictions: ArrayLike, scores: ArrayLike) -> float | None:
    """Kendall rank correlation, tau-b (corrected for ties). Arguments and result as `srcc`."""
    return _correlation(predictions, scores, _kendall)


def mae(predictions: ArrayLike, scores: ArrayLike) -> float | None:
    """Mean absolute error, on the scale of the inputs, which must be the same for both; lower is better.

    None with fewer than 3 rows; errors as `srcc`.
    """
    return _average(predictions, scores, lambda x, y: float(np.abs(x - y).mean()))


def rmse(predictions: ArrayLike, scores: ArrayLike) -> float | None:
    """Root of the mean squared error, on the scale of the inputs; lower is better.

    None with fewer than 3 rows; errors as `srcc`.
    """
    return _average(predictions, scores, lambda x, y: float(np.sqrt(np.square(x - y).mean())))


def accuracy(predictions: ArrayLike, scores: ArrayLike, threshold: float) -> float | None:
    """Share of rows on which `> threshold` says the same of the prediction and of the human score.

    Args:
        predictions: (n,) predicted scores.
        scores: (n,) human scores on the same scale.
        threshold: border between bad and good on that scale; a score equal to it counts as bad.

    Returns:
        In 0..1, higher is better; None with fewer than 3 rows.

    Raises:
        ValueError: if the lengths differ or a value is not finite.
    """
    return _average(predictions, scores, lambda x, y: float(((x > threshold) == (y > threshold)).mean()))


def emd(p: ArrayLike, q: ArrayLike, r: float = 2) -> float:
    """Earth mover's distance of distributions over ordered levels, mean over the samples.

    For one sample `(mean_n |P_n - Q_n|^r)^(1/r)`, with P and Q the cumulative distributions.

    Args:
        p: (n, N) distributions, or (N,) for one.
        q: the same shape; every row of both sums to 1.
        r: exponent, at least 1.

    Returns:
        In 0..1, lower is better; 0 where they are equal. One sample is enough.

    Raises:
        ValueError: if the shapes differ, a row does not sum to 1, or there is nothing to compare.
    """
    distances = _emd_rows(np.atleast_2d(_histograms(p, "p")), np.atleast_2d(_histograms(q, "q")), r)
    if not len(distances):
        raise ValueError("emd got no rows; expected at least one distribution")
    return float(distances.mean())


def summarize(
    predictions: Sequence[float | None] | Array,
    scores: ArrayLike,
    *,
    space: UnitWidth | None = None,
    threshold: float | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
) -> dict[str, float | int | None | dict[str, str]]:
    """All metrics of one set of predictions, each with its 95% interval.

    Args:
        predictions: (n,) predicted scores on the native scale; None or NaN where the model gave no score.
        scores: (n,) human scores on the same scale, all present.
        space: the native scale, a `ScoreSpace`; adds `mae_unit` and `rmse_unit`.
        threshold: adds `accuracy` at this border.
        n_resamples: bootstrap resamples; 0 leaves all `_low` and `_high` out.
        seed: of the resampling.

    Returns:
        `n` (rows with a prediction), `unscored` (rows without), then `srcc, plcc, plcc_mapped, krcc, mae, rmse` and the
        optional ones, each followed by `<name>_low` and `<name>_high`; last `notes`, metric name -> why it is 0 or
        None, or what else must be known about it.

    Raises:
        ValueError: if the lengths differ, a human score is not finite, or a prediction is infinite.
    """
    given = np.array([np.nan if value is None else value for value in predictions], dtype=np.float64)
    human = np.asarray(scores, dtype=np.float64)
    if given.ndim != 1 or given.shape != human.shape:
        raise ValueError(
            f"got predictions of shape {given.shape} and scores of shape {human.shape}; expected one score for each"
        )
    scored = ~np.isnan(given)
    x, y = _pairs(given[scored], human[scored])
    if not np.isfinite(human).all():
        raise ValueError("a human score is not finite; leave rows without a rating out before")

    values, statistics, notes = _point_estimates(x, y, threshold)
    if n_resamples and len(x) >= MIN_ROWS:
        intervals = _intervals(statistics, len(x), n_resamples, seed)
    else:
        intervals = {}
    if space is not None:
        for name in ("mae", "rmse"):
            values[f"{name}_unit"] = None if values[name] is None else values[name] / space.unit_width
            if name in intervals:
                intervals[f"{name}_unit"] = tuple(bound / space.unit_width for bound in intervals[name])
            if name in notes:
                notes[f"{name}_unit"] = notes[name]

    summary = {"n": len(x), "unscored": int((~scored).sum())}
    _add_with_intervals(summary, values, intervals, n_resamples)
    summary["notes"] = notes
    return summary


def summarize_emd(
    predicted: ArrayLike,
    human: ArrayLike,
    *,
    baseline: ArrayLike | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
) -> dict[str, float | int | None | dict[str, str]]:
    """Distance (r = 2) of predicted distributions to vote histograms, and to what one fixed histogram would get.

    Args:
        predicted: (n, N) predicted distributions, each row summing to 1.
        human: (n, N) vote histograms, each row summing to 1.
        baseline: (N,) the one histogram to compare with, as a rule the mean histogram of the training rows; adds
            `emd_baseline`, its distance on the same rows, and `emd_ratio`, `emd / emd_baseline`: below 1 is better
            than not looking.
        n_resamples: bootstrap resamples; 0 leaves all `_low` and `_high` out.
        seed: of the resampling.

    Returns:
        `emd_n` (rows), then `emd`, `emd_baseline`, `emd_ratio` with `_low` and `_high`; last `notes`.

    Raises:
        ValueError: if shapes do not fit or a row does not sum to 1.
    """
    predicted, human = _histograms(predicted, "predicted"), _histograms(human, "human")
    distances = {"emd": _emd_rows(predicted, human, 2)}
    if baseline is not None:
        baseline = _histograms(baseline, "baseline")
        if baseline.shape != human.shape[1:]:
            raise ValueError(
                f"the baseline histogram has shape {baseline.shape}, the histograms of the rows have {human.shape[1]} "
                "bins; expected as many in both"
            )
        distances["emd_baseline"] = _emd_rows(np.broadcast_to(baseline, human.shape), human, 2)

    n = len(human)
    names = [*distances, "emd_ratio"] if baseline is not None else list(distances)
    values: dict[str, float | None] = dict.fromkeys(names)
    notes: dict[str, str] = {}
    intervals: dict[str, tuple[float, float]] = {}
    if n < MIN_ROWS:
        notes = dict.fromkeys(names, _too_few(n, MIN_ROWS))
    else:
        values |= {name: float(rows.mean()) for name, rows in distances.items()}
        statistics = {name: _resampled_mean(rows) for name, rows in distances.items()}
        if values.get("emd_baseline") == 0.0:
            notes["emd_ratio"] = "the baseline histogram matches every row exactly, so there is no ratio"
        elif baseline is not None:
            values["emd_ratio"] = values["emd"] / values["emd_baseline"]
            both = statistics["emd"], statistics["emd_baseline"]
            statistics["emd_ratio"] = lambda counts: _ratio(both[0](counts), both[1](counts))
        if n_resamples:
            intervals = _intervals(statistics, n, n_resamples, seed)

    summary: dict[str, float | int | None | dict[str, str]] = {"emd_n": n}
    _add_with_intervals(summary, values, intervals, n_resamples)
    summary["notes"] = notes
    return summary


def _pairs(predictions: ArrayLike, scores: ArrayLike) -> tuple[Array, Array]:
    x, y = np.asarray(predictions, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"got predictions of shape {x.shape} and scores of shape {y.shape}; expected (n,) twice")
    for name, values in (("prediction", x), ("score", y)):
        wrong = np.flatnonzero(~np.isfinite(values))
        if len(wrong):
            raise ValueError(
                f"{name} number {wrong[0] + 1} is {values[wrong[0]]}; expected finite numbers "
                "(`summarize` takes missing predictions, and counts them)"
            )
    return x, y


def _is_constant(values: Array) -> bool:
    # Rounding noise on a constant is no order: the mean of equal float64 numbers may differ in the last digit.
    return bool(np.ptp(values) <= 1e-12 * np.abs(values).max())


def _correlation(predictions: ArrayLike, scores: ArrayLike, of: Callable[[Array, Array], float]) -> float | None:
    x, y = _pairs(predictions, scores)
    if len(x) < MIN_ROWS:
        return None
    return 0.0 if _is_constant(x) or _is_constant(y) else of(x, y)


def _average(predictions: ArrayLike, scores: ArrayLike, of: Callable[[Array, Array], float]) -> float | None:
    x, y = _pairs(predictions, scores)
    return None if len(x) < MIN_ROWS else of(x, y)


def _pearson(x: Array, y: Array) -> float:
    if _is_constant(x) or _is_constant(y):
        return 0.0
    return float(stats.pearsonr(x, y).statistic)


def _kendall(x: Array, y: Array) -> float:
    tau = float(stats.kendalltau(x, y).statistic)
    return 0.0 if np.isnan(tau) else tau


def _logistic(x: Array, top: float, bottom: float, middle: float, slope: float) -> Array:
    return (top - bottom) * special.expit((x - middle) / slope) + bottom


def _fit_logistic(x: Array, y: Array) -> Array | None:
    """`x` mapped by the logistic curve that fits `y` best, on a scale where y has mean 0; None if no fit was found."""
    x, y = (x - x.mean()) / x.std(), (y - y.mean()) / y.std()
    raw = _pearson(x, y)
    top, bottom = (y.max(), y.min()) if raw >= 0 else (y.min(), y.max())
    # Bounds in standard deviations: a straight line and a step are limits of the curve with endless parameters, and an
    # unbounded fit walks towards them until it gives up. At these bounds it is as straight, or as steep, as matters.
    bounds = ([-100, -100, -100, 1e-3], [100, 100, 100, 100])
    for slope in (0.5, 2.0):
        start = (top, bottom, 0.0, slope)
        try:
            parameters, _ = optimize.curve_fit(_logistic, x, y, p0=start, bounds=bounds, max_nfev=1000)
        except RuntimeError:
            continue
        mapped = _logistic(x, *parameters)
        # A straight line is among the curves, so a fit clearly below the raw correlation stopped in the wrong place.
        if _pearson(mapped, y) >= abs(raw) - 1e-3:
            return mapped
    return None


def _histograms(values: ArrayLike, what: str) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim not in (1, 2):
        raise ValueError(f"{what} has shape {array.shape}; expected (n, N), one distribution per row")
    sums = np.atleast_1d(array.sum(axis=-1))
    wrong = np.flatnonzero(~(np.abs(sums - 1) <= 1e-3))
    if array.size and len(wrong):
        raise ValueError(
            f"row {wrong[0] + 1} of {what} sums to {sums[wrong[0]]:g}; expected 1: divide vote counts by their sum"
        )
    return array


def _emd_rows(p: Array, q: Array, r: float) -> Array:
    """Distance of each row, (n,)."""
    if p.shape != q.shape:
        raise ValueError(f"got distributions of shapes {p.shape} and {q.shape}; expected the same rows and levels")
    if r < 1:
        raise ValueError(f"got exponent r {r}; expected 1 or more")
    gaps = np.abs(np.cumsum(p - q, axis=-1)) ** r
    return gaps.mean(axis=-1) ** (1 / r)


# A statistic of resampled rows: (k, n) counts, how often each row was drawn, to (k,) values.
Statistic = Callable[[Array], Array]


def _point_estimates(
    x: Array, y: Array, threshold: float | None
) -> tuple[dict[str, float | None], dict[str, Statistic], dict[str, str]]:
    """The value of each metric, how to compute it on resampled rows, and why any of them is 0 or None."""
    names = [*CORRELATIONS, "mae", "rmse"] + (["accuracy"] if threshold is not None else [])
    if len(x) < MIN_ROWS:
        return dict.fromkeys(names), {}, dict.fromkeys(names, _too_few(len(x), MIN_ROWS))

    values: dict[str, float | None] = {"srcc": srcc(x, y), "plcc": plcc(x, y), "plcc_mapped": None, "krcc": krcc(x, y)}
    statistics: dict[str, Statistic] = {}
    notes: dict[str, str] = {}
    constant = [name for name, given in (("predictions", x), ("human scores", y)) if _is_constant(given)]
    if constant:
        reason = f"all {' and all '.join(constant)} are equal, so there is no correlation"
        values |= dict.fromkeys(CORRELATIONS, 0.0)
        notes |= dict.fromkeys(CORRELATIONS, reason)
        statistics |= dict.fromkeys(CORRELATIONS, lambda counts: np.zeros(len(counts)))
    else:
        statistics |= {
            "srcc": lambda counts: _resampled_pearson(counts, _resampled_ranks(counts, x), _resampled_ranks(counts, y)),
            "plcc": lambda counts: _resampled_pearson(counts, x, y),
            "krcc": lambda counts: _resampled_kendall(counts, x, y),
        }
        mapped = _fit_logistic(x, y) if len(x) >= MIN_ROWS_MAPPED else None
        if mapped is not None:
            values["plcc_mapped"] = _pearson(mapped, y)
            statistics["plcc_mapped"] = lambda counts: _resampled_pearson(counts, mapped, y)
            if _pearson(mapped, x) < 0:
                notes["plcc_mapped"] = "the fitted curve falls: higher predictions go with lower human scores"
        elif len(x) < MIN_ROWS_MAPPED:
            notes["plcc_mapped"] = _too_few(len(x), MIN_ROWS_MAPPED)
        else:
            notes["plcc_mapped"] = "the logistic curve could not be fitted"

    error = x - y
    values |= {"mae": mae(x, y), "rmse": rmse(x, y)}
    statistics["mae"] = _resampled_mean(np.abs(error))
    squared = _resampled_mean(np.square(error))
    statistics["rmse"] = lambda counts: np.sqrt(squared(counts))
    if threshold is not None:
        values["accuracy"] = accuracy(x, y, threshold)
        statistics["accuracy"] = _resampled_mean(((x > threshold) == (y > threshold)).astype(np.float64))
    return values, statistics, notes


def _too_few(n: int, needed: int) -> str:
    return f"{n} row{'' if n == 1 else 's'} with a prediction, fewer than {needed}"


def _add_with_intervals(
    summary: dict, values: dict[str, float | None], intervals: dict[str, tuple[float, float]], n_resamples: int
) -> None:
    for name, value in values.items():
        summary[name] = value
        if n_resamples:
            summary[f"{name}_low"], summary[f"{name}_high"] = intervals.get(name, (None, None))


def _intervals(statistics: dict[str, Statistic], n: int, n_resamples: int, seed: int) -> dict[str, tuple[float, float]]:
    parts: dict[str, list[Array]] = {name: [] for name in statistics}
    for counts in _draws(n, n_resamples, seed):
        for name, statistic in statistics.items():
            parts[name].append(statistic(counts))
    return {
        name: tuple(float(bound) for bound in np.nanpercentile(np.concatenate(part), [2.5, 97.5]))
        for name, part in parts.items()
    }


def _draws(n: int, n_resamples: int, seed: int) -> Iterator[Array]:
    """How often each of n rows is drawn in each resample, (k, n) at a time."""
    generator = np.random.default_rng(seed)
    step = max(1, _CHUNK // n)
    for start in range(0, n_resamples, step):
        k = min(step, n_resamples - start)
        drawn = generator.integers(0, n, size=(k, n)) + n * np.arange(k)[:, None]
        yield np.bincount(drawn.ravel(), minlength=k * n).reshape(k, n).astype(np.float64)


def _resampled_mean(values: Array) -> Statistic:
    return lambda counts: counts @ values / len(values)


def _resampled_pearson(counts: Array, x: Array, y: Array) -> Array:
    """Correlation of each resample, (k,); `x` and `y` are (n,), or (k, n) where they differ between resamples."""
    n = counts.shape[1]
    # Centred first, so that the differences of squares below lose no digits.
    x, y = x - x.mean(), y - y.mean()
    mean_x, mean_y = (counts * x).sum(axis=1) / n, (counts * y).sum(axis=1) / n
    var_x = (counts * x * x).sum(axis=1) / n - mean_x**2
    var_y = (counts * y * y).sum(axis=1) / n - mean_y**2
    covariance = (counts * x * y).sum(axis=1) / n - mean_x * mean_y
    varies = (var_x > 1e-12 * x.var()) & (var_y > 1e-12 * y.var())
    spread = np.sqrt(np.where(varies, var_x * var_y, 1.0))
    return np.where(varies, np.clip(covariance / spread, -1, 1), 0.0)


def _resampled_ranks(counts: Array, values: Array) -> Array:
    """Average rank of every row within each resample, (k, n), from the counts alone: nothing is sorted again."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    drawn = np.add.reduceat(counts[:, order], starts, axis=1)  # (k, distinct values)
    average = np.cumsum(drawn, axis=1) - (drawn - 1) / 2
    return average[:, np.searchsorted(ordered[starts], values)]


def _resampled_kendall(counts: Array, x: Array, y: Array) -> Array:
    rows = np.arange(len(x))
    resamples = (np.repeat(rows, row_counts.astype(np.int64)) for row_counts in counts)
    return np.array([_kendall(x[drawn], y[drawn]) for drawn in resamples])


def _ratio(above: Array, below: Array) -> Array:
    # A resample made of rows that the baseline matches exactly has no ratio; NaN leaves it out of the quantiles.
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)
