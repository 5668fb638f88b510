"""What rejects a critique: its form and a leaked score by rule, a contradiction and invented facts by a judge.

The rules are strict on purpose: a text that is thrown away costs one more request, one that states its score teaches a
model to copy numbers. So "f/2.8" in the critique of a photo rated 2.8 is a leak too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from roc.prompts import IMAGE_PLACEHOLDER, SCORE_TOKEN
from roc.reasoning.tiers import allowed_tiers
from roc.reasoning.wording import DIMENSIONS
from roc.score_space import ScoreSpace

FEWEST_WORDS = 25
WINDOW = 6
"""Words between a number and a rating word within which the number is a rating."""

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

_NUMBER = r"(?:\d+(?:[.,]\d+)?|zero|two|three|four|five|six|seven|eight|nine|ten)"
_RATING = (
    r"(?:scor(?:es?|ed|ing)|rat(?:es?|ed|ing|ings)|grad(?:es?|ed)|marks?|points?|stars?|mos|quality|aesthetics?|level)"
)
_CLEAR_RATING = r"(?:scor(?:es?|ed|ing)|rat(?:es?|ed|ing|ings)|graded?|stars?)"
_KNOWN = r"(?:hidden|given|provided|assigned|secret|private|confidential|known|actual|true|target|official|stated)"
_LEAKS = (
    rf"\b{_NUMBER}\s*/\s*(?:5|10|100)\b",
    rf"\b{_NUMBER}\s+out\s+of\b",
    r"\bout\s+of\s+(?:a\s+possible\s+|a\s+)?(?:\d+|five|ten|hundred)\b",
    rf"\b{_NUMBER}\s*(?:%|percent\b|per\s+cent\b)",
    rf"\b{_NUMBER}[- ]stars?\b",
    rf"\b{_KNOWN}\s+(?:\w+\s+)?(?:score|rating|grade|tier|label|assessment)s?\b",
    r"\b(?:score|rating|grade|tier|assessment)s?\b(?:\s+\w+){0,3}\s+(?:given|told|provided|assigned|hidden|known)\b",
    r"\b(?:I|we)(?:\s+was|\s+were|\s+am|\s+have\s+been|['’]ve\s+been)\s+(?:given|told|asked|instructed|informed)\b",
    r"\b(?:according\s+to|based\s+on|reflects?|justif(?:y|ies)|matches|in\s+line\s+with)\s+(?:the|its|this|that)\s+"
    r"(?:score|rating|grade)\b",
    r"\bas\s+(?:instructed|requested|told)\b",
    r"\bground[- ]truth\b",
    r"\bmean\s+opinion\b",
)
_LEAK = [re.compile(pattern, re.IGNORECASE) for pattern in _LEAKS]
_WORD = re.compile(r"\d+(?:[.,]\d+)?|[^\W\d_]+")
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
    for pattern in _LEAK:
        found = pattern.search(critique)
        if found:
            return Rejection("leak", found[0])
    for value in (score, space.to_unit(score)):
        for digits in (1, 2):
            text = f"{value:.{digits}f}".replace(".", "[.,]")
            found = re.search(rf"(?<![\d.,]){text}(?!\d|[.,]\d)", critique)
            if found:
                return Rejection("leak", found[0])
    words = _WORD.findall(critique.lower())
    for place, word in enumerate(words):
        if not re.fullmatch(_NUMBER, word):
            continue
        rating = _RATING if word[0].isdigit() else _CLEAR_RATING
        near = words[max(0, place - WINDOW) : place + WINDOW + 1]
        rated = next((other for other in near if re.fullmatch(rating, other)), None)
        if rated:
            return Rejection("leak", f"{word} near {rated!r}")
    return None


def check_tone(named: str, unit: float) -> Rejection | None:
    """Compares the tier that a judge read out of the words with that of the score on the unit scale."""
    allowed = allowed_tiers(unit)
    if named in allowed:
        return None
    return Rejection("contradiction", f"reads as {named}, the score is {' or '.join(sorted(allowed))}")


def check_facts(claims: Sequence[str]) -> Rejection | None:
    """Rejects a critique for which a judge listed unsupported claims."""
    return Rejection("invented", "; ".join(claims)) if claims else None
