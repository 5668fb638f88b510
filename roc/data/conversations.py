"""Conversations of a data file: the turns of one sample are read, and their images and scores are counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from roc.data.cells import shown
from roc.data.records import Turn
from roc.prompts import IMAGE_PLACEHOLDER, SCORE_TOKEN

# How the files of LLaVA write an image.
_LLAVA_IMAGE = "<image>"

_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant"}


def read_turns(value: Any, n_images: int, n_scores: int, fault: Callable[[str], None]) -> tuple[Turn, ...] | None:
    """Reads the turns of a sample.

    Args:
        value: what stands under `conversations`, a list of `{"from": "human" or "gpt", "value": "..."}`.
        n_images: number of images of the sample; each has one `<|image|>` in the first question, or none has;
            without any, `<image>` in a question means the same.
        n_scores: number of its scores; each has one `[SCORE]` in the answers.
        fault: is called with everything that is wrong.

    Returns:
        The turns, with `<|image|>` for each image put before the first question where it had none; None where there
        are no turns or they cannot be read.
    """
    if value is None:
        return None
    turns: list[Turn] = []
    for turn in value if isinstance(value, list) else [value]:
        role = _ROLES.get(str(turn.get("from"))) if isinstance(turn, dict) else None
        text = turn.get("value") if isinstance(turn, dict) else None
        if role is None or not isinstance(text, str):
            fault(f'a turn is {shown(turn)}; expected {{"from": "human" or "gpt", "value": "..."}}')
            return None
        turns.append((role, text))
    roles = [role for role, _ in turns]
    if not roles or roles != ["user", "assistant"] * (len(roles) // 2):
        fault(f"the turns are from {', '.join(roles) or 'nobody'}; expected human and gpt by turns, gpt last")
        return None
    if any(SCORE_TOKEN in text for role, text in turns if role == "user"):
        fault(f"{SCORE_TOKEN} stands in a question; it belongs into answers only")
    places = sum(text.count(SCORE_TOKEN) for role, text in turns if role == "assistant")
    if places == 0 and n_scores:
        fault(
            f"the answers hold no {SCORE_TOKEN}, so the score would not be learnt. Write {SCORE_TOKEN} where an answer "
            f"states it ('The quality of the image is {SCORE_TOKEN}.'), or leave the conversations out, so that "
            "question and answer are made from the score: "
            "roc data check FILE --drop conversations --write_good ratings.jsonl"
        )
    elif places != n_scores:
        fault(f"the answers have {places} {SCORE_TOKEN} for {n_scores} scores; there has to be one for each")
    return _with_images(turns, n_images, fault)


def _with_images(turns: list[Turn], n_images: int, fault: Callable[[str], None]) -> tuple[Turn, ...]:
    if IMAGE_PLACEHOLDER not in turns[0][1]:
        asked = {"user": _LLAVA_IMAGE}  # in an answer it is text
        turns = [(role, text.replace(asked.get(role, IMAGE_PLACEHOLDER), IMAGE_PLACEHOLDER)) for role, text in turns]
    first = turns[0][1].count(IMAGE_PLACEHOLDER)
    later = sum(text.count(IMAGE_PLACEHOLDER) for _, text in turns[1:])
    if later:
        fault(f"{IMAGE_PLACEHOLDER} stands after the first question; all images belong into that one")
    elif first == 0:
        turns = [("user", IMAGE_PLACEHOLDER * n_images + turns[0][1]), *turns[1:]]
    elif first != n_images:
        fault(f"the first question has {first} {IMAGE_PLACEHOLDER} for {n_images} images; give one for each")
    return tuple(turns)
