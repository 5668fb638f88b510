"""One run: an arm is trained and scores test edits and rated photos, in one process and on one thread."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from agree_claim.parts import Encoder
from claims import remove_unread
from stages import times

from roc.data.images import open_image
from roc.data.pairs import Pair
from roc.evaluation.metrics import srcc
from roc.files import write_text
from roc.scoring.assessment import Assessment
from roc.scoring.one_forward import one_forward
from roc.training.config import RunConfig
from roc.training.data import RunData
from roc.training.job import Job

from .arms import ARMS
from .data import TESTS, WIDTH, Data

_SCORED_AT_ONCE = 50


@dataclass(frozen=True)
class Budget:
    """What every run of a data set gets, whatever its arm.

    Attributes:
        steps: Optimiser steps.
        pictures: In a step: as many ratings, or half as many pairs.
        flip: Share of pictures that are mirrored.
        weight_decay, warmup: As settings of training.
    """

    steps: int
    pictures: int = 32
    flip: float = 0.0
    weight_decay: float = 0.05
    warmup: float = 0.05


@dataclass(frozen=True)
class Run:
    """What tells one run from another.

    Attributes:
        data: Name of the data set.
        arm: A key of `ARMS`.
        seed: Of first weights, order of the batches and mirrored pictures.
        rate: Learning rate.
        part: What is scored: "test", or "val" to choose the rate.
    """

    data: str
    arm: str
    seed: int
    rate: float
    part: str = "test"

    @property
    def name(self) -> str:
        """Name of its result, without suffix."""
        return f"{self.data}-{self.arm}-seed{self.seed}-rate{self.rate:g}-{self.part}"


@dataclass(frozen=True)
class Shared:
    """What all runs share: data sets, encoders and budgets by name of the data set, and the folder of the results."""

    data: dict[str, Data]
    encoders: dict[str, Encoder]
    budgets: dict[str, Budget]
    out: Path


def finished(out: Path, run: Run) -> dict[str, Any] | None:
    """Reads the result of a run; None where it is not finished."""
    file = _file(out, run)
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def execute(run: Run, shared: Shared) -> dict[str, Any]:
    """Trains and scores one run, and writes its result before the checkpoint is removed.

    Returns:
        The run's own fields; `chosen_by`, of a run that chooses a rate: SRCC of validation ratings for an arm of
        ratings, the share of validation pairs that come out right for one of edits; of other runs `edits`: key of
        `TESTS` -> scores of both pictures of each pair, and `rated`: name of a data set -> scores of its `test` and
        `anchors`, all on the unit scale; `cpu_seconds`.
    """
    torch.set_num_threads(1)
    folder = shared.out / "training" / run.name
    started = time.process_time()
    config = config_of(run, shared, folder)
    remove_unread(config)
    job = ComparedJob(config, run, shared)
    job.work()
    result = {**asdict(run), **job.found, "cpu_seconds": round(time.process_time() - started, 1)}
    write_text(_file(shared.out, run), json.dumps(result) + "\n")
    shutil.rmtree(folder)
    return result


def config_of(run: Run, shared: Shared, folder: Path) -> RunConfig:
    """Makes the settings of a run of `roc finetune`.

    Args:
        run: What tells it from others.
        shared: What the runs share.
        folder: `output_dir`.
    """
    data, encoder, budget = shared.data[run.data], shared.encoders[run.data], shared.budgets[run.data]
    arm = ARMS[run.arm]
    labels: dict[str, Any] = {}
    if arm.rated is not None:
        labels["data_path"] = str(data.folder / arm.rated)
    if arm.pairs:
        labels |= {"pairs_path": str(data.file("pairs")), "delta_width": WIDTH}
    return RunConfig(
        host="backbone", model_name_or_path=str(encoder.source(run.seed)), output_dir=str(folder),
        min_score=data.space.min_score, max_score=data.space.max_score, num_tokens=data.space.num_levels,
        seed=run.seed, learning_rate=run.rate, max_steps=budget.steps,
        per_device_train_batch_size=budget.pictures // (2 if arm.pairs else 1), gradient_accumulation_steps=1,
        per_device_eval_batch_size=_SCORED_AT_ONCE, weight_decay=budget.weight_decay, warmup_ratio=budget.warmup,
        augment_flip=budget.flip, eval_strategy="no", save_strategy="no", report_to="none", image_cache=True,
        logging_steps=100_000, threads=1, bf16=False, **labels, **encoder.settings,
    )  # fmt: skip


class ComparedJob(Job):
    """A run that scores what the comparison needs in place of its own evaluation.

    Args:
        config: The settings.
        run: What is scored.
        shared: Where it is.

    Attributes:
        found: See `execute`; empty before its end.
    """

    def __init__(self, config: RunConfig, run: Run, shared: Shared) -> None:
        super().__init__(config)
        self._run, self._shared = run, shared
        self.found: dict[str, Any] = {}

    def evaluate(self, data: RunData, history: list[dict[str, Any]]) -> str:
        """Scores the pictures; the table of the run is empty."""
        own = self._shared.data[self._run.data]
        assessment = Assessment(self.config.output_dir, device="cpu", dtype="float32")
        if self._run.part == "val":
            self.found = {"chosen_by": _validated(assessment, own, pairs=ARMS[self._run.arm].pairs)}
        else:
            self.found = {"edits": {name: _of_pairs(assessment, own.pairs(name)) for name in TESTS}}
            self.found["rated"] = {
                name: {part: _of_photos(assessment, one, file) for part, file in _RATED.items()}
                for name, one in self._shared.data.items()
            }
        text = "scored for a comparison"
        write_text(Path(self.config.output_dir) / "metrics.txt", text + "\n")
        return text


_RATED = {"test": "test_ratings", "anchors": "anchors"}


def _validated(assessment: Assessment, data: Data, *, pairs: bool) -> float | None:
    if not pairs:
        ratings = [record.scores["overall"] for record in data.rated("val_ratings")]
        return srcc(_of_photos(assessment, data, "val_ratings"), ratings)
    known = data.pairs("val_pairs")
    return sum(right(known, _of_pairs(assessment, known))) / len(known)


def right(pairs: Iterable[Pair], scores: Iterable[tuple[float, float]]) -> list[float]:
    """Tells of pairs whether the better picture has the higher score: 1, 0.5 where both have the same, 0."""
    return [
        0.5 if first == second else float((second > first) == (pair.wins > 0.5))
        for pair, (first, second) in zip(pairs, scores, strict=True)
    ]


def _of_pairs(assessment: Assessment, pairs: list[Pair]) -> list[tuple[float, float]]:
    scores = _scored(assessment, [image for pair in pairs for image in pair.images])
    return [(scores[pair.images[0]], scores[pair.images[1]]) for pair in pairs]


def _of_photos(assessment: Assessment, data: Data, file: str) -> list[float]:
    images = [record.images[0] for record in data.rated(file)]
    scores = _scored(assessment, images)
    return [scores[image] for image in images]


def _scored(assessment: Assessment, images: list[str]) -> dict[str, float]:
    """Scores pictures, each once; on the unit scale."""
    once, space = list(dict.fromkeys(images)), assessment.model.score_space
    found: list[float] = []
    for start in range(0, len(once), _SCORED_AT_ONCE):
        opened = [open_image(image) for image in once[start : start + _SCORED_AT_ONCE]]
        found += one_forward(assessment.model, assessment.collator.scoring_batch(opened, 1)).scores[:, 0].tolist()
    return {image: round(space.to_unit(score), 6) for image, score in zip(once, found, strict=True)}


def minutes_of(out: Path, results: list[dict[str, Any]]) -> dict[str, float]:
    """Adds up what everything took, in minutes of one core: runs, by the clock of their processes, and the rest."""
    spent = {stage: seconds / 60 for stage, seconds in times(out).items()}
    return {**spent, "runs": sum(result["cpu_seconds"] for result in results) / 60}


def _file(out: Path, run: Run) -> Path:
    return out / "results" / f"{run.name}.json"
