"""The common-error set: photos on which several scorers fail together, and what is compared on it.

Its labels need not be spread like those of all photos (in the one published set nearly all lie at both ends), and a
correlation depends on that spread: one of hard photos is never compared with one of all photos. Errors can be, and
correlations within bands of the label.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roc.evaluation.bootstrap import (
    Statistic,
    interval,
    resample,
    resampled_mean,
    resampled_pearson,
    resampled_ranks,
)
from roc.evaluation.estimates import Difference, Estimates, compare_estimates
from roc.evaluation.metrics import mae, plcc, rmse, srcc

METRICS = {"srcc": srcc, "plcc": plcc, "mae": mae, "rmse": rmse}


def common_errors(errors: ArrayLike, share: float = 0.25) -> NDArray[np.int64]:
    """Finds the photos whose error is among the largest of every scorer.

    Args:
        errors: (R, n) absolute errors of R scorers on the same photos.
        share: Share of the photos that count as the largest errors of one scorer, above 0 and at most 1; rounded down,
            at least one photo.

    Returns:
        Places of the photos, ascending. A photo whose error equals the last that counts is in too.

    Raises:
        ValueError: Other shapes, an error that is no number, or a share out of range.
    """
    values = np.asarray(errors, dtype=float)
    if values.ndim != 2 or not values.size or not np.isfinite(values).all():
        raise ValueError(f"errors has the shape {values.shape}; expected (scorers, photos), finite and at least one")
    if not 0 < share <= 1:
        raise ValueError(f"share is {share}; expected above 0 and at most 1")
    count = max(1, int(share * values.shape[1] + 1e-9))
    limits = np.sort(values, axis=1)[:, -count]
    return np.flatnonzero((values >= limits[:, None]).all(axis=0))


def estimates_of(predictions: ArrayLike, scores: ArrayLike) -> Estimates:
    """SRCC, PLCC, MAE and RMSE of some photos, on the scale of the scores; None with fewer than three."""
    x, y = np.asarray(predictions, dtype=float), np.asarray(scores, dtype=float)
    values = {name: metric(x, y) for name, metric in METRICS.items()}
    errors = np.abs(x - y)
    statistics: dict[str, Statistic] = {
        "srcc": lambda counts: resampled_pearson(counts, resampled_ranks(counts, x), resampled_ranks(counts, y)),
        "plcc": lambda counts: resampled_pearson(counts, x, y),
        "mae": resampled_mean(errors),
        "rmse": lambda counts: np.sqrt(counts @ errors**2 / len(errors)),
    }
    known = {name: statistic for name, statistic in statistics.items() if values[name] is not None}
    return Estimates(len(x), values, known, {})


def with_intervals(found: Estimates, n_resamples: int, seed: int) -> dict[str, dict[str, float | None]]:
    """Writes estimates as metric -> value, low and high, the ends of its 95% interval."""
    known = found.statistics if n_resamples else {}
    drawn = resample(known, found.n, n_resamples, seed) if known else {}
    return {name: numbers(value, *ends_of(drawn.get(name))) for name, value in found.values.items()}


def numbers(value: float | None, low: float | None = None, high: float | None = None) -> dict[str, float | None]:
    """A value and the ends of its interval, as analysis.json holds them; None in place of NaN."""
    plain = (None if one is None or np.isnan(one) else float(one) for one in (value, low, high))
    return dict(zip(("value", "low", "high"), plain, strict=True))


def ends_of(drawn: NDArray[np.float64] | None) -> tuple[float | None, float | None]:
    """The ends of the 95% interval of resampled values; None where there is not one."""
    return (None, None) if drawn is None or np.isnan(drawn).all() else interval(drawn)


def compared(
    improved: ArrayLike, baseline: ArrayLike, scores: ArrayLike, *, n_resamples: int, seed: int
) -> dict[str, Difference]:
    """Compares two scorers on the same photos: improved minus baseline, by a paired bootstrap.

    Args:
        improved, baseline: (n,) predictions.
        scores: (n,) human scores.
        n_resamples: 0 leaves intervals out.
        seed: Of the resampling.

    Returns:
        Metric of `METRICS` -> `Difference`, whose a is the improved one.
    """
    pair = estimates_of(improved, scores), estimates_of(baseline, scores)
    return compare_estimates(*pair, n_resamples=n_resamples, seed=seed)


def bands(scores: Sequence[float], border: float) -> dict[str, NDArray[np.bool_]]:
    """Divides photos by their label: `low` up to the border, `high` above it."""
    high = np.asarray(scores, dtype=float) > border
    return {"low": ~high, "high": high}
