"""What the analysis reads of a run: its predictions, its checkpoint, its saved states and the photos it learnt from.

A run is a folder that `roc finetune` or `roc evaluate` wrote, or a file of predictions alone. The file that the authors
of AGREE released, with the columns image_filename, mean_response_scaled and pred, is one too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roc.data.cells import as_id, as_number
from roc.data.reading import read_records
from roc.data.records import Record, resolve_splits
from roc.data.rows import TABLES, DataError, Faults, iter_rows
from roc.evaluation.evaluated_rows import EvaluatedRow, scored_rows
from roc.evaluation.folder import METRICS_FILE, read_evaluation
from roc.evaluation.keys import range_text, scale_of
from roc.evaluation.predictions import read_predictions
from roc.score_space import ScoreSpace
from roc.training.run import RUN_FILE, SCENES, STATES
from roc.training.states import states_in

RELEASED = ("image_filename", "mean_response_scaled", "pred")
"""Columns of the released prediction file: photo, human score, prediction."""

_CHECKPOINT_FILES = ("config.json", "adapter_config.json")


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        name: What it is called in tables and plots.
        path: Folder or file.
        ids: Of the photos with a human and a predicted score, (n,).
        scores: (n,) human scores.
        predictions: (n,) predicted scores on the same scale.
        range: Lowest and highest score; None where it is not known.
    """

    name: str
    path: Path
    ids: tuple[str, ...]
    scores: NDArray[np.float64]
    predictions: NDArray[np.float64]
    range: tuple[float, float] | None

    @property
    def errors(self) -> NDArray[np.float64]:
        """(n,) absolute errors."""
        return np.abs(self.predictions - self.scores)

    @property
    def checkpoint(self) -> Path | None:
        """Folder of the trained model; None where there is none."""
        there = any((self.path / name).is_file() for name in _CHECKPOINT_FILES)
        return self.path if there else None

    @property
    def states(self) -> list[tuple[int, Path]]:
        """Step and folder of each saved state that holds a model, the earliest first."""
        found = [(int(path.name.rpartition("-")[2]), path) for path in reversed(states_in(self.path / STATES))]
        return [(step, path) for step, path in found if any((path / name).is_file() for name in _CHECKPOINT_FILES)]

    def ordered(self, ids: Sequence[str]) -> Run:
        """The same with its photos in another order."""
        places = {identity: place for place, identity in enumerate(self.ids)}
        order = [places[identity] for identity in ids]
        return Run(self.name, self.path, tuple(ids), self.scores[order], self.predictions[order], self.range)


def read_runs(paths: Sequence[str]) -> list[Run]:
    """Reads runs, which have to be evaluated on the same photos.

    Args:
        paths: Folders and files; one named twice is read once.

    Returns:
        In the order given, their photos in that of the first.

    Raises:
        ValueError: One cannot be read, or two are of other photos, other human scores or another range.
        DataError: A file of predictions has faults.
    """
    names = _names(paths)
    runs = [_read(name, Path(path)) for path, name in names.items()]
    first, *others = runs
    for run in others:
        if set(run.ids) != set(first.ids):
            alone = sorted(set(run.ids) ^ set(first.ids))
            raise ValueError(
                f"{run.path} and {first.path} were evaluated on other photos ({len(alone)} are in one alone, such as "
                f"{alone[0]}); evaluate both on the same file by `roc evaluate`"
            )
        if run.range != first.range and None not in (run.range, first.range):
            raise ValueError(
                f"{run.path} scores on {range_text(run.range)} and {first.path} on {range_text(first.range)}; expected "
                "one range"
            )
        if not np.allclose(run.ordered(first.ids).scores, first.scores, rtol=0, atol=1e-6):
            raise ValueError(f"the human scores in {run.path} are not those in {first.path}; evaluate both on one file")
    return [first, *(run.ordered(first.ids) for run in others)]


def _names(paths: Sequence[str]) -> dict[str, str]:
    """Gives each path a name: the last part of it, or all of it where two are alike."""
    unique = {os.path.realpath(path): path for path in paths}
    short = {path: Path(path).stem if Path(path).is_file() else Path(real).name for real, path in unique.items()}
    alike = [name for name in short.values() if list(short.values()).count(name) > 1]
    return {path: path if name in alike else name for path, name in short.items()}


def _read(name: str, path: Path) -> Run:
    scale = None
    if path.is_dir():
        if not (path / METRICS_FILE).is_file():
            raise ValueError(
                f"{path} holds no {METRICS_FILE}; expected a folder that `roc finetune` or `roc evaluate` wrote, or a "
                "file of predictions"
            )
        evaluation = read_evaluation(path)
        rows, attribute, scale = evaluation.rows, evaluation.metrics["attributes"][0], scale_of(evaluation.metrics)
    elif path.suffix.lower() in TABLES or path.is_file():
        rows, attribute = _rows_of(path), "overall"
    else:
        raise ValueError(f"{path}: no such file or folder; expected a run of `roc finetune` or a file of predictions")
    scored = scored_rows(rows, attribute)
    if not scored:
        raise ValueError(f"{path} holds no photo with a human and a predicted score")
    ids = [row.id for row in scored]
    if len(set(ids)) < len(ids):
        twice = next(one for one in ids if ids.count(one) > 1)
        raise ValueError(f"{path}: the id {twice} stands there twice; keep one of them")
    scores, predictions = (
        np.array([values[attribute] for values in column], dtype=float)
        for column in ([row.scores for row in scored], [row.predictions for row in scored])
    )
    return Run(name, path, tuple(ids), scores, predictions, scale)


def _rows_of(path: Path) -> list[EvaluatedRow]:
    """Reads a file of predictions, or the released one, which is known by its columns."""
    faults = Faults(path)
    rows = list(iter_rows(path, faults))
    if not rows or faults or not set(RELEASED) <= set(rows[0][1]):
        return read_predictions(path).rows
    found = []
    for line, row in rows:
        photo, score, prediction = (row[name] for name in RELEASED)
        values = [as_number(score), as_number(prediction)]
        if as_id(photo) is None or not all(value is not None and np.isfinite(value) for value in values):
            faults.add(line, f"expected a name and two numbers; found {photo!r}, {score!r}, {prediction!r}")
            continue
        found.append(EvaluatedRow(as_id(photo), {"overall": values[0]}, {"overall": values[1]}))
    if faults:
        raise DataError(faults.texts())
    return found


def anchors_of(run: Run) -> Path | None:
    """Finds the file of text anchors that a run was trained with, from the settings in its `run.json`; None if none."""
    given = _settings_of(run).get("anchors")
    return None if given is None else Path(given)


def _settings_of(run: Run) -> dict[str, Any]:
    """Reads the settings of a training run; empty where there are none."""
    try:
        return dict(json.loads((run.path / RUN_FILE).read_text(encoding="utf-8"))["settings"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def training_records(run: Run, space: ScoreSpace | None, attributes: Sequence[str] | None) -> list[Record] | None:
    """Reads the photos that a run was trained on, from the settings in its `run.json`.

    Args:
        run: The run.
        space: Range that the scores have to lie on; None checks nothing.
        attributes: Names of the scores.

    Returns:
        Its training rows; None where the run does not say what it learnt from.

    Raises:
        DataError: The data file has faults, or is gone.
    """
    settings = _settings_of(run)
    if not settings:
        return None
    path, folder, given = settings.get("data_path"), settings.get("image_folder"), settings.get("eval_data_path")
    if path is None:
        from roc.demo.dataset import RATINGS_FILE

        path, folder = run.path / SCENES / RATINGS_FILE, None
    fraction = 0.0 if given is not None else float(settings.get("val_fraction", 0.1))
    return train_rows(path, folder, space, attributes, fraction)


def train_rows(
    path: str | os.PathLike[str],
    image_folder: str | None,
    space: ScoreSpace | None,
    attributes: Sequence[str] | None,
    val_fraction: float,
) -> list[Record]:
    """Reads the rows of a data file that are trained on: those marked train, less what is held out to validate."""
    records = read_records(path, image_folder, space=space, attributes=attributes, check_images=False)
    return resolve_splits(records, val_fraction=val_fraction)["train"]
