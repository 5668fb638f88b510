"""Rewards of answers with a score, as plain functions of the columns of a batch: no model, no trainer.

A batch holds every completion of every picture of a generation, from all processes, a row each. A value is the score
that the head read in the answer, on the unit scale; None is an answer that cannot be read. Such a row gets 0 from
every reward and leaves every mean: no other answer is compared with it. A reward is None where it does not apply to a
row, as where nobody rated the picture.

`rank` asks whether a picture's score stands rightly to those of the other pictures of the batch (FRank), `error` how
near it is to the human score, `binary` whether it is near enough, `format` whether the answer can be read. The defaults
are the formulas of the Aes-R1 paper with two rules of ours, `TIE` and `FLOOR`; `PUBLISHED_RANK` is what its code does.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from statistics import fmean, variance
from typing import Any, NamedTuple

Column = Sequence[float | None]

GAMMA = 1e-6
"""Added to the variances of a comparison."""

TIE = 0.5
"""Wanted outcome between pictures of the same human score: neither is to win. The published code wants both to."""

FLOOR = 0.02
"""Smallest standard deviation of a picture's values in a comparison. Without one, a picture whose values are all equal
beats another one 0.01 away with certainty."""

SIGMA = 0.1
"""Width of the error reward on the unit scale."""

OFFSET = 1e-5
"""Added to the error reward, as published."""

PUBLISHED_RANK: dict[str, Any] = {"tie": 1.0, "floor": 0.0, "smoothing": 1e-6, "digits": 4}
"""Arguments of `rank_rewards` for what the published code computes."""

_PUBLISHED_FORM = re.compile(r"<think>.*?</think>\s*<answer>.*?</answer>", re.DOTALL)


class Moments(NamedTuple):
    """Mean and unbiased variance of the values of a picture that could be read; the variance of one value is 0."""

    mean: float
    variance: float


def moments(values: Column, pictures: Sequence[str]) -> dict[str, Moments]:
    """Computes the moments of every picture with a value that could be read.

    Args:
        values: (B,) on the unit scale, None where the answer cannot be read.
        pictures: (B,) which picture a row is about.
    """
    read: dict[str, list[float]] = {}
    for value, picture in zip(values, pictures, strict=True):
        if value is not None:
            read.setdefault(picture, []).append(value)
    return {name: Moments(fmean(own), variance(own) if len(own) > 1 else 0.0) for name, own in read.items()}


def fidelity(
    value: float,
    own_variance: float,
    other: Moments,
    wanted: float,
    *,
    gamma: float = GAMMA,
    floor: float = FLOOR,
    smoothing: float = 0.0,
) -> float:
    """Tells how well one comparison of two pictures agrees with its wanted outcome.

    `p = Phi((value - mean_other) / sqrt(var_own + var_other + gamma))`, and the result is
    `sqrt(wanted p) + sqrt((1 - wanted) (1 - p))`.

    Args:
        value: Score of the one.
        own_variance: Variance of all its scores.
        other: Moments of the other.
        wanted: 1 where the one is to win, 0 where the other is, 0.5 for a tie.
        gamma: Added to the variances.
        floor: The root is at least that of two pictures with this standard deviation.
        smoothing: Added inside both roots of the result.

    Returns:
        In 0..1; with `smoothing` up to twice its root more.
    """
    spread = math.sqrt(max(own_variance + other.variance + gamma, 2 * floor**2))
    # erfc keeps the tails exact where 1 - p would be 0.
    distance = (value - other.mean) / spread / math.sqrt(2)
    wins, loses = 0.5 * math.erfc(-distance), 0.5 * math.erfc(distance)
    return math.sqrt(wanted * wins + smoothing) + math.sqrt((1 - wanted) * loses + smoothing)


def rank_rewards(
    values: Column,
    targets: Column,
    pictures: Sequence[str],
    datasets: Sequence[str | None],
    *,
    tie: float = TIE,
    gamma: float = GAMMA,
    floor: float = FLOOR,
    smoothing: float = 0.0,
    digits: int | None = None,
) -> list[float | None]:
    """Rewards each answer by its mean `fidelity` to the other pictures of its data set.

    Args:
        values: (B,) on the unit scale, None where the answer cannot be read.
        targets: (B,) human scores on any scale; None for pictures that nobody rated, which are left out.
        pictures: (B,) which picture a row is about.
        datasets: (B,) data set of the picture. Those of different ones are not compared: 0.6 of one need not be better
            than 0.5 of another.
        tie: Wanted outcome between pictures of equal human scores, for either of them.
        gamma, floor, smoothing: As for `fidelity`.
        digits: Decimals that the rewards are rounded to; None does not round.

    Returns:
        (B,) in 0..1: 0 for an answer that cannot be read, or where no other picture could be; None for a picture that
        nobody rated.
    """
    known = moments(values, pictures)
    rated: dict[str | None, dict[str, float]] = {}
    for picture, target, dataset in zip(pictures, targets, datasets, strict=True):
        if target is not None:
            rated.setdefault(dataset, {})[picture] = target
    rewards: list[float | None] = []
    for value, target, picture, dataset in zip(values, targets, pictures, datasets, strict=True):
        if target is None:
            rewards.append(None)
            continue
        others = {name: score for name, score in rated[dataset].items() if name != picture and name in known}
        if value is None or not others:
            rewards.append(0.0)
            continue
        reward = fmean(
            fidelity(
                value,
                known[picture].variance,
                known[name],
                _wanted(target, score, tie),
                gamma=gamma,
                floor=floor,
                smoothing=smoothing,
            )
            for name, score in others.items()
        )
        rewards.append(reward if digits is None else round(reward, digits))
    return rewards


def _wanted(own: float, other: float, tie: float) -> float:
    return tie if math.isclose(own, other, rel_tol=0, abs_tol=1e-9) else float(own > other)


def error_rewards(
    values: Column, targets: Column, *, sigma: float = SIGMA, offset: float = OFFSET, digits: int | None = None
) -> list[float | None]:
    """Rewards each answer by a Gaussian of its error: `exp(-0.5 ((value - target) / sigma)^2) + offset`.

    Args:
        values: (B,) None where the answer cannot be read.
        targets: (B,) human scores on the scale of the values; None for pictures that nobody rated.
        sigma: Width on that scale.
        offset: Added to every reward of an answer that can be read.
        digits: Decimals that the rewards are rounded to; None does not round.

    Returns:
        (B,) in 0..1 and `offset`: 0 for an answer that cannot be read, None for a picture that nobody rated.
    """

    def reward(value: float, target: float) -> float:
        found = math.exp(-0.5 * ((value - target) / sigma) ** 2) + offset
        return found if digits is None else round(found, digits)

    return _each(values, targets, reward)


def binary_rewards(
    values: Column, targets: Column, *, steps: Sequence[tuple[float, float]] = ((0.07, 1.0), (0.1, 0.5))
) -> list[float | None]:
    """Rewards each answer by whether it is near enough to the human score.

    Args:
        values: (B,) on the unit scale, None where the answer cannot be read.
        targets: (B,) human scores on the unit scale; None for pictures that nobody rated.
        steps: `(bound, reward)` pairs, the nearest first: an error below the bound earns the reward. The default is
            that of the published code; the paper speaks of one step.

    Returns:
        (B,) one of the rewards of `steps`, or 0; None for a picture that nobody rated.
    """
    return _each(
        values, targets, lambda value, target: next((won for bound, won in steps if abs(value - target) < bound), 0.0)
    )


def _each(values: Column, targets: Column, reward: Callable[[float, float], float]) -> list[float | None]:
    return [
        None if target is None else 0.0 if value is None else reward(value, target)
        for value, target in zip(values, targets, strict=True)
    ]


def format_rewards(values: Column) -> list[float]:
    """Rewards answers that can be read: 1 where there is a value, else 0.

    A value is only read where the whole answer has its form (`roc.model.reasoned.read_answer`).
    """
    return [float(value is not None) for value in values]


def published_format_rewards(texts: Sequence[str]) -> list[float]:
    """Rewards texts by the published rule: the two blocks and nothing around them, whatever stands in them."""
    return [float(_PUBLISHED_FORM.fullmatch(text) is not None) for text in texts]
