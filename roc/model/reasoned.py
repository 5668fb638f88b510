"""Answers of a model that reasons: a critique, then the score, and what can be wrong with one.

    <think>Soft light from the left, a calm composition ...</think><answer>[SCORE]</answer>

The number is read by the score head at `[SCORE]`, given the critique before it, so nothing has to be parsed. A text of
another form has no score: it is counted by its kind and never guessed at.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from roc.prompts import SCORE_TOKEN

GOOD = "good"

WRONG = {
    "cut": "cut at the length",
    "no_answer": "no </answer>",
    "two_answers": "two answers",
    "score_outside": "[SCORE] outside of the answer",
    "no_score": "no [SCORE] in the answer",
    "no_critique": "empty critique",
    "malformed": "other text around the tags",
}
"""Each kind of wrong answer in words, in the order in which they are looked for: a text is of the first that fits."""

_FORM = re.compile(r"\s*<think>(?P<critique>.*?)</think>\s*<answer>(?P<answer>.*?)</answer>\s*", re.DOTALL)
_THOUGHT = re.compile(r"<think>(.*?)</think>", re.DOTALL)


@dataclass(frozen=True)
class AnswerParts:
    """An answer taken apart.

    Attributes:
        critique: The words between the tags of thought; empty where there are none.
        kind: `GOOD`, or a key of `WRONG`.
    """

    critique: str
    kind: str

    @property
    def good(self) -> bool:
        """Whether the answer has the form, so that its score counts."""
        return self.kind == GOOD


def reasoned_answer(critique: str) -> str:
    """Words the answer that is taught."""
    return f"<think>{critique}</think><answer>{SCORE_TOKEN}</answer>"


def read_answer(text: str, cut: bool = False, token: str = SCORE_TOKEN) -> AnswerParts:
    """Takes an answer apart.

    White space around the tags and around `[SCORE]` does not matter.

    Args:
        text: What the model wrote, without the marks that end an answer.
        cut: Whether it was stopped at the greatest length.
        token: The word that stands where the score is.
    """
    thought = _THOUGHT.search(text)
    return AnswerParts(thought[1].strip() if thought else "", _kind(text, cut, token))


def reasons(text: str, token: str = SCORE_TOKEN) -> bool:
    """Tells whether a text, such as the answer of a training row, has the form with a critique."""
    return _kind(text, False, token) == GOOD


def take_apart(text: str) -> tuple[str, str] | None:
    """Splits an answer into (critique, what stands as the answer, a number for instance).

    Returns:
        None where the text has another form: each tag has to stand there once, and nothing outside of them.
    """
    found = _FORM.fullmatch(text)
    if found is None or len(re.findall(r"</?(?:think|answer)>", text)) != 4:
        return None
    return found["critique"].strip(), found["answer"].strip()


def _kind(text: str, cut: bool, token: str) -> str:
    if "</answer>" not in text:
        return "cut" if cut else "no_answer"
    inside = re.findall(r"<answer>(.*?)</answer>", text, re.DOTALL)
    within = sum(part.count(token) for part in inside)
    if max(text.count("<answer>"), text.count("</answer>"), within) > 1:
        return "two_answers"
    if text.count(token) > within:
        return "score_outside"
    if within == 0:
        return "no_score"
    parts = take_apart(text)
    if parts is None:
        thought = _THOUGHT.search(text)
        return "malformed" if thought and thought[1].strip() else "no_critique"
    critique, answer = parts
    if answer != token:
        return "malformed"
    return GOOD if critique else "no_critique"


def count_kinds(kinds: Iterable[str]) -> dict[str, int]:
    """Counts answers by kind, each kind that occurs; `GOOD` first, then the wrong ones in their order."""
    kinds = list(kinds)
    return {kind: kinds.count(kind) for kind in (GOOD, *WRONG) if kind in kinds}


def kinds_text(counts: Mapping[str, int]) -> str:
    """Writes counts as a cell of a table holds them: "good 3, cut 1"."""
    return ", ".join(f"{kind} {count}" for kind, count in counts.items())


def add_kinds(texts: Iterable[str]) -> dict[str, int]:
    """Adds up what `kinds_text` wrote for many images."""
    pairs = (part.rsplit(" ", 1) for text in texts for part in text.split(", "))
    total: Counter[str] = Counter()
    for kind, count in pairs:
        total[kind] += int(count)
    return {kind: total[kind] for kind in (GOOD, *WRONG) if total[kind]}


def told_kinds(counts: Mapping[str, int], retried: Mapping[str, int] | None = None) -> str:
    """Words the wrong ones among counted answers.

    Args:
        counts: Answers by kind.
        retried: What was wrong with those that were written anew, by kind.

    Returns:
        Such as "3 of 50 answers unreadable: 2 cut at the length, 1 two answers; 4 written anew: 4 cut at the length".
    """
    total, wrong = sum(counts.values()), {kind: n for kind, n in counts.items() if kind != GOOD}
    text = f"{sum(wrong.values())} of {total} answers unreadable: {_listed(wrong)}"
    text = text if wrong else f"all {total} answers readable"
    return f"{text}; {sum(retried.values())} written anew: {_listed(retried)}" if retried else text


def _listed(wrong: Mapping[str, int]) -> str:
    return ", ".join(f"{n} {WRONG[kind]}" for kind, n in wrong.items())


def told_answers(metrics: Mapping[str, Any], prefix: str = "") -> str:
    """Words the answers of an evaluation likewise.

    Args:
        metrics: With the keys of `roc.evaluation.reasoned.answer_metrics`; an earlier version gave no `retried_kinds`.
        prefix: What those keys begin with.
    """
    retried, kinds = metrics[f"{prefix}retried"], metrics.get(f"{prefix}retried_kinds")
    text = told_kinds(metrics[f"{prefix}answers"], kinds)
    return text if kinds is not None or not retried else f"{text}; {retried} written anew"
