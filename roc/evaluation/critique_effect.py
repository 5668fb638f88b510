"""Whether the words of a model that reasons matter: its scores behind its own critique, another image's, and none.

A head that sees the picture itself may learn to pass over the critique; the score is then the same whatever stands
before it. The picture stays, and only the words are exchanged: the critique that the model wrote about another image of
the same rows is put in their place, then an empty one. Words that matter make the error smaller than both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from roc.data.records import Record
from roc.evaluation.bootstrap import interval, resample, resampled_mean
from roc.model.reasoned import reasoned_answer
from roc.prompts import IMAGE_PLACEHOLDER

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from roc.evaluation.reasoned import Open
    from roc.model.collator import RocCollator
    from roc.scoring.results import Reasoned

OVERALL = "overall"

_TARGETS = ("labels", "score_labels", "score_distributions")
"""What a training batch holds beside the inputs of the model."""


def scores_behind(
    model: PreTrainedModel,
    collator: RocCollator,
    records: Sequence[Record],
    critiques: Sequence[str],
    *,
    batch_size: int,
    opened: Open | None = None,
) -> list[float]:
    """Reads the score of each image behind a given critique, in one forward pass.

    Args:
        model: Carries the head and declares that it reasons; PEFT may wrap it. It is in evaluation mode meanwhile.
        collator: Of the model; its declaration holds the question.
        records: With an image each.
        critiques: What stands before each score; may be empty.
        batch_size: Images per batch at first; halved where memory runs out.
        opened: Gives the picture of a record; None opens its first image.

    Returns:
        Scores on the native scale, in order.
    """
    import torch

    from roc.evaluation.reasoned import evaluating, open_first
    from roc.model.head import read_levels
    from roc.model.positions import score_positions
    from roc.scoring.batches import is_out_of_memory
    from roc.scoring.one_forward import to_model

    opened = opened or open_first
    question = ("user", IMAGE_PLACEHOLDER + collator.declaration.reasoning)

    def laid_out(record: Record, critique: str) -> Record:
        return replace(record, conversations=(question, ("assistant", reasoned_answer(critique))))

    scores: list[float] = []

    def read(few: slice) -> list[float]:
        pairs = zip(records[few], critiques[few], strict=True)
        batch = collator([(laid_out(record, critique), [opened(record)]) for record, critique in pairs])
        mask = score_positions(batch["labels"], model.declaration.token_id)
        inputs = {name: value for name, value in batch.items() if name not in _TARGETS}
        # Of the picture alone, as while the model writes, also where one forward pass reads the mirror image too.
        logits = model.level_logits(mask, with_mirror=False, **to_model(model, inputs), use_cache=False)
        return read_levels(logits[:, 0].float().cpu(), model.score_levels()).scores.tolist()

    with evaluating(model), torch.no_grad():
        while len(scores) < len(records):
            try:
                scores += read(slice(len(scores), len(scores) + batch_size))
            except (RuntimeError, MemoryError) as error:
                if batch_size == 1 or not is_out_of_memory(error):
                    raise
                batch_size = -(-batch_size // 2)
    return scores


def critique_effect(
    model: PreTrainedModel,
    collator: RocCollator,
    records: Sequence[Record],
    answers: Sequence[Sequence[Reasoned]],
    *,
    batch_size: int,
    opened: Open | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Measures what the words of a model do for its scores.

    Args:
        model, collator, batch_size, opened: As for `scores_behind`.
        records: With a human score each.
        answers: What the model answered to the same records; the first answer that can be read counts.
        n_resamples: Resamples of the intervals.
        seed: Of the resampling.

    Returns:
        The keys of `effect_metrics`; only `critique_n` where fewer than two records have a readable answer.
    """
    rows = [
        (record, next((one.critique for one in few if one.score is not None), None))
        for record, few in zip(records, answers, strict=True)
    ]
    chosen = [(record, critique) for record, critique in rows if critique is not None]
    count = len(chosen)
    if count < 2:
        return {"critique_n": count}
    read = [record for record, _ in chosen]
    own = [critique for _, critique in chosen]
    words = {"own": own, "other": own[count // 2 :] + own[: count // 2], "none": [""] * count}
    scores = {
        name: scores_behind(model, collator, read, critiques, batch_size=batch_size, opened=opened)
        for name, critiques in words.items()
    }
    human = [record.scores[OVERALL] for record in read]
    return effect_metrics(scores, human, n_resamples=n_resamples, seed=seed)


def effect_metrics(
    scores: Mapping[str, Sequence[float]], human: Sequence[float], *, n_resamples: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Compares scores that were read behind different words.

    Args:
        scores: `own`, `other` and `none`, on the native scale.
        human: Human scores of the same images.
        n_resamples: Resamples of the intervals.
        seed: Of the resampling.

    Returns:
        `critique_n`; `critique_own_mae`, `critique_other_mae` and `critique_none_mae` on the native scale;
        `critique_other_added` and `critique_none_added`, by how much the error grows with those words, with `_low` and
        `_high` of the 95% interval over resampled images; `critique_other_moved` and `critique_none_moved`, mean
        absolute change of the score.
    """
    values = {name: np.asarray(scores[name], dtype=np.float64) for name in ("own", "other", "none")}
    errors = {name: np.abs(column - np.asarray(human)) for name, column in values.items()}
    found: dict[str, Any] = {"critique_n": len(human)}
    found |= {f"critique_{name}_mae": float(column.mean()) for name, column in errors.items()}
    added = {name: errors[name] - errors["own"] for name in ("other", "none")}
    statistics = {name: resampled_mean(column) for name, column in added.items()}
    drawn = resample(statistics, len(human), n_resamples, seed) if n_resamples else {}
    for name, column in added.items():
        found[f"critique_{name}_added"] = float(column.mean())
        if drawn:
            low, high = interval(drawn[name])
            found |= {f"critique_{name}_added_low": low, f"critique_{name}_added_high": high}
        found[f"critique_{name}_moved"] = float(np.abs(values[name] - values["own"]).mean())
    return found


def critique_text(metrics: Mapping[str, Any], prefix: str = "") -> str:
    """Writes what `effect_metrics` found in one sentence; empty where nothing was measured."""
    if f"{prefix}critique_own_mae" not in metrics:
        return ""

    def part(name: str, words: str) -> str:
        key = f"{prefix}critique_{name}"
        text = f"{metrics[f'{key}_mae']:.3f} {words} ({metrics[f'{key}_added']:+.3f}"
        if f"{key}_added_low" in metrics:
            text += f" [{metrics[f'{key}_added_low']:+.3f}, {metrics[f'{key}_added_high']:+.3f}]"
        return f"{text})"

    own = f"MAE {metrics[f'{prefix}critique_own_mae']:.3f} behind the model's own critique"
    return f"{own}, {part('other', 'behind that of another image')}, {part('none', 'behind none')}"
