"""The words of pairs: what a model is asked about an edit, what it answers, and how a known edit is put into words.

A change is looked at under eight headings, and summed up. The wording is ours; `VERSION` is raised whenever it changes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from roc.model.reasoned import reasoned_answer
from roc.prompts import IMAGE_PLACEHOLDER, SCORE_TOKEN
from roc.relative.agreement import HIGHEST

if TYPE_CHECKING:
    from roc.model.declaration import Declaration

VERSION = 1

HEADINGS = (
    "Composition and framing",
    "Lighting and exposure",
    "Colour quality",
    "Sharpness and clarity",
    "Subject emphasis",
    "Background and distractions",
    "Emotional impact and appeal",
    "Coherence and finish",
)

_SCALE = f"on a scale from -{HIGHEST:g} (far worse) over 0 (no change) to {HIGHEST:g} (far better)"
_THINK = "Think about it under eight headings first, then give the number."

PAIR_QUESTION = (
    f"{IMAGE_PLACEHOLDER}{IMAGE_PLACEHOLDER}The second photo is the first one with a change. How much better or worse "
    f"does it look, {_SCALE}?"
)
"""Asks about two pictures that are both shown."""


def pair_question(*, words: bool) -> str:
    """Asks how much better the second of two photos is."""
    return f"{PAIR_QUESTION} {_THINK}" if words else PAIR_QUESTION


def edit_question(instruction: str, *, words: bool) -> str:
    """Asks how much better a photo will be after an edit that is only told."""
    planned = f'{IMAGE_PLACEHOLDER}This photo is to be edited: "{instruction}"'
    asked = f"{planned} How much better or worse will it look, {_SCALE}?"
    return f"{asked} {_THINK}" if words else asked


def answer(words: str | None) -> str:
    """Words an answer about a change: with the thoughts behind it, or the number alone."""
    return f"The change is {SCORE_TOKEN}." if not words else reasoned_answer(words)


def photo_question(declaration: Declaration) -> str:
    """Asks for the score of one photo with thoughts first; for a checkpoint that declares no such question."""
    low, high = declaration.space.range
    return f"How good does this photo look, on a scale from {low:g} to {high:g}? {_THINK}"


_SEEN: dict[str, tuple[str, str, str]] = {
    # heading that a kind of edit shows under, and what is seen of it when it is there more and when it is there less
    "exposure": ("Lighting and exposure", "the exposure is off, with detail lost", "the exposure is balanced"),
    "contrast": ("Lighting and exposure", "the tones are out of balance", "the tones are well spread"),
    "white_balance": ("Colour quality", "a cast lies over the colours", "the colours are neutral"),
    "saturation": ("Colour quality", "the strength of the colours is unnatural", "the colours are natural"),
    "blur": ("Sharpness and clarity", "the detail is blurred", "the detail is clear"),
    "sharpening": ("Sharpness and clarity", "edges have hard halos", "edges are clean"),
    "noise": ("Sharpness and clarity", "grain covers the detail", "surfaces are clean"),
    "vignette": ("Lighting and exposure", "the light falls unevenly over the frame", "the light is even"),
    "tilt": ("Composition and framing", "the frame is tilted", "the frame is level"),
    "framing": ("Composition and framing", "the subject is badly placed", "the subject is well placed"),
    "compression": ("Coherence and finish", "blocks and smears show", "the picture is clean"),
    "clutter": ("Background and distractions", "loud things draw the eye away", "nothing distracts"),
}


def known_words(category: str, change: float) -> str:
    """Puts a known change into words: what is seen under its heading, and that the others stay as they are.

    Args:
        category: Kind of the edit.
        change: Points by which the second picture is better than the first.
    """
    heading, worse, better = _SEEN[category]
    size = abs(change)
    much = "hardly" if size < 0.25 else "a little" if size < 1 else "clearly" if size < 2 else "much"
    way = "better" if change > 0 else "worse" if change < 0 else "no different"
    lines = []
    for one in HEADINGS:
        if one == heading and change:
            lines.append(f"{one}: {much} {way}, in the second photo {better if change > 0 else worse}.")
        else:
            lines.append(f"{one}: no change.")
    summed = "no different" if not change else f"{much} {way}"
    return " ".join([*lines, f"Conclusion: the second photo is {summed}."])


VOTE_QUESTION = (
    "How good is this photo aesthetically? Look at its composition, its subject, its light and its mood, not at "
    "technical values. Give one number from 0 (very bad) to 10 (outstanding), with two decimals, between <answer> and "
    "</answer>."
)
"""Asks a chat model how good a photo is."""

JUDGE_QUESTION = (
    "You see two photos, the first photo and then the second photo. They show the same scene, and one was made of the "
    "other by an edit; you are not told which. How does the aesthetic quality change from the first photo to the "
    f"second? Write a sentence or two under each of these headings: {'; '.join(HEADINGS)}. Then a conclusion that "
    'starts with "Conclusion:". Write all of that between <think> and </think>, without any number, and then the '
    f"change as one number from -{HIGHEST:g} to {HIGHEST:g} with two decimals between <answer> and </answer>: above 0 "
    "where the second photo is better, below 0 where it is worse, 0 where there is no difference."
)
"""Asks a chat model how much better the second of two pictures is."""

_ANSWER = re.compile(r"<answer>\s*([+\u2212-]?\d+(?:[.,]\d+)?)\s*(?:/\s*10)?\s*</answer>")
_MARKS = re.compile(r"</?(?:think|answer)>|" + re.escape(SCORE_TOKEN) + "|" + re.escape(IMAGE_PLACEHOLDER))


def read_number(text: str) -> float | None:
    """Reads the number of an answer; None where there is none, or more than one."""
    found = _ANSWER.findall(text)
    return float(found[0].replace("\u2212", "-").replace(",", ".")) if len(found) == 1 else None


def read_words(text: str) -> str | None:
    """Reads what stands before the answer, on one line; None where nothing does."""
    words = " ".join(_MARKS.sub(" ", text.partition("<answer>")[0]).split())
    return words or None
