"""Judges of an edit: what one says, when all of them together count, and how far they agree before any are left out.

A difference is that of the edited picture over its source, in points of a scale of 0..10: positive where the edit made
it better.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from statistics import median, stdev
from typing import NamedTuple

HIGHEST = 10.0
"""Largest difference, of the best picture over the worst."""

SAME = 0.005
"""A difference below this has no direction: deltas are written with two decimals."""


class Verdict(NamedTuple):
    """What the judges of one pair come to.

    Attributes:
        direction: 1 better, -1 worse, 0 where they are not unanimous or see no change.
        delta: The median of the differences; None without a direction.
        spread: Standard deviation of the differences; None for one judge.
    """

    direction: int
    delta: float | None
    spread: float | None

    @property
    def unanimous(self) -> bool:
        """Whether all judges see the change in one direction."""
        return self.direction != 0


class Agreement(NamedTuple):
    """How far judges agree on directions (better, worse, no change).

    Attributes:
        pairs: Number of pairs that every judge judged.
        pairwise: (judge, judge) -> share of these pairs on which both say the same.
        kappa: Fleiss' kappa: 1 for full agreement, 0 for what chance gives; None where chance alone gives all of it,
            or there are no two judges.
        unanimous: Share of the pairs on which all see one direction, "no change" not counted.
    """

    pairs: int
    pairwise: Mapping[tuple[str, str], float]
    kappa: float | None
    unanimous: float | None


def unbiased(forward: float, backward: float) -> float:
    """Combines what a judge says in both orders, `(d_AB - d_BA) / 2`: a liking for the first picture cancels out."""
    return (forward - backward) / 2


def direction(difference: float) -> int:
    """Gives the sign of a difference: 1, -1 or 0."""
    return 0 if abs(difference) < SAME else int(math.copysign(1, difference))


def verdict(differences: Sequence[float]) -> Verdict:
    """Combines what several judges say.

    Args:
        differences: One a judge, in any order; at least one.
    """
    signs = {direction(difference) for difference in differences}
    spread = stdev(differences) if len(differences) > 1 else None
    if len(signs) != 1 or 0 in signs:
        return Verdict(0, None, spread)
    return Verdict(signs.pop(), median(differences), spread)


def agreement(judged: Sequence[Mapping[str, float]]) -> Agreement:
    """Measures how far judges agree, before any pair is left out.

    Args:
        judged: For each pair, judge -> difference. Pairs that lack a judge of another pair do not count.
    """
    judges = list(dict.fromkeys(judge for pair in judged for judge in pair))
    signs = [[direction(pair[judge]) for judge in judges] for pair in judged if len(pair) == len(judges)]
    if not signs:
        return Agreement(0, {}, None, None)
    pairwise = {
        (judges[one], judges[other]): sum(row[one] == row[other] for row in signs) / len(signs)
        for one, other in itertools.combinations(range(len(judges)), 2)
    }
    counts = [[row.count(value) for value in (-1, 0, 1)] for row in signs]
    same = sum(len(set(row)) == 1 and row[0] != 0 for row in signs) / len(signs)
    return Agreement(len(signs), pairwise, fleiss_kappa(counts), same)


def fleiss_kappa(counts: Sequence[Sequence[int]]) -> float | None:
    """Computes Fleiss' kappa.

    Args:
        counts: (items, categories): how many judges put the item into the category, the same number for every item.

    Returns:
        At most 1; None for fewer than two judges, or where all judges name one category all the time.

    Raises:
        ValueError: For no item, or items with different numbers of judges.
    """
    totals = {sum(row) for row in counts}
    if len(totals) != 1:
        raise ValueError(f"the items have {sorted(totals) or 'no'} judges; expected the same number for each")
    judges = totals.pop()
    if judges < 2:
        return None
    observed = math.fsum((sum(n * n for n in row) - judges) / (judges * (judges - 1)) for row in counts) / len(counts)
    shares = [sum(column) / (judges * len(counts)) for column in zip(*counts, strict=True)]
    chance = math.fsum(share**2 for share in shares)
    return None if math.isclose(chance, 1) else (observed - chance) / (1 - chance)


def edit_quality(success: float, restraint: float, naturalness: float, cleanness: float) -> float:
    """Combines the four marks of an edit check as VIEScore does: the root of the product of the lower ones.

    Args:
        success: Whether the edit did what was asked for, 0..10.
        restraint: Whether it did no more than that, 0..10.
        naturalness: Whether the picture looks natural, 0..10.
        cleanness: Whether it is free of artefacts, 0..10.

    Returns:
        In 0..10.

    Raises:
        ValueError: For a mark outside 0..10.
    """
    marks = (success, restraint, naturalness, cleanness)
    if not all(0 <= mark <= 10 for mark in marks):
        raise ValueError(f"the marks are {', '.join(f'{mark:g}' for mark in marks)}; expected numbers in 0..10")
    return math.sqrt(min(success, restraint) * min(naturalness, cleanness))
