"""Rewards and targets for pictures of one group, of which only the differences are known: a source and its edits.

The reward is relative ranking consistency (RRC): how many of a picture's comparisons with the others of its group come
out as the differences say. It leaves mean and scale of the scores open; rated pictures in the same batches hold them.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Literal, NamedTuple

from roc.policy.rewards import FLOOR, GAMMA, Column, Moments, fidelity, moments

MARGIN = 0.5
"""Smallest gap between the differences of two edits of the same sign for which their order counts: judges compared
each with the source, never one with the other."""

FULL_WEIGHT = 1.0
"""Gap of the differences from which a comparison counts in full."""

DRAW = 0.005
"""Distance of two scores on the unit scale within which neither is better."""

WIDTH = 10.0
"""A difference of this size is the whole unit scale."""

_BOUNDARY = 1e-9
"""Two-decimal differences subtract to 0.4999999999999999."""


class Comparison(NamedTuple):
    """What one picture is compared with.

    Attributes:
        other: The other picture's moments.
        sign: 1 where the picture is to have the higher score, -1 where the other is.
        weight: How much the comparison counts, above 0.
    """

    other: Moments
    sign: int
    weight: float = 1.0


def consistency(value: float, comparisons: Sequence[Comparison], *, tie: float = DRAW) -> float:
    """Computes the share of comparisons that come out right, by weight; half of a draw counts.

    Args:
        value: The picture's score on the unit scale.
        comparisons: At least one.
        tie: Distance within which it is a draw.

    Returns:
        In 0..1.
    """
    won = 0.0
    for other, sign, weight in comparisons:
        gap = value - other.mean
        won += weight * (0.5 if abs(gap) <= tie + 1e-12 else float((gap > 0) == (sign > 0)))
    return won / sum(one.weight for one in comparisons)


def soft_consistency(
    value: float,
    own_variance: float,
    comparisons: Sequence[Comparison],
    *,
    gamma: float = GAMMA,
    floor: float = FLOOR,
) -> float:
    """Computes the mean `fidelity` of the comparisons, by weight; it knows how sure each of them is.

    Args:
        value: The picture's score on the unit scale.
        own_variance: Variance of all its scores.
        comparisons: At least one.
        gamma, floor: As for `roc.policy.rewards.fidelity`.

    Returns:
        In 0..1.
    """
    total = sum(
        weight * fidelity(value, own_variance, other, float(sign > 0), gamma=gamma, floor=floor)
        for other, sign, weight in comparisons
    )
    return total / sum(one.weight for one in comparisons)


def relative_rewards(
    values: Column,
    deltas: Column,
    groups: Sequence[str | None],
    pictures: Sequence[str],
    *,
    form: Literal["hard", "soft"] = "hard",
    tie: float = DRAW,
) -> list[float | None]:
    """Rewards each answer about a picture of a group by its consistency with the group's differences.

    Args:
        values: (B,) on the unit scale, None where the answer cannot be read.
        deltas: (B,) how much better the picture is than the source of its group; 0 for the source itself, None for a
            picture without a group.
        groups: (B,) name of the group, None where there is none.
        pictures: (B,) which picture a row is about.
        form: "hard": `consistency`, "soft": `soft_consistency`.
        tie: For the hard form.

    Returns:
        (B,) in 0..1: 0 for an answer that cannot be read; None where there is no group, or none of its pictures can be
        compared with this one.
    """
    known = moments(values, pictures)
    members = _members(deltas, groups, pictures)
    rewards: list[float | None] = []
    for value, delta, group, picture in zip(values, deltas, groups, pictures, strict=True):
        if group is None or delta is None:
            rewards.append(None)
            continue
        usable = {
            name: other for name, other in members[group].items() if name != picture and order_known(delta, other)
        }
        found = [
            Comparison(known[name], 1 if delta > other else -1, min(1.0, abs(delta - other) / FULL_WEIGHT))
            for name, other in usable.items()
            if name in known
        ]
        if not usable:
            rewards.append(None)
        elif value is None or not found:
            rewards.append(0.0)
        elif form == "hard":
            rewards.append(consistency(value, found, tie=tie))
        else:
            rewards.append(soft_consistency(value, known[picture].variance, found))
    return rewards


def relative_targets(
    values: Column, deltas: Column, groups: Sequence[str | None], pictures: Sequence[str]
) -> list[float | None]:
    """Gives the head something to learn for pictures without a score: the others' mean scores and the differences.

    `target_i` is the mean over the other pictures j of the group of `mean_j + (delta_i - delta_j) / 10`. It moves with
    the scores themselves, so it teaches differences only.

    Args:
        values, deltas, groups, pictures: As for `relative_rewards`.

    Returns:
        (B,) on the unit scale, clipped to 0..1; None where there is no group or no other picture of it has a score.
    """
    known = moments(values, pictures)
    members = _members(deltas, groups, pictures)
    targets: list[float | None] = []
    for delta, group, picture in zip(deltas, groups, pictures, strict=True):
        others = {} if group is None or delta is None else members[group]
        found = [
            known[name].mean + (delta - other) / WIDTH
            for name, other in others.items()
            if name != picture and name in known
        ]
        targets.append(min(1.0, max(0.0, fmean(found))) if found else None)
    return targets


def _members(deltas: Column, groups: Sequence[str | None], pictures: Sequence[str]) -> dict[str, dict[str, float]]:
    """Lists the pictures of each group with their differences."""
    members: dict[str, dict[str, float]] = {}
    for delta, group, picture in zip(deltas, groups, pictures, strict=True):
        if group is not None and delta is not None:
            members.setdefault(group, {})[picture] = delta
    return members


def order_known(delta: float, other: float) -> bool:
    """Tells whether the order of two pictures of a group is known: source and edit always, two edits by their gap.

    Two edits of opposite signs have one, and two of the same sign where their deltas are `MARGIN` apart.
    """
    if delta == other:
        return False
    if delta == 0 or other == 0 or delta * other < 0:
        return True
    return abs(delta - other) >= MARGIN - _BOUNDARY
