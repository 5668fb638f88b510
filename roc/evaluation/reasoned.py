"""How well a model scores that reasons first: metrics of answers that it wrote, on records, also in training.

    answers = write_answers_to(model, collator, records, Sampling(max_new_tokens=256), batch_size=16)
    metrics = reasoned_metrics(records, answers)

Only what the model itself wrote counts. Critiques in data files were written with the score known, so scores that are
read behind those come out too good. An answer that cannot be read has no score: it leaves the correlations and the
error, and is counted by its kind. `write_answers_to` gives the answers themselves, `reasoned_metrics` counts them, so
that several processes can each do a part of the records.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from PIL import Image

from roc.data.images import open_image
from roc.data.records import Record
from roc.evaluation.metrics import mae, plcc, srcc
from roc.evaluation.summary import summarize
from roc.model.collator import RocCollator
from roc.model.reasoned import GOOD, count_kinds
from roc.scoring.reasoning import Sampling, TokenEntropy, reason, seeded, write_answers
from roc.scoring.results import Assessed, Reasoned, combined

if TYPE_CHECKING:
    from transformers import PreTrainedModel

OVERALL = "overall"

Open = Callable[[Record], Image.Image]


def open_first(record: Record) -> Image.Image:
    """Opens the first image of a record."""
    return open_image(record.images[0])


def write_answers_to(
    model: PreTrainedModel,
    collator: RocCollator,
    records: Sequence[Record],
    sampling: Sampling,
    *,
    batch_size: int,
    opened: Open = open_first,
) -> list[tuple[Reasoned, ...]]:
    """Has a model reason about the first image of each record.

    Args:
        model: Carries the head and declares that it reasons; PEFT may wrap it. It is in evaluation mode meanwhile, and
            the generators of random numbers are left as they were.
        collator: Of the model; its declaration holds the question.
        records: With an image each.
        sampling: How answers are written.
        batch_size: Images per batch.
        opened: Gives the picture of a record.

    Returns:
        The answers to each record, in order.
    """
    answers: list[tuple[Reasoned, ...]] = []
    with evaluating(model):
        for start in range(0, len(records), batch_size):
            pictures = [opened(record) for record in records[start : start + batch_size]]

            def make_batch(chosen: Sequence[int], pictures: Sequence[Image.Image] = pictures) -> dict[str, Any]:
                return collator.prompt_batch([pictures[i] for i in chosen])

            answers += reason(model, collator.tokenizer, make_batch, len(pictures), sampling)
    return answers


def reasoned_metrics(records: Sequence[Record], answers: Sequence[Sequence[Reasoned]]) -> dict[str, Any]:
    """Measures answers to records.

    Args:
        records: With a human score each.
        answers: To the same records; several answers to one are combined.

    Returns:
        `n`, records with a score; `unscored`, those without a readable answer; `srcc`, `plcc` and `mae` (native scale)
        over the first, a metric that does not exist left out; `readable`, share of all answers that have the form;
        `words`, mean length of their critiques; `retried`, answers written anew; `wrong/<kind>`, number of answers for
        each kind of wrong ones that occurs.
    """
    found = [combined([one.score for one in few if one.score is not None]) for few in answers]
    pairs = [
        (score.value, record.scores[OVERALL])
        for record, score in zip(records, found, strict=True)
        if score is not None and OVERALL in record.scores
    ]
    counted = answer_metrics(answers)
    kinds = counted.pop("answers")
    del counted["retried_kinds"]
    metrics: dict[str, Any] = {"n": len(pairs), "unscored": sum(score is None for score in found)}
    predictions, scores = zip(*pairs, strict=True) if pairs else ((), ())
    for name, metric in (("srcc", srcc), ("plcc", plcc), ("mae", mae)):
        value = metric(predictions, scores) if pairs else None
        if value is not None:
            metrics[name] = value
    return metrics | counted | {f"wrong/{kind}": count for kind, count in kinds.items() if kind != GOOD}


@dataclass(frozen=True)
class Openness:
    """How open the choices of a model are that reasons, by the protocol of Aes-R1: answers sampled at temperature 1.

    Attributes:
        total: Sum of the entropies of all choices, in nats, over the whole vocabulary.
        tokens: Number of choices.
        kinds: Number of answers by kind.
    """

    total: float = 0.0
    tokens: int = 0
    kinds: Mapping[str, int] = field(default_factory=dict)

    @property
    def entropy(self) -> float:
        """Mean entropy of a choice, in nats."""
        return self.total / self.tokens if self.tokens else 0.0

    @property
    def readable(self) -> float:
        """Share of the answers that have the form."""
        count = sum(self.kinds.values())
        return self.kinds.get(GOOD, 0) / count if count else 0.0

    def __add__(self, other: Openness) -> Openness:
        return Openness(
            self.total + other.total, self.tokens + other.tokens, Counter(self.kinds) + Counter(other.kinds)
        )


def measure_openness(
    model: PreTrainedModel,
    collator: RocCollator,
    records: Sequence[Record],
    *,
    batch_size: int,
    max_new_tokens: int,
    seed: int = 0,
    opened: Open = open_first,
) -> Openness:
    """Samples one answer to each record at temperature 1, none anew, and measures the entropy of its choices.

    Args:
        model, collator, records, batch_size, opened: As for `write_answers_to`.
        max_new_tokens: Longest answer.
        seed: Of the sampling.
    """
    found = Openness()
    with evaluating(model), seeded(model, seed):
        for start in range(0, len(records), batch_size):
            batch = collator.prompt_batch([opened(record) for record in records[start : start + batch_size]])
            entropy = TokenEntropy()
            written = write_answers(
                model,
                collator.tokenizer,
                batch,
                max_new_tokens=max_new_tokens,
                temperature=1.0,
                entropy=entropy,
            )
            total, tokens = entropy.summed([one.tokens for one in written])
            found += Openness(total, tokens, Counter(one.kind for one in written))
    return found


@contextlib.contextmanager
def evaluating(model: PreTrainedModel) -> Iterator[None]:
    """Puts a model into evaluation mode inside the block."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def summarize_reasoned(
    records: Sequence[Record], assessed: Sequence[Assessed], *, n_resamples: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Measures what a model that reasons was asked for as a user would, with intervals.

    Args:
        records: With a human score each.
        assessed: What `Assessment.describe` gave for them.
        n_resamples, seed: As for `roc.evaluation.summary.summarize`.

    Returns:
        The keys of `summarize`, then those of `answer_metrics`; last `notes`.
    """
    first = [(None if (score := next(iter(one.scores.values()))) is None else score.value) for one in assessed]
    found = summarize(first, [record.scores[OVERALL] for record in records], n_resamples=n_resamples, seed=seed)
    notes = found.pop("notes")
    return {**found, **answer_metrics([one.answers for one in assessed]), "notes": notes}


def answer_metrics(answers: Sequence[Sequence[Reasoned]]) -> dict[str, Any]:
    """Counts answers.

    Returns:
        `answers` by kind; `readable`, the share of good ones; `retried`, how many were written anew, and
        `retried_kinds`, what was wrong with the first ones, by kind; `words`, the mean length of critiques.
    """
    every = [one for few in answers for one in few]
    words = [len(one.critique.split()) for one in every if one.kind == GOOD]
    return {
        "answers": count_kinds(one.kind for one in every),
        "readable": len(words) / len(every) if every else 0.0,
        "retried": sum(one.retried for one in every),
        "retried_kinds": count_kinds(one.first_kind for one in every if one.first_kind is not None),
        "words": sum(words) / len(words) if words else 0.0,
    }
