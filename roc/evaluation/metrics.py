"""How well predicted scores agree with human ones: correlations, errors, accuracy, distributions, reported spreads.

The single metrics (`srcc`, `plcc`, ...) take two lists of numbers and return a float. Two rules hold for all of them:

* a constant input has no correlation; it gives 0, not NaN. Ranks tell any two different numbers apart; for PLCC an
  input that differs by no more than rounding does is constant;
* fewer than three rows give None: with two rows every correlation is 1 or -1.

The `estimate_...` functions compute a group of metrics at once, with the reasons for every 0 or None, and the
`summarize...` functions add 95% intervals. A prediction may be missing in `summarize` (None or NaN: the model gave no
score); such rows leave every metric and are counted, because any number put in their place would be an invention.
`compare` puts two models side by side on the same rows.

Intervals come from a percentile bootstrap (roc/evaluation/bootstrap.py): rows are drawn with replacement, the same
draws for all
metrics, and the 2.5% and 97.5% quantiles of each metric are reported. Two things about them are worth knowing. The
curve of `plcc_mapped` is fitted once, on all rows, and kept for the resamples. And the interval tells how much another
draw of photos would move the number, not how much another training run would.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special, stats

from roc.evaluation.bootstrap import (
    Array,
    Statistic,
    interval,
    resample,
    resampled_kendall,
    resampled_mean,
    resampled_pearson,
    resampled_ranks,
    resamples_for,
)

MIN_ROWS = 3
MIN_ROWS_MAPPED = 5
"""The mapping of `plcc_mapped` has four parameters; with four rows or fewer it fits anything."""

CORRELATIONS = ("srcc", "plcc", "plcc_mapped", "krcc")

COVERAGES = (50, 80, 95)
"""Percent of the central intervals whose coverage is measured."""


class Metric(NamedTuple):
    """What a key of an evaluation means.

    Attributes:
        name: as a table shows it.
        better: "higher" or "lower", or the value that is best, for shares that should be met.
        meaning: one line for a reader who does not know it.
    """

    name: str
    better: str | float
    meaning: str

    def goodness(self, values: ArrayLike) -> Array:
        """Values of this metric as numbers of which the larger is the better."""
        values = np.asarray(values, dtype=np.float64)
        if self.better == "higher":
            return values
        return -values if self.better == "lower" else -np.abs(values - self.better)


METRICS: dict[str, Metric] = {
    "srcc": Metric("SRCC", "higher", "Spearman correlation: is the order right?"),
    "plcc": Metric("PLCC", "higher", "Pearson correlation of the raw predictions, no fitted curve"),
    "plcc_mapped": Metric(
        "PLCC mapped", "higher", "Pearson correlation after a 4-parameter logistic was fitted on these very rows"
    ),
    "krcc": Metric("KRCC", "higher", "Kendall's tau-b: pairs in the right order minus pairs in the wrong one"),
    "mae": Metric("MAE", "lower", "mean absolute error, native scale"),
    "rmse": Metric("RMSE", "lower", "root mean squared error, native scale"),
    "mae_unit": Metric("MAE on 0..1", "lower", "mean absolute error, range taken as 0..1"),
    "rmse_unit": Metric("RMSE on 0..1", "lower", "root mean squared error, range taken as 0..1"),
    "accuracy": Metric("accuracy", "higher", "share of rows on the right side of the threshold"),
    "emd": Metric("EMD", "lower", "earth mover's distance (r = 2) of predicted and voted distribution, 0..1"),
    "emd_baseline": Metric("EMD baseline", "lower", "the same for the mean histogram of the training rows"),
    "emd_ratio": Metric("EMD ratio", "lower", "EMD / EMD baseline: below 1 is better than not looking"),
    "kl": Metric("KL", "lower", "Kullback-Leibler divergence of the votes from the prediction, in nats"),
    "wasserstein": Metric("Wasserstein", "lower", "1-Wasserstein distance of the distributions, native scale"),
    **{
        f"coverage_{percent}": Metric(
            f"coverage {percent}%", percent / 100, f"share of human scores inside the central {percent}% interval"
        )
        for percent in COVERAGES
    },
    **{
        f"votes_coverage_{percent}": Metric(
            f"votes in {percent}%", percent / 100, f"share of single votes inside the central {percent}% interval"
        )
        for percent in COVERAGES
    },
    "unscored_share": Metric("unscored", "lower", "share of the rated images that got no score"),
}
"""Key -> what it means, in the order of the tables."""


@dataclass(frozen=True)
class Estimates:
    """A group of metrics on one set of rows.

    Attributes:
        n: rows they are computed on.
        values: metric -> its value, None where there is none.
        statistics: metric -> the same on resampled rows, for those that have a value.
        notes: metric -> why it is 0 or None, or what else must be known about it.
    """

    n: int
    values: dict[str, float | None]
    statistics: dict[str, Statistic]
    notes: dict[str, str]


class Difference(NamedTuple):
    """One metric of two models on the same rows.

    Attributes:
        a: value of the first model.
        b: value of the second.
        difference: a - b; None where either has no value, as the next three.
        low: lower end of its 95% interval.
        high: upper end.
        a_better: share of resamples in which the first model is better, a tie counting half.
    """

    a: float | None
    b: float | None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    a_better: float | None = None


class UnitWidth(Protocol):
    """The one thing the metrics need to know of a `ScoreSpace`: native scores per unit of the unit scale."""

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
    return _measure(predictions, scores, lambda x, y: _pearson(stats.rankdata(x), stats.rankdata(y)))


def plcc(predictions: ArrayLike, scores: ArrayLike) -> float | None:
    """Pearson correlation of the values as they are, with no fitted curve. Arguments and result as `srcc`."""
    return _measure(predictions, scores, _pearson)


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
    return _measure(predictions, scores, _kendall)


def mae(predictions: ArrayLike, scores: ArrayLike) -> float | None:
    """Mean absolute error, on the scale of the inputs, which must be the same for both; lower is better.

    None with fewer than 3 rows; errors as `srcc`.
    """
    return _measure(predictions, scores, lambda x, y: float(np.abs(x - y).mean()))


def rmse(predictions: ArrayLike, scores: ArrayLike) -> float | None:
    """Root of the mean squared error, on the scale of the inputs; lower is better.

    None with fewer than 3 rows; errors as `srcc`.
    """
    return _measure(predictions, scores, lambda x, y: float(np.sqrt(np.square(x - y).mean())))


def accuracy(predictions: ArrayLike, scores: ArrayLike, threshold: float) -> float | None:
    """Share of rows on which `> threshold` says the same of the prediction and of the human score.

    Args:
        predictions: (n,) predicted scores.
        scores: (n,) human scores on the same scale.
        threshold: border between bad and good on that scale; a score equal to it counts as bad.

    Returns:
        In 0..1, higher is better; None with fewer than 3 rows.

    Raises:
        ValueError: if the lengths differ, or a value or the threshold is not finite.
    """
    return _measure(predictions, scores, lambda x, y: float(_same_side(x, y, threshold).mean()))


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
    return _mean_distance("emd", p, q, lambda p, q: _emd_rows(p, q, r))


def kl(p: ArrayLike, q: ArrayLike) -> float:
    """Kullback-Leibler divergence of `q`, the votes, from `p`, the prediction: mean of `sum_n q_n log(q_n / p_n)`.

    Args:
        p: (n, N) predicted distributions, or (N,) for one.
        q: the same shape, vote histograms; every row of both sums to 1.

    Returns:
        At least 0, in nats, lower is better; infinity where a prediction gives a level that has votes no probability.

    Raises:
        ValueError: as `emd`.
    """
    return _mean_distance("kl", p, q, _kl_rows)


def wasserstein(p: ArrayLike, q: ArrayLike, levels: ArrayLike) -> float:
    """1-Wasserstein distance of distributions over levels: how far probability has to be moved, mean over the samples.

    Args:
        p: (n, N) distributions, or (N,) for one.
        q: the same shape; every row of both sums to 1.
        levels: (N,) values of the levels, ascending, on the native scale.

    Returns:
        In native points, lower is better.

    Raises:
        ValueError: as `emd`; or if there are not as many levels, or they do not ascend.
    """
    return _mean_distance("wasserstein", p, q, lambda p, q: _wasserstein_rows(p, q, levels))


def coverage(predictions: ArrayLike, stds: ArrayLike, scores: ArrayLike, percent: float) -> float | None:
    """Share of human scores inside the central interval that a prediction and its reported spread make.

    Assumes a normal distribution: the interval is `prediction -+ z std`, with z = 0.674, 1.282, 1.960 for 50, 80, 95%.

    Args:
        predictions: (n,) predicted scores.
        stds: (n,) reported standard deviations, at least 0, on the same scale.
        scores: (n,) human scores on that scale.
        percent: of the interval, above 0 and below 100.

    Returns:
        In 0..1; None with fewer than 3 rows. `percent / 100` is right where the spread says how far the prediction may
        be from the human score. A spread that says how far single raters are apart is wider than the error of a mean
        of many raters, and covers more.

    Raises:
        ValueError: if lengths differ, a value is not finite, a spread is negative, or `percent` is outside its range.
    """
    x, std, y = _spread_input(predictions, stds, scores)
    return None if len(x) < MIN_ROWS else float(_inside(x, std, y, percent).mean())


def votes_coverage(
    predictions: ArrayLike, stds: ArrayLike, histograms: ArrayLike, levels: ArrayLike, percent: float
) -> float | None:
    """Share of single votes inside the central interval: whether the spread says how far people are apart.

    Assumes a normal distribution, as `coverage`. Votes are whole levels, so each is taken as spread evenly over its
    bin, half a step to both sides of the level.

    Args:
        predictions: (n,) predicted scores.
        stds: (n,) reported standard deviations, at least 0, on the same scale.
        histograms: (n, N) vote histograms, each row summing to 1.
        levels: (N,) native values of the levels, evenly spaced.
        percent: of the interval, above 0 and below 100.

    Returns:
        In 0..1; None with fewer than 3 rows.

    Raises:
        ValueError: as `coverage`; or if histograms and levels do not fit.
    """
    x, std, _ = _spread_input(predictions, stds, predictions)
    votes, levels = _votes_input(histograms, levels, len(x))
    return None if len(x) < MIN_ROWS else float(_votes_inside(x, std, votes, levels, percent).mean())


def summarize(
    predictions: Sequence[float | None] | Array,
    scores: ArrayLike,
    *,
    space: UnitWidth | None = None,
    threshold: float | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
) -> dict[str, float | int | None | dict[str, str]]:
    """All metrics of one set of predicted scores, each with its 95% interval.

    Args:
        predictions: (n,) predicted scores on the native scale; None or NaN where the model gave no score.
        scores: (n,) human scores on the same scale, all present.
        space: the native scale, a `ScoreSpace`; adds `mae_unit` and `rmse_unit`.
        threshold: adds `accuracy` at this border.
        n_resamples: bootstrap resamples; 0 leaves all `_low` and `_high` out. Fewer are drawn of very many rows
            (roc/evaluation/bootstrap.py), which the notes then say.
        seed: of the resampling.

    Returns:
        `n` (rows with a prediction), `unscored` (rows without), `unscored_share`, then `srcc, plcc, plcc_mapped, krcc,
        mae, rmse` and the optional ones; each after the first two followed by `<name>_low` and `<name>_high`; last
        `notes`, metric name -> why it is 0 or None, or what else must be known about it.

    Raises:
        ValueError: if the lengths differ, a human score is not finite, or a prediction is infinite.
    """
    given = np.array([np.nan if value is None else value for value in predictions], dtype=np.float64)
    human = np.asarray(scores, dtype=np.float64)
    if given.ndim != 1 or given.shape != human.shape:
        raise ValueError(
            f"got predictions of shape {given.shape} and scores of shape {human.shape}; expected one score for each"
        )
    if not np.isfinite(human).all():
        raise ValueError("a human score is not finite; leave rows without a rating out before")
    scored = ~np.isnan(given)
    estimates = estimate_scores(given[scored], human[scored], space=space, threshold=threshold)
    unscored = int((~scored).sum())
    share = estimate_unscored(scored)
    return {
        "n": estimates.n,
        "unscored": unscored,
        **_with_intervals(share, n_resamples, seed),
        **_with_intervals(estimates, n_resamples, seed),
        "notes": share.notes | estimates.notes | _resampling_notes(estimates.n, n_resamples),
    }


def summarize_distributions(
    predicted: ArrayLike,
    human: ArrayLike,
    *,
    levels: ArrayLike | None = None,
    baseline: ArrayLike | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
) -> dict[str, float | int | None | dict[str, str]]:
    """Distances of predicted distributions to vote histograms, each with its 95% interval.

    Args:
        predicted, human, levels, baseline: as for `estimate_distributions`.
        n_resamples: bootstrap resamples; 0 leaves all `_low` and `_high` out.
        seed: of the resampling.

    Returns:
        `emd_n` (rows), then the values of `estimate_distributions` with `_low` and `_high`; last `notes`.

    Raises:
        ValueError: if shapes do not fit or a row does not sum to 1.
    """
    estimates = estimate_distributions(predicted, human, levels=levels, baseline=baseline)
    return {"emd_n": estimates.n, **_with_intervals(estimates, n_resamples, seed), "notes": estimates.notes}


def summarize_coverage(
    predictions: ArrayLike,
    stds: ArrayLike,
    scores: ArrayLike,
    *,
    histograms: ArrayLike | None = None,
    levels: ArrayLike | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
) -> dict[str, float | int | None | dict[str, str]]:
    """How honest the reported spreads are, each share with its 95% interval.

    Args:
        predictions, stds, scores, histograms, levels: as for `estimate_coverage`.
        n_resamples: bootstrap resamples; 0 leaves all `_low` and `_high` out.
        seed: of the resampling.

    Returns:
        `coverage_n` (rows), then the values of `estimate_coverage` with `_low` and `_high`; last `notes`.

    Raises:
        ValueError: if lengths differ, a value is not finite or a spread is negative.
    """
    estimates = estimate_coverage(predictions, stds, scores, histograms=histograms, levels=levels)
    return {"coverage_n": estimates.n, **_with_intervals(estimates, n_resamples, seed), "notes": estimates.notes}


def estimate_scores(
    predictions: ArrayLike, scores: ArrayLike, *, space: UnitWidth | None = None, threshold: float | None = None
) -> Estimates:
    """Correlations and errors of scored rows.

    Args:
        predictions: (n,) predicted scores, all present.
        scores: (n,) human scores on the same scale.
        space: the native scale; adds `mae_unit` and `rmse_unit`.
        threshold: adds `accuracy` at this border.

    Returns:
        `srcc, plcc, plcc_mapped, krcc, mae, rmse` and the optional ones.

    Raises:
        ValueError: if the lengths differ or a value is not finite.
    """
    x, y = _pairs(predictions, scores)
    values, statistics, notes = _point_estimates(x, y, threshold)
    for name in ("mae", "rmse") if space is not None else ():
        values[f"{name}_unit"] = None if values[name] is None else values[name] / space.unit_width
        if name in statistics:
            statistics[f"{name}_unit"] = _scaled(statistics[name], 1 / space.unit_width)
        if name in notes:
            notes[f"{name}_unit"] = notes[name]
    return Estimates(len(x), values, statistics, notes)


def estimate_unscored(scored: ArrayLike) -> Estimates:
    """The share of rows without a score.

    Args:
        scored: (n,) whether a row has one.

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
        baseline: (N,) the one histogram to compare with, as a rule the mean histogram of the training rows; adds
            `emd_baseline`, its distance on the same rows, and `emd_ratio`, `emd / emd_baseline`: below 1 is better
            than not looking.

    Returns:
        `emd` (r = 2), `emd_baseline`, `emd_ratio`, `kl`, `wasserstein`. `kl` is None where it is infinite.

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
    distances["kl"] = _kl_rows(predicted, human)
    if levels is not None:
        distances["wasserstein"] = _wasserstein_rows(predicted, human, levels)

    n = len(human)
    names = [name for name in METRICS if name in distances or (name == "emd_ratio" and baseline is not None)]
    values: dict[str, float | None] = dict.fromkeys(names)
    if n < MIN_ROWS:
        return Estimates(n, values, {}, dict.fromkeys(names, _too_few(n, MIN_ROWS)))
    notes: dict[str, str] = {}
    infinite = int(np.isinf(distances["kl"]).sum())
    if infinite:
        del distances["kl"]
        notes["kl"] = f"infinite: {infinite} rows give a level that has votes no probability at all"
    values |= {name: float(rows.mean()) for name, rows in distances.items()}
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
    """How many human scores, and how many single votes, lie inside the central 50, 80 and 95% intervals.

    See `coverage` and `votes_coverage` for what is assumed.

    Args:
        predictions: (n,) predicted scores.
        stds: (n,) reported standard deviations.
        scores: (n,) human scores.
        histograms: (n, N) vote histograms, each row summing to 1; adds the `votes_` ones.
        levels: (N,) native values of the levels, evenly spaced; goes with `histograms`.

    Returns:
        `coverage_50, coverage_80, coverage_95`, and the same with `votes_` before them.

    Raises:
        ValueError: if lengths differ, a value is not finite or a spread is negative.
    """
    x, std, y = _spread_input(predictions, stds, scores)
    inside = {f"coverage_{percent}": _inside(x, std, y, percent) for percent in COVERAGES}
    if histograms is not None:
        votes, levels = _votes_input(histograms, levels, len(x))
        inside |= {f"votes_coverage_{percent}": _votes_inside(x, std, votes, levels, percent) for percent in COVERAGES}
    if len(x) < MIN_ROWS:
        return Estimates(len(x), dict.fromkeys(inside), {}, dict.fromkeys(inside, _too_few(len(x), MIN_ROWS)))
    values = {name: float(rows.mean()) for name, rows in inside.items()}
    return Estimates(len(x), values, {name: resampled_mean(rows) for name, rows in inside.items()}, {})


def compare(a: Estimates, b: Estimates, *, n_resamples: int = 1000, seed: int = 0) -> dict[str, Difference]:
    """Two models on the same rows, metric by metric: a paired bootstrap, both resampled with the same draws.

    Args:
        a: metrics of the first model.
        b: metrics of the second, of the same rows in the same order.
        n_resamples: bootstrap resamples; 0 leaves intervals and shares out.
        seed: of the resampling.

    Returns:
        Metric -> `Difference`, for the metrics that both have. Better is what `METRICS` says: higher, lower, or nearer
        to the share that should be met.

    Raises:
        ValueError: if the numbers of rows differ.
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


def value_text(value: float | None) -> str:
    """A metric as tables show it; "-" where there is none."""
    return "-" if value is None else f"{value:.3f}"


def interval_text(metrics: Mapping[str, object], key: str) -> str:
    """The 95% interval of a metric as tables show it; empty where there is none."""
    low, high = metrics.get(f"{key}_low"), metrics.get(f"{key}_high")
    return "" if low is None or high is None else f"[{low:.3f}, {high:.3f}]"


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
    # Sums that differ in their last digits only: what is left of them without their mean is rounding.
    return bool(np.ptp(values) <= 1e-12 * np.abs(values).max())


def _all_equal(values: Array) -> bool:
    return bool((values == values[0]).all())


def _measure(predictions: ArrayLike, scores: ArrayLike, of: Callable[[Array, Array], float]) -> float | None:
    x, y = _pairs(predictions, scores)
    return None if len(x) < MIN_ROWS else of(x, y)


def _same_side(x: Array, y: Array, threshold: float) -> Array:
    """1 where prediction and human score are on the same side, (n,)."""
    if not np.isfinite(threshold):
        raise ValueError(f"the threshold is {threshold}; expected a finite number")
    return ((x > threshold) == (y > threshold)).astype(np.float64)


def _pearson(x: Array, y: Array) -> float:
    if _is_constant(x) or _is_constant(y):
        return 0.0
    return float(stats.pearsonr(x, y).statistic)


def _kendall(x: Array, y: Array) -> float:
    return 0.0 if _all_equal(x) or _all_equal(y) else float(stats.kendalltau(x, y).statistic)


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
        # One row far outside lies further off than the bounds.
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


def _mean_distance(name: str, p: ArrayLike, q: ArrayLike, of: Callable[[Array, Array], Array]) -> float:
    distances = of(np.atleast_2d(_histograms(p, "p")), np.atleast_2d(_histograms(q, "q")))
    if not len(distances):
        raise ValueError(f"{name} got no rows; expected at least one distribution")
    return float(distances.mean())


def _check_shapes(p: Array, q: Array) -> None:
    if p.shape != q.shape:
        raise ValueError(f"got distributions of shapes {p.shape} and {q.shape}; expected the same rows and levels")


def _emd_rows(p: Array, q: Array, r: float) -> Array:
    """Distance of each row, (n,)."""
    _check_shapes(p, q)
    if r < 1:
        raise ValueError(f"got exponent r {r}; expected 1 or more")
    gaps = np.abs(np.cumsum(p - q, axis=-1)) ** r
    return gaps.mean(axis=-1) ** (1 / r)


def _kl_rows(p: Array, q: Array) -> Array:
    _check_shapes(p, q)
    return special.rel_entr(q, p).sum(axis=-1)


def _wasserstein_rows(p: Array, q: Array, levels: ArrayLike) -> Array:
    _check_shapes(p, q)
    levels = np.asarray(levels, dtype=np.float64)
    if levels.shape != p.shape[-1:] or not (np.diff(levels) > 0).all():
        raise ValueError(f"got {levels.size} levels for {p.shape[-1]} bins; expected as many, ascending")
    return np.abs(np.cumsum(p - q, axis=-1))[..., :-1] @ np.diff(levels)


def _spread_input(predictions: ArrayLike, stds: ArrayLike, scores: ArrayLike) -> tuple[Array, Array, Array]:
    x, y = _pairs(predictions, scores)
    std = np.asarray(stds, dtype=np.float64)
    if std.shape != x.shape:
        raise ValueError(
            f"got {x.size} predictions and standard deviations of shape {std.shape}; expected one for each"
        )
    wrong = np.flatnonzero(~(np.isfinite(std) & (std >= 0)))
    if len(wrong):
        raise ValueError(f"standard deviation number {wrong[0] + 1} is {std[wrong[0]]}; expected 0 or more")
    return x, std, y


def _votes_input(histograms: ArrayLike, levels: ArrayLike | None, n: int) -> tuple[Array, Array]:
    votes, levels = _histograms(histograms, "histograms"), np.asarray(levels, dtype=np.float64)
    if levels.ndim != 1 or votes.shape != (n, len(levels)):
        raise ValueError(f"got histograms of shape {votes.shape} for {n} rows and {levels.size} levels")
    return votes, levels


def _half_width(std: Array, percent: float) -> Array:
    if not 0 < percent < 100:
        raise ValueError(f"got a central interval of {percent}%; expected more than 0 and less than 100")
    return special.ndtri(0.5 + percent / 200) * std


def _inside(x: Array, std: Array, y: Array, percent: float) -> Array:
    """1 where the human score is inside the interval, (n,)."""
    return (np.abs(y - x) <= _half_width(std, percent)).astype(np.float64)


def _votes_inside(x: Array, std: Array, votes: Array, levels: Array, percent: float) -> Array:
    """Share of the votes of each row that is inside the interval, (n,)."""
    step, half = levels[1] - levels[0], _half_width(std, percent)
    low, high = (x - half)[:, None], (x + half)[:, None]
    overlap = np.minimum(high, levels + step / 2) - np.maximum(low, levels - step / 2)  # (n, N)
    return (votes * np.clip(overlap / step, 0, 1)).sum(axis=1)


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
    named = {"predictions": x, "human scores": y}
    equal = [name for name, given in named.items() if _all_equal(given)]
    constant = [name for name, given in named.items() if _is_constant(given)]
    if equal:
        zeros, reason = CORRELATIONS, f"all {' and all '.join(equal)} are equal, so there is no correlation"
    elif constant:
        zeros = ("plcc", "plcc_mapped")
        reason = f"all {' and all '.join(constant)} are equal but for rounding, so only their order can be compared"
    else:
        zeros, reason = (), ""
    statistics |= {
        "srcc": lambda counts: resampled_pearson(counts, resampled_ranks(counts, x), resampled_ranks(counts, y)),
        "plcc": lambda counts: resampled_pearson(counts, x, y),
        "krcc": lambda counts: resampled_kendall(counts, x, y),
    }
    values |= dict.fromkeys(zeros, 0.0)
    notes |= dict.fromkeys(zeros, reason)
    statistics |= dict.fromkeys(zeros, lambda counts: np.zeros(len(counts)))
    if not zeros:
        mapped = _fit_logistic(x, y) if len(x) >= MIN_ROWS_MAPPED else None
        if mapped is not None:
            values["plcc_mapped"] = _pearson(mapped, y)
            statistics["plcc_mapped"] = lambda counts: resampled_pearson(counts, mapped, y)
            if _pearson(mapped, x) < 0:
                notes["plcc_mapped"] = "the fitted curve falls: higher predictions go with lower human scores"
        elif len(x) < MIN_ROWS_MAPPED:
            notes["plcc_mapped"] = _too_few(len(x), MIN_ROWS_MAPPED)
        else:
            notes["plcc_mapped"] = "the logistic curve could not be fitted"

    error = x - y
    values |= {"mae": mae(x, y), "rmse": rmse(x, y)}
    statistics["mae"] = resampled_mean(np.abs(error))
    squared = resampled_mean(np.square(error))
    statistics["rmse"] = lambda counts: np.sqrt(squared(counts))
    if threshold is not None:
        values["accuracy"] = accuracy(x, y, threshold)
        statistics["accuracy"] = resampled_mean(_same_side(x, y, threshold))
        if (y > threshold).all() or (y <= threshold).all():
            side = "above the threshold" if y[0] > threshold else "not above the threshold"
            notes["accuracy"] = f"all human scores are {side} {threshold:g}"
    return values, statistics, notes


def _too_few(n: int, needed: int) -> str:
    return f"{n} row{'' if n == 1 else 's'} with a prediction, fewer than {needed}"


def _with_intervals(estimates: Estimates, n_resamples: int, seed: int) -> dict[str, float | None]:
    """Each value, followed by its `_low` and `_high` where there is resampling."""
    drawn = resample(estimates.statistics, estimates.n, n_resamples, seed) if n_resamples and estimates.n else {}
    found: dict[str, float | None] = {}
    for name, value in estimates.values.items():
        found[name] = value
        if n_resamples:
            found[f"{name}_low"], found[f"{name}_high"] = interval(drawn[name]) if name in drawn else (None, None)
    return found


def _resampling_notes(n: int, n_resamples: int) -> dict[str, str]:
    drawn = resamples_for(n, n_resamples)
    if drawn == n_resamples:
        return {}
    return {"n_resamples": f"the intervals are of {drawn} resamples, because there are {n} rows"}


def _scaled(statistic: Statistic, factor: float) -> Statistic:
    return lambda counts: statistic(counts) * factor


def _ratio(above: Array, below: Array) -> Array:
    # A resample made of rows that the baseline matches exactly has no ratio; NaN leaves it out of the quantiles.
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)
