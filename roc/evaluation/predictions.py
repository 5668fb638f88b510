"""Predictions: what people said of each image beside what a model said, and the files that hold it.

The columns of such a file, one row for each image:

    score                 what people said, on the native scale; empty where nobody rated it
    prediction            what the model said; empty where it gave no score
    id                    name of the row; without this column the `image`, or the number of the row from 1
    subset                part of the test set the row belongs to
    image                 path of the picture, for the report
    std                   the model's standard deviation, in native units
    h_1 .. h_N            votes for each level: shares or counts
    p_1 .. p_N            the model's probability of each level
    score.<attribute>, prediction.<attribute>
    calibrated            yes or no: whether the model was trained on distributions

A file is read as a whole or not at all: everything wrong with it is found first and reported together, each fault with
its line. `write_predictions` writes the form that `read_predictions` reads.
"""

from __future__ import annotations

import csv
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from roc.data.rows import DataError, Faults, iter_rows, shown
from roc.files import write_whole
from roc.score_space import TOLERANCE

_LEVEL = re.compile(r"([hp])_(\d+)")
_ATTRIBUTE = re.compile(r"(score|prediction)\.(.+)")
_NAMED = ("score", "prediction", "id", "subset", "image", "std", "calibrated")
_YES_NO = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


@dataclass(frozen=True)
class EvaluatedRow:
    """One image: what people said and what the model said. All scores are on the native scale.

    Attributes:
        id: name of the row, as in the data file.
        scores: attribute -> human score; an attribute may be absent, None or NaN where nobody rated it.
        predictions: attribute -> predicted score; None where the model gave none.
        std: standard deviation of the predicted distribution of the first attribute.
        p_n: (N,) that distribution, summing to 1.
        h_n: (N,) vote histogram of the first attribute, summing to 1.
        subset: name of the part of the test set the row belongs to, if it is reported by parts.
        image: path of the picture; None where it is not known. Not written into files: the id names the row.
    """

    id: str
    scores: Mapping[str, float | None]
    predictions: Mapping[str, float | None]
    std: float | None = None
    p_n: Sequence[float] | None = field(default=None, repr=False)
    h_n: Sequence[float] | None = field(default=None, repr=False)
    subset: str | None = None
    image: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Predictions:
    """A file of predictions.

    Attributes:
        rows: in the order of the file.
        attributes: those that have both a human and a predicted column, "overall" first.
        calibrated: what the file says of `std` and `p_n`; None where it says nothing.
        notes: what was left aside in it, one sentence each.
    """

    rows: list[EvaluatedRow]
    attributes: tuple[str, ...]
    calibrated: bool | None
    notes: tuple[str, ...]


def is_number(value: float | None) -> bool:
    """Whether a score is there: neither None nor NaN."""
    return value is not None and not math.isnan(value)


def scored_rows(rows: Sequence[EvaluatedRow], attribute: str) -> list[EvaluatedRow]:
    """The rows that have both a human and a predicted score of this attribute."""
    return [row for row in rows if is_number(row.scores.get(attribute)) and is_number(row.predictions.get(attribute))]


def distributions(rows: Sequence[EvaluatedRow], attribute: str) -> tuple[np.ndarray, np.ndarray]:
    """Predicted distributions and vote histograms of the predicted rows that have both, (n, N) each.

    Raises:
        ValueError: if they have not the same number of levels everywhere.
    """
    both = [
        row for row in rows if row.p_n is not None and row.h_n is not None and is_number(row.predictions.get(attribute))
    ]
    for row in both:
        if not len(row.p_n) == len(row.h_n) == len(both[0].h_n):
            raise ValueError(
                f"row {row.id}: {len(row.p_n)} predicted levels and {len(row.h_n)} histogram bins, where the first row "
                f"has {len(both[0].h_n)} bins; a distribution is compared with a histogram of as many bins as levels. "
                "Leave one of the two out to evaluate the scores alone"
            )
    return np.array([row.p_n for row in both], dtype=float), np.array([row.h_n for row in both], dtype=float)


def write_predictions(
    path: str | os.PathLike[str],
    rows: Sequence[EvaluatedRow],
    attributes: Sequence[str],
    calibrated: bool | None = None,
) -> Path:
    """Writes a CSV of predictions, with the columns there is something for.

    Args:
        path: the file to be; it appears once it is complete.
        rows: in the order of the lines.
        attributes: names of the scores; the columns of the first are called `score` and `prediction`.
        calibrated: whether `std` and `p_n` mean something; None where that is not known.

    Returns:
        `path`.
    """
    first, *others = attributes
    num_h = max((len(row.h_n) for row in rows if row.h_n is not None), default=0)
    num_p = max((len(row.p_n) for row in rows if row.p_n is not None), default=0)
    columns: dict[str, Callable[[EvaluatedRow], Any]] = {"id": lambda row: row.id}
    if any(row.subset is not None for row in rows):
        columns["subset"] = lambda row: row.subset
    columns["score"] = lambda row: row.scores.get(first)
    columns |= {f"score.{name}": lambda row, name=name: row.scores.get(name) for name in others}
    columns |= {f"h_{n + 1}": lambda row, n=n: row.h_n[n] if row.h_n is not None else None for n in range(num_h)}
    columns["prediction"] = lambda row: row.predictions.get(first)
    columns |= {f"prediction.{name}": lambda row, name=name: row.predictions.get(name) for name in others}
    if num_p or any(row.std is not None for row in rows):
        columns["std"] = lambda row: row.std
        columns |= {f"p_{n + 1}": lambda row, n=n: row.p_n[n] if row.p_n is not None else None for n in range(num_p)}
        if calibrated is not None:
            columns["calibrated"] = lambda row: "yes" if calibrated else "no"

    def write(temporary: Path) -> None:
        with open(temporary, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            # A quoted header leaves no doubt about which of its commas, semicolons and tabs separate cells.
            quoting = csv.QUOTE_ALL if any(mark in name for name in columns for mark in ",;\t") else csv.QUOTE_MINIMAL
            csv.writer(file, lineterminator="\n", quoting=quoting).writerow(columns)
            writer.writerows([_cell(value(row)) for value in columns.values()] for row in rows)

    return write_whole(path, write)


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return value
    # Nine digits bring every float32 back exactly; an empty cell is "not given".
    return f"{float(value):.9g}" if is_number(value) else ""


def read_predictions(
    path: str | os.PathLike[str],
    *,
    scale: tuple[float, float] | None = None,
    image_folder: str | os.PathLike[str] | None = None,
) -> Predictions:
    """Reads a file of predictions and makes sure that all of it can be used.

    Args:
        path: a `.csv`, `.tsv`, `.jsonl`, `.json` or `.parquet` file with the columns of this module's head.
        scale: (lowest, highest) human score; None leaves the range unchecked. Predictions may lie outside.
        image_folder: where the paths of pictures start from; the `id` names the picture where there is no `image`.
            None takes the folder of the file, for an `image` column only.

    Returns:
        Its rows and what is known about them.

    Raises:
        DataError: with all faults of the file.
    """
    path = Path(path)
    faults = Faults(path)
    reader = _Reader(faults, scale=scale, folder=path.parent if image_folder is None else Path(image_folder))
    reader.ids_are_paths = image_folder is not None
    rows = [row for line, cells in iter_rows(path, faults) if (row := reader.read(line, cells)) is not None]
    if not rows and not faults:
        faults.add(None, "there is no row in this file")
    if faults:
        raise DataError(faults.texts())
    return Predictions(rows, reader.attributes, reader.calibrated, tuple(reader.notes))


class _Reader:
    """Turns lines into rows. Goes on after a fault, so that the next one is found too; the file is refused later."""

    def __init__(self, faults: Faults, *, scale: tuple[float, float] | None, folder: Path) -> None:
        self.attributes: tuple[str, ...] = ("overall",)
        self.calibrated: bool | None = None
        self.notes: list[str] = []
        self.ids_are_paths = False
        self._faults = faults
        self._scale = scale
        self._folder = folder
        self._columns: dict[str, list[str]] | None = None
        self._known: set[str] = set()
        self._lines: dict[str, int] = {}
        self._sizes: dict[str, tuple[int, int]] = {}
        self._numbers = 0
        self._line = 0
        self._usable = True

    def read(self, line: int, cells: Mapping[str, Any]) -> EvaluatedRow | None:
        self._line = line
        self._numbers += 1
        if self._columns is None or not self._known.issuperset(cells):
            self._look_at(cells)
        if not self._usable:
            return None
        scores, predictions = {}, {}
        for name in self.attributes:
            suffix = "" if name == "overall" else f".{name}"
            scores[name] = self._number(cells, f"score{suffix}")
            predictions[name] = self._number(cells, f"prediction{suffix}")
            if self._scale is not None and is_number(scores[name]):
                self._check_range(scores[name], f"score{suffix}")
        std = self._number(cells, "std")
        if std is not None and std < 0:
            self._fault(f"the std is {std:g}; a standard deviation cannot be negative")
        self._read_calibrated(cells.get("calibrated"))
        image = self._text(cells, "image")
        identity = self._text(cells, "id") or image or str(self._numbers)
        before = self._lines.setdefault(identity, line)
        if before != line:
            self._fault(f"the id {identity!r} was used before, in line {before}; give every row its own")
        return EvaluatedRow(
            id=identity,
            scores=scores,
            predictions=predictions,
            std=std,
            p_n=self._levels(cells, "p"),
            h_n=self._levels(cells, "h"),
            subset=self._text(cells, "subset"),
            image=self._path(image if image is not None else identity if self.ids_are_paths else None),
        )

    def _fault(self, what: str) -> None:
        self._faults.add(self._line, what)

    def _look_at(self, cells: Mapping[str, Any]) -> None:
        """Which columns there are. A table names all of them in its first row, lines of JSON may add some later."""
        self._known.update(cells)
        columns = {"h": [], "p": []}
        for name in self._known:
            if match := _LEVEL.fullmatch(name):
                columns[match[1]].append(name)
        for kind, names in columns.items():
            names.sort(key=lambda name: int(name[2:]))
            if names and [int(name[2:]) for name in names] != list(range(1, len(names) + 1)) and self._usable:
                self._usable = False
                self._faults.add(
                    None, f"the columns {', '.join(names)} leave a level out; expected {kind}_1 .. {kind}_N"
                )
            elif len(names) == 1 and self._usable:
                self._usable = False
                self._faults.add(None, f"{kind}_1 alone is no distribution; expected {kind}_1 .. {kind}_N")
        if self._columns is None:
            missing = [name for name in ("score", "prediction") if name not in cells]
            if missing:
                self._usable = False
                there = ", ".join(map(repr, cells)) or "none"
                self._faults.add(
                    None,
                    f"there is no column {' and no column '.join(map(repr, missing))}, only {there}; `score` is what "
                    "people said, `prediction` what the model said. Rename the columns that hold them",
                )
        self._columns = columns
        found = {kind: [] for kind in ("score", "prediction")}
        unknown = []
        for name in cells:
            match = _ATTRIBUTE.fullmatch(name)
            if match and match[2] != "overall":  # which is what `score` and `prediction` are
                found[match[1]].append(match[2])
            elif name not in _NAMED and not _LEVEL.fullmatch(name):
                unknown.append(name)
        both = [name for name in found["score"] if name in found["prediction"]]
        self.attributes = tuple(dict.fromkeys([*self.attributes, *both]))
        self.notes = [
            *(
                f"prediction.{name} has no score.{name} beside it and is left aside"
                for name in found["prediction"]
                if name not in both
            ),
            *(
                f"score.{name} has no prediction.{name} beside it and is left aside"
                for name in found["score"]
                if name not in both
            ),
        ]
        if unknown:
            self.notes.append(f"left aside: {', '.join(unknown)}")

    def _number(self, cells: Mapping[str, Any], name: str) -> float | None:
        value = cells.get(name)
        if value is None:
            return None
        try:
            # float() takes "1_000" for a number, which no table means by it
            no_number = isinstance(value, bool) or (isinstance(value, str) and "_" in value)
            number = None if no_number else float(value)
        except (TypeError, ValueError, OverflowError):
            number = None
        if number is None or math.isinf(number):
            self._fault(f"{name} is {shown(value)}; expected a number, or an empty cell where there is none")
            return None
        return None if math.isnan(number) else number  # NaN is how other programs write an empty cell

    def _check_range(self, score: float, name: str) -> None:
        low, high = self._scale
        if not low - TOLERANCE <= score <= high + TOLERANCE:
            self._fault(
                f"{name} is {score:g}, outside the range {low:g}..{high:g}; correct it, or say the scale of this file "
                "with --min_score and --max_score"
            )

    def _text(self, cells: Mapping[str, Any], name: str) -> str | None:
        value = cells.get(name)
        if value is None or isinstance(value, str):
            return value or None
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        self._fault(f"{name} is {shown(value)}; expected a text")
        return None

    def _read_calibrated(self, value: Any) -> None:
        if value is None:
            return
        said = _YES_NO.get(str(value).lower())
        if said is None or self.calibrated not in (None, said):
            self._fault(f"calibrated is {shown(value)}; expected yes in every row, or no in every row")
        else:
            self.calibrated = said

    def _levels(self, cells: Mapping[str, Any], kind: str) -> tuple[float, ...] | None:
        names = self._columns[kind]
        if not names:
            return None
        values = [self._number(cells, name) for name in names]
        empty = sum(value is None for value in values)
        if empty == len(values):
            return None
        size, line = self._sizes.setdefault(kind, (len(names), self._line))
        if size != len(names):
            self._fault(
                f"{names[0]} .. {names[-1]} are {len(names)} levels, where line {line} has {size}; expected as many in "
                "every row"
            )
            return None
        total = math.fsum(value for value in values if value is not None)
        if empty or min(values) < 0 or total <= 0:
            self._fault(f"{names[0]} .. {names[-1]} are not all numbers of at least 0; fill all of them, or none")
        elif abs(total - 1) <= 1e-3 or (kind == "h" and all(value.is_integer() for value in values)):
            # What adds up but for rounding stays as it is written.
            return tuple(values) if abs(total - 1) <= 1e-6 else tuple(value / total for value in values)
        else:
            counts = ", or whole numbers of votes" if kind == "h" else ""
            self._fault(f"{names[0]} .. {names[-1]} add up to {total:.6g}; expected shares that add up to 1{counts}")
        return None

    def _path(self, written: str | None) -> str | None:
        """Where the picture should be; None for a path that leads out of the folder."""
        if written is None:
            return None
        folder = os.path.abspath(self._folder)
        whole = os.path.abspath(os.path.join(folder, written))
        return whole if os.path.commonpath([folder, whole]) == folder else None
