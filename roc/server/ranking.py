"""The order of images and how likely each beats another one, from the mean and spread of each score."""

from __future__ import annotations

import math
from collections.abc import Sequence


def win_probability(mean: float, std: float, other_mean: float, other_std: float) -> float:
    """Computes the probability that a draw from the first normal distribution exceeds one from the second.

    Phi((mean - other_mean) / sqrt(std^2 + other_std^2)); 1, 0.5 or 0 if both spreads are 0.
    """
    spread = math.hypot(std, other_std)
    if spread == 0:
        return 0.5 + 0.5 * ((mean > other_mean) - (mean < other_mean))
    return 0.5 * (1 + math.erf((mean - other_mean) / spread / math.sqrt(2)))


def rank(means: Sequence[float], stds: Sequence[float]) -> tuple[list[int], list[list[float]]]:
    """Orders images and computes pairwise win probabilities.

    Args:
        means: (n,) scores; higher is better.
        stds: (n,) standard deviations.

    Returns:
        (order, wins): indices, best first, ties in their given order; (n, n) probabilities that row i beats column j,
        0.5 on the diagonal.
    """
    order = sorted(range(len(means)), key=lambda i: -means[i])
    pairs = list(zip(means, stds, strict=True))
    return order, [
        [0.5 if i == j else win_probability(*one, *other) for j, other in enumerate(pairs)]
        for i, one in enumerate(pairs)
    ]
