"""Authors that need no model: they choose among sentences of which they can tell where they are true.

A critique is one sentence for each dimension, chosen among those that hold for the picture, and a judgement in the tone
of the score. The tone is judged by the words of the judgement, the facts by looking up every known sentence. So the
filters are real, but know these sentences alone: texts of other authors pass such a judge of facts wherever they speak
of something else.
"""

from __future__ import annotations

import hashlib
import random
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from roc.endpoints.chat import Reply
from roc.reasoning.authors import Request
from roc.reasoning.tiers import TIERS

Seen = TypeVar("Seen")
"""What an author knows of a picture."""


@dataclass(frozen=True)
class Sentence(Generic[Seen]):
    """A sentence of a critique, with names in braces to be filled in, and when it is true."""

    words: str
    holds: Callable[[Seen], bool]

    @property
    def pattern(self) -> re.Pattern[str]:
        """Finds the sentence in a text, whatever it names."""
        return re.compile(re.sub(r"\\{\w+\\}", "[a-z ]+", re.escape(self.words)), re.IGNORECASE)


JUDGEMENTS = {
    "good": (
        "Taken together it is a strong picture that rewards a long look.",
        "All in all the photo succeeds, and beautifully so.",
        "On balance this is an excellent piece of work.",
    ),
    "fair": (
        "Taken together it is a decent picture that does not stay in mind.",
        "All in all the photo is middling, with as much to keep as to mend.",
        "On balance this is adequate work and unremarkable.",
    ),
    "bad": (
        "Taken together it is a weak picture that does not hold the eye.",
        "All in all the photo fails, and asks to be taken again.",
        "On balance this is a poor piece of work.",
    ),
}
"""Tier -> the sentences that close a critique."""

_TONE_WORDS = {
    "good": r"strong|excellent|succeeds|beautiful(?:ly)?|striking|outstanding|compelling|impressive|superb",
    "fair": r"decent|middling|adequate|unremarkable|passable|acceptable|average|ordinary|mixed",
    "bad": r"weak|poor|fails|failed|disappointing|unsuccessful|dull|careless|flawed",
}


class SentenceAuthor(ABC, Generic[Seen]):
    """An `Author` that knows some sentences; the same request gets the same words.

    Attributes:
        sentences: Dimension -> its sentences; at least one of them holds for every picture.
    """

    name: str
    at_once = 1
    sentences: Mapping[str, tuple[Sentence[Seen], ...]]

    @abstractmethod
    def look(self, path: str) -> Seen:
        """Finds out what the sentences depend on.

        Raises:
            ImageError: If the picture cannot be opened.
            ValueError: If the author knows nothing of such pictures.
        """

    def names(self, seen: Seen) -> Mapping[str, str]:
        """Returns the words that the sentences leave open; none here."""
        return {}

    def unsupported(self, critique: str, seen: Seen) -> list[str]:
        """Lists what a critique claims and the picture does not show."""
        known = [one for sentences in self.sentences.values() for one in sentences if not one.holds(seen)]
        return [found[0] for one in known for found in one.pattern.finditer(critique)]

    def ask(self, request: Request) -> Reply:
        """Answers a request.

        Raises:
            ImageError, ValueError: As `look`.
        """
        if request.kind == "tone":
            return Reply(_tone(request.critique))
        seen = self.look(request.photo.path)
        if request.kind == "facts":
            claims = self.unsupported(request.critique, seen)
            return Reply("\n".join(f"- {claim}" for claim in claims) or "NONE")
        name = f"{request.photo.id}\0{request.attempt}"
        rng = random.Random(hashlib.sha256(name.encode()).digest())
        names = self.names(seen)
        words = [
            rng.choice([one for one in sentences if one.holds(seen)]).words.format(**names)
            for sentences in self.sentences.values()
        ]
        return Reply(" ".join([*words, rng.choice(JUDGEMENTS[request.photo.tier])]))


def _tone(critique: str) -> str:
    """Names the tier of the last sentence, or of the whole text where that does not tell; else it says "unclear"."""
    sentences = [one for one in re.split(r"(?<=[.!?])\s+", critique.strip()) if one]
    for text in (sentences[-1] if sentences else "", critique):
        counts = {tier: len(re.findall(rf"\b(?:{_TONE_WORDS[tier]})\b", text, re.IGNORECASE)) for tier in TIERS}
        best = max(counts.values())
        named = [tier for tier in TIERS if counts[tier] == best]
        if best and len(named) == 1:
            return named[0]
    return "unclear"
