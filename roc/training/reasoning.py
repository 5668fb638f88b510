"""A run whose rows hold critiques: which rows those are, the short answer taught beside them, and its validation.

Two wordings are taught. The question of the rows asks for `<think>critique</think><answer>[SCORE]</answer>`; the plain
question asks for the score at once, so that `.score()` stays one forward pass. No critique of a row is ever put into
the mouth of another image.

Validation rests on what the model writes itself: critiques of data files were written with the score known, so scores
read behind those come out too good. `Generated` has it write, greedily, and reads the head at each `[SCORE]`; the state
with the best SRCC, times the share of readable answers, is kept. It also samples answers at temperature 1 and measures
the entropy of the choices, as Aes-R1 does; `most_open` is the state with the highest entropy whose answers are
readable, which is where reinforcement best begins.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roc.data.records import Record, hash_fraction
from roc.model.reasoned import WRONG, read_answer, reasons
from roc.model.stated_score import plain_verdict
from roc.prompts import IMAGE_PLACEHOLDER
from roc.training.config import OVERALL
from roc.training.processes import own_places

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from roc.model.collator import RocCollator
    from roc.score_space import ScoreSpace
    from roc.scoring.results import Reasoned

CHOSEN_BY = "readable_srcc"
"""Metric that chooses the best state of a model that reasons: SRCC times the share of readable answers."""


def is_reasoned(record: Record) -> bool:
    """Tells whether a record is one question answered by a critique and a score."""
    return record.conversations is not None and len(record.conversations) == 2 and reasons(record.conversations[1][1])


def reasoning_question(records: Iterable[Record]) -> str | None:
    """Finds the question that asks for a critique, the most frequent one; None where no record holds a critique."""
    asked = Counter(
        record.conversations[0][1].replace(IMAGE_PLACEHOLDER, "").strip() for record in records if is_reasoned(record)
    )
    return asked.most_common(1)[0][0] if asked else None


def reasoning_faults(path: str | Path, records: Iterable[Record], attributes: Sequence[str]) -> list[str]:
    """Finds answers that are meant as critiques and have another form, and critiques beside several attributes."""
    faults, several = [], len(attributes) > 1
    for record in records:
        for role, text in record.conversations or ():
            if role != "assistant" or ("<think>" not in text and "<answer>" not in text):
                continue
            where = _where(path, record)
            if not is_reasoned(record):
                kind = read_answer(text).kind
                wrong = WRONG.get(kind, "a conversation of several questions")
                faults.append(
                    f"{where}: an answer with a critique has to read <think>critique</think><answer>[SCORE]</answer>, "
                    f"after one question; this one: {wrong}"
                )
            elif several:
                faults.append(
                    f"{where}: an answer with a critique holds one score, and attributes names "
                    f"{', '.join(attributes)}; give one attribute"
                )
    return faults


def leak_faults(path: str | Path, records: Iterable[Record], space: ScoreSpace) -> list[str]:
    """Finds critiques of photos that state the score they lead to, by verdicts that can hardly be anything else."""
    faults = []
    for record in records:
        if not is_reasoned(record) or OVERALL not in record.scores:
            continue
        critique = read_answer(record.conversations[1][1]).critique
        stated = plain_verdict(critique, record.scores[OVERALL], space)
        if stated is not None:
            faults.append(
                f"{_where(path, record)}: the critique gives its score away ({stated!r}), and a model taught on it "
                "copies numbers; remove or reword these words"
            )
    return faults


def _where(path: str | Path, record: Record) -> str:
    return f"{path}:{record.line}" if record.line else f"{path}: {record.id}"


def with_short_answers(records: Sequence[Record], share: float) -> list[Record]:
    """Adds to each row with a critique, or to a share of them by a hash of the id, the same row without words."""
    short = [
        replace(record, conversations=None, comment=None)
        for record in records
        if is_reasoned(record) and hash_fraction(record.id, "short") < share
    ]
    return [*records, *short]


def some_rated(records: Iterable[Record], count: int) -> list[Record]:
    """Chooses rows with one image and a score by a hash of their ids, so that a sorted file gives rows of all kinds."""
    rated = [record for record in records if len(record.images) == 1 and OVERALL in record.scores]
    return sorted(rated, key=lambda record: hash_fraction(record.id, "generated"))[:count]


class Written:
    """Base of validations on what a model writes itself.

    Args:
        records: What it writes about, an image each.
        collator: Of the model.
        max_new_tokens: Longest answer.
        batch_size: Images per batch.
        pixel_limit: Larger images are refused.
    """

    def __init__(
        self,
        records: Sequence[Record],
        collator: RocCollator,
        *,
        max_new_tokens: int,
        batch_size: int,
        pixel_limit: int,
    ) -> None:
        self.records, self.collator = list(records), collator
        self.max_new_tokens, self.batch_size, self.pixel_limit = max_new_tokens, batch_size, pixel_limit

    def written(self, model: PreTrainedModel, records: Sequence[Record]) -> list[tuple[Reasoned, ...]]:
        """Has the model write one answer about each record, in this process alone."""
        from roc.evaluation.reasoned import write_answers_to
        from roc.scoring.reasoning import Sampling

        sampling = Sampling(max_new_tokens=self.max_new_tokens, retries=0)
        return write_answers_to(
            model, self.collator, records, sampling, batch_size=self.batch_size, opened=self._opened
        )

    def _opened(self, record: Record) -> Any:
        from roc.data.images import open_image

        return open_image(record.images[0], pixel_limit=self.pixel_limit)


class Generated(Written):
    """Validation on rated photos, by answers that a model writes itself.

    Args:
        records: Validation rows with one image and a score.
        collator: Of the model; its declaration holds both questions.
        entropy_rows: Of how many rows, the first ones, answers are sampled too.
        limits: As for `Written`.
    """

    def __init__(self, records: Sequence[Record], collator: RocCollator, *, entropy_rows: int, **limits: int) -> None:
        super().__init__(records, collator, **limits)
        self.entropy_rows = entropy_rows

    def measure(self, model: PreTrainedModel) -> dict[str, float]:
        """Has the model write and measures; every process has to call it, and does a part of the rows.

        Returns:
            The metrics of `roc.evaluation.reasoned.reasoned_metrics` but those of retries; `readable_srcc`;
            `short_srcc`, `short_plcc` and `short_mae` of the short answer, read in one forward pass on the same rows;
            `entropy` and `sampled_readable` of the sampled answers.
        """
        from accelerate import PartialState
        from accelerate.utils import gather_object

        from roc.evaluation.reasoned import Openness, evaluating, measure_openness, reasoned_metrics

        mine = own_places(len(self.records))
        rows = [self.records[i] for i in mine]
        answers = self.written(model, rows)
        with evaluating(model):
            short = self._short_scores(model, rows)
        sampled = [self.records[i] for i in mine if i < self.entropy_rows]
        openness = measure_openness(
            model,
            self.collator,
            sampled,
            max_new_tokens=self.max_new_tokens,
            seed=PartialState().process_index,
            batch_size=self.batch_size,
            opened=self._opened,
        )
        parts = gather_object([(mine, answers, short, openness)])
        found: dict[int, tuple[tuple[Reasoned, ...], float]] = {}
        for places, written, scores, _ in parts:
            found |= {place: pair for place, pair in zip(places, zip(written, scores, strict=True), strict=True)}
        metrics = reasoned_metrics(self.records, [found[i][0] for i in range(len(self.records))])
        for name in ("retried", "unscored"):
            del metrics[name]
        if "srcc" in metrics:  # a negative one is not made better by unreadable answers
            metrics[CHOSEN_BY] = min(metrics["srcc"], metrics["srcc"] * metrics["readable"])
        metrics |= self._short_metrics([found[i][1] for i in range(len(self.records))])
        total = sum((part[3] for part in parts), Openness())
        if total.tokens:
            metrics |= {"entropy": total.entropy, "sampled_readable": total.readable}
        return metrics

    def _short_scores(self, model: PreTrainedModel, records: Sequence[Record]) -> list[float]:
        import torch

        from roc.model.head import read_levels
        from roc.scoring.one_forward import to_model

        scores: list[float] = []
        for start in range(0, len(records), self.batch_size):
            batch = self.collator.scoring_batch([self._opened(row) for row in records[start : start + self.batch_size]])
            mask = batch.pop("score_mask")
            # No inference mode: what some models keep for later passes would be of no use to training.
            with torch.no_grad():
                logits = model.level_logits(mask, **to_model(model, batch), use_cache=False)
            scores += read_levels(logits[:, 0].float().cpu(), model.score_levels()).scores.tolist()
        return scores

    def _short_metrics(self, scores: Sequence[float]) -> dict[str, float]:
        from roc.evaluation.metrics import mae, plcc, srcc

        human = [record.scores[OVERALL] for record in self.records]
        found = {name: metric(scores, human) for name, metric in (("srcc", srcc), ("plcc", plcc), ("mae", mae))}
        return {f"short_{name}": value for name, value in found.items() if value is not None}


@dataclass(frozen=True)
class MostOpen:
    """The saved state with the most open choices among those whose format is stable.

    Attributes:
        state: Its folder, a checkpoint.
        entropy: Mean entropy of a choice in nats, sampled at temperature 1.
        readable: Share of the sampled answers that could be read.
    """

    state: Path
    entropy: float
    readable: float


def most_open(history: Sequence[Mapping[str, Any]], folder: str | Path, stable: float) -> MostOpen | None:
    """Finds the state where reinforcement best begins: the highest entropy with a stable format, among those saved.

    Args:
        history: The trainer's log.
        folder: Where the states are saved.
        stable: Share of the sampled answers that has to be readable.

    Returns:
        None where no saved state was measured, or none is stable.
    """
    from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

    best = None
    for entry in history:
        if "eval_entropy" not in entry or entry["eval_sampled_readable"] < stable:
            continue
        state = Path(folder) / f"{PREFIX_CHECKPOINT_DIR}-{entry['step']}"
        if state.is_dir() and (best is None or entry["eval_entropy"] > best.entropy):
            best = MostOpen(state, entry["eval_entropy"], entry["eval_sampled_readable"])
    return best
