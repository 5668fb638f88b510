"""What authors are asked, how their answers are read, and the question under which a critique is taught.

The score is shown to the writer alone, so that the text fits it; the answer that is taught (roc/model/reasoned.py)
holds `[SCORE]` in its place. The judge of the tone sees the words only, the judge of the facts picture and words.
"""

from __future__ import annotations

import re

from roc.prompts import IMAGE_PLACEHOLDER
from roc.reasoning.tiers import TIERS

DIMENSIONS = ("light and shadow", "mood and narrative", "composition", "colour", "exposure")
"""What a critique speaks of, in this order."""

VERSION = 1
"""Raised whenever a prompt changes its meaning."""

_TONES = {
    "bad": "critical: weaknesses prevail, and the closing judgement says plainly that the photo does not succeed",
    "fair": "balanced: strengths and weaknesses weigh about the same, and the closing judgement is that the photo is "
    "decent but unremarkable",
    "good": "appreciative: strengths prevail, weaknesses are named where there are any, and the closing judgement is "
    "that the photo succeeds",
}


def writing_prompt(score: float, scale: tuple[float, float], tier: str) -> str:
    """Words the request for a critique.

    Args:
        score: The photo's score on the native scale.
        scale: Lowest and highest score of that scale.
        tier: The score's tier, which decides the tone.
    """
    return (
        "You are an experienced photo editor who explains how well photographs work. Write a critique of the photo "
        f"above.\n\nFor your eyes only: viewers gave it {score:.2f} on a scale from {scale[0]:g} to {scale[1]:g}. Your "
        "text has to lead to a judgement that agrees with this, but it must read as your own view: never state a "
        "number, a grade, a percentage or a number of stars, and never mention that an assessment was known to you.\n\n"
        f"Cover all five aspects, one or two sentences each: {'; '.join(DIMENSIONS)}. Name each aspect by its word. "
        "Point at what is visible; mention nothing that the photo does not show. Close with one sentence of overall "
        f"judgement. The tone is {_TONES[tier]}.\n\nAnswer with the critique alone, as one paragraph of plain text."
    )


def tone_prompt(critique: str) -> str:
    """Words the request to tell from a critique alone how good its photo is."""
    return (
        "Below is a critique of a photo that you cannot see. From its words alone, how good does its author find the "
        "photo: bad, fair or good?\n\nCritique:\n"
        f"{critique}\n\nAnswer with one word: bad, fair or good."
    )


def facts_prompt(critique: str) -> str:
    """Words the request to list what a critique claims and the picture does not show."""
    return (
        "Below is a critique of the photo above. List every object, person, place, text or visible property that it "
        "claims and that the photo does not show. Opinions are not claims. Where you are not sure, do not list it.\n\n"
        f"Critique:\n{critique}\n\n"
        "Answer with one line for each such claim, beginning with '- ', or with the single word NONE."
    )


def read_tone(reply: str) -> str | None:
    """Reads the tier out of a judge's reply; None where it does not name exactly one."""
    found = {word for word in re.findall(r"[a-z]+", reply.lower()) if word in TIERS}
    return found.pop() if len(found) == 1 else None


def read_claims(reply: str) -> list[str] | None:
    """Reads unsupported claims out of a judge's reply, [] for none; None where the reply is neither a list nor NONE."""
    lines = [line.strip() for line in reply.strip().splitlines() if line.strip()]
    if len(lines) == 1 and lines[0].strip("*.\"' ").upper() == "NONE":
        return []
    claims = [line.lstrip("-*• ").strip() for line in lines if line[0] in "-*•"]
    return claims if lines and len(claims) == len(lines) and all(claims) else None


def question(scale: tuple[float, float]) -> str:
    """Words the question of a record: the image, what to think about, and the form of the answer."""
    return (
        f"{IMAGE_PLACEHOLDER}How would you rate the aesthetics of this image on a scale from {scale[0]:g} to "
        f"{scale[1]:g}? Think first about {', '.join(DIMENSIONS[:-1])} and {DIMENSIONS[-1]}. Write your thoughts "
        "between <think> and </think>, then the score between <answer> and </answer>, each once and nothing outside."
    )
