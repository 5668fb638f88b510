"""Estimates: groups of metrics on one set of rows, ready to be resampled, and the differences of two models.

The `estimate_...` functions compute a group of metrics at once, with the reason for every 0 or None and a statistic for
each that gives its value on resampled rows (roc/evaluation/bootstrap.py). roc/evaluation/summary.py makes 95% intervals
from them, `compare_estimates` the differences of two models on the same rows.

The curve of `plcc_mapped` is fitted once, on all rows, and kept for the resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike

from roc.data.counts import counted
from roc.evaluation.bootstrap import (
    Array,
    Statistic,
    interval,
    resample,
    resampled_kendall,
    resampled_mean,
    resampled_pearson,
    resampled_ranks,
)
from roc.evaluation.keys import COVERAGES, METRICS
from roc.evaluation.metrics import (
    MIN_ROWS,
    MIN_ROWS_MAPPED,
    above,
    accuracy,
    checked_histograms,
    checked_pairs,
    checked_spreads,
    checked_votes,
    emd_rows,
    fit_logistic,
    inside_rows,
    kl_rows,
    krcc,
    mae,
    plcc,
    rmse,
    same_side_rows,
    srcc,
    votes_inside_rows,
    wasserstein_rows,
)
from roc.evaluation.ranks import is_constant

CORRELATIONS = ("srcc", "plcc", "plcc_mapped", "krcc")


@dataclass(frozen=True)
class Estimates:
    """A group of metrics on one set of rows.

    Attributes:
        n: Number of rows that they are computed on.
        values: Metric -> its value, None where there is none.
        statistics: Metric -> its value on resampled rows, for the metrics that have a value.
        notes: Metric -> why it is 0 or None, or what else must be known about it.
    """

    n: int
    values: dict[str, float | None]
    statistics: dict[str, Statistic]
    notes: dict[str, str]


class Difference(NamedTuple):
    """One metric of two models on the same rows.

    Attributes:
        a: Value of the first model.
        b: Value of the second model.
        difference: a - b; None where either has no value, as are the next three.
        low: Lower end of the 95% interval of the difference.
        high: Upper end.
        a_better: Share of resamples in which the first model is better, a tie counting half.
    """

    a: float | None
    b: float | None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    a_better: float | None = None


class UnitWidth(Protocol):
    """The one property of a `ScoreSpace` that is needed here: native scores per unit of the unit scale."""

    @property
    def unit_width(self) -> float: ...


def estimate_scores(
    predictions: ArrayLike, scores: ArrayLike, *, space: UnitWidth | None = None, threshold: float | None = None
) -> Estimates:
    """Correlations and errors of scored rows.

    Args:
        predictions: (n,) predicted scores, all present.
        scores: (n,) human scores on the same scale.
        space: The native scale; adds `mae_unit` and `rmse_unit`.
        threshold: Adds `accuracy` at this threshold.

    Returns:
        `srcc, plcc, plcc_mapped, krcc, mae, rmse` and the optional ones.

    Raises:
        ValueError: If the lengths differ or a value is not finite.
    """
    x, y = checked_pairs(predictions, scores)
    names = [*CORRELATIONS, "mae", "rmse"]
    names += [] if threshold is None else ["accuracy"]
    names += [] if space is None else ["mae_unit", "rmse_unit"]
    if len(x) < MIN_ROWS:
        return _no_values(len(x), names)
    found = Estimates(len(x), dict.fromkeys(names), {}, {})
    _add_correlations(found, x, y)
    _add_errors(found, x, y, space)
    if threshold is not None:
        _add_accuracy(found, x, y, threshold)
    return found


def estimate_unscored(scored: ArrayLike) -> Estimates:
    """The share of rows without a predicted score.

    Args:
        scored: (n,) booleans, true where a row has one.

    Returns:
        `unscored_share`; None without rows.
    """
    missing = 1.0 - np.asarray(scored, dtype=np.float64)
    if not len(missing):
        return Estimates(0, {"unscored_share": None}, {}, {"unscored_share": "there are no rated rows"})
    share = float(missing.mean())
    return Estimates(len(missing), {"unscored_share": share}, {"unscored_share": resampled_mean(missing)}, {})


def estimate_distributions(
    predicted: ArrayLike, human: ArrayLike, *, levels: ArrayLike | None = None, baseline: ArrayLike | None = None
) -> Estimates:
    """Distances of predicted distributions to vote histograms.

    Args:
        predicted: (n, N) predicted distributions, each row summing to 1.
        human: (n, N) vote histograms, each row summing to 1.
        levels: (N,) native values of the levels, ascending; adds `wasserstein`.
        baseline: (N,) one histogram to compare with, usually the mean histogram of the training rows; adds
            `emd_baseline`, its distance on the same rows, and `emd_ratio`, `emd / emd_baseline`: below 1 is better
            than not looking at the image.

    Returns:
        `emd` (r = 2), `emd_baseline`, `emd_ratio`, `kl`, `wasserstein`. `kl` is None where it is infinite.

    Raises:
        ValueError: If shapes do not fit or a row does not sum to 1.
    """
    predicted, human = checked_histograms(predicted, "predicted"), checked_histograms(human, "human")
    distances = {"emd": emd_rows(predicted, human, 2)}
    if baseline is not None:
        baseline = checked_histograms(baseline, "baseline")
        if baseline.shape != human.shape[1:]:
            raise ValueError(
                f"the baseline histogram has shape {baseline.shape}, the histograms of the rows have {human.shape[1]} "
                "bins; expected as many in both"
            )
        distances["emd_baseline"] = emd_rows(np.broadcast_to(baseline, human.shape), human, 2)
    distances["kl"] = kl_rows(predicted, human)
    if levels is not None:
        distances["wasserstein"] = wasserstein_rows(predicted, human, levels)

    n = len(human)
    names = [name for name in METRICS if name in distances or (name == "emd_ratio" and baseline is not None)]
    if n < MIN_ROWS:
        return _no_values(n, names)
    notes: dict[str, str] = {}
    infinite = int(np.isinf(distances["kl"]).sum())
    if infinite:
        del distances["kl"]
        notes["kl"] = (
            f"infinite: {counted(infinite, 'row gives', 'rows give')} a level that has votes no probability at all"
        )
    values = dict.fromkeys(names) | {name: float(rows.mean()) for name, rows in distances.items()}
    statistics = {name: resampled_mean(rows) for name, rows in distances.items()}
    if values.get("emd_baseline") == 0.0:
        notes["emd_ratio"] = "the baseline histogram matches every row exactly, so there is no ratio"
    elif baseline is not None:
        values["emd_ratio"] = values["emd"] / values["emd_baseline"]
        both = statistics["emd"], statistics["emd_baseline"]
        statistics["emd_ratio"] = lambda counts: _ratio(both[0](counts), both[1](counts))
    return Estimates(n, values, statistics, notes)


def estimate_coverage(
    predictions: ArrayLike,
    stds: ArrayLike,
    scores: ArrayLike,
    *,
    histograms: ArrayLike | None = None,
    levels: ArrayLike | None = None,
) -> Estimates:
    """Shares of human scores and of single votes inside the central 50, 80 and 95% intervals.

    `coverage` and `votes_coverage` say what is assumed.

    Args:
        predictions: (n,) predicted scores.
        stds: (n,) reported standard deviations.
        scores: (n,) human scores.
        histograms: (n, N) vote histograms, each row summing to 1; adds the `votes_` metrics.
        levels: (N,) native values of the levels, evenly spaced; goes with `histograms`.

    Returns:
        `coverage_50, coverage_80, coverage_95`, and the same with `votes_` before them.

    Raises:
        ValueError: If lengths differ, a value is not finite or a standard deviation is negative.
    """
    x, std, y = checked_spreads(predictions, stds, scores)
    inside = {f"coverage_{percent}": inside_rows(x, std, y, percent) for percent in COVERAGES}
    if histograms is not None:
        votes, levels = checked_votes(histograms, levels, len(x))
        inside |= {
            f"votes_coverage_{percent}": votes_inside_rows(x, std, votes, levels, percent) for percent in COVERAGES
        }
    if len(x) < MIN_ROWS:
        return _no_values(len(x), list(inside))
    values = {name: float(rows.mean()) for name, rows in inside.items()}
    return Estimates(len(x), values, {name: resampled_mean(rows) for name, rows in inside.items()}, {})


def compare_estimates(a: Estimates, b: Estimates, *, n_resamples: int = 1000, seed: int = 0) -> dict[str, Difference]:
    """Compares two models on the same rows, metric by metric: a paired bootstrap with the same draws for both.

    Args:
        a: Metrics of the first model.
        b: Metrics of the second model, of the same rows in the same order.
        n_resamples: Bootstrap resamples; 0 leaves intervals and shares out.
        seed: Seed of the resampling.

    Returns:
        Metric -> `Difference`, for the metrics that both have. `METRICS` says what is better: higher, lower, or nearer
        to a target.

    Raises:
        ValueError: If the numbers of rows differ.
    """
    if a.n != b.n:
        raise ValueError(f"got estimates of {a.n} and of {b.n} rows; expected the same rows for both models")
    names = [name for name in a.values if name in b.values]
    known = [name for name in names if a.values[name] is not None and b.values[name] is not None]
    statistics = {(model, name): of.statistics[name] for model, of in (("a", a), ("b", b)) for name in known}
    drawn = resample(statistics, a.n, n_resamples, seed) if n_resamples and known else {}
    differences = {}
    for name in names:
        both = a.values[name], b.values[name]
        if name not in known:
            differences[name] = Difference(*both)
        elif not drawn:
            differences[name] = Difference(*both, both[0] - both[1])
        else:
            first, second = drawn["a", name], drawn["b", name]
            gain = METRICS[name].goodness(first) - METRICS[name].goodness(second)
            gain = gain[~np.isnan(gain)]
            better = float(((gain > 0) + 0.5 * (gain == 0)).mean()) if len(gain) else None
            differences[name] = Difference(*both, both[0] - both[1], *interval(first - second), better)
    return differences


def _add_correlations(found: Estimates, x: Array, y: Array) -> None:
    found.values.update(srcc=srcc(x, y), plcc=plcc(x, y), krcc=krcc(x, y))
    found.statistics.update(
        srcc=lambda counts: resampled_pearson(counts, resampled_ranks(counts, x), resampled_ranks(counts, y)),
        plcc=lambda counts: resampled_pearson(counts, x, y),
        krcc=lambda counts: resampled_kendall(counts, x, y),
    )
    given = {"predictions": x, "human scores": y}
    constant = [name for name, values in given.items() if is_constant(values)]
    if constant:
        _set_zero(found, CORRELATIONS, f"all {' and all '.join(constant)} are equal, so there is no correlation")
    elif len(x) < MIN_ROWS_MAPPED:
        found.notes["plcc_mapped"] = _too_few(len(x), MIN_ROWS_MAPPED)
    elif (mapped := fit_logistic(x, y)) is None:
        found.notes["plcc_mapped"] = "the logistic curve could not be fitted"
    else:
        found.values["plcc_mapped"] = plcc(mapped, y)
        found.statistics["plcc_mapped"] = lambda counts: resampled_pearson(counts, mapped, y)
        if plcc(mapped, x) < 0:
            found.notes["plcc_mapped"] = "the fitted curve falls: higher predictions go with lower human scores"


def _set_zero(found: Estimates, names: Sequence[str], reason: str) -> None:
    """Sets correlations that a constant input leaves undefined to 0, on resamples too."""
    found.values.update(dict.fromkeys(names, 0.0))
    found.notes.update(dict.fromkeys(names, reason))
    found.statistics.update(dict.fromkeys(names, lambda counts: np.zeros(len(counts))))


def _add_errors(found: Estimates, x: Array, y: Array, space: UnitWidth | None) -> None:
    found.values.update(mae=mae(x, y), rmse=rmse(x, y))
    squared = resampled_mean(np.square(x - y))
    statistics = {"mae": resampled_mean(np.abs(x - y)), "rmse": lambda counts: np.sqrt(squared(counts))}
    found.statistics.update(statistics)
    for name in statistics if space is not None else ():
        found.values[f"{name}_unit"] = found.values[name] / space.unit_width
        found.statistics[f"{name}_unit"] = _scaled(statistics[name], 1 / space.unit_width)


def _add_accuracy(found: Estimates, x: Array, y: Array, threshold: float) -> None:
    found.values["accuracy"] = accuracy(x, y, threshold)
    found.statistics["accuracy"] = resampled_mean(same_side_rows(x, y, threshold))
    good = above(y, threshold)
    if good.all() or not good.any():
        side = "above the threshold" if good.any() else "not above the threshold"
        found.notes["accuracy"] = f"all human scores are {side} {threshold:g}"


def _no_values(n: int, names: Sequence[str]) -> Estimates:
    """Estimates of too few rows."""
    return Estimates(n, dict.fromkeys(names), {}, dict.fromkeys(names, _too_few(n, MIN_ROWS)))


def _too_few(n: int, needed: int) -> str:
    return f"{n} row{'' if n == 1 else 's'} with a prediction, fewer than {needed}"


def _scaled(statistic: Statistic, factor: float) -> Statistic:
    return lambda counts: statistic(counts) * factor


def _ratio(above: Array, below: Array) -> Array:
    # A resample made of rows that the baseline matches exactly has no ratio; NaN leaves it out of the quantiles.
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)
