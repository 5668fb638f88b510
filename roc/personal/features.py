"""Features of photos: the level logits of the general score, and the hidden states that the score head reads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Features:
    """What is read of n photos.

    A checkpoint that declares `score_flip` reads each photo and its mirror image; a score is then the mean of both.

    Attributes:
        logits: (n, N) of the general score; of two readings (n, 2, N).
        hidden: (n, H); of two readings (n, 2, H).
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
        """Gives (n,) scores; `tilts`, one for each reading, move them, None leaves the general score."""
        return self.moved(tilts)[0]

    def moved(self, tilts: Array | None = None) -> tuple[Array, Array]:
        """Gives the scores under tilts, and how fast each grows with its tilts.

        The distribution over the levels becomes proportional to `p_n exp(t c_n)`, so a score stays inside the range and
        its derivative is the covariance of levels and steps, which is never below 0.

        Args:
            tilts: (n,), of two readings (n, 2); None = all are 0.

        Returns:
            (n,) scores, and their derivatives in the shape of the tilts, in the units of the levels.
        """
        logits = self.logits if tilts is None else self.logits + tilts[..., None] * self.steps
        shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
        shares /= shares.sum(axis=-1, keepdims=True)
        scores = shares @ self.levels
        half_width = (self.levels[-1] - self.levels[0]) / 2
        speeds = np.maximum(shares @ self.levels**2 - scores**2, 0.0) / half_width
        if scores.ndim == 1:
            return scores, speeds
        return scores.mean(axis=1), speeds / scores.shape[1]

    def moves(self, speeds: Array, coordinates: Array) -> Array:
        """Gives the (n, d) derivatives of the scores by weights whose products with coordinates are the tilts.

        Args:
            speeds: From `moved`.
            coordinates: (n, d), of two readings (n, 2, d).
        """
        products = speeds[..., None] * coordinates
        return products if products.ndim == 2 else products.sum(axis=1)
