"""Shares of pairs that come out right, and their differences: paired by pair and by seed.

Pairs of one photo are no independent draws, so the photos are drawn again, and then the seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from agree_claim.effects import Found
from numpy.typing import ArrayLike, NDArray

from roc.evaluation.bootstrap import draws, interval

Array = NDArray[np.float64]


class PairsRight:
    """What the arms get right of the same pairs; every interval comes from the same draws of photos.

    Args:
        right: Arm -> seed -> (n,) 1 where a pair comes out right, 0.5 for a draw, else 0.
        photos: (n,) name of the photo of each pair.
        n_resamples: Draws; 0 for no intervals.
        seed: Of the draws.
    """

    def __init__(
        self,
        right: Mapping[str, Mapping[int, ArrayLike]],
        photos: Sequence[str],
        *,
        n_resamples: int = 1000,
        seed: int = 0,
    ) -> None:
        names = {name: place for place, name in enumerate(dict.fromkeys(photos))}
        self._owners = np.array([names[name] for name in photos], dtype=int)
        self._right, self._photos, self._draws, self._seed = right, len(names), n_resamples, seed

    def mean(self, arm: str) -> Found:
        """Means the share of an arm over its seeds."""
        return self._found([np.asarray(one, dtype=float) for one in self._right[arm].values()])

    def difference(self, first: str, second: str) -> Found:
        """Means first minus second over the seeds that both have."""
        seeds = sorted(set(self._right[first]) & set(self._right[second]))
        return self._found(
            [np.asarray(self._right[first][one], float) - np.asarray(self._right[second][one], float) for one in seeds]
        )

    def _found(self, by_seed: Sequence[Array]) -> Found:
        if not by_seed or not len(self._owners):
            return Found(None)
        value = float(np.mean([one.mean() for one in by_seed]))
        if not self._draws:
            return Found(value)
        sums = np.stack([np.bincount(self._owners, weights=one, minlength=self._photos) for one in by_seed])
        sizes = np.bincount(self._owners, minlength=self._photos).astype(float)
        drawn = np.concatenate(
            [counts @ sums.T / (counts @ sizes)[:, None] for counts in draws(self._photos, self._draws, self._seed)]
        ).T  # (seeds, draws)
        chosen = np.random.default_rng(self._seed).integers(0, len(drawn), size=drawn.shape)
        return Found(value, *interval(np.take_along_axis(drawn, chosen, axis=0).mean(axis=0)))
