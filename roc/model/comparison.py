"""Comparing two pictures in one question: how much better the second is than the first.

The head that reads scores reads the change at `[SCORE]` of an answer of its own, on a range of its own. With its levels
laid over that range, a change is trained as the score at the same place of the scores' range (`Comparison.as_score`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from roc.prompts import SCORE_TOKEN
from roc.score_space import ScoreSpace


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How a model is asked about two pictures, and the range of its answer.

    Attributes:
        question: Asks for the change at once, without placeholders of the pictures, which stand before it.
        answer: How the answer reads, with one `[SCORE]`.
        reasoning: Asks for reasons before the change; None = it gives none.
        low, high: Range of the change, as far below 0 as above.

    Raises:
        ValueError: If a value has the wrong type or contradicts another.
    """

    question: str
    answer: str
    reasoning: str | None = None
    low: float = -10.0
    high: float = 10.0

    def __post_init__(self) -> None:
        for name in ("question", "answer"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name).strip():
                raise ValueError(f"the {name} of comparison is {getattr(self, name)!r}; expected text")
        if self.answer.count(SCORE_TOKEN) != 1:
            raise ValueError(f"the answer of comparison is {self.answer!r}; expected one {SCORE_TOKEN} in it")
        if self.reasoning is not None and (not isinstance(self.reasoning, str) or self.reasoning == self.question):
            raise ValueError(
                f"the reasoning of comparison is {self.reasoning!r}; expected another question than for an answer at "
                "once, or null"
            )
        numbers = all(isinstance(one, int | float) and not isinstance(one, bool) for one in (self.low, self.high))
        if not numbers or not self.low == -self.high < 0:
            raise ValueError(f"the range of comparison is {self.low!r}..{self.high!r}; expected -A..A, A above 0")

    def space(self, num_levels: int) -> ScoreSpace:
        """Range and levels of a change."""
        return ScoreSpace(self.low, self.high, num_levels)

    def as_score(self, delta: float, scores: ScoreSpace) -> float:
        """Gives the score at the place of a change, which the head is trained on."""
        return scores.min_score + scores.width * (delta - self.low) / (self.high - self.low)

    def to_dict(self) -> dict[str, Any]:
        """Gives the fields by name, ready for JSON; `reasoning` only where there is one."""
        values = dataclasses.asdict(self)
        return values if self.reasoning is not None else {k: v for k, v in values.items() if k != "reasoning"}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any] | Any) -> Comparison:
        """Reads back what `to_dict` wrote; other keys, of a later release, are not read.

        Raises:
            ValueError: If a value is missing or not allowed.
        """
        try:
            own = {entry.name for entry in dataclasses.fields(cls)}
            return cls(**{name: value for name, value in dict(values).items() if name in own})
        except TypeError as error:
            raise ValueError(f"config.roc has the comparison {values!r}: {error}") from None
