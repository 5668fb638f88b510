"""The fit of a personal head: the direction of the hidden states along which the scores move towards one's opinions.

Each photo gets a tilt, a linear function of its standardised hidden state, which moves its distribution over the levels
(`Features.moved`). The tilts are as small as the opinions allow: a loss plus `penalty / 2 * |weights|^2`, which is the
most probable value under a normal prior around the general score. Without opinions, that is the general score.

A head has no bias, so the direction is kept at a right angle to the mean hidden state: the tilts of the photos it was
fitted on are 0 on average.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from roc.personal.features import Array, Features
from roc.personal.opinions import Loss, Opinions, Rows

PENALTIES = (float("inf"), 300.0, 100.0, 30.0, 10.0, 3.0, 1.0, 0.3)
"""Tried in this order; a hidden state of usual size has the norm 1."""

MOST_DIMENSIONS = 100
"""Of the hidden states, the main directions among the photos fitted on."""

_SMALLEST_SPREAD = 1e-9
_MOST_STEPS, _SMALLEST_STEP, _SMALLEST_GAIN = 30, 1e-4, 1e-5


class Flat(ValueError):
    """The general score, or the hidden state, is the same for all photos."""


@dataclass(frozen=True, eq=False)
class Basis:
    """Coordinates of hidden states, found on the photos that a head is fitted on.

    Attributes:
        directions: (H, d); hidden states times this are the coordinates, centred by themselves.
        reach: Tilt that moves a score by one standard deviation of the general scores, on average.
    """

    directions: Array
    reach: float

    @classmethod
    def of(cls, features: Features) -> Basis:
        """Finds the basis.

        Raises:
            Flat: If the photos do not differ in their scores or hidden states.
        """
        hidden = features.hidden.reshape(-1, features.hidden.shape[-1])  # all readings of all photos
        mean, spread = hidden.mean(axis=0), hidden.std(axis=0)
        scores, speeds = features.moved()
        speed = float(speeds.sum()) / len(features)
        width = features.levels[-1] - features.levels[0]
        if scores.std() <= _SMALLEST_SPREAD * width or spread.max() <= _SMALLEST_SPREAD * max(1.0, np.abs(mean).max()):
            raise Flat(f"the general score is the same for all {len(features)} photos")
        # Values that hardly vary are not blown up to the size of the others.
        spread = np.maximum(spread, 1e-3 * spread.max())
        states, centre = (hidden - mean) / spread, mean / spread
        length = np.linalg.norm(centre)
        if length > 0:
            states = states - np.outer(states @ (centre / length), centre / length)
        _, sizes, main = np.linalg.svd(states, full_matrices=False)
        kept = sizes > 1e-6 * sizes[0]
        kept[MOST_DIMENSIONS:] = False
        size = np.sqrt((sizes**2).sum() / len(hidden))  # of a reading, as root mean square
        directions = main[kept].T / spread[:, None] / size
        return cls(directions, scores.std() / max(speed, 1e-6 * width))

    def tilts(self, features: Features, weights: Array) -> Array:
        """Gives the tilts of photos for (d,) weights: (n,), of two readings (n, 2)."""
        return self.reach * (features.hidden @ (self.directions @ weights))

    def direction(self, weights: Array) -> Array:
        """Gives the (H,) vector whose product with a hidden state is the tilt."""
        return self.reach * (self.directions @ weights)


def fitted_path(
    features: Features, basis: Basis, loss: Loss, penalties: Sequence[float] = PENALTIES
) -> Iterator[Array]:
    """Gives the (d,) weights for one penalty after the other, each search starting where the last one ended.

    Args:
        features: Of all photos that the loss is about.
        basis: Coordinates.
        loss: Of (n,) scores.
        penalties: Falling.
    """
    coordinates = basis.reach * (features.hidden @ basis.directions)  # (n, d) or (n, 2, d)
    weights = np.zeros(coordinates.shape[-1])
    for penalty in penalties:
        if np.isfinite(penalty):
            weights = _fitted(features, coordinates, loss, penalty, weights)
        yield weights


def _fitted(features: Features, coordinates: Array, loss: Loss, penalty: float, start: Array) -> Array:
    """Minimises the loss with the penalty by Gauss-Newton steps, halved until they lead downwards."""

    def value(weights: Array) -> float:
        numbers = loss.read(features.scores(coordinates @ weights))
        return float(loss.terms(numbers)[0].sum() + penalty / 2 * weights @ weights)

    weights, now = start, value(start)
    for _ in range(_MOST_STEPS):
        scores, speeds = features.moved(coordinates @ weights)
        _, slopes, curves = loss.terms(loss.read(scores))
        moves = loss.read(features.moves(speeds, coordinates))  # (k, d)
        curvature = (moves.T * curves) @ moves + penalty * np.eye(len(weights))
        step = -np.linalg.solve(curvature, moves.T @ slopes + penalty * weights)
        while (then := value(weights + step)) >= now and np.abs(step).max() > _SMALLEST_STEP:
            step = step / 2
        if then >= now:
            break
        weights, gained, now = weights + step, now - then, then
        if gained <= _SMALLEST_GAIN * now:
            break
    return weights


@dataclass(frozen=True, eq=False)
class Fitted:
    """A personal head.

    Attributes:
        basis: Its coordinates.
        weights: (d,).
        penalty: That they were found with.
    """

    basis: Basis
    weights: Array
    penalty: float

    def scores(self, features: Features) -> Array:
        """Gives the (n,) personal scores."""
        return features.scores(self.basis.tilts(features, self.weights))

    @property
    def direction(self) -> Array:
        """(H,) what is stored."""
        return self.basis.direction(self.weights)


def fit(features: Features, opinions: Opinions, units: Rows | None = None, *, parts: int = 5) -> Fitted:
    """Fits a personal head, with the penalty that fits best what is held out of these units.

    Args:
        features: Of all photos.
        opinions: On them.
        units: Ratings or pairs to use; None = all.
        parts: How many times a part of them is held out to choose the penalty.

    Raises:
        Flat: If the photos do not differ.
    """
    units = np.arange(len(opinions)) if units is None else units
    basis = Basis.of(features.of(opinions.photos(units)))
    losses = np.zeros(len(PENALTIES))
    for held_out in folds(len(units), parts):
        rest = np.intersect1d(opinions.apart_from(units[held_out]), units)
        if not varied(features, opinions, rest):
            continue
        judge = opinions.held_out_loss(features, rest, units[held_out])
        for place, weights in enumerate(fitted_path(features, basis, opinions.loss(features, rest))):
            scores = features.scores(basis.tilts(features, weights))
            losses[place] += judge.terms(judge.read(scores))[0].sum()
    best = int(losses.argmin())  # the first, and so the largest, of equals
    loss = opinions.loss(features, units)
    weights = list(fitted_path(features, basis, loss, PENALTIES[: best + 1]))[-1]
    return Fitted(basis, weights, PENALTIES[best])


def varied(features: Features, opinions: Opinions, units: Rows) -> bool:
    """Tells whether units are enough to find a scale by."""
    if len(units) < 2:
        return False
    scores = features.scores()[opinions.photos(units)]
    return bool(scores.std() > _SMALLEST_SPREAD * (features.levels[-1] - features.levels[0]))


def folds(count: int, parts: int, seed: int = 0) -> list[Rows]:
    """Divides `count` units at random into parts of nearly equal size; the same numbers give the same parts."""
    order = np.random.default_rng(seed).permutation(count)
    return [np.sort(part) for part in np.array_split(order, min(parts, count))]
