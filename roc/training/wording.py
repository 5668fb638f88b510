"""The words of a run: the question and the answer that the checkpoint declares, and what a tokenizer is built from."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from roc.prompts import IMAGE_PLACEHOLDER, QUESTIONS, SCORE_TOKEN, answer, question
from roc.training.reasoning import is_reasoned
from roc.training.run import RunError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from roc.training.config import RunConfig
    from roc.training.data import RunData

_MOST_TEXTS = 2000


def usual_wording(config: RunConfig, data: RunData) -> dict[str, str | None]:
    """Chooses the question and the answer that the checkpoint declares.

    Returns:
        `question` and `answer`: those of the settings, else those of most training rows with a conversation and no
        critique; None where there is neither, for the built-in ones. `reasoning`: what asks for a critique, None where
        the rows hold none. A critique is of one image and never declared for others. The answer of a backbone, which
        has no words, is its scores alone.
    """
    if config.host == "backbone":
        return {"question": None, "answer": " ".join([SCORE_TOKEN] * len(config.attributes)), "reasoning": None}
    questions, answers = Counter(), Counter()
    for record in data.train:
        if record.conversations is not None and not is_reasoned(record):
            (_, first), (_, reply) = record.conversations[:2]
            if reply.count(SCORE_TOKEN) == len(config.attributes):
                questions[first.replace(IMAGE_PLACEHOLDER, "").strip()] += 1
                answers[reply[: reply.rindex(SCORE_TOKEN) + len(SCORE_TOKEN)].strip()] += 1
    usual = {"question": questions.most_common(1), "answer": answers.most_common(1)}
    wording = {
        name: getattr(config, name) if getattr(config, name) is not None or not found else found[0][0]
        for name, found in usual.items()
    }
    return differing({**wording, "reasoning": data.reasoning}, config.attributes)


def differing(wording: dict[str, str | None], attributes: Sequence[str]) -> dict[str, str | None]:
    """Makes sure that the plain question is another one than that which asks for a critique.

    Args:
        wording: `question` and `reasoning`.
        attributes: Names of the scores.

    Returns:
        The same, with another built-in question where none was given.

    Raises:
        RunError: If the settings or the rows give the same question for both.
    """
    asked = wording["reasoning"]
    if asked is None:
        return wording
    if wording["question"] is None:
        built_in = (question(attributes, number) for number in range(len(QUESTIONS)))
        return {**wording, "question": next(words for words in built_in if words != asked)}
    if wording["question"].strip() == asked:
        raise RunError(
            f"{asked!r} is asked for answers with a critique and for those without; the words decide which of the two "
            "the model gives, so they have to differ: give another --question, or reword the rows"
        )
    return wording


def tokenizer_texts(config: RunConfig, data: RunData) -> list[str]:
    """Collects sentences to train the stand-in's tokenizer on: the wordings, and texts of the training rows."""
    turns = [turn for record in data.train for _, turn in record.conversations or ()]
    comments = [record.comment for record in data.train if record.comment]
    own = [*turns[:_MOST_TEXTS], *comments[:_MOST_TEXTS]]
    return [*QUESTIONS, question(config.attributes), answer(config.attributes), *own]
