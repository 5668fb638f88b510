"""What rejects a critique: its form and a leaked score by rule, a contradiction and invented facts by a judge."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from roc.model.stated_score import stated_score
from roc.prompts import IMAGE_PLACEHOLDER, SCORE_TOKEN
from roc.reasoning.tiers import allowed_tiers
from roc.reasoning.wording import DIMENSIONS
from roc.score_space import ScoreSpace

FEWEST_WORDS = 25
REASONS = {
    "form": "too short, cut, an aspect missing, or marks that belong to the answer",
    "leak": "states a score, or that one was known",
    "contradiction": "reads as another tier than that of the score",
    "invented": "claims what the photo does not show",
    "unjudged": "the judge gave no readable verdict",
    "surplus": "fit for use, but its tier has more texts than the others",
    "unread": "the row of the file could not be read as a critique with a score",
}
"""Why a text is rejected, and what that means."""

_MENTIONED = {
    "light and shadow": r"\b(?:lights?|lighting|lit|shadows?)\b",
    "mood and narrative": r"\b(?:moods?|narratives?|story|stories|atmosphere|emotion(?:s|al)?)\b",
    "composition": r"\b(?:composition(?:s|al)?|composed|framing|framed)\b",
    "colour": r"\b(?:colou?rs?|colou?red|colou?rful|colou?ring|palette|hues?|monochrome|black[- ]and[- ]white)\b",
    "exposure": r"\b(?:exposures?|(?:over|under)?-?exposed|highlights)\b",
}

_MARKS = re.compile(rf"</?(?:think|answer)>|{re.escape(SCORE_TOKEN)}|{re.escape(IMAGE_PLACEHOLDER)}", re.IGNORECASE)


@dataclass(frozen=True)
class Rejection:
    """Why a critique is not used.

    Attributes:
        reason: A key of `REASONS`.
        detail: The words at fault, or what was missing.
    """

    reason: str
    detail: str


def check_form(critique: str, *, cut: bool = False, aspects: Sequence[str] = DIMENSIONS) -> Rejection | None:
    """Checks what can be seen without knowing the photo.

    Args:
        critique: The text.
        cut: Whether the author reached the limit of tokens.
        aspects: Keys of `DIMENSIONS` that it has to speak of.
    """
    if cut:
        return Rejection("form", "cut at the limit of tokens; give a larger --max_tokens")
    marks = _MARKS.search(critique)
    if marks:
        return Rejection("form", f"holds {marks[0]}, which belongs to the answer")
    words = len(critique.split())
    if words < FEWEST_WORDS:
        return Rejection("form", f"{words} words, expected at least {FEWEST_WORDS}")
    missing = [name for name in aspects if not re.search(_MENTIONED[name], critique, re.IGNORECASE)]
    return Rejection("form", f"says nothing of {', '.join(missing)}") if missing else None


def check_leak(critique: str, score: float, space: ScoreSpace) -> Rejection | None:
    """Looks for the score, any other rating in numbers, and words that tell of one that was known.

    Args:
        critique: The text.
        score: The photo's score on the native scale.
        space: That scale.
    """
    found = stated_score(critique, score, space)
    return None if found is None else Rejection("leak", found)


def check_tone(named: str, unit: float) -> Rejection | None:
    """Compares the tier that a judge read out of the words with that of the score on the unit scale."""
    allowed = allowed_tiers(unit)
    if named in allowed:
        return None
    return Rejection("contradiction", f"reads as {named}, the score is {' or '.join(sorted(allowed))}")


def check_facts(claims: Sequence[str]) -> Rejection | None:
    """Rejects a critique for which a judge listed unsupported claims."""
    return Rejection("invented", "; ".join(claims)) if claims else None
