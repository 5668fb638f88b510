"""Reading: data files become records, and everything that is wrong with them is found.

These kinds of file are read, told apart by their suffix:

* `.json`: the published form, one list of samples with `image`, `gt_score` (a number, or a list in the order of the
  clauses), `target` (histogram of the votes) and `conversations` with `<|image|>` and `[SCORE]`;
* `.jsonl`: one sample per line, with the same keys or with the names of the CSV's columns;
* `.csv` (`.tsv`): a header and one image per row, separated by comma, semicolon or tab, UTF-8;
* `.xlsx`: its first sheet, with the CSV's columns;
* `.parquet`: the CSV's columns; the pictures themselves may stand in it, as `datasets` writes them;
* a folder that `datasets` wrote, or `hf://datasets/ORGANISATION/NAME`.

The columns: `image`; one of `score`, `mos`, `gt_score`, `mean`; and any of `id`, `std`, `n_votes`, `comment`, `split`
(train, val, validation or test), `dataset`, `group`, and the votes for each level `h_1` .. `h_N` (`h_<attribute>_1` ..
for an attribute). Every other column of numbers is the score of the attribute it is named after; `score.<attribute>`
means the same. Other columns that nobody asked for are not read. An empty cell of an attribute, or NA, means that it
was not rated (`roc/data/cells.py`). Where there are `group` and `edit`, a row of a group needs no score.

A file is read as a whole or not at all: all its faults are found first and reported together, each with its line.
Nothing is repaired, left out or replaced by another sample.
"""

from __future__ import annotations

import functools
import math
import os
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from roc.data.cells import as_id, as_number, as_text, number_hint, shown
from roc.data.columns import SCORE_COLUMNS, Columns
from roc.data.conversations import read_turns
from roc.data.image_paths import ImagePaths
from roc.data.limits import DEFAULT_PIXEL_LIMIT
from roc.data.pictures import Picture
from roc.data.records import SPLITS, Record, Repeats
from roc.data.rows import DataError, Faults, Row, iter_rows
from roc.data.survey import check_image_files
from roc.data.usual_ranges import Declared, RangeCheck
from roc.prompts import IMAGE_PLACEHOLDER, SCORE_TOKEN
from roc.score_space import TOLERANCE, ScoreSpace


def read_records(
    path: str | os.PathLike[str],
    image_folder: str | os.PathLike[str] | None = None,
    *,
    space: ScoreSpace | None,
    num_levels: int | None = None,
    attributes: Sequence[str] | None = None,
    require_histogram: bool = False,
    check_images: bool = True,
    pixel_limit: int = DEFAULT_PIXEL_LIMIT,
    split: str | None = None,
    unrated: bool = False,
    declared: Declared | None = None,
) -> list[Record]:
    """Reads a data file and checks that all of it can be used.

    Args:
        path: a file of one of the kinds at the head of this module.
        image_folder: folder that the paths in the file are relative to; None for the folder of the file itself. No
            path may lead out of it; absolute paths have to lie inside it where it is given.
        space: native scale that every score has to lie on, an attribute with a range of its own on that; None leaves
            the range unchecked (scores still have to be finite).
        num_levels: length that every histogram must have; None takes the length of the first one.
        attributes: names for a `gt_score` that is a list, in its order, "overall" first; None for "overall",
            "score_2", "score_3", ... A sample can name its own under the key `attributes`. A column of one of these
            names has to hold numbers; other columns that do not hold scores are left unread.
        require_histogram: whether a file without any histogram is at fault, as it is for training with `ce_weight` or
            `emd_weight` above 0. Some records may always lack one.
        check_images: whether to decode every image. False only checks that the files exist.
        pixel_limit: an image with more pixels is a fault.
        split: split to return ("train", "val" or "test"); None for all. The rows of the others are checked all the
            same, their images are not.
        unrated: whether rows, or all of the file, may lack every score.
        declared: how the range of `space` is declared, for faults; None for the settings min_score and max_score.

    Returns:
        Records in the order of the file, at least one.

    Raises:
        DataError: with all faults of the file.
        ValueError: an unknown split.
    """
    path = Path(path)
    if split is not None and split not in SPLITS:
        raise ValueError(f"split is {split!r}; expected one of {', '.join(SPLITS)}")

    faults = Faults(path)
    repeats = Repeats(faults)
    records = []
    asked = {"space": space, "num_levels": num_levels, "attributes": attributes, "unrated": unrated}
    asked["declared"] = declared
    for record in scan_records(path, image_folder, faults, **asked):
        repeats.see(record)
        records.append(record)
    if require_histogram and records and not any(record.histograms for record in records):
        faults.add(
            None,
            "no record has a histogram; give the columns h_1 .. h_N (JSON: target), or set the ce and emd weights to 0",
        )
    if split is not None:
        whole, records = records, [record for record in records if record.split == SPLITS[split]]
        if whole and not records:
            faults.add(None, f"no record belongs to the split {split!r}; give them a column 'split'")
    lines: dict[str, list[int | None]] = defaultdict(list)
    for record in records:
        for image in record.images:
            lines[image].append(record.line)
    folder = path.parent if image_folder is None else image_folder
    check_image_files(lines, faults, folder=folder, decode=check_images, pixel_limit=pixel_limit)
    if faults:
        raise DataError(faults.texts())
    return records


def scan_records(
    path: str | os.PathLike[str],
    image_folder: str | os.PathLike[str] | None,
    faults: Faults,
    *,
    space: ScoreSpace | None,
    num_levels: int | None = None,
    attributes: Sequence[str] | None = None,
    drop: Collection[str] = (),
    unrated: bool = False,
    declared: Declared | None = None,
) -> Iterator[Record]:
    """Reads the records of a file one by one, so that a file may be larger than memory.

    The file is read twice: once for its columns, some of which may first appear late in JSON Lines, and once for the
    records. Images are not opened, and records are not compared with each other (`Repeats` does that).

    Args:
        path, image_folder, space, num_levels, attributes, unrated, declared: as for `read_records`.
        faults: collects everything that is wrong; complete once the iterator is exhausted. If it is not empty then,
            records may be missing or incomplete.
        drop: columns to read as if they were not there.

    Yields:
        Records in the order of the file.

    Raises:
        DataError: the file cannot be read at all, or `image_folder` does not exist.
    """
    path = Path(path)
    if image_folder is not None and not Path(image_folder).is_dir():
        raise DataError([f"{os.fspath(image_folder)}: no such folder; image_folder has to be the folder of the images"])
    reader = _RowReader(
        faults,
        folder=path.parent if image_folder is None else Path(image_folder),
        anywhere=image_folder is None,
        numbers_as_text=path.suffix.lower() in (".csv", ".tsv"),
        space=space,
        num_levels=num_levels,
        attributes=attributes,
        unrated=unrated,
        declared=declared,
    )
    return reader.read(lambda faults: dropped(iter_rows(path, faults), drop))


def dropped(rows: Iterator[Row], columns: Collection[str]) -> Iterator[Row]:
    """Leaves columns out of rows."""
    if not columns:
        return rows
    return ((line, {name: value for name, value in row.items() if name not in columns}) for line, row in rows)


class _RowReader:
    """Turns rows into records.

    It goes on after a fault so that the next one is found too; whoever reads the records refuses the file in the end.

    Args:
        faults: collects what is wrong.
        folder: folder that image paths are relative to.
        anywhere: whether absolute paths may lead out of it.
        numbers_as_text: whether "5" is a number, as in a CSV file.
        space, num_levels, attributes, unrated, declared: as for `read_records`.
    """

    def __init__(
        self,
        faults: Faults,
        *,
        folder: Path,
        anywhere: bool,
        numbers_as_text: bool,
        space: ScoreSpace | None,
        num_levels: int | None,
        attributes: Sequence[str] | None,
        unrated: bool,
        declared: Declared | None,
    ) -> None:
        self._faults = faults
        self._unrated = unrated
        self._numbers_as_text = numbers_as_text
        self._space = space
        self._checks: dict[str | None, RangeCheck] = {}  # of each attribute on a range of its own; None: of the others
        if space is not None:
            self._checks = {name: RangeCheck(space.of(name), name) for name in space.attribute_ranges}
            self._checks[None] = RangeCheck(space, declared=declared)
        self._num_levels = num_levels
        self._list_attributes = attributes
        self._line = 0
        self._parsed = functools.partial(as_number, from_text=numbers_as_text)
        self._columns = Columns(faults, self._parsed, attributes, self._fits, unrated=unrated)
        self._paths = ImagePaths(folder, self._fault, anywhere=anywhere)

    def read(self, rows: Callable[[Faults], Iterator[Row]]) -> Iterator[Record]:
        """Turns the rows that `rows` yields into records. It is called twice; its faults count the second time."""
        attributes = self._columns.attributes(rows(Faults(self._faults.path)))
        empty = True
        for line, written in rows(self._faults):
            self._line = line
            empty = False
            if attributes is None:
                continue
            row = self._columns.named(line, written)
            # A conversation can be about no image at all.
            imageless = row.get("image") is None and row.get("conversations") is not None
            images = [] if imageless else self._paths.named(row.get("image"))
            if images or imageless:
                yield self._record(row, images, attributes)
        for check in self._checks.values():
            check.add_faults(self._faults)
        if empty and not self._faults:
            self._faults.add(None, "there is no sample in this file")

    def _fault(self, what: str, cause: Any = None) -> None:
        self._faults.add(self._line, what, cause)

    def _turns_fault(self, what: str) -> None:
        self._fault(what, ("turns", what))  # what is wrong with one conversation is most often wrong with all

    def _fits(self, attribute: str, score: float) -> bool:
        low, high = self._space.of(attribute).range if self._space is not None else (-math.inf, math.inf)
        return low - TOLERANCE <= score <= high + TOLERANCE

    def _record(self, row: Mapping[str, Any], written: list[str | Picture], attributes: list[str]) -> Record:
        scores = self._scores(row, attributes)
        conversations = read_turns(row.get("conversations"), len(written), len(scores), self._turns_fault)
        in_group = self._columns.grouped and row.get("group") is not None
        if not scores and conversations is None and not (in_group or self._unrated):
            self._fault("there is no score; give one, or remove the sample", "no score")
        n_votes = self._n_votes(row)
        identity = as_id(self._text(row, "id"))
        split = self._text(row, "split")
        if split is not None and split.lower() not in SPLITS:
            self._fault(f"the split is {split!r}; expected one of {', '.join(SPLITS)}", ("split", split))
        return Record(
            id=identity if identity is not None else "|".join(map(str, written)) or f"line {self._line}",
            images=tuple(path for image in written if (path := self._paths.resolve(image)) is not None),
            scores={name: score for name, score in scores.items() if score is not None},
            histograms=self._histograms(row, list(scores), n_votes),
            std=self._std(row),
            n_votes=n_votes,
            comment=self._comment(row),
            conversations=conversations,
            group=self._text(row, "group"),
            edit=self._edit(row),
            split=SPLITS.get(split.lower()) if split is not None else None,
            dataset=self._text(row, "dataset"),
            line=self._line,
        )

    def _scores(self, row: Mapping[str, Any], attributes: list[str]) -> dict[str, float | None]:
        """Reads attribute -> score, in the order of the `[SCORE]`s; None for a score that cannot be used."""
        given = [name for name in SCORE_COLUMNS if name in row]
        if len(given) > 1:
            self._fault(f"there is more than one overall score: {', '.join(given)}; keep one of them", tuple(given))
        value = row[given[0]] if given else None
        scores: dict[str, float | None] = {}
        if isinstance(value, list):
            for name, score in zip(self._list_names(row, len(value)), value, strict=True):
                scores[name] = self._score(score, name, f"the score of {name!r}")
        elif value is not None:
            scores["overall"] = self._score(value, "overall", "the score")
        elif given and row.get("conversations") is None and not self._unrated:
            self._fault("the score is empty; give a number, or remove the sample", "empty score")
            scores["overall"] = None
        for name in attributes:
            if row.get(name) is not None:
                scores[name] = self._score(row[name], name, f"the score of {name!r}")
        return scores

    def _list_names(self, row: Mapping[str, Any], count: int) -> list[str]:
        default = ["overall", *(f"score_{number}" for number in range(2, count + 1))][:count]
        names = row.get("attributes")
        if names is None:
            names = self._list_attributes
        if names is None:
            return default
        names = list(names) if isinstance(names, list | tuple) else [names]
        if not all(isinstance(name, str) and name for name in names) or len(set(names)) != len(names):
            self._fault(f"the attributes are {shown(names)}; expected a list of different names")
            return default
        if names[:1] != ["overall"]:
            what = f"the attributes are {', '.join(names)}; the first score has to be named 'overall'"
            self._fault(what, what)
            return default
        if len(names) != count:
            what = f"there are {count} scores for {len(names)} attributes ({', '.join(names)}); give one for each"
            self._fault(what, what)
            return default
        return names

    def _score(self, value: Any, attribute: str, what: str) -> float | None:
        score = self._number(value, what)
        check = self._checks.get(attribute, self._checks.get(None))
        if score is None or check is None or check.see(score, what, self._line):
            return score
        return None

    def _number(self, value: Any, what: str) -> float | None:
        number = self._parsed(value)
        if number is None:
            hint = self._number_hint(value)
            kind = re.sub(r"[^a-z]+", " ", hint)  # the number that was meant is another one in each row
            self._fault(f"{what} is {shown(value)}; expected a number{hint}", ("no number", what, kind))
        elif not math.isfinite(number):
            self._fault(f"{what} is {number}; expected a finite number", ("not finite", what))
        else:
            return number
        return None

    def _number_hint(self, value: Any) -> str:
        if isinstance(value, str) and not self._numbers_as_text and re.fullmatch(r"-?\d+(\.\d+)?", value):
            return ", without quotation marks"
        return number_hint(value)

    def _histograms(
        self, row: Mapping[str, Any], attributes: list[str], n_votes: int | None
    ) -> dict[str, tuple[float, ...]]:
        given: dict[str, list[Any]] = {}
        for attribute, names in self._columns.votes(self._line, tuple(row)).items():
            values = [row[name] for name in names.values()]
            if list(names) != list(range(1, len(names) + 1)):
                what = f"the histogram's columns for {attribute!r} are numbered {list(names)}; expected 1, 2, 3, ..."
                self._fault(what, what)
            elif any(value is not None for value in values):
                given[attribute] = values
        target = row.get("target")
        if target is not None:
            if given:
                self._fault("there are two histograms, h_1 .. and target; keep one of them", "two histograms")
            nested = isinstance(target, list) and target and all(isinstance(part, list) for part in target)
            if nested and len(target) != len(attributes):
                what = f"the target holds {len(target)} histograms for {len(attributes)} scores; give one for each"
                self._fault(what, what)
            else:
                given |= zip(attributes, target, strict=True) if nested else {"overall": target}
        histograms = {}
        for attribute, values in given.items():
            if attribute not in attributes:
                what = f"there is a histogram for {attribute!r}, but no score of that name"
                self._fault(what, what)
            elif (histogram := self._histogram(values, attribute, n_votes)) is not None:
                histograms[attribute] = histogram
        return histograms

    def _histogram(self, values: Any, attribute: str, n_votes: int | None) -> tuple[float, ...] | None:
        """Turns shares or counts of votes into shares that add up to 1; `n_votes` belongs to the overall score."""
        what = "the histogram" if attribute == "overall" else f"the histogram of {attribute!r}"
        if not isinstance(values, list) or not values:
            self._fault(f"{what} is {shown(values)}; expected a list of the share of votes for each level")
            return None
        if self._num_levels is None:
            self._num_levels = len(values)
        if len(values) != self._num_levels:
            self._fault(
                f"{what} has {len(values)} levels, expected {self._num_levels}; "
                "num_levels (num_tokens) has to be the length of every histogram",
                ("levels", what, len(values)),
            )
            return None
        numbers = [self._parsed(value) for value in values]
        if not all(number is not None and math.isfinite(number) for number in numbers):
            for place, value in enumerate(values, start=1):
                self._number(value, f"{what}'s level {place}")
            return None
        try:
            total = math.fsum(numbers)
        except OverflowError:
            total = math.inf
        counts = all(number.is_integer() for number in numbers)
        if min(numbers) < 0:
            self._fault(f"{what} has a negative part, {min(numbers):g}; votes cannot be negative", ("negative", what))
        elif total == 0:
            self._fault(f"{what} is all 0; leave it out where there are no votes", ("all 0", what))
        elif (not counts and abs(total - 1) > 1e-3) or not math.isfinite(total):
            expected = "expected shares that add up to 1, or whole numbers of votes"
            self._fault(f"{what} adds up to {total:.6g}; {expected}", ("sum", what))
        elif counts and total != 1 and attribute == "overall" and n_votes is not None and total != n_votes:
            wrong = f"{what} holds {total:g} votes, but n_votes is {n_votes}; correct the one that is wrong"
            self._fault(wrong, ("n_votes", what))
        else:
            return tuple(number / total for number in numbers)
        return None

    def _text(self, row: Mapping[str, Any], name: str) -> str | None:
        value = row.get(name)
        if value is None:
            return None
        text = as_text(value)
        if text is None:
            self._fault(f"the {name} is {shown(value)}; expected a text", ("no text", name))
            return None
        return text.strip() or None

    def _comment(self, row: Mapping[str, Any]) -> str | None:
        comment = self._text(row, "comment")
        for mark in (SCORE_TOKEN, IMAGE_PLACEHOLDER):
            if comment is not None and mark in comment:
                self._fault(f"the comment contains {mark}, which is kept for the model; remove it", ("mark", mark))
        return comment

    def _std(self, row: Mapping[str, Any]) -> float | None:
        std = self._number(row["std"], "the std") if row.get("std") is not None else None
        if std is not None and std < 0:
            self._fault(f"the std is {std:g}; a standard deviation cannot be negative", "negative std")
        return std

    def _n_votes(self, row: Mapping[str, Any]) -> int | None:
        n_votes = self._number(row["n_votes"], "n_votes") if row.get("n_votes") is not None else None
        if n_votes is None:
            return None
        if n_votes < 1 or not n_votes.is_integer():
            self._fault(f"n_votes is {n_votes:g}; expected a whole number of at least 1", "n_votes")
        return int(n_votes)

    def _edit(self, row: Mapping[str, Any]) -> dict[str, Any] | None:
        edit = row.get("edit")
        if edit is not None and not isinstance(edit, dict):
            self._fault(f"the edit is {shown(edit)}; expected an object {{...}}", "edit")
            return None
        return edit
