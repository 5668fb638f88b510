"""Metrics of predicted against human scores: correlations, errors, accuracy, distributions, reported spreads.

Each metric (`srcc`, `plcc`, ...) takes arrays and returns a float. Two rules hold for all of them:

* a constant input has no correlation; it gives 0, not NaN. An input that differs by no more than rounding is constant;
* fewer than three rows give None: with two rows every correlation is 1 or -1.

Values that are equal to within 1e-9 of their range (largest minus smallest of the input) are ties in every metric that
ranks, here and in the bootstrap, and a score that near to a threshold is equal to it (roc/evaluation/ranks.py).

The functions that end in `_rows` give one value per row instead of the mean, unchecked; roc/evaluation/estimates.py
computes bootstrap intervals from them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats

from roc.evaluation.bootstrap import Array
from roc.evaluation.ranks import is_constant, tie_groups, tie_tolerance

MIN_ROWS = 3
MIN_ROWS_MAPPED = 5
"""The curve of `plcc_mapped` has four parameters; it passes through any four rows."""


def srcc(predictions: ArrayLike, scores: ArrayLike) -> float | None:
    """Spearman rank correlation: the Pearson correlation of the ranks; tied values share their average rank.

    Values of one input that are equal to within 1e-9 of its range are ties, so that means of the same votes, summed in
    another order, get the same rank.

    Args:
        predictions: (n,) predicted scores, on any scale.
        scores: (n,) human scores, on any scale.

    Returns:
        In -1..1, higher is better; 0 if either input is constant; None with fewer than 3 rows.

    Raises:
        ValueError: If the lengths differ or a value is not finite.
    """
    return _measure(predictions, scores, _spearman)


def plcc(predictions: ArrayLike, scores: ArrayLike) -> float | None:
    """Pearson correlation of the values as they are, with no fitted curve. Arguments and result as for `srcc`."""
    return _measure(predictions, scores, _pearson)


def plcc_mapped(predictions: ArrayLike, scores: ArrayLike) -> float | None:
    """Pearson correlation after a logistic curve was fitted that maps predictions to scores.

    The curve is the four-parameter logistic `(b1 - b2) / (1 + exp(-(x - b3) / |b4|)) + b2` of video quality studies. It
    is fitted on the rows it is evaluated on, so the result is slightly optimistic, and a falling curve turns a reversed
    prediction into a positive number. Never compare it with a raw PLCC.

    Arguments and errors as for `srcc`.

    Returns:
        In 0..1; 0 if either input is constant; None with fewer than 5 rows or where the curve cannot be fitted.
    """
    x, y = checked_pairs(predictions, scores)
    if len(x) < MIN_ROWS_MAPPED:
        return None
    if is_constant(x) or is_constant(y):
        return 0.0
    mapped = fit_logistic(x, y)
    return None if mapped is None else _pearson(mapped, y)


def krcc(predictions: ArrayLike, scores: ArrayLike) -> float | None:
    """Kendall rank correlation, tau-b (corrected for ties). Arguments, ties and result as for `srcc`."""
    return _measure(predictions, scores, _kendall)


def mae(predictions: ArrayLike, scores: ArrayLike) -> float | None:
    """Mean absolute error, on the common scale of both inputs; lower is better.

    None with fewer than 3 rows; errors as for `srcc`.
    """
    return _measure(predictions, scores, lambda x, y: float(np.abs(x - y).mean()))


def rmse(predictions: ArrayLike, scores: ArrayLike) -> float | None:
    """Root mean squared error, on the common scale of both inputs; lower is better.

    None with fewer than 3 rows; errors as for `srcc`.
    """
    return _measure(predictions, scores, lambda x, y: float(np.sqrt(np.square(x - y).mean())))


def accuracy(predictions: ArrayLike, scores: ArrayLike, threshold: float) -> float | None:
    """Share of rows whose prediction and human score lie on the same side of a threshold.

    Args:
        predictions: (n,) predicted scores.
        scores: (n,) human scores on the same scale.
        threshold: Border between bad and good on that scale; a score equal to it, to within 1e-9 of the range of the
            scores, counts as bad.

    Returns:
        In 0..1, higher is better; None with fewer than 3 rows.

    Raises:
        ValueError: If the lengths differ, or a value or the threshold is not finite.
    """
    return _measure(predictions, scores, lambda x, y: float(same_side_rows(x, y, threshold).mean()))


def emd(p: ArrayLike, q: ArrayLike, r: float = 2) -> float:
    """Earth mover's distance of distributions over ordered levels, averaged over the samples.

    For one sample `(mean_n |P_n - Q_n|^r)^(1/r)`, with P and Q the cumulative distributions.

    Args:
        p: (n, N) distributions, or (N,) for one.
        q: Of the same shape; every row of both sums to 1.
        r: Exponent, at least 1.

    Returns:
        In 0..1, lower is better; 0 where they are equal. One sample is enough.

    Raises:
        ValueError: If the shapes differ, a row does not sum to 1, or there are no rows.
    """
    return _mean_distance("emd", p, q, lambda p, q: emd_rows(p, q, r))


def kl(p: ArrayLike, q: ArrayLike) -> float:
    """Kullback-Leibler divergence of `q`, the votes, from `p`, the prediction: mean of `sum_n q_n log(q_n / p_n)`.

    Args:
        p: (n, N) predicted distributions, or (N,) for one.
        q: Vote histograms of the same shape; every row of both sums to 1.

    Returns:
        At least 0, in nats, lower is better; infinite where a level that has votes is predicted with probability 0.

    Raises:
        ValueError: As for `emd`.
    """
    return _mean_distance("kl", p, q, kl_rows)


def wasserstein(p: ArrayLike, q: ArrayLike, levels: ArrayLike) -> float:
    """1-Wasserstein distance of distributions over levels: how far probability has to be moved, mean over the samples.

    Args:
        p: (n, N) distributions, or (N,) for one.
        q: Of the same shape; every row of both sums to 1.
        levels: (N,) values of the levels on the native scale, ascending.

    Returns:
        On the native scale, lower is better.

    Raises:
        ValueError: As for `emd`; or if the number of levels does not fit, or they do not ascend.
    """
    return _mean_distance("wasserstein", p, q, lambda p, q: wasserstein_rows(p, q, levels))


def coverage(predictions: ArrayLike, stds: ArrayLike, scores: ArrayLike, percent: float) -> float | None:
    """Share of human scores inside the central interval given by a prediction and its reported standard deviation.

    A normal distribution is assumed: the interval is `prediction -+ z std`, with z = 0.674, 1.282, 1.960 for 50, 80,
    95%.

    Args:
        predictions: (n,) predicted scores.
        stds: (n,) reported standard deviations, at least 0, on the same scale.
        scores: (n,) human scores on that scale.
        percent: Size of the interval, above 0 and below 100.

    Returns:
        In 0..1; None with fewer than 3 rows. `percent / 100` is right where the standard deviation describes the error
        of the prediction. One that describes how far single raters are apart is larger than the error of a mean of many
        raters, and covers more.

    Raises:
        ValueError: If lengths differ, a value is not finite, a standard deviation is negative, or `percent` is out of
            range.
    """
    x, std, y = checked_spreads(predictions, stds, scores)
    return None if len(x) < MIN_ROWS else float(inside_rows(x, std, y, percent).mean())


def votes_coverage(
    predictions: ArrayLike, stds: ArrayLike, histograms: ArrayLike, levels: ArrayLike, percent: float
) -> float | None:
    """Share of single votes inside the central interval: does the spread describe how far raters are apart?

    A normal distribution is assumed, as in `coverage`. Votes are whole levels; each is taken as spread evenly over its
    bin, half a step to both sides of the level.

    Args:
        predictions: (n,) predicted scores.
        stds: (n,) reported standard deviations, at least 0, on the same scale.
        histograms: (n, N) vote histograms, each row summing to 1.
        levels: (N,) native values of the levels, evenly spaced.
        percent: Size of the interval, above 0 and below 100.

    Returns:
        In 0..1; None with fewer than 3 rows.

    Raises:
        ValueError: As for `coverage`; or if histograms and levels do not fit.
    """
    x, std, _ = checked_spreads(predictions, stds, predictions)
    votes, levels = checked_votes(histograms, levels, len(x))
    return None if len(x) < MIN_ROWS else float(votes_inside_rows(x, std, votes, levels, percent).mean())


def checked_pairs(predictions: ArrayLike, scores: ArrayLike) -> tuple[Array, Array]:
    """Converts predictions and scores to arrays, (n,) each.

    Raises:
        ValueError: If the lengths differ or a value is not finite.
    """
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


def checked_histograms(values: ArrayLike, what: str) -> Array:
    """Converts distributions to an array, (n, N) or (N,).

    Args:
        values: The distributions.
        what: Their name in messages.

    Raises:
        ValueError: If the array has another number of dimensions or a row does not sum to 1.
    """
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


def checked_spreads(predictions: ArrayLike, stds: ArrayLike, scores: ArrayLike) -> tuple[Array, Array, Array]:
    """Converts predictions, standard deviations and scores to arrays, (n,) each.

    Raises:
        ValueError: If lengths differ, a value is not finite, or a standard deviation is negative.
    """
    x, y = checked_pairs(predictions, scores)
    std = np.asarray(stds, dtype=np.float64)
    if std.shape != x.shape:
        raise ValueError(
            f"got {x.size} predictions and standard deviations of shape {std.shape}; expected one for each"
        )
    wrong = np.flatnonzero(~(np.isfinite(std) & (std >= 0)))
    if len(wrong):
        raise ValueError(f"standard deviation number {wrong[0] + 1} is {std[wrong[0]]}; expected 0 or more")
    return x, std, y


def checked_votes(histograms: ArrayLike, levels: ArrayLike | None, n: int) -> tuple[Array, Array]:
    """Converts the vote histograms of `n` rows and their levels to arrays, (n, N) and (N,).

    Raises:
        ValueError: If the shapes do not fit or a histogram does not sum to 1.
    """
    votes, levels = checked_histograms(histograms, "histograms"), np.asarray(levels, dtype=np.float64)
    if levels.ndim != 1 or votes.shape != (n, len(levels)):
        raise ValueError(f"got histograms of shape {votes.shape} for {n} rows and {levels.size} levels")
    return votes, levels


def fit_logistic(x: Array, y: Array) -> Array | None:
    """Fits the logistic curve of `plcc_mapped`.

    Args:
        x: (n,) predictions, not constant.
        y: (n,) human scores, not constant.

    Returns:
        (n,) the mapped predictions, on a scale where `y` is standardised; None if no fit was found.
    """
    x, y = (x - x.mean()) / x.std(), (y - y.mean()) / y.std()
    raw = _pearson(x, y)
    top, bottom = (y.max(), y.min()) if raw >= 0 else (y.min(), y.max())
    # Bounds in standard deviations: a straight line and a step are limits of the curve with endless parameters, and an
    # unbounded fit walks towards them until it gives up. At these bounds it is as straight, or as steep, as matters.
    bounds = ([-100, -100, -100, 1e-3], [100, 100, 100, 100])
    for slope in (0.5, 2.0):
        # An outlier may lie beyond the bounds.
        start = np.clip((top, bottom, 0.0, slope), *bounds)
        try:
            parameters, _ = optimize.curve_fit(_logistic, x, y, p0=start, bounds=bounds, max_nfev=1000)
        except RuntimeError:
            continue
        mapped = _logistic(x, *parameters)
        # A straight line is among the curves, so a fit clearly below the raw correlation stopped in the wrong place.
        if _pearson(mapped, y) >= abs(raw) - 1e-3:
            return mapped
    return None


def same_side_rows(x: Array, y: Array, threshold: float) -> Array:
    """1 for each row whose prediction and human score are on the same side of the threshold, (n,)."""
    if not np.isfinite(threshold):
        raise ValueError(f"the threshold is {threshold}; expected a finite number")
    return (above(x, threshold) == above(y, threshold)).astype(np.float64)


def above(values: Array, threshold: float) -> NDArray[np.bool_]:
    """True for each value, (n,), that is larger than the threshold by more than a tie."""
    return values - threshold > tie_tolerance(values)


def emd_rows(p: Array, q: Array, r: float) -> Array:
    """`emd` of each row, (n,)."""
    _check_shapes(p, q)
    if r < 1:
        raise ValueError(f"got exponent r {r}; expected 1 or more")
    gaps = np.abs(np.cumsum(p - q, axis=-1)) ** r
    return gaps.mean(axis=-1) ** (1 / r)


def kl_rows(p: Array, q: Array) -> Array:
    """`kl` of each row, (n,)."""
    _check_shapes(p, q)
    return special.rel_entr(q, p).sum(axis=-1)


def wasserstein_rows(p: Array, q: Array, levels: ArrayLike) -> Array:
    """`wasserstein` of each row, (n,)."""
    _check_shapes(p, q)
    levels = np.asarray(levels, dtype=np.float64)
    if levels.shape != p.shape[-1:] or not (np.diff(levels) > 0).all():
        raise ValueError(f"got {levels.size} levels for {p.shape[-1]} bins; expected as many, ascending")
    return np.abs(np.cumsum(p - q, axis=-1))[..., :-1] @ np.diff(levels)


def inside_rows(x: Array, std: Array, y: Array, percent: float) -> Array:
    """1 for each row whose human score is inside the central interval, (n,)."""
    return (np.abs(y - x) <= _half_width(std, percent)).astype(np.float64)


def votes_inside_rows(x: Array, std: Array, votes: Array, levels: Array, percent: float) -> Array:
    """Share of the votes of each row that is inside the central interval, (n,)."""
    step, half = levels[1] - levels[0], _half_width(std, percent)
    low, high = (x - half)[:, None], (x + half)[:, None]
    overlap = np.minimum(high, levels + step / 2) - np.maximum(low, levels - step / 2)  # (n, N)
    return (votes * np.clip(overlap / step, 0, 1)).sum(axis=1)


def _measure(predictions: ArrayLike, scores: ArrayLike, of: Callable[[Array, Array], float]) -> float | None:
    x, y = checked_pairs(predictions, scores)
    return None if len(x) < MIN_ROWS else of(x, y)


def _mean_distance(name: str, p: ArrayLike, q: ArrayLike, of: Callable[[Array, Array], Array]) -> float:
    distances = of(np.atleast_2d(checked_histograms(p, "p")), np.atleast_2d(checked_histograms(q, "q")))
    if not len(distances):
        raise ValueError(f"{name} got no rows; expected at least one distribution")
    return float(distances.mean())


def _pearson(x: Array, y: Array) -> float:
    return 0.0 if is_constant(x) or is_constant(y) else float(stats.pearsonr(x, y).statistic)


def _spearman(x: Array, y: Array) -> float:
    return _pearson(stats.rankdata(tie_groups(x)), stats.rankdata(tie_groups(y)))


def _kendall(x: Array, y: Array) -> float:
    x, y = tie_groups(x), tie_groups(y)
    return float(stats.kendalltau(x, y).statistic) if x.any() and y.any() else 0.0


def _logistic(x: Array, top: float, bottom: float, middle: float, slope: float) -> Array:
    return (top - bottom) * special.expit((x - middle) / slope) + bottom


def _check_shapes(p: Array, q: Array) -> None:
    if p.shape != q.shape:
        raise ValueError(f"got distributions of shapes {p.shape} and {q.shape}; expected the same rows and levels")


def _half_width(std: Array, percent: float) -> Array:
    if not 0 < percent < 100:
        raise ValueError(f"got a central interval of {percent}%; expected more than 0 and less than 100")
    return special.ndtri(0.5 + percent / 200) * std
