"""The pairs of photos that a personal head is least sure of: those whose outcome would teach it most.

The probability that one photo beats another rests on the difference of their personal scores and on how uncertain the
head still is about that difference: close scores that depend on what no opinion has settled yet come first.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import NamedTuple

import numpy as np

from roc.personal.features import Array, Features
from roc.personal.fit import Basis, Fitted
from roc.personal.opinions import Opinions, Pairs

FIRST_PENALTY = 10.0
"""Of the prior where there are no opinions, or where they gave an infinite one."""


class Question(NamedTuple):
    """A pair of photos to compare.

    Attributes:
        first, second: Their places.
        probability: That the second is better, 0..1.
    """

    first: int
    second: int
    probability: float


def least_sure(
    features: Features, opinions: Opinions | None, head: Fitted | None, asked: Collection[frozenset[int]], count: int
) -> list[Question]:
    """Chooses pairs to ask about, the least sure first, no photo twice.

    Args:
        features: Of all photos.
        opinions: Those there are; None = none yet.
        head: Fitted to them; None = none yet.
        asked: Pairs not to ask about again.
        count: How many at most.

    Raises:
        Flat: If the photos do not differ.
    """
    basis = Basis.of(features) if head is None else head.basis
    tilts = None if head is None else basis.tilts(features, head.weights)
    scores, speeds = features.moved(tilts)
    moves = features.moves(speeds, basis.reach * (features.hidden @ basis.directions))  # (n, d)
    scale = 1.0 / features.scores().std()
    if isinstance(opinions, Pairs):
        scale *= opinions.slope(features, np.arange(len(opinions)))
    odds = scale * (scores[None, :] - scores[:, None])
    variances = scale**2 * _variances(features, opinions, head, scores, moves)
    odds = odds / np.sqrt(1 + math.pi / 8 * variances)  # MacKay's probit approximation
    order = np.argsort(np.abs(odds), axis=None, kind="stable")
    found: list[Question] = []
    used: set[int] = set()
    for first, second in zip(*np.unravel_index(order, odds.shape), strict=True):
        pair = (int(first), int(second))
        if first >= second or used & {*pair} or frozenset(pair) in asked:
            continue
        found.append(Question(*pair, float(1 / (1 + np.exp(-odds[pair])))))
        used |= {*pair}
        if len(found) == count:
            break
    return found


def _variances(
    features: Features, opinions: Opinions | None, head: Fitted | None, scores: Array, moves: Array
) -> Array:
    """Gives the (n, n) variances of differences of scores, by the curvature of loss and prior at the head."""
    penalty = FIRST_PENALTY if head is None or not math.isfinite(head.penalty) else head.penalty
    curvature = penalty * np.eye(moves.shape[1])
    if opinions is not None:
        loss = opinions.loss(features, np.arange(len(opinions)))
        curves = loss.terms(loss.read(scores))[2]
        known = loss.read(moves)
        curvature += (known.T * curves) @ known
    spread = np.linalg.solve(np.linalg.cholesky(curvature), moves.T).T  # (n, d)
    lengths = (spread**2).sum(axis=1)
    return np.maximum(lengths[:, None] + lengths[None, :] - 2 * spread @ spread.T, 0.0)
