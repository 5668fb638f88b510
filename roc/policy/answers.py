"""The answers of a generation as columns, one row a completion, and what they are rewarded with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from roc.policy.config import Reward
from roc.policy.groups import relative_rewards, relative_targets
from roc.policy.rewards import (
    PUBLISHED_RANK,
    Column,
    binary_rewards,
    error_rewards,
    format_rewards,
    published_format_rewards,
    rank_rewards,
)


@dataclass(frozen=True)
class Answer:
    """One completion and what is known of its picture.

    Attributes:
        value: The score that was read in it, on the unit scale; None where it cannot be read.
        text: The completion.
        kind: "good", or what is wrong with its form (`roc.model.reasoned.WRONG`).
        picture: Id of the record.
        target: Human score on the unit scale; None where nobody rated it.
        dataset: Name of the data set; None where it is not named.
        group: Name of the group; None where there is none.
        delta: How much better the picture is than the source of its group; None where there is no group.
    """

    value: float | None
    text: str
    kind: str
    picture: str
    target: float | None
    dataset: str | None
    group: str | None
    delta: float | None


class Answers:
    """The answers of all pictures of a generation, from all processes, column by column.

    Args:
        rows: In the order of the completions.
    """

    def __init__(self, rows: Sequence[Answer]) -> None:
        self.rows = list(rows)
        self.values: Column = [row.value for row in self.rows]
        self.texts = [row.text for row in self.rows]
        self.pictures = [row.picture for row in self.rows]
        self.targets: Column = [row.target for row in self.rows]
        self.datasets = [row.dataset for row in self.rows]
        self.groups = [row.group for row in self.rows]
        self.deltas: Column = [row.delta for row in self.rows]

    @property
    def errors(self) -> list[float]:
        """Distances of the values that were read from the human scores, on the unit scale."""
        return [
            abs(value - target)
            for value, target in zip(self.values, self.targets, strict=True)
            if value is not None and target is not None
        ]

    def targets_of_the_head(self) -> Column:
        """What the head is to learn: the human score, else what the differences within the group say."""
        relative = relative_targets(self.values, self.deltas, self.groups, self.pictures)
        return [own if own is not None else other for own, other in zip(self.targets, relative, strict=True)]


def _rank(answers: Answers, published: bool) -> Column:
    columns = answers.values, answers.targets, answers.pictures, answers.datasets
    return rank_rewards(*columns, **(PUBLISHED_RANK if published else {}))


def _error(answers: Answers, published: bool) -> Column:
    return error_rewards(answers.values, answers.targets, digits=4 if published else None)


def _binary(answers: Answers, published: bool) -> Column:
    return binary_rewards(answers.values, answers.targets)


def _format(answers: Answers, published: bool) -> Column:
    return published_format_rewards(answers.texts) if published else format_rewards(answers.values)


def _relative(answers: Answers, published: bool) -> Column:
    return relative_rewards(answers.values, answers.deltas, answers.groups, answers.pictures)


def _relative_soft(answers: Answers, published: bool) -> Column:
    return relative_rewards(answers.values, answers.deltas, answers.groups, answers.pictures, form="soft")


_FUNCTIONS: dict[Reward, Callable[[Answers, bool], Column]] = {
    "rank": _rank,
    "error": _error,
    "binary": _binary,
    "format": _format,
    "relative": _relative,
    "relative_soft": _relative_soft,
}
"""Name of a reward -> a function of the answers and of whether it is computed as published."""


def rewards_of(answers: Answers, names: Sequence[Reward], *, published: bool = False) -> dict[str, Column]:
    """Computes rewards by name; None where one does not apply to a row.

    Args:
        answers: All answers of a generation.
        names: Of the rewards (`roc.policy.config.REWARDS`).
        published: Whether ties, smoothing and rounding are those of the published code.
    """
    return {name: _FUNCTIONS[name](answers, published) for name in names}
