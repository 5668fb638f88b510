"""The folder of an evaluation: metrics.json, predictions.csv and answers, written and read back.

    metrics.json       every metric with its 95% interval, the score range, and the reason for every 0 or null
    answers.jsonl      the answers of a model that reasons: text, kind and score of each
    predictions.csv    one line per row; `score`, `h_n`, `score.<attribute>` are human, `prediction`, `std`, `p_n`,
                       `prediction.<attribute>` are the model's

`roc evaluate` and training write it, `roc compare` reads two of them. plots/ and report.html lie beside the two files
(roc/evaluation/report.py).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roc.data.records import Record
from roc.evaluation.evaluated_rows import EvaluatedRow
from roc.evaluation.predictions import read_predictions, write_predictions
from roc.files import write_text
from roc.scoring.results import Assessed

METRICS_FILE = "metrics.json"
PREDICTIONS_FILE = "predictions.csv"
ANSWERS_FILE = "answers.jsonl"
MODEL_FILES = ("config.json", "adapter_config.json")
"""Files by which the folder of a model is known."""


@dataclass(frozen=True)
class Evaluation:
    """The result of an evaluation.

    Attributes:
        folder: The folder it is kept in, as the user names it.
        rows: The rows that were evaluated.
        metrics: What `evaluate_predictions` found for them, and further keys such as `split` and `command`.
    """

    folder: str
    rows: list[EvaluatedRow]
    metrics: dict[str, Any]


def check_folder(out: str | os.PathLike[str]) -> None:
    """Refuses the folder of a model, which holds an evaluation of its own.

    Raises:
        ValueError: Naming the folder.
    """
    held = [name for name in MODEL_FILES if (Path(out) / name).exists()]
    if held:
        raise ValueError(
            f"--out {out} is the folder of a model ({held[0]}), with an evaluation of its own; name another"
        )


def write_evaluation(
    folder: str | os.PathLike[str], rows: Sequence[EvaluatedRow], metrics: Mapping[str, Any]
) -> list[Path]:
    """Writes metrics.json and predictions.csv.

    Each file appears only once it is complete; an older file of the same name stays until then.

    Args:
        folder: Created if it does not exist.
        rows: The rows that were evaluated.
        metrics: What `evaluate_predictions` returned for them.

    Returns:
        The two files.

    Raises:
        OSError: If the disk is full or the folder cannot be written; no half-written file is left.
    """
    folder = Path(folder)
    return [
        write_text(folder / METRICS_FILE, json_text(metrics)),
        write_predictions(
            folder / PREDICTIONS_FILE,
            rows,
            metrics["attributes"],
            metrics.get("calibrated"),
            metrics.get("interval_level"),
            metrics.get("scorer"),
        ),
    ]


def write_answers(file: Path, records: Sequence[Record], assessed: Sequence[Assessed]) -> Path:
    """Writes what a model that reasons answered about each record, one line of JSON per record.

    Args:
        file: Its folder is made if it is not there.
        records: With an image each.
        assessed: What the model said of them, with `answers`.
    """
    lines = [
        {"id": record.id, "image": record.images[0], "answers": [answer.to_dict() for answer in one.answers]}
        for record, one in zip(records, assessed, strict=True)
    ]
    return write_text(file, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def read_evaluation(folder: str | os.PathLike[str]) -> Evaluation:
    """Reads the folder of an evaluation.

    Args:
        folder: Holds metrics.json and predictions.csv.

    Raises:
        ValueError: If one of the two is missing or cannot be read.
    """
    folder = Path(folder)
    missing = [name for name in (METRICS_FILE, PREDICTIONS_FILE) if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"{folder} holds no {' and no '.join(missing)}; expected a folder that `roc evaluate` wrote")
    try:
        metrics = json.loads((folder / METRICS_FILE).read_text(encoding="utf-8"))
        metrics["attributes"][0]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise ValueError(f"{folder / METRICS_FILE} is no metrics file of roc: {error!r}; evaluate again") from None
    return Evaluation(str(folder), read_predictions(folder / PREDICTIONS_FILE).rows, metrics)


def json_text(content: Mapping[str, Any]) -> str:
    """Writes metrics as JSON; names of attributes and subsets stay readable, and NaN is refused."""
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
