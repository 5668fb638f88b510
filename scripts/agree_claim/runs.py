"""One run: a row of the table is trained and scores the test photos, in one process and on one thread."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from claims import remove_unread
from stages import times

from roc.agree.attributes import ATTRIBUTES
from roc.agree.extension import WEIGHTS
from roc.agree.table import SensitivityTable
from roc.agree.train import AgreeJob
from roc.agree.train_config import AgreeConfig
from roc.data.images import open_image
from roc.data.records import Record
from roc.evaluation.metrics import srcc
from roc.files import write_text
from roc.scoring.assessment import Assessment
from roc.scoring.one_forward import one_forward
from roc.training.data import RunData

from .arms import ARMS
from .parts import Parts

_SCORED_AT_ONCE = 50


@dataclass(frozen=True)
class Budget:
    """What every run gets, whatever its row; `flip` is the share of pictures that are mirrored."""

    epochs: int
    batch_size: int = 16
    branch_width: int = 64
    weight_decay: float = 0.05
    warmup: float = 0.05
    flip: float = 0.5


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
    """What all runs share: the parts of each data set, the budgets, and the folder of the results."""

    parts: dict[str, Parts]
    budgets: dict[str, Budget]
    out: Path


def finished(out: Path, run: Run) -> dict[str, Any] | None:
    """Reads the result of a run; None where it is not finished."""
    file = _file(out, run)
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def execute(run: Run, shared: Shared) -> dict[str, Any]:
    """Trains and scores one run, and writes its result before the checkpoint is removed.

    Returns:
        The run's own fields; `predictions` of the rows of `part`, of routed rows by the weights of the table, and
        `by_predictor` then by those of the checkpoint's own predictor; `srcc` of the predictions; `cpu_seconds`.
    """
    torch.set_num_threads(1)
    parts, arm = shared.parts[run.data], ARMS[run.arm]
    folder = shared.out / "training" / run.name
    config = config_of(run, parts, shared.budgets[run.data], parts.data.learn, folder)
    remove_unread(config)
    started = time.process_time()
    job = ComparedJob(config, run, parts)
    job.work()
    result = {
        **asdict(run),
        **job.found,
        "cpu_seconds": round(time.process_time() - started, 1),
        "switches": [letter for letter in "DFWE" if arm.has(letter)],
    }
    write_text(_file(shared.out, run), json.dumps(result) + "\n")
    shutil.rmtree(folder)
    return result


def train_fold(number: int, run: Run, shared: Shared) -> None:
    """Trains the plain scorer that measures the photos of one fold, unless it is there."""
    torch.set_num_threads(1)
    parts = shared.parts[run.data]
    folder = parts.fold_model(number)
    config = config_of(run, parts, shared.budgets[run.data], parts.fold_file(number), folder)
    ComparedJob(config, run, parts).work()


def config_of(run: Run, parts: Parts, budget: Budget, rows: Path, folder: Path) -> AgreeConfig:
    """Makes the settings of a run: those of `roc agree train`, which with all switches off is `roc finetune`.

    Args:
        run: What tells it from others.
        parts: What the runs of its data set share.
        budget: What every run gets.
        rows: Training and validation rows.
        folder: `output_dir`.
    """
    space = parts.data.space
    return AgreeConfig(
        model_name_or_path=str(parts.encoder.source(run.seed)),
        data_path=str(rows), image_folder=str(parts.data.folder), output_dir=str(folder),
        min_score=space.min_score, max_score=space.max_score, num_tokens=space.num_levels,
        seed=run.seed, learning_rate=run.rate, num_train_epochs=budget.epochs,
        per_device_train_batch_size=budget.batch_size, per_device_eval_batch_size=_SCORED_AT_ONCE,
        weight_decay=budget.weight_decay, warmup_ratio=budget.warmup, augment_flip=budget.flip,
        branch_width=budget.branch_width, eval_strategy="no", save_strategy="no", report_to="none",
        image_cache=True, keep_features=False, logging_steps=100_000, threads=1, bf16=False,
        **ARMS[run.arm].settings(str(parts.learn_table), str(parts.anchors)), **parts.encoder.settings,
    )  # fmt: skip


class ComparedJob(AgreeJob):
    """A run that scores what the comparison needs in place of its own evaluation.

    Args:
        config: The settings.
        run: What is scored.
        parts: Where the test rows and their weights are.

    Attributes:
        found: `predictions`, `by_predictor`, `srcc`; empty before its end.
    """

    def __init__(self, config: AgreeConfig, run: Run, parts: Parts) -> None:
        super().__init__(config)
        self._run, self._parts = run, parts
        self.found: dict[str, Any] = {}

    def evaluate(self, data: RunData, history: list[dict[str, Any]]) -> str:
        """Scores the rows; the table of the run is empty."""
        test = self._run.part == "test"
        records = self._parts.data.tested() if test else data.val
        assessment = Assessment(self.config.output_dir, device="cpu", dtype="float32")
        predictions = scored(assessment, records)
        self.found = {"predictions": predictions, "by_predictor": None}
        if self.config.routing:
            learnt = SensitivityTable.read(self._parts.learn_table)
            table = SensitivityTable.read(self._parts.test_table) if test else learnt
            weights = table.route(records, medians=learnt.medians).weights
            rows = torch.stack([weights[name] for name in ATTRIBUTES], dim=1).float()
            self.found = {"predictions": scored(assessment, records, rows), "by_predictor": predictions}
        ratings = [record.scores["overall"] for record in records]
        self.found["srcc"] = srcc(self.found["predictions"], ratings)
        text = "scored for a comparison"
        write_text(Path(self.config.output_dir) / "metrics.txt", text + "\n")
        return text


def scored(assessment: Assessment, records: Sequence[Record], weights: torch.Tensor | None = None) -> list[float]:
    """Scores the pictures of records.

    Args:
        assessment: The checkpoint.
        records: Of one picture each.
        weights: (n, 5) routing weights; None leaves them to the predictor.
    """
    found: list[float] = []
    for start in range(0, len(records), _SCORED_AT_ONCE):
        some = records[start : start + _SCORED_AT_ONCE]
        batch = assessment.collator.scoring_batch([open_image(record.images[0]) for record in some], 1)
        if weights is not None:
            batch[WEIGHTS] = weights[start : start + len(some)]
        found += one_forward(assessment.model, batch).scores[:, 0].tolist()
    return [round(score, 5) for score in found]


def minutes_of(out: Path, results: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Adds up what everything took, in minutes of one core: runs, by the clock of their processes, and the rest."""
    spent = {stage: seconds / 60 for stage, seconds in times(out).items()}
    return {**spent, "runs": sum(result["cpu_seconds"] for result in results) / 60}


def _file(out: Path, run: Run) -> Path:
    return out / "results" / f"{run.name}.json"
