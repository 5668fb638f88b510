"""One run: both halves together, or one alone, trained by `roc finetune` and scored on the test photos."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from claims import remove_unread

from roc.evaluation.metrics import mae, plcc, srcc
from roc.files import write_text
from roc.scoring.assessment import Assessment
from roc.scoring.scales import on_scale
from roc.training.config import RunConfig
from roc.training.data import RunData
from roc.training.job import Job

from .halves import HALVES, LEVELS

WAYS = {
    "A": "half A alone",
    "B": "half B alone",
    "linked": "both, with links",
    "ranges": "both, range onto range: no link is learnt",
    "linked_l1": "both, with links, without histograms",
}
"""Name of a way to train -> what it is."""


@dataclass(frozen=True)
class Budget:
    """What every run gets."""

    steps: int
    batch_size: int = 16
    rate: float = 2e-3
    link_rate: float = 0.01


@dataclass(frozen=True)
class Run:
    """What tells one run from another: the way, a key of `WAYS`, and the seed."""

    way: str
    seed: int

    @property
    def name(self) -> str:
        """Name of its result, without suffix."""
        return f"{self.way}-seed{self.seed}"


def finished(out: Path, run: Run) -> dict[str, Any] | None:
    """Reads the result of a run; None where it is not finished."""
    file = _file(out, run)
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def execute(run: Run, files: dict[str, Path], budget: Budget, out: Path) -> dict[str, Any]:
    """Trains and scores one run, and writes its result before the checkpoint is removed.

    Returns:
        The run's own fields; `halves`, name of each half that it was trained on -> `predictions` and `human` scores of
        the test photos on its scale, `srcc`, `plcc` and `mae`; `links` of half B; `cpu_seconds`.
    """
    torch.set_num_threads(1)
    started = time.process_time()
    folder = out / "training" / run.name
    config = _config(run, files, budget, folder)
    remove_unread(config)
    job = _HalvesJob(config)
    job.work()
    result = {**asdict(run), **job.found, "cpu_seconds": round(time.process_time() - started, 1)}
    write_text(_file(out, run), json.dumps(result) + "\n")
    shutil.rmtree(folder)
    return result


def _file(out: Path, run: Run) -> Path:
    return out / "results" / f"{run.name}.json"


def _config(run: Run, files: dict[str, Path], budget: Budget, folder: Path) -> RunConfig:
    together = run.way not in files
    own: dict[str, Any] = {}
    if together:
        own["mix"] = [f"{half.name}={half.low:g}:{half.high:g}:{files[half.name]}" for half in HALVES]
        own["link_learning_rate"] = 1e-12 if run.way == "ranges" else budget.link_rate
    else:
        half = next(half for half in HALVES if half.name == run.way)
        own |= {"data_path": str(files[half.name]), "min_score": half.low, "max_score": half.high}
    return RunConfig(
        host="backbone", tiny_model="demo", output_dir=str(folder), num_tokens=LEVELS, seed=run.seed,
        ce_weight=0.0 if run.way == "linked_l1" else 1.0, max_steps=budget.steps, learning_rate=budget.rate,
        per_device_train_batch_size=budget.batch_size, per_device_eval_batch_size=50, weight_decay=0.05,
        warmup_ratio=0.05, augment_flip=0.5, eval_strategy="no", save_strategy="no", report_to="none",
        image_cache=True, keep_features=False, logging_steps=100_000, threads=1, bf16=False, **own,
    )  # fmt: skip


class _HalvesJob(Job):
    """`roc finetune` that only scores its test photos in the end."""

    def __init__(self, config: RunConfig) -> None:
        super().__init__(config)
        self.found: dict[str, Any] = {}

    def check_images(self) -> None:
        """Does nothing: the scenes were drawn here."""

    def evaluate(self, data: RunData, history: list[dict[str, Any]]) -> str:
        assessment = Assessment(self.config.output_dir, batch_size=50)
        scales = {scale.name: scale for scale in assessment.model.declaration.scales}
        halves = {}
        for name in scales or [self.config.data_path and Path(self.config.data_path).stem]:
            records = [record for record in data.test if record.dataset in (None, name)]
            assessed = assessment.score([record.images[0] for record in records])
            if scales:
                assessed = [on_scale(one, scales[name]) for one in assessed]
            predictions = [one.scores["overall"].value for one in assessed]
            human = [record.scores["overall"] for record in records]
            metrics = {metric.__name__: metric(predictions, human) for metric in (srcc, plcc, mae)}
            halves[name] = {"predictions": predictions, "human": human, **metrics}
        self.found = {"halves": halves, "links": scales["B"].to_dict() if scales else None}
        return ""
