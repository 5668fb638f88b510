"""Conflicts between attributes: cosines of their gradients, and the share of pairs that pull against each other.

`g_k` is the gradient of the mean loss over the photos that lean on attribute k. A negative cosine of two of them says
that a step which helps the photos of one attribute harms those of the other.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

EPSILON = 1e-12
"""Added to the denominator of a cosine."""
SMALLEST_NORM = 1e-8
"""A gradient whose norm is below has no direction."""


def cosines(gradients: Array) -> Array:
    """Computes the cosine of every pair of gradients.

    Args:
        gradients: (K, P), one row an attribute.

    Returns:
        (K, K) in -1..1; NaN in row and column of a gradient whose norm is below 1e-8.
    """
    return cosines_of_products(gradients @ gradients.T)


def cosines_of_products(products: Array) -> Array:
    """Computes the same from the inner products of the gradients.

    Args:
        products: (..., K, K), symmetric.
    """
    squares = np.maximum(np.diagonal(products, axis1=-2, axis2=-1), 0.0)
    norms = np.where(squares < SMALLEST_NORM**2, np.nan, np.sqrt(squares))
    return products / (norms[..., :, None] * norms[..., None, :] + EPSILON)


def conflict_ratio(found: Array, tolerance: float = 0.0) -> Array:
    """Computes the share of pairs of attributes whose gradients conflict.

    Args:
        found: (..., K, K) cosines; pairs with NaN are left out.
        tolerance: A pair conflicts if its cosine is below minus this.

    Returns:
        (...) in 0..1; NaN where there is no pair.
    """
    pairs = found[(..., *np.triu_indices(found.shape[-1], 1))]
    known = (~np.isnan(pairs)).sum(axis=-1)
    below = (pairs < -tolerance).sum(axis=-1)
    return np.where(known > 0, below / np.maximum(known, 1), np.nan)


def running_mean(values: Array, decay: float = 0.9) -> Array:
    """Smooths a curve over steps; it begins at the first value.

    Args:
        values: (S,) without NaN.
        decay: Share of the earlier mean that stays, 0..1.
    """
    smooth = np.array(values, dtype=float)
    for place in range(1, len(smooth)):
        smooth[place] = decay * smooth[place - 1] + (1 - decay) * smooth[place]
    return smooth
