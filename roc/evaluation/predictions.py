"""Files of predictions: human and predicted scores of one image per row.

The columns:

    score                 the human score on the native scale; empty where nobody rated the image
    prediction            the predicted score; empty where the model gave none
    id                    name of the row; without this column the `image`, or the number of the row from 1
    subset                part of the test set that the row belongs to
    image                 path of the image, for the report
    std                   standard deviation that the model reports, on the native scale
    h_1 .. h_N            votes for each level: shares or counts
    p_1 .. p_N            predicted probability of each level
    score.<attribute>, prediction.<attribute>
    low, high             interval around the prediction that a calibrated model gives, with .<attribute> for others
    coverage              share of ratings that the intervals should hold, the same in every row
    calibrated            yes or no: whether the model was trained on distributions
    scorer                name and version of what predicted

Capital letters in the names make no difference. A file is read as a whole or not at all: all faults are found first and
reported together, each with its line. `write_predictions` writes the form that `read_predictions` reads.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roc.data.cells import as_id, as_number, as_text, number_hint, shown
from roc.data.columns import as_known
from roc.data.pictures import Picture
from roc.data.rows import DataError, Faults, iter_rows, write_rows
from roc.evaluation.evaluated_rows import EvaluatedRow, is_number
from roc.evaluation.keys import range_text
from roc.score_space import TOLERANCE, ScoreSpace

_LEVEL = re.compile(r"([hp])_(\d+)")
_ATTRIBUTE = re.compile(r"(score|prediction|low|high)\.(.+)", re.IGNORECASE)
_NAMED = ("score", "prediction", "id", "subset", "image", "std", "calibrated", "low", "high", "coverage", "scorer")
_KNOWN = frozenset((*_NAMED, *(f"{kind}_{n}" for kind in "hp" for n in range(1, 101))))
_YES_NO = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


@dataclass(frozen=True)
class Predictions:
    """What a file of predictions holds.

    Attributes:
        rows: In the order of the file.
        attributes: Names that have both a human and a predicted column, "overall" first.
        calibrated: What the file says about `std` and `p_n`; None where it says nothing.
        notes: What was ignored in the file, one sentence each.
        coverage: Share of ratings that its intervals should hold; None where it says nothing.
        scorer: Name and version of what predicted; None where the file does not name one for all rows.
    """

    rows: list[EvaluatedRow]
    attributes: tuple[str, ...]
    calibrated: bool | None
    notes: tuple[str, ...]
    coverage: float | None = None
    scorer: str | None = None


def write_predictions(
    path: str | os.PathLike[str],
    rows: Sequence[EvaluatedRow],
    attributes: Sequence[str],
    calibrated: bool | None = None,
    coverage: float | None = None,
    scorer: str | None = None,
) -> Path:
    """Writes rows to a CSV file, without the columns that no row has a value for.

    Args:
        path: A name that ends in .csv; the file appears once it is complete.
        rows: In the order of the lines.
        attributes: Names of the scores; the columns of the first are called `score` and `prediction`.
        calibrated: Whether `std` and `p_n` mean something; None where that is not known.
        coverage: Share of ratings that the intervals should hold; None where there are none.
        scorer: Name and version of what predicted; None where that is not known.

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
    for name in attributes if any(row.intervals for row in rows) else ():
        ending = "" if name == first else f".{name}"
        for place, end in enumerate(("low", "high")):
            columns[f"{end}{ending}"] = lambda row, name=name, place=place: row.intervals.get(name, (None, None))[place]
        if coverage is not None:
            columns["coverage"] = lambda row: coverage
    if scorer is not None:
        columns["scorer"] = lambda row: scorer
    cells = ({name: _cell(value(row)) for name, value in columns.items()} for row in rows)
    write_rows(path, cells, columns=list(columns))
    return Path(path)


def _cell(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    # Nine digits bring every float32 back exactly; an empty cell is "not given".
    return f"{float(value):.9g}" if is_number(value) else None


def read_predictions(
    path: str | os.PathLike[str],
    *,
    space: ScoreSpace | None = None,
    image_folder: str | os.PathLike[str] | None = None,
) -> Predictions:
    """Reads a file of predictions and checks all of it.

    Args:
        path: A `.csv`, `.tsv`, `.jsonl`, `.json` or `.parquet` file with the columns listed at the top of this module.
        space: Range of the human scores, with those of attributes on another one; None leaves the range unchecked.
            Predictions may lie outside.
        image_folder: Folder that the paths of images start from; an `id` names the image where there is no `image`.
            None takes the folder of the file, for an `image` column only.

    Raises:
        DataError: With all faults of the file.
    """
    path = Path(path)
    faults = Faults(path)
    parser = _RowParser(
        faults,
        space=space,
        folder=path.parent if image_folder is None else Path(image_folder),
        ids_are_paths=image_folder is not None,
    )
    rows = [row for line, cells in iter_rows(path, faults) if (row := parser.parse(line, cells)) is not None]
    if not rows and not faults:
        faults.add(None, "there is no row in this file")
    if faults:
        raise DataError(faults.texts())
    scorer = next(iter(parser.scorers)) if len(parser.scorers) == 1 else None
    return Predictions(rows, parser.attributes, parser.calibrated, tuple(parser.notes), parser.coverage, scorer)


class _RowParser:
    """Turns lines into rows. It goes on after a fault to find the others; the file is refused at the end.

    Args:
        faults: Collects what is wrong.
        space: Range of the human scores; None leaves it unchecked.
        folder: Folder that the paths of images start from.
        ids_are_paths: Whether an `id` names the image where there is no `image`.
    """

    def __init__(self, faults: Faults, *, space: ScoreSpace | None, folder: Path, ids_are_paths: bool) -> None:
        self.attributes: tuple[str, ...] = ("overall",)
        self.calibrated: bool | None = None
        self.coverage: float | None = None
        self.scorers: set[str | None] = set()
        self.notes: list[str] = []
        self._faults = faults
        self._space = space
        self._folder = folder
        self._ids_are_paths = ids_are_paths
        self._columns: dict[str, list[str]] | None = None
        self._known: set[str] = set()
        self._names: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._spellings = {"overall": "overall"}  # attribute in small letters -> as it was written first
        self._lines: dict[str, int] = {}
        self._sizes: dict[str, tuple[int, int]] = {}
        self._count = 0
        self._line = 0
        self._usable = True

    def parse(self, line: int, cells: Mapping[str, Any]) -> EvaluatedRow | None:
        self._line = line
        self._count += 1
        cells = self._named(as_known(cells, _KNOWN))
        if self._columns is None or not self._known.issuperset(cells):
            self._look_at(cells)
        if not self._usable:
            return None
        scores, predictions = {}, {}
        for name in self.attributes:
            suffix = "" if name == "overall" else f".{name}"
            scores[name] = self._number(cells, f"score{suffix}")
            predictions[name] = self._number(cells, f"prediction{suffix}")
            if self._space is not None and is_number(scores[name]):
                self._check_range(scores[name], name, f"score{suffix}")
        std = self._number(cells, "std")
        if std is not None and std < 0:
            self._fault(f"the std is {std:g}; a standard deviation cannot be negative", "negative std")
        self._read_calibrated(cells.get("calibrated"))
        intervals = self._intervals(cells)
        image = self._text(cells, "image")
        identity = self._text(cells, "id") or image or str(self._count)
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
            image=self._image(cells, image if image is not None else identity if self._ids_are_paths else None),
            intervals=intervals,
        )

    def _intervals(self, cells: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
        """Reads the interval of each attribute, and the share of ratings that all of them should hold."""
        found = {}
        for name in self.attributes:
            suffix = "" if name == "overall" else f".{name}"
            low, high = self._number(cells, f"low{suffix}"), self._number(cells, f"high{suffix}")
            if (low is None) != (high is None) or (low is not None and low > high):
                self._fault(f"low{suffix} and high{suffix} are no interval; give both ends, or none", "interval")
            elif low is not None:
                found[name] = (low, high)
        self.scorers.add(as_text(cells.get("scorer")))
        coverage = self._number(cells, "coverage")
        if coverage is not None and (not 0 < coverage < 1 or self.coverage not in (None, coverage)):
            self._fault(f"coverage is {coverage:g}; expected one share between 0 and 1 in every row", "coverage")
        elif coverage is not None:
            self.coverage = coverage
        return found

    def _named(self, cells: Mapping[str, Any]) -> dict[str, Any]:
        """Renames `Score.Light` to the spelling of the column that named this attribute first, `prediction.light`."""
        written = tuple(cells)
        names = self._names.get(written)
        if names is None:
            names = self._names[written] = tuple(map(self._spelt, written))
            for name in sorted({name for name in names if names.count(name) > 1}):
                self._fault(f"there are two columns for {name!r}; drop one")
        return dict(zip(names, cells.values(), strict=True))

    def _spelt(self, name: str) -> str:
        match = _ATTRIBUTE.fullmatch(name)
        if match is None:
            return name
        return f"{match[1].lower()}.{self._spellings.setdefault(match[2].casefold(), match[2])}"

    def _fault(self, what: str, cause: Any = None) -> None:
        self._faults.add(self._line, what, cause)

    def _look_at(self, cells: Mapping[str, Any]) -> None:
        """Finds out which columns there are; tables name all in the first row, JSON Lines may add some later."""
        self._known.update(cells)
        columns = self._level_columns()
        if self._columns is None:
            self._require_scores(cells)
        self._columns = columns
        found = {kind: [] for kind in ("score", "prediction")}
        unknown = []
        for name in cells:
            match = _ATTRIBUTE.fullmatch(name)
            if match and match[2] != "overall" and match[1] in found:  # `score`, `prediction` are the overall ones
                found[match[1]].append(match[2])
            elif name not in _NAMED and (match is None or match[1] in found) and not _LEVEL.fullmatch(name):
                unknown.append(name)
        both = [name for name in found["score"] if name in found["prediction"]]
        self.attributes = tuple(dict.fromkeys([*self.attributes, *both]))
        self.notes = [
            f"{kind}.{name} has no {other}.{name} beside it and is ignored"
            for kind, other in (("prediction", "score"), ("score", "prediction"))
            for name in found[kind]
            if name not in both
        ]
        if unknown:
            self.notes.append(f"ignored: {', '.join(unknown)}")

    def _level_columns(self) -> dict[str, list[str]]:
        """Names of the columns of histograms ("h") and distributions ("p"), in the order of the levels."""
        columns = {"h": [], "p": []}
        for name in self._known:
            if match := _LEVEL.fullmatch(name):
                columns[match[1]].append(name)
        for kind, names in columns.items():
            names.sort(key=lambda name: int(name[2:]))
            fault = None
            if names and [int(name[2:]) for name in names] != list(range(1, len(names) + 1)):
                fault = f"the columns {', '.join(names)} leave a level out; expected {kind}_1 .. {kind}_N"
            elif len(names) == 1:
                fault = f"{kind}_1 alone is no distribution; expected {kind}_1 .. {kind}_N"
            if fault and self._usable:
                self._usable = False
                self._faults.add(None, fault)
        return columns

    def _require_scores(self, cells: Mapping[str, Any]) -> None:
        missing = [name for name in ("score", "prediction") if name not in cells]
        if missing:
            self._usable = False
            there = ", ".join(map(repr, cells)) or "none"
            self._faults.add(
                None,
                f"there is no column {' and no column '.join(map(repr, missing))}, only {there}; `score` is the human "
                "score, `prediction` the model's. Rename the columns that hold them",
            )

    def _number(self, cells: Mapping[str, Any], name: str) -> float | None:
        value = cells.get(name)
        if value is None:
            return None
        number = as_number(value)
        if number is None or not math.isfinite(number):
            hint = number_hint(value) or ", or an empty cell where there is none"
            kind = re.sub(r"[^a-z]+", " ", hint)  # the number that was meant is another one in each row
            self._fault(f"{name} is {shown(value)}; expected a number{hint}", ("no number", name, kind))
            return None
        return number

    def _check_range(self, score: float, attribute: str, column: str) -> None:
        low, high = scale = self._space.of(attribute).range
        if not low - TOLERANCE <= score <= high + TOLERANCE:
            flags = "--attribute_ranges" if attribute in self._space.attribute_ranges else "--min_score and --max_score"
            self._fault(
                f"{column} is {score:g}, outside the range {range_text(scale)}; correct it, or give the scale of this "
                f"file with {flags}",
                ("outside the range", column),
            )

    def _text(self, cells: Mapping[str, Any], name: str) -> str | None:
        value = cells.get(name)
        if value is None or isinstance(value, Picture):
            return value and value.name
        text = as_id(value) if name == "id" else as_text(value)
        if text is None:
            self._fault(f"{name} is {shown(value)}; expected a text", ("no text", name))
        return text or None

    def _read_calibrated(self, value: Any) -> None:
        if value is None:
            return
        answer = _YES_NO.get(str(value).lower())
        if answer is None or self.calibrated not in (None, answer):
            self._fault(f"calibrated is {shown(value)}; expected yes in every row, or no in every row", "calibrated")
        else:
            self.calibrated = answer

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
                "every row",
                ("levels", kind, len(names)),
            )
            return None
        total = math.fsum(value for value in values if value is not None)
        if empty or min(values) < 0 or total <= 0:
            self._fault(f"{names[0]} .. {names[-1]} are not all numbers of at least 0; fill all of them, or none", kind)
        elif abs(total - 1) <= 1e-3 or (kind == "h" and all(value.is_integer() for value in values)):
            # shares that add up to 1 but for rounding stay as they are written
            return tuple(values) if abs(total - 1) <= 1e-6 else tuple(value / total for value in values)
        else:
            counts = ", or whole numbers of votes" if kind == "h" else ""
            what = f"{names[0]} .. {names[-1]} add up to {total:.6g}; expected shares that add up to 1{counts}"
            self._fault(what, ("sum", kind))
        return None

    def _image(self, cells: Mapping[str, Any], written: str | None) -> str | None:
        image = cells.get("image")
        return image.file() if isinstance(image, Picture) else self._path(written)

    def _path(self, written: str | None) -> str | None:
        """The path of the image; None if it leads out of the folder."""
        if written is None:
            return None
        folder = os.path.abspath(self._folder)
        whole = os.path.abspath(os.path.join(folder, written))
        return whole if os.path.commonpath([folder, whole]) == folder else None
