"""Summaries: every metric of an evaluation with its 95% interval, as one flat dict.

`evaluate_predictions` summarises rows: all attributes, all subsets, distributions and spreads where there are any. The
`summarize...` functions do one group of metrics on plain arrays. A prediction may be missing (None or NaN: the model
gave no score); such rows leave every metric and are counted, because any number put in their place would be invented.

Intervals come from a percentile bootstrap (roc/evaluation/bootstrap.py): rows are drawn with replacement, the same
draws for all metrics, and the 2.5% and 97.5% quantiles of each metric are reported. They tell how much another draw of
photos would move a number, not how much another training run would.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from roc.evaluation.bootstrap import Array, interval, resample, resamples_for
from roc.evaluation.caveats import find_caveats
from roc.evaluation.estimates import (
    Estimates,
    UnitWidth,
    estimate_coverage,
    estimate_distributions,
    estimate_scores,
    estimate_unscored,
)
from roc.evaluation.evaluated_rows import (
    EvaluatedRow,
    coverage_input,
    distributions,
    is_number,
    levels_of,
    scored_rows,
)
from roc.evaluation.keys import attribute_prefix, subset_prefix
from roc.score_space import ScoreSpace

_ASSUMED = "assumes a normal distribution, and votes spread evenly over their bins"


def evaluate_predictions(
    rows: Sequence[EvaluatedRow],
    *,
    space: ScoreSpace | None,
    attributes: Sequence[str] = ("overall",),
    threshold: float | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
    baseline_histogram: Sequence[float] | None = None,
    calibrated: bool | None = None,
) -> dict[str, Any]:
    """Computes all metrics of a set of rows.

    Args:
        rows: Human and predicted scores, in any order.
        space: The native scale, with the ranges of attributes on another one; None leaves out what needs it.
        attributes: Names of the scores; distributions and subsets belong to the first.
        threshold: Border between bad and good on the native scale; adds `accuracy`, for attributes on the range of the
            first.
        n_resamples: Bootstrap resamples for the intervals; 0 leaves them out.
        seed: Seed of the resampling.
        baseline_histogram: (N,) mean histogram of the training rows; adds `emd_baseline` and `emd_ratio`.
        calibrated: Whether the model was trained on distributions, so that `std` and `p_n` mean something; None where
            it is not known.

    Returns:
        A flat dict of JSON values. First what was evaluated: `attributes, min_score, max_score, threshold, calibrated,
        n_resamples, seed`. Then, for the first attribute, the keys of `summarize`, those of `summarize_distributions`
        if there are histograms, and those of `summarize_coverage` if there are standard deviations; besides them
        `prediction_std, score_std` and `prediction_range, score_range` (smallest and largest); for each further
        attribute `<attribute>/<key>`, with its `min_score` and `max_score` where it is on another range; for each
        subset, named under `subsets`, `subset/<name>/<key>`. Last `notes`, key -> why it is 0 or None, or what it
        assumes, and `caveats`, what must be known before a number is quoted.

    Raises:
        ValueError: If there are no rows or no attributes, a value is infinite, or distributions do not fit together.
    """
    if not rows:
        raise ValueError("there are no rows to evaluate; is the test split of the data file empty?")
    if not attributes:
        raise ValueError("no attribute to evaluate; name at least one, as a rule 'overall'")
    options = {"n_resamples": n_resamples, "seed": seed}
    first, *others = attributes
    spaces = {name: None if space is None else space.of(name) for name in attributes}
    space = spaces[first]
    own = [name for name in others if space is not None and spaces[name].range != space.range]
    common = {"space": space, "threshold": threshold, "options": options}
    found = {"": _first_attribute(rows, first, baseline=baseline_histogram, **common)}
    for name in others:
        asked = common | ({"space": spaces[name], "threshold": None} if name in own else {})
        found[attribute_prefix(name, attributes)] = _scores(rows, name, **asked)
    subsets: dict[str, list[EvaluatedRow]] = {}
    for row in rows:
        if row.subset is not None:
            subsets.setdefault(row.subset, []).append(row)
    for name, part in subsets.items():
        found[subset_prefix(name)] = _first_attribute(part, first, baseline=baseline_histogram, **common)

    metrics: dict[str, Any] = {"attributes": list(attributes)}
    if space is not None:
        metrics |= {"min_score": space.min_score, "max_score": space.max_score}
    for name in own:
        prefix = attribute_prefix(name, attributes)
        metrics |= {f"{prefix}min_score": spaces[name].min_score, f"{prefix}max_score": spaces[name].max_score}
    if threshold is not None:
        metrics["threshold"] = threshold
    metrics |= {"calibrated": calibrated, **options}
    if subsets:
        metrics["subsets"] = list(subsets)
    notes: dict[str, str] = {}
    for prefix, part in found.items():
        notes |= {prefix + key: reason for key, reason in part.pop("notes").items()}
        metrics |= {prefix + key: value for key, value in part.items()}
    if "coverage_n" in metrics:
        notes.setdefault("coverage", _ASSUMED)
    return metrics | {"notes": notes, "caveats": find_caveats(metrics)}


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
        space: The native scale, a `ScoreSpace`; adds `mae_unit` and `rmse_unit`.
        threshold: Adds `accuracy` at this threshold.
        n_resamples: Bootstrap resamples; 0 leaves all `_low` and `_high` out. Fewer are drawn of very many rows
            (roc/evaluation/bootstrap.py); the notes then say so.
        seed: Seed of the resampling.

    Returns:
        `n` (rows with a prediction), `unscored` (rows without), `unscored_share`, then `srcc, plcc, plcc_mapped, krcc,
        mae, rmse` and the optional ones; each after the first two followed by `<name>_low` and `<name>_high`; last
        `notes`, metric -> why it is 0 or None, or what else must be known about it.

    Raises:
        ValueError: If the lengths differ, a human score is not finite, or a prediction is infinite.
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
    share = estimate_unscored(scored)
    return {
        "n": estimates.n,
        "unscored": int((~scored).sum()),
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
        predicted, human, levels, baseline: As for `estimate_distributions`.
        n_resamples: Bootstrap resamples; 0 leaves all `_low` and `_high` out.
        seed: Seed of the resampling.

    Returns:
        `emd_n` (rows), then the values of `estimate_distributions` with `_low` and `_high`; last `notes`.

    Raises:
        ValueError: If shapes do not fit or a row does not sum to 1.
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
    """Coverage of the reported standard deviations, each share with its 95% interval.

    Args:
        predictions, stds, scores, histograms, levels: As for `estimate_coverage`.
        n_resamples: Bootstrap resamples; 0 leaves all `_low` and `_high` out.
        seed: Seed of the resampling.

    Returns:
        `coverage_n` (rows), then the values of `estimate_coverage` with `_low` and `_high`; last `notes`.

    Raises:
        ValueError: If lengths differ, a value is not finite or a standard deviation is negative.
    """
    estimates = estimate_coverage(predictions, stds, scores, histograms=histograms, levels=levels)
    return {"coverage_n": estimates.n, **_with_intervals(estimates, n_resamples, seed), "notes": estimates.notes}


def _first_attribute(
    rows: Sequence[EvaluatedRow],
    attribute: str,
    *,
    baseline: Sequence[float] | None,
    space: ScoreSpace | None,
    threshold: float | None,
    options: Mapping[str, int],
) -> dict[str, Any]:
    """Summarises the scores of the first attribute, and its distributions and standard deviations if there are any."""
    found = _scores(rows, attribute, space=space, threshold=threshold, options=options)
    notes = found.pop("notes")
    predicted, human = distributions(rows, attribute)
    if len(human):
        levels = levels_of(space, human.shape[1])
        distances = summarize_distributions(predicted, human, levels=levels, baseline=baseline, **options)
        notes |= distances.pop("notes")
        if len(human) < found["n"]:
            notes.setdefault("emd", f"over the {len(human)} rows that have a histogram")
        found |= distances
    if any(row.std is not None for row in rows):
        spread = [row for row in scored_rows(rows, attribute) if is_number(row.std)]
        covered = summarize_coverage(**coverage_input(spread, attribute, space), **options)
        notes |= covered.pop("notes")
        found |= covered
    return found | {"notes": notes}


def _scores(
    rows: Sequence[EvaluatedRow],
    attribute: str,
    *,
    space: ScoreSpace | None,
    threshold: float | None,
    options: Mapping[str, int],
) -> dict[str, Any]:
    """Summarises the rows that people rated; the number of unrated rows is noted."""
    rated = [row for row in rows if is_number(row.scores.get(attribute))]
    found = summarize(
        [row.predictions.get(attribute) for row in rated],
        [row.scores[attribute] for row in rated],
        space=space,
        threshold=threshold,
        **options,
    )
    scored = scored_rows(rated, attribute)
    found |= _span("prediction", [row.predictions[attribute] for row in scored])
    found |= _span("score", [row.scores[attribute] for row in scored])
    unrated = len(rows) - len(rated)
    if unrated:
        many = "row without a human score is" if unrated == 1 else "rows without a human score are"
        found["notes"] = {"n": f"{unrated} {many} left out"} | found["notes"]
    return found


def _span(name: str, values: Sequence[float]) -> dict[str, Any]:
    """Standard deviation, and smallest and largest value; None without rows."""
    if not values:
        return {f"{name}_std": None, f"{name}_range": None}
    return {f"{name}_std": float(np.std(values)), f"{name}_range": [float(min(values)), float(max(values))]}


def _with_intervals(estimates: Estimates, n_resamples: int, seed: int) -> dict[str, float | None]:
    """Each value, followed by its `_low` and `_high` if there is resampling."""
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
