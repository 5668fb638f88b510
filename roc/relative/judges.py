"""Judges: whoever says how much better or worse an edit made a picture, behind one small interface.

    class Judge(Protocol):
        name: str
        at_once: int
        def judge(self, pair: Pair, *, swapped: bool) -> Judgement: ...

Each judge sees a pair in both orders. The embedded one knows what the embedded editor did, and errs as much as it is
told, so that agreement can be tried without a model.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Protocol

from roc.data.records import hash_fraction
from roc.relative.agreement import HIGHEST
from roc.relative.wording import VERSION, known_words


@dataclass(frozen=True)
class Pair:
    """A picture before and after an edit.

    Attributes:
        id: Name of the edit.
        before: The picture before, a path.
        after: The picture after.
        instruction: What was asked for.
        category: Kind of edit.
        known: How much better the picture is, where the editor knew.
    """

    id: str
    before: str
    after: str
    instruction: str
    category: str
    known: float | None = None


@dataclass(frozen=True)
class Judgement:
    """What a judge says about two pictures in one order.

    Attributes:
        difference: Points by which the second is better than the first, -10..10.
        words: Why; None for a judge without words.
        spread: Standard deviation of the difference, where the judge has one.
    """

    difference: float
    words: str | None = None
    spread: float | None = None


class JudgeError(RuntimeError):
    """One pair that got no usable judgement; others may still get one."""


class Judge(Protocol):
    """Whoever judges pairs.

    Attributes:
        name: What it is, in records and in the journal.
        identity: What else its judgements depend on: where that is another one, it is asked anew.
        at_once: Pairs that it takes at the same time, each from a thread of its own.
    """

    name: str
    at_once: int

    @property
    def identity(self) -> str:
        """See above."""

    def judge(self, pair: Pair, *, swapped: bool) -> Judgement:
        """Judges a pair.

        Args:
            pair: What to judge.
            swapped: Whether the edited picture comes first.

        Raises:
            JudgeError: This pair got no usable judgement.
            ValueError: No pair will: a wrong key, an unknown model.
        """


class KnownDirection:
    """A `Judge` that knows what the embedded editor did.

    Args:
        spread: Standard deviation of its errors, in points; each judgement has an error of its own.
        at_once: Pairs at the same time.
    """

    def __init__(self, spread: float = 0.0, at_once: int = 1) -> None:
        self.name = f"embedded:{spread:g}" if spread else "embedded"
        self.identity = f"wording {VERSION}"
        self.at_once = at_once
        self._spread = spread

    def judge(self, pair: Pair, *, swapped: bool) -> Judgement:
        """Judges a pair; see `Judge.judge`."""
        if pair.known is None:
            raise ValueError(
                "the judge 'embedded' knows only what the embedded editor did; name other --judges for other editors"
            )
        draw = random.Random(int(hash_fraction(f"{pair.id} {swapped}", self.name) * 2**53))
        shift = draw.gauss(0.0, self._spread) if self._spread else 0.0
        change = max(-HIGHEST, min(HIGHEST, (-pair.known if swapped else pair.known) + shift))
        return Judgement(round(change, 4), known_words(pair.category, change), self._spread)
