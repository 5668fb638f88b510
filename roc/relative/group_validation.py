"""Validation on groups: does a model that writes its answers put the pictures of held-out groups into their order?

Nobody has to have rated anything. Of the source and its edits, each two whose order is known count; a picture without a
readable answer loses all of its comparisons.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import combinations
from statistics import pstdev
from typing import TYPE_CHECKING, Any

from roc.data.records import Record, hash_fraction
from roc.policy.data import delta_of
from roc.policy.groups import order_known
from roc.training.processes import divided
from roc.training.reasoning import Written

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from roc.score_space import ScoreSpace
    from roc.scoring.results import Reasoned

CHOSEN_BY = "pair_accuracy"
"""Metric that chooses the best state: the share of comparisons within groups that come out right."""


def some_groups(records: Sequence[Record], count: int) -> list[Record]:
    """Chooses whole groups, by a hash of their names, with so many pictures at most, and one group at least."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        if record.group is not None:
            groups.setdefault(record.group, []).append(record)
    chosen: list[Record] = []
    for name in sorted(groups, key=lambda name: hash_fraction(name, "groups")):
        if len(groups[name]) > 1 and (not chosen or len(chosen) + len(groups[name]) <= count):
            chosen += groups[name]
    return chosen


def compared(values: Sequence[float | None], records: Sequence[Record]) -> tuple[float, int]:
    """Counts comparisons within groups.

    Args:
        values: (n,) score of each picture; None where its answer cannot be read.
        records: Of these pictures, with group and edit.

    Returns:
        (right, compared): a draw is half right, a picture without a score is wrong in all of its comparisons.
    """
    members: dict[str, list[tuple[float, float | None]]] = {}
    for value, record in zip(values, records, strict=True):
        members.setdefault(record.group, []).append((delta_of(record), value))
    right, count = 0.0, 0
    for own in members.values():
        for (delta, value), (other_delta, other) in combinations(own, 2):
            if not order_known(delta, other_delta):
                continue
            count += 1
            if value is not None and other is not None:
                right += 0.5 if value == other else float((value > other) == (delta > other_delta))
    return right, count


class GroupValidation(Written):
    """Validation on what a model writes about the pictures of held-out groups; the arguments are those of `Written`."""

    def measure(self, model: PreTrainedModel) -> dict[str, float]:
        """Has the model write and compares; every process has to call it, and does a part of the pictures.

        Returns:
            As `group_metrics`.
        """
        written = divided(partial(self.written, model), self.records)
        return group_metrics(self.records, written, model.score_space)


def group_metrics(
    records: Sequence[Record], answers: Sequence[Sequence[Reasoned]], space: ScoreSpace
) -> dict[str, float]:
    """Measures answers about the pictures of groups.

    Args:
        records: The pictures.
        answers: One about each.
        space: The native scale of their scores.

    Returns:
        `pair_accuracy`; `compared`, how many comparisons it rests on; `n`, pictures; `readable`, `words` and
        `wrong/<kind>` as `roc.evaluation.reasoned.reasoned_metrics` gives them; `spread`, the standard deviation of the
        scores on the unit scale, which goes to 0 where the scale collapses; without any score there is none.
    """
    from roc.evaluation.reasoned import answer_metrics
    from roc.model.reasoned import GOOD

    values = [None if few[0].score is None else few[0].score.value for few in answers]
    right, count = compared(values, records)
    metrics: dict[str, Any] = {"n": len(values), "compared": count, CHOSEN_BY: right / count if count else 0.0}
    counted = answer_metrics(answers)
    metrics |= {name: counted[name] for name in ("readable", "words")}
    metrics |= {f"wrong/{kind}": number for kind, number in counted["answers"].items() if kind != GOOD}
    read = [space.to_unit(value) for value in values if value is not None]
    return metrics | ({"spread": pstdev(read)} if read else {})
