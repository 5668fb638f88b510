"""Features of photos: the level logits of the general score, and the hidden states that the score head reads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Features:
    """What is read of n photos.

    Attributes:
        logits: (n, N) of the general score.
        hidden: (n, H).
        levels: (N,) value of each level, evenly spaced.
    """

    logits: Array
    hidden: Array
    levels: Array

    def __len__(self) -> int:
        return len(self.logits)

    def of(self, rows: NDArray[np.int64]) -> Features:
        """Gives those of some of the photos."""
        return Features(self.logits[rows], self.hidden[rows], self.levels)

    @property
    def steps(self) -> Array:
        """(N,) from -1 for the lowest level to 1 for the highest."""
        return np.linspace(-1.0, 1.0, len(self.levels))

    def scores(self, tilts: Array | None = None) -> Array:
        """Gives (n,) scores; `tilts` (n,) move them, 0 or None leaves the general score."""
        return self.moved(np.zeros(len(self)) if tilts is None else tilts)[0]

    def moved(self, tilts: Array) -> tuple[Array, Array]:
        """Gives the scores under tilts, and how fast each grows with its tilt.

        The distribution over the levels becomes proportional to `p_n exp(t c_n)`, so a score stays inside the range and
        its derivative is the covariance of levels and steps, which is never below 0.

        Returns:
            (n,) scores and (n,) derivatives, in the units of the levels.
        """
        logits = self.logits + tilts[:, None] * self.steps
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        scores = shares @ self.levels
        half_width = (self.levels[-1] - self.levels[0]) / 2
        variances = np.maximum(shares @ self.levels**2 - scores**2, 0.0)
        return scores, variances / half_width
