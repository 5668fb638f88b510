"""The words of a run: the question and the answer that the checkpoint declares, and what a tokenizer is built from."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from roc.prompts import IMAGE_PLACEHOLDER, QUESTIONS, SCORE_TOKEN, answer, question

if TYPE_CHECKING:
    from roc.training.config import RunConfig
    from roc.training.data import RunData

_MOST_TEXTS = 2000


def usual_wording(config: RunConfig, data: RunData) -> dict[str, str | None]:
    """Chooses the question and the answer that the checkpoint declares.

    Returns:
        `question` and `answer`: those of the settings, else those of most training rows with a conversation; None
        where there is neither, for the built-in ones.
    """
    questions, answers = Counter(), Counter()
    for record in data.train:
        if record.conversations is not None:
            (_, first), (_, reply) = record.conversations[:2]
            if reply.count(SCORE_TOKEN) == len(config.attributes):
                questions[first.replace(IMAGE_PLACEHOLDER, "").strip()] += 1
                answers[reply[: reply.rindex(SCORE_TOKEN) + len(SCORE_TOKEN)].strip()] += 1
    usual = {"question": questions.most_common(1), "answer": answers.most_common(1)}
    return {
        name: getattr(config, name) if getattr(config, name) is not None or not found else found[0][0]
        for name, found in usual.items()
    }


def tokenizer_texts(config: RunConfig, data: RunData) -> list[str]:
    """Collects sentences to train the stand-in's tokenizer on: the wordings, and texts of the training rows."""
    turns = [turn for record in data.train for _, turn in record.conversations or ()]
    comments = [record.comment for record in data.train if record.comment]
    own = [*turns[:_MOST_TEXTS], *comments[:_MOST_TEXTS]]
    return [*QUESTIONS, question(config.attributes), answer(config.attributes), *own]
