"""The questions that a model is asked and the wording of its answers.

One sentence holds all scores: "The aesthetic rate of the image is [SCORE], the light rate of the image is [SCORE]."
The head is read at each `[SCORE]`, so the scores are in the order of the attributes. The library itself always asks
wording 0; the others are for data files that vary the question.
"""

from __future__ import annotations

from collections.abc import Sequence

SCORE_TOKEN = "[SCORE]"
"""Placeholder of a score in an answer; one row of the vocabulary (see `roc/model/vocabulary.py`)."""

IMAGE_PLACEHOLDER = "<|image|>"
"""Placeholder of an image in a question, as in the published data files; the collator puts the family's own mark."""

_WORDINGS = (
    "Could you evaluate the {subject} of this image?",
    "How would you rate the {subject} of this image?",
    "Please assess the {subject} of this image.",
    "What is your rating of the {subject} of this image?",
)


def attribute_word(attribute: str) -> str:
    """Returns the word for an attribute in an answer: "overall" is "aesthetic", `depth_of_field` "depth of field"."""
    return "aesthetic" if attribute == "overall" else attribute.replace("_", " ")


def question(attributes: Sequence[str] = ("overall",), wording: int = 0) -> str:
    """Words the question that asks for a score of each attribute.

    Args:
        attributes: Names in the order of the scores in the answer, at least one.
        wording: Index of one of the `len(QUESTIONS)` wordings; 0 is the one used for evaluation.

    Returns:
        One sentence without an image placeholder; the image goes in front of it.

    Raises:
        ValueError: If there is no attribute, or a mark such as `[SCORE]` inside a name.
        TypeError: If it is one name instead of a sequence of names.
    """
    _check_attributes(attributes)
    nouns = ["aesthetics" if attribute == "overall" else attribute_word(attribute) for attribute in attributes]
    subject = nouns[0] if len(nouns) == 1 else f"{', '.join(nouns[:-1])} and {nouns[-1]}"
    return _WORDINGS[wording].format(subject=subject)


def answer(attributes: Sequence[str] = ("overall",), comment: str | None = None) -> str:
    """Words the answer to train on: one clause with one `[SCORE]` per attribute, then the comment.

    Args:
        attributes: Names in the order of the scores, at least one.
        comment: A rater's words, put after the sentence; None or blank leaves them out.

    Returns:
        For ("overall", "light"): "The aesthetic rate of the image is [SCORE], the light rate of the image is [SCORE]."

    Raises:
        ValueError: If there is no attribute, or a mark such as `[SCORE]` inside a name or the comment, since a score is
            read at every mark in an answer.
        TypeError: If it is one name instead of a sequence of names.
    """
    _check_attributes(attributes)
    clauses = ", ".join(
        f"the {attribute_word(attribute)} rate of the image is {SCORE_TOKEN}" for attribute in attributes
    )
    sentence = f"T{clauses[1:]}."
    if comment is None or not comment.strip():
        return sentence
    _check_no_marks(comment, "comment")
    return f"{sentence} {comment.strip()}"


def _check_attributes(attributes: Sequence[str]) -> None:
    if isinstance(attributes, str):
        raise TypeError(
            f"attributes: expected a sequence of names, got the text {attributes!r}; write [{attributes!r}]"
        )
    if not attributes:
        raise ValueError("attributes: expected at least one name, got none")
    for attribute in attributes:
        _check_no_marks(attribute, "attribute name")


def _check_no_marks(text: str, what: str) -> None:
    for mark in (SCORE_TOKEN, IMAGE_PLACEHOLDER):
        if mark in text:
            raise ValueError(
                f"the {what} {text!r} contains {mark}, which is reserved for the model; remove it from the text"
            )


QUESTIONS = tuple(question(wording=wording) for wording in range(len(_WORDINGS)))
"""Every wording of the question for the overall score; the first is the one the library asks."""
