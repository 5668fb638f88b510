"""Whether a personal head helps: personal against general score on photos that the head was not fitted on.

Every rating, or pair, is held out once, together with whatever shares a photo with it; the head is fitted anew on the
others, the choice of its penalty included. The interval is that of the difference on the same photos.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy import stats

from roc import __version__
from roc.model.personal import Personal
from roc.personal.features import Array, Features
from roc.personal.fit import fit, folds, varied
from roc.personal.opinions import Opinions, Pairs

RATING_PARTS, PAIR_PARTS = 10, 20
_RESAMPLES, _CHUNKS = 1000, 20
CONFIDENCE = 0.95


class Verdict(NamedTuple):
    """Personal and general score on what was held out.

    Attributes:
        metric: "srcc" of the ratings, or "accuracy": the share of pairs in the right order, ties of the scores as half.
        general, personal: The metric of both.
        low, high: 95% interval of personal minus general.
        held_out: Ratings or pairs that it rests on.
    """

    metric: str
    general: float
    personal: float
    low: float
    high: float
    held_out: int

    @property
    def helps(self) -> bool:
        """Whether the whole interval is above 0."""
        return bool(self.low > 0)

    @property
    def gain(self) -> float:
        """Personal minus general."""
        return self.personal - self.general

    def entry(self, data: str, photos: int, pairs: int) -> Personal:
        """Makes the entry of the head's declaration.

        Args:
            data: Fingerprint of the ratings or pairs, of which 16 characters are kept.
            photos: How many photos they are about.
            pairs: How many pairs there are; 0 where photos were rated one by one.
        """
        return Personal(
            data=data[:16],
            photos=photos,
            pairs=pairs,
            metric=self.metric,
            general=round(self.general, 4),
            personal=round(self.personal, 4),
            low=round(self.low, 4),
            high=round(self.high, 4),
            version=__version__,
        )


def validate(features: Features, opinions: Opinions) -> Verdict:
    """Compares both scores on held-out photos.

    Args:
        features: Of all photos.
        opinions: On them.

    Raises:
        Flat: If the photos do not differ.
    """
    if isinstance(opinions, Pairs):
        return _validate_pairs(features, opinions)
    general, personal = features.scores(), np.empty(len(opinions))
    for held_out in folds(len(opinions), RATING_PARTS):
        head = fit(features, opinions, opinions.apart_from(held_out))
        personal[held_out] = head.scores(features.of(held_out))
    ratings = opinions.values
    low, high = _interval(general, personal, ratings)
    return Verdict("srcc", _srcc(general, ratings), _srcc(personal, ratings), low, high, len(opinions))


def _validate_pairs(features: Features, pairs: Pairs) -> Verdict:
    units = np.arange(len(pairs))
    general = features.scores()
    differences = np.empty(len(pairs))
    for held_out in folds(len(pairs), PAIR_PARTS):
        rest = pairs.apart_from(held_out)
        # Where every other pair shares a photo with these, nothing is left to fit.
        scores = fit(features, pairs, rest).scores(features) if varied(features, pairs, rest) else general
        differences[held_out] = pairs.differences(scores, held_out)
    decided = np.flatnonzero(pairs.wins != 0.5)
    right = [_right(found, pairs.wins)[decided] for found in (pairs.differences(general, units), differences)]
    gains = right[1] - right[0]
    half = dyadic_error(gains, pairs.ends[decided]) * stats.t.ppf((1 + CONFIDENCE) / 2, max(1, len(gains) - 1))
    mean = float(gains.mean())
    before, after = (float(one.mean()) for one in right)
    return Verdict("accuracy", before, after, float(mean - half), float(mean + half), len(gains))


def _right(differences: Array, wins: Array) -> Array:
    """Gives 1 for each pair in the right order, 0 for the wrong one, 0.5 where the scores are equal."""
    return np.where(differences == 0, 0.5, (differences > 0) == (wins > 0.5)).astype(np.float64)


def dyadic_error(values: Array, ends: np.ndarray) -> float:
    """Gives the standard error of a mean over pairs that share photos (Aronow, Samii and Assenova 2015).

    Args:
        values: (m,) of the pairs.
        ends: (m, 2) their photos.

    Returns:
        sqrt(sum over pairs of pairs that share a photo of e_p e_q) / m, e being values minus their mean; never less
        than if the pairs shared none.
    """
    errors = values - values.mean()
    sums = np.bincount(ends.ravel(), weights=np.repeat(errors, 2))
    alone = float(errors @ errors)
    return math.sqrt(max(float(sums @ sums) - alone, alone)) / len(values)


def _srcc(scores: Array, ratings: Array) -> float:
    value = stats.spearmanr(scores, ratings).statistic if np.ptp(scores) > 0 else 0.0
    return float(np.nan_to_num(value))


def _interval(general: Array, personal: Array, ratings: Array) -> tuple[float, float]:
    """Resamples photos; 95% interval of the difference of two SRCC on the same resamples."""
    if np.array_equal(general, personal):
        return 0.0, 0.0

    def gain(*drawn: Array) -> Array:
        first, second, truth = (stats.rankdata(values, axis=1) for values in drawn)
        return _pearson(second, truth) - _pearson(first, truth)

    draws = np.random.default_rng(0).integers(0, len(ratings), (_RESAMPLES, len(ratings)))
    gains = [gain(general[rows], personal[rows], ratings[rows]) for rows in np.array_split(draws, _CHUNKS)]
    low, high = np.quantile(np.concatenate(gains), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def _pearson(x: Array, y: Array) -> Array:
    x, y = (values - values.mean(axis=1, keepdims=True) for values in (x, y))
    spread = np.sqrt((x * x).sum(axis=1) * (y * y).sum(axis=1))
    return np.divide((x * y).sum(axis=1), spread, out=np.zeros_like(spread), where=spread > 0)
