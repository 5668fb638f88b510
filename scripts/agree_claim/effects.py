"""Differences between rows of the table: paired by photo and by seed, with intervals that draw both again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roc.agree.common_errors import estimates_of
from roc.evaluation.bootstrap import interval, resample

Array = NDArray[np.float64]


class Found(NamedTuple):
    """A mean over seeds with the ends of its 95% interval; None where there is none."""

    value: float | None
    low: float | None = None
    high: float | None = None

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low is not None and self.low * self.high > 0


class Compared:
    """The rows of the table on some photos.

    Every interval comes from the same draws: photos with replacement, alike for all rows and seeds, then seeds with
    replacement. So it covers another draw of photos as well as another draw of seeds.

    Args:
        predictions: Row -> seed -> (n,) predictions.
        scores: (n,) human scores.
        places: Which photos count; None for all.
        n_resamples: Draws.
        seed: Of the draws.
    """

    def __init__(
        self,
        predictions: Mapping[str, Mapping[int, ArrayLike]],
        scores: ArrayLike,
        places: ArrayLike | None = None,
        *,
        n_resamples: int = 1000,
        seed: int = 0,
    ) -> None:
        self._predictions, self._scores = predictions, np.asarray(scores, dtype=float)
        self._places = np.arange(len(self._scores)) if places is None else np.asarray(places, dtype=int)
        self._draws, self._seed = n_resamples, seed
        self._known: dict[tuple[str, int], tuple[dict[str, float | None], dict[str, Array]]] = {}

    @property
    def n(self) -> int:
        """Number of photos."""
        return len(self._places)

    def mean(self, row: str, metric: str) -> Found:
        """Means a metric of a row over its seeds.

        Args:
            row: A key of `predictions`.
            metric: A key of `roc.agree.common_errors.METRICS`.
        """
        return self._combined([[(1, row, seed)] for seed in self._predictions[row]], metric)

    def difference(self, pairs: Sequence[tuple[str, str]], metric: str) -> Found:
        """Means first minus second over pairs of rows, in the seeds that a pair has in common.

        Args:
            pairs: Of rows; several give the mean of their differences.
            metric: A key of `roc.agree.common_errors.METRICS`.
        """
        rows = {row for pair in pairs for row in pair}
        seeds = sorted(set.intersection(*(set(self._predictions.get(row, ())) for row in rows))) if rows else []
        share = 1 / len(pairs) if pairs else 0
        terms = [
            [term for first, second in pairs for term in ((share, first, seed), (-share, second, seed))]
            for seed in seeds
        ]
        return self._combined(terms, metric)

    def _combined(self, by_seed: Sequence[Sequence[tuple[float, str, int]]], metric: str) -> Found:
        """Sums weighted values within each seed, and means these sums."""
        if not by_seed or not self.n:
            return Found(None)
        values, drawn = [], []
        for terms in by_seed:
            known = [(share, *self._estimated(row, seed)) for share, row, seed in terms]
            if any(found[metric] is None for _, found, _ in known):
                return Found(None)
            values.append(sum(share * found[metric] for share, found, _ in known))
            drawn.append(sum(share * draws[metric] for share, _, draws in known))
        stacked = np.stack(drawn)  # (S, R)
        chosen = np.random.default_rng(self._seed).integers(0, len(values), size=stacked.shape)
        means = np.take_along_axis(stacked, chosen, axis=0).mean(axis=0)
        return Found(float(np.mean(values)), *(interval(means) if self._draws else (None, None)))

    def _estimated(self, row: str, seed: int) -> tuple[dict[str, float | None], dict[str, Array]]:
        if (row, seed) not in self._known:
            predictions = np.asarray(self._predictions[row][seed], dtype=float)[self._places]
            found = estimates_of(predictions, self._scores[self._places])
            drawn = resample(found.statistics, self.n, max(1, self._draws), self._seed)
            self._known[row, seed] = found.values, drawn
        return self._known[row, seed]
