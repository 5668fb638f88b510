"""Marginalisation: how strongly a photo leans on an attribute that few photos lean on.

The definitions are not published; these are proposals. `M_i = a_i (1 - f)`, where `a_i` is the largest weight of photo
i and f the share of training photos that lean on the same attribute. The second reading asks gradients instead:
`1 - max(0, cos(g_k, g_all))`, how little the step of all photos helps those of attribute k.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roc.agree.attributes import ATTRIBUTES
from roc.evaluation.bootstrap import Statistic

Array = NDArray[np.float64]


def dominant(weights: Mapping[str, ArrayLike]) -> NDArray[np.int64]:
    """Finds the attribute that each photo leans on most.

    Args:
        weights: Attribute -> (n,) routing weights.

    Returns:
        (n,) places in `ATTRIBUTES`; of equal weights the first.
    """
    return _stacked(weights).argmax(axis=0)


def frequencies(leading: ArrayLike) -> Array:
    """Computes the share of photos that lean on each attribute.

    Args:
        leading: (n,) from `dominant`, at least one.

    Returns:
        (5,) in the order of `ATTRIBUTES`, summing to 1.
    """
    counts = np.bincount(np.asarray(leading, dtype=np.int64), minlength=len(ATTRIBUTES))
    return counts / counts.sum()


def marginalisation(weights: Mapping[str, ArrayLike], frequency: ArrayLike) -> Array:
    """Computes M of each photo.

    Args:
        weights: Attribute -> (n,) routing weights.
        frequency: (5,) share of the training photos that lean on each attribute.

    Returns:
        (n,) in [0, 1).
    """
    leading = dominant(weights)
    return _stacked(weights).max(axis=0) * (1 - np.asarray(frequency, dtype=float)[leading])


def gradient_marginalisation(leading: ArrayLike, with_all: ArrayLike) -> Array:
    """Computes the second reading of M.

    Args:
        leading: (n,) from `dominant`.
        with_all: (5,) cosine of each attribute's gradient with that of all photos; NaN where it is not known.

    Returns:
        (n,) in [0, 1]; NaN where the cosine is not known.
    """
    return 1 - np.maximum(0, np.asarray(with_all, dtype=float))[np.asarray(leading, dtype=np.int64)]


def cohen_d(hard: ArrayLike, others: ArrayLike) -> float | None:
    """Computes Cohen's d: the difference of two means over their pooled standard deviation, with n - 1.

    Args:
        hard: (n,) values of one group.
        others: (m,) values of the other.

    Returns:
        Above 0 where the first group is higher; None where a group has fewer than two values or neither varies.
    """
    x, y = np.asarray(hard, dtype=float), np.asarray(others, dtype=float)
    values, group = np.concatenate([x, y]), np.arange(len(x) + len(y)) < len(x)
    found = float(resampled_cohen(values, group)(np.ones((1, len(values))))[0]) if len(values) else np.nan
    return None if np.isnan(found) else found


def resampled_cohen(values: ArrayLike, group: ArrayLike) -> Statistic:
    """Cohen's d as a statistic on resampled rows; NaN on a resample where it has no value.

    Args:
        values: (n,).
        group: (n,) True for the group whose mean comes first.
    """
    values, group = np.asarray(values, dtype=float), np.asarray(group, dtype=bool)
    centred = values - values.mean()

    def statistic(counts: Array) -> Array:
        parts = []
        for chosen in (group, ~group):
            drawn, own = counts[:, chosen], centred[chosen]
            n = drawn.sum(axis=1)
            mean = drawn @ own / np.maximum(n, 1)
            squares = np.maximum(drawn @ own**2 - n * mean**2, 0.0)
            parts.append((np.where(n < 2, np.nan, n), mean, squares))
        (n, mean, squares), (m, other_mean, other_squares) = parts
        pooled = np.sqrt((squares + other_squares) / (n + m - 2))
        varies = pooled > 1e-12 * max(float(np.ptp(values)), 1e-300)
        return np.where(varies, (mean - other_mean) / np.where(varies, pooled, 1.0), np.nan)

    return statistic


def _stacked(weights: Mapping[str, ArrayLike]) -> Array:
    return np.stack([np.asarray(weights[name], dtype=float) for name in ATTRIBUTES])  # (5, n)
