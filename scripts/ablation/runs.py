"""One run: a model is built, trained and scored, in one process and on one thread."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from transformers import PreTrainedModel, ProcessorMixin, TrainerCallback, TrainingArguments, set_seed

from roc.data.augment import Augmentation
from roc.data.records import Record
from roc.evaluation.metrics import mae, plcc, srcc
from roc.model.attachment import attach
from roc.model.collator import RocCollator
from roc.model.parts import freeze
from roc.training.config import load_config
from roc.training.data import RunData
from roc.training.kept_features import keep_features
from roc.training.run import RunError
from roc.training.samples import Samples
from roc.training.trainer import RocTrainer

from .arms import ARMS, Arm, Words
from .data import Data

logger = logging.getLogger(__name__)

_SCORED_AT_ONCE = 100
_REHEARSED_STEPS = 3
_REHEARSED_ROWS = 16


@dataclass(frozen=True)
class Budget:
    """What every run gets, whatever its arm; `warmup` and `flip` are shares of the steps and of the pictures."""

    steps: int = 250
    batch_size: int = 32
    weight_decay: float = 0.05
    warmup: float = 0.05
    flip: float = 0.5


@dataclass(frozen=True)
class Run:
    """What tells one run from another.

    Attributes:
        arm: A key of `ARMS`.
        comments: Whether comments stand in the taught answers.
        seed: Seed of the first weights, the order of the batches and the mirrored pictures.
        rate: Learning rate.
    """

    arm: str
    comments: bool
    seed: int
    rate: float

    @property
    def name(self) -> str:
        """Name of the file of its result, without suffix."""
        return f"{self.arm}-{'comments' if self.comments else 'plain'}-seed{self.seed}-rate{self.rate:g}"


@dataclass(frozen=True)
class Pace:
    """What a rehearsal took, in seconds of wall clock: to get ready, a training step, and to read a picture's score."""

    ready: float
    step: float
    row: float


def execute(run: Run, data: Data, budget: Budget, parts: tuple[str, ...] = ("validation", "test")) -> dict[str, Any]:
    """Trains and scores one run.

    Args:
        run: What tells it from others.
        data: What all runs share.
        budget: What every run gets.
        parts: Which of "validation" and "test" are scored.

    Returns:
        The run's own fields, `parts` (each as `measured` gives it), `losses` as last logged, `parameters` of the model,
        `train_seconds` (wall clock) and `cpu_seconds` (of this process, training alone).
    """
    torch.set_num_threads(1)
    arm = ARMS[run.arm]
    model, processor = build(arm, data, run.seed)
    collator = RocCollator(processor, model.declaration)
    started, worked = time.perf_counter(), time.process_time()
    losses = train(model, collator, arm, run, data, budget)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - worked
    model.eval()
    return {
        **asdict(run),
        **{
            name: measured(arm, model, collator, data.records[split])
            for name, split in (("validation", "val"), ("test", "test"))
            if name in parts
        },
        "losses": losses,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "train_seconds": round(seconds, 1),
        "cpu_seconds": round(cpu_seconds, 1),
    }


def rehearse(run: Run, data: Data, budget: Budget) -> Pace:
    """Times a few steps of a run, and reads a few scores."""
    torch.set_num_threads(1)
    started, arm = time.perf_counter(), ARMS[run.arm]
    model, processor = build(arm, data, run.seed)
    collator = RocCollator(processor, model.declaration)
    ready = time.perf_counter() - started
    watch = _StepTimes()
    train(model, collator, arm, run, data, replace(budget, steps=_REHEARSED_STEPS), callbacks=[watch])
    model.eval()
    rows = data.records["test"][:_REHEARSED_ROWS]
    started = time.perf_counter()
    measured(arm, model, collator, rows)
    read = (time.perf_counter() - started) / len(rows)
    later = [end - start for start, end in zip(watch.ends, watch.ends[1:], strict=False)]
    return Pace(ready, sum(later) / len(later), read)


class _StepTimes(TrainerCallback):
    """Notes when each step ended; the first one of a process takes longer."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self.ends.append(time.perf_counter())


def build(arm: Arm, data: Data, seed: int) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Builds the model of an arm; for one seed, all arms get the same weights."""
    model, processor = data.base.build(data.texts(), seed)
    none = {"l1_weight": 0.0, "ce_weight": 0.0, "emd_weight": 0.0}
    attach(model, processor, data.space, **{**none, **arm.weights})
    arm.prepare(model, processor)
    freeze(model, list(data.base.freeze))
    return model, processor


def train(
    model: PreTrainedModel,
    collator: RocCollator,
    arm: Arm,
    run: Run,
    data: Data,
    budget: Budget,
    callbacks: Sequence[TrainerCallback] = (),
) -> dict[str, float]:
    """Trains the model with the package's trainer; the seed alone decides batches and mirrored pictures."""
    set_seed(run.seed)
    taught = [arm.taught(record, data.space, run.comments) for record in data.records["train"]]
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            max_steps=budget.steps,
            per_device_train_batch_size=budget.batch_size,
            learning_rate=run.rate,
            weight_decay=budget.weight_decay,
            warmup_steps=budget.warmup,
            lr_scheduler_type="cosine",
            seed=run.seed,
            use_cpu=True,
            bf16=data.base.bf16,
            save_strategy="no",
            logging_steps=max(1, budget.steps // 10),
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
            remove_unused_columns=False,
            label_names=["labels"],
        )
        trainer = RocTrainer(
            model=model,
            args=arguments,
            data_collator=collator,
            processing_class=collator.processor,
            train_dataset=Samples(taught, augmentation=Augmentation(flip=budget.flip), seed=run.seed, cache=True),
            callbacks=list(callbacks),
        )
        if data.features is not None and "vision" in data.base.freeze:
            _keep_features(trainer, taught, data, budget)
        trainer.train()
    logged = [entry for entry in trainer.state.log_history if "text_loss" in entry]
    return {name: logged[-1][name] for name in ("text_loss", "l1_loss", "ce_loss", "emd_loss")}


def _keep_features(trainer: RocTrainer, taught: list[Record], data: Data, budget: Budget) -> None:
    """Has a frozen tower see each picture once in all runs, where its outputs can be kept."""
    config = load_config(
        None,
        {
            "model_name_or_path": data.base.source,
            "freeze": list(data.base.freeze),
            "keep_features": True,
            "features_folder": str(data.features),
            "augment_flip": budget.flip,
        },
    )
    try:
        keep_features(config, RunData(train=taught, val=data.records["val"], test=data.records["test"]), trainer)
    except RunError as reason:
        logger.warning("%s Every run computes them again.", reason)


def measured(arm: Arm, model: PreTrainedModel, collator: RocCollator, records: list[Record]) -> dict[str, Any]:
    """Measures SRCC, PLCC and MAE (native scale) over the scored pictures, and the share of unscored ones.

    The level words get `mae_middles` as well (see `Words.middles`). A metric is None with fewer than 3 scored pictures.
    `predictions` holds the score of each record, None where there is none.
    """
    pictures = Samples(records)
    scores: list[float | None] = []
    for start in range(0, len(records), _SCORED_AT_ONCE):
        batch = [pictures[i][1][0] for i in range(start, min(start + _SCORED_AT_ONCE, len(records)))]
        scores += arm.read(model, collator, batch)
    human = [record.scores["overall"] for record in records]
    answered = [(score, rated) for score, rated in zip(scores, human, strict=True) if score is not None]
    predicted, rated = zip(*answered, strict=True) if answered else ((), ())
    found = {
        "n": len(records),
        "unscored": 1 - len(answered) / len(records),
        "srcc": srcc(predicted, rated),
        "plcc": plcc(predicted, rated),
        "mae": mae(predicted, rated),
    }
    if isinstance(arm, Words):
        found["mae_middles"] = mae(Words.middles(list(predicted), model.score_space), rated)
    return {**found, "predictions": [None if score is None else round(score, 4) for score in scores]}
