"""Ties: which numbers count as equal wherever scores are ranked or compared with a threshold.

The mean of the votes 3, 4, 4 and the mean of 4, 4, 3 may differ in the last bit, because a sum of floats depends on its
order. A rank that rests on that bit says nothing about the photos, so such numbers share one rank.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TIE = 1e-9
"""Share of the range of the values, largest minus smallest, within which two neighbouring values are tied."""

ROUNDING = 1e-12
"""Share of the largest magnitude within which values are equal whatever their range: what is left of it is rounding."""


def tie_tolerance(values: NDArray[np.float64]) -> float:
    """Largest difference of two tied values: `TIE` of the range of `values`, (n,), and never less than rounding."""
    return max(TIE * float(np.ptp(values)), ROUNDING * float(np.abs(values).max())) if len(values) else 0.0


def is_constant(values: NDArray[np.float64]) -> bool:
    """True if the values, (n,), differ by no more than rounding."""
    return bool(np.ptp(values) <= ROUNDING * np.abs(values).max())


def tie_groups(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Numbers the distinct values from 0 upwards; tied values get one number.

    Ties are found between neighbours in sorted order, so a chain of values that are each tied with the next is one
    group, even if its ends are further apart than the tolerance.

    Args:
        values: (n,) finite numbers.

    Returns:
        (n,) group numbers; a larger value never has a smaller number.
    """
    order = np.argsort(values, kind="stable")
    starts = np.diff(values[order], prepend=values[order[:1]]) > tie_tolerance(values)
    groups = np.empty(len(values), dtype=np.int64)
    groups[order] = np.cumsum(starts)
    return groups
