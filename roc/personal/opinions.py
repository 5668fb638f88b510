"""Opinions: ratings of photos, or pairs of which one is better; and how badly scores fit them.

Both are compared with scores through a line or a slope of their own, found beforehand with the general score alone, so
that stars, points and percentages need no common scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from roc.personal.features import Array, Features

Rows = NDArray[np.int64]

LEAST_AGREEMENT = 1 / 3
"""The general score counts as correlated with the ratings by at least this much, however little it is: otherwise the
prior would be nothing."""

SLOPES = (0.3, 10.0)
"""The same of pairs: bounds of the slope of the log-odds, for a difference of one standard deviation of the scores."""


class Loss(Protocol):
    """How badly scores fit some ratings or pairs: a sum of terms, each of one number that is linear in the scores."""

    def read(self, values: Array) -> Array:
        """Gives these numbers, (k, ...), from (n, ...) scores or what moves them: a score, or second minus first."""

    def terms(self, numbers: Array) -> tuple[Array, Array, Array]:
        """Gives the (k,) terms for (k,) numbers, with their first and second derivatives."""


class Opinions(Protocol):
    """Ratings or pairs of n photos. Its units are what is held out: a rating, or a pair."""

    metric: str

    def __len__(self) -> int:
        """Number of units."""

    def photos(self, units: Rows) -> Rows:
        """Gives the photos that these units are about, each once."""

    def apart_from(self, held_out: Rows) -> Rows:
        """Gives the units that share no photo with those held out."""

    def loss(self, features: Features, units: Rows) -> Loss:
        """Makes the loss of the scores of all photos on these units; their scale is found with the general scores."""

    def held_out_loss(self, features: Features, fitted: Rows, held_out: Rows) -> Loss:
        """Makes the loss on other units, on the scale found with those fitted."""


@dataclass(frozen=True, eq=False)
class Ratings:
    """A rating of each photo, on any scale where higher is better.

    Attributes:
        values: (n,).
    """

    values: Array
    metric: str = "srcc"

    def __len__(self) -> int:
        return len(self.values)

    def photos(self, units: Rows) -> Rows:
        return units

    def apart_from(self, held_out: Rows) -> Rows:
        return np.setdiff1d(np.arange(len(self)), held_out)

    def loss(self, features: Features, units: Rows) -> Loss:
        return self.held_out_loss(features, units, units)

    def held_out_loss(self, features: Features, fitted: Rows, held_out: Rows) -> Loss:
        general = features.scores()
        spread = general[fitted].std()
        ratings, scores = self.values[fitted], general[fitted]
        slope = np.mean((scores - scores.mean()) * (ratings - ratings.mean())) / spread**2
        slope = max(slope, LEAST_AGREEMENT * ratings.std() / spread, 1e-12)
        targets = scores.mean() + (self.values[held_out] - ratings.mean()) / slope

        return _SquaredErrors(held_out, targets, spread)


@dataclass(frozen=True, eq=False)
class _SquaredErrors:
    rows: Rows
    targets: Array
    spread: float

    def read(self, values: Array) -> Array:
        return values[self.rows]

    def terms(self, numbers: Array) -> tuple[Array, Array, Array]:
        errors = (numbers - self.targets) / self.spread
        return errors**2 / 2, errors / self.spread, np.full_like(errors, self.spread**-2)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of photos and which of the two is better.

    Attributes:
        ends: (m, 2) photos.
        wins: (m,) 1 where the second is better, 0 where the first is, 0.5 for a tie.
    """

    ends: Rows
    wins: Array
    metric: str = "accuracy"

    def __len__(self) -> int:
        return len(self.ends)

    def photos(self, units: Rows) -> Rows:
        return np.unique(self.ends[units])

    def apart_from(self, held_out: Rows) -> Rows:
        shared = np.isin(self.ends, self.ends[held_out]).any(axis=1)
        return np.flatnonzero(~shared)

    def slope(self, features: Features, units: Rows) -> float:
        """Fits the slope of the log-odds for a difference of one standard deviation of the general scores."""
        general = features.scores()
        differences = self.differences(general / general[self.photos(units)].std(), units)
        wins = self.wins[units]

        def loss(logarithm: float) -> float:
            return float(_cross_entropies(np.exp(logarithm) * differences, wins).sum())

        return float(np.exp(optimize.minimize_scalar(loss, bounds=np.log(SLOPES), method="bounded").x))

    def differences(self, scores: Array, units: Rows) -> Array:
        """Gives second minus first of the pairs."""
        first, second = scores[self.ends[units]].T
        return second - first

    def loss(self, features: Features, units: Rows) -> Loss:
        return self.held_out_loss(features, units, units)

    def held_out_loss(self, features: Features, fitted: Rows, held_out: Rows) -> Loss:
        scale = self.slope(features, fitted) / features.scores()[self.photos(fitted)].std()
        return _CrossEntropies(self.ends[held_out], self.wins[held_out], scale)


@dataclass(frozen=True, eq=False)
class _CrossEntropies:
    ends: Rows
    wins: Array
    scale: float

    def read(self, values: Array) -> Array:
        return values[self.ends[:, 1]] - values[self.ends[:, 0]]

    def terms(self, numbers: Array) -> tuple[Array, Array, Array]:
        odds = self.scale * numbers
        shares = special.expit(odds)
        curves = self.scale**2 * shares * (1 - shares)
        return _cross_entropies(odds, self.wins), self.scale * (shares - self.wins), curves


def _cross_entropies(odds: Array, wins: Array) -> Array:
    return np.logaddexp(0, odds) - wins * odds
