"""The temperature of a head: one number that all level logits are divided by, so that distributions fit the votes.

Above 1 it flattens distributions, below 1 it sharpens them; the score stays the mean of the distribution. It minimises
the negative log-likelihood of held-out votes. Where there are only mean ratings, each counts as one vote that is shared
by the two levels beside it, so that the mean of the vote is the rating. Both are proper: no other distribution than the
true one of these votes has a lower expected value. The loss is convex in 1 / temperature, so that the minimum is the
only one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

LIMITS = (0.05, 20.0)
"""Lowest and highest temperature; a fit that ends there has found no minimum."""

_SMALLEST = 1e-30


class Fitted(NamedTuple):
    """A temperature and what it does.

    Attributes:
        temperature: Within `LIMITS`.
        before, after: Mean negative log-likelihood of the votes in nats, at 1 and at this temperature.
    """

    temperature: float
    before: float
    after: float


def shared_vote(rating: float, levels: np.ndarray) -> np.ndarray:
    """Turns a rating into shares (N,) of the two levels beside it whose mean it is.

    Args:
        rating: Native scale; outside the levels, the nearest one counts.
        levels: (N,) ascending.
    """
    shares = np.zeros(len(levels))
    rating = float(np.clip(rating, levels[0], levels[-1]))
    above = int(np.clip(np.searchsorted(levels, rating), 1, len(levels) - 1))
    part = (rating - levels[above - 1]) / (levels[above] - levels[above - 1])
    shares[above - 1], shares[above] = 1 - part, part
    return shares


def tempered(distributions: np.ndarray, temperature: float) -> np.ndarray:
    """Gives the distributions (n, N) that logits divided by a temperature have: p^(1/T), normalised."""
    logits = np.log(np.maximum(distributions, _SMALLEST)) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def log_loss(distributions: np.ndarray, votes: np.ndarray, temperature: float = 1.0) -> float:
    """Computes the mean over rows of -sum_n votes_n log p_n at a temperature, in nats."""
    logits = np.log(np.maximum(distributions, _SMALLEST)) / temperature
    largest = logits.max(axis=1, keepdims=True)
    normalised = logits - largest - np.log(np.exp(logits - largest).sum(axis=1, keepdims=True))
    return float(-(votes * normalised).sum(axis=1).mean())


def fit_temperature(distributions: np.ndarray, votes: np.ndarray) -> Fitted:
    """Finds the temperature at which held-out votes are the most likely.

    Args:
        distributions: (n, N) predicted, at temperature 1.
        votes: (n, N) shares of votes that sum to 1.

    Raises:
        ValueError: If the best one lies at an end of `LIMITS`: the distributions say nothing about the votes, or the
            votes are all where the model says, and no temperature is better than the next.
    """
    from scipy.optimize import minimize_scalar

    ends = np.log(LIMITS)
    found = minimize_scalar(
        lambda log: log_loss(distributions, votes, float(np.exp(log))),
        bounds=tuple(ends),
        method="bounded",
        options={"xatol": 1e-6},
    )
    if min(abs(found.x - ends)) < 1e-3:
        what = "flatter" if found.x > 0 else "sharper"
        raise ValueError(
            f"the {len(votes)} ratings ask for ever {what} distributions (temperature {np.exp(found.x):.3g}); leave "
            "--temperature out"
        )
    temperature = float(f"{np.exp(found.x):.6g}")
    return Fitted(temperature, log_loss(distributions, votes), log_loss(distributions, votes, temperature))
