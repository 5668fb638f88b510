"""Records: one image, pair or group with its human scores, and the reading and checking of files of them.

Four kinds of file are read, told apart by their suffix:

* `.json`: the published form, one list of samples with `image`, `gt_score` (a number, or a list in the order of the
  clauses), `target` (histogram of the votes) and `conversations` with `<|image|>` and `[SCORE]`;
* `.jsonl`: one sample per line, with the same keys or with the names of the CSV's columns;
* `.csv` (`.tsv`): a header and one image per row, separated by comma, semicolon or tab, UTF-8;
* `.parquet`: the CSV's columns.

The columns: `image`; one of `score`, `mos`, `gt_score`, `mean`; and any of `id`, `std`, `n_votes`, `comment`, `split`
(train, val, validation or test), `dataset`, `group`, and the votes for each level `h_1` .. `h_N` (`h_<attribute>_1` ..
for an attribute). Every other column is the score of the attribute it is named after and has to be numeric;
`score.<attribute>` says the same. An empty cell of an attribute means that it was not rated.

A file is read as a whole or not at all: everything wrong with it is found first and reported together, each fault with
its line. Nothing is repaired, left out or replaced by another sample.
"""

from __future__ import annotations

import functools
import hashlib
import math
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from roc.data.images import ImageError, check_image
from roc.data.limits import DEFAULT_MAX_PIXELS
from roc.data.rows import DataError, Faults, Row, iter_rows, shown
from roc.prompts import IMAGE_PLACEHOLDER, SCORE_TOKEN
from roc.score_space import ScoreSpace

Turn = tuple[str, str]
"""One turn of a conversation: ("user" or "assistant", its text)."""

SCORE_COLUMNS = ("score", "mos", "gt_score", "mean")
SPLITS = {"train": "train", "val": "val", "validation": "val", "test": "test"}

_FIXED_COLUMNS = {
    *SCORE_COLUMNS,
    *("image", "id", "std", "n_votes", "comment", "split", "dataset", "group"),
    *("target", "conversations", "attributes", "edit"),
}
_HISTOGRAM_COLUMN = re.compile(r"h_(?:(?P<attribute>.+)_)?(?P<level>\d+)")
_MODEL_COLUMN = re.compile(r"prediction(\..+)?|p_\d+", re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"-?\d+,\d+")
_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant"}


@dataclass(frozen=True, slots=True)
class Record:
    """One image (or pair, or group) with its human scores.

    Attributes:
        id: unique in its file; the image's path as written in the file where none is given.
        images: paths that can be opened; none only for `conversations` about no image.
        scores: attribute -> human score on the native scale, "overall" first. Attributes that were not rated are
            absent. With `conversations`, the k-th `[SCORE]` is the k-th of these.
        histograms: attribute -> share of the votes for each level, (N,), adds up to 1.
        std: standard deviation of the votes for the overall score, in native units.
        n_votes: number of votes behind the overall score.
        comment: a rater's words.
        conversations: turns as the file gives them, user and assistant by turns, with one `<|image|>` per image in
            the first; None where question and answer are to be made from the attributes.
        group: records that belong together, such as edits of one photo.
        edit: what was done to the image, as the file says it.
        split: "train", "val" or "test"; None where the file does not say.
        dataset: name of the data set.
        line: where the record stands in its file, from 1 (for Parquet: the row, from 1).
    """

    id: str
    images: tuple[str, ...]
    scores: dict[str, float] = field(default_factory=dict)
    histograms: dict[str, tuple[float, ...]] = field(default_factory=dict)
    std: float | None = None
    n_votes: int | None = None
    comment: str | None = None
    conversations: tuple[Turn, ...] | None = None
    group: str | None = None
    edit: dict[str, Any] | None = None
    split: str | None = None
    dataset: str | None = None
    line: int | None = None


def read_records(
    path: str | os.PathLike[str],
    image_folder: str | os.PathLike[str] | None = None,
    *,
    space: ScoreSpace | None,
    num_levels: int | None = None,
    attributes: Sequence[str] | None = None,
    require_histogram: bool = False,
    check_images: bool = True,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    split: str | None = None,
) -> list[Record]:
    """Reads a data file and makes sure that all of it can be used.

    Args:
        path: a `.json`, `.jsonl`, `.csv`, `.tsv` or `.parquet` file, see the head of this module.
        image_folder: where the paths in the file start from; None for the folder of the file itself. A path in the
            file may not lead out of it; an absolute path has to lie inside a given one.
        space: the native scale, which every score has to lie on; None leaves the range unchecked (scores still have
            to be finite).
        num_levels: length that every histogram must have; None takes the length of the first one.
        attributes: names for a `gt_score` that is a list, in its order, "overall" first; None for "overall",
            "score_2", "score_3", ... A sample can name its own under the key `attributes`.
        require_histogram: whether it is a fault if no record has a histogram, as it is for training with `ce_weight`
            or `emd_weight` above 0. That some records have none is never a fault.
        check_images: whether to decode every image. False only looks whether the files are there.
        max_pixels: an image with more pixels is a fault.
        split: keep the records of this split only ("train", "val" or "test"). The whole file is checked all the same,
            except that the images of other splits are not looked at.

    Returns:
        Records in the order of the file, at least one.

    Raises:
        DataError: with all faults of the file.
    """
    path = Path(path)
    if split is not None and split not in SPLITS:
        raise ValueError(f"split is {split!r}; expected one of {', '.join(SPLITS)}")

    faults = Faults(path)
    repeats = Repeats(faults)
    records = []
    for record in scan_records(path, image_folder, faults, space=space, num_levels=num_levels, attributes=attributes):
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
    _check_image_files(records, faults, decode=check_images, max_pixels=max_pixels)
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
) -> Iterator[Record]:
    """Reads the records of a file one after the other, for files too large to be held; `read_records` holds them.

    The file is read twice: once for its columns, which in JSON Lines may come late, and once for the records. Images
    are not looked at, and records are not compared with each other (`Repeats` does that).

    Args:
        path, image_folder, space, num_levels, attributes: as for `read_records`.
        faults: takes everything that is wrong; complete when the iterator is at its end. Where it is not empty then,
            records may be missing or incomplete.

    Yields:
        Records in the order of the file.

    Raises:
        DataError: the file cannot be read at all, or there is no such image_folder.
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
    )
    return reader.read(lambda faults: iter_rows(path, faults))


class Repeats:
    """Finds ids that are used twice and images in two splits, while the records go by.

    An image in two splits would be tested on what was learnt by heart. No split counts as train.

    Args:
        faults: takes what is found.
        across_splits: whether the same image in two splits is a fault.
    """

    def __init__(self, faults: Faults, *, across_splits: bool = True) -> None:
        self._faults = faults
        self._across_splits = across_splits
        self._ids: dict[str, tuple[int | None, str | None, tuple[str, ...]]] = {}
        self._images: dict[str, tuple[int | None, str | None]] = {}

    def see(self, record: Record) -> None:
        """To be called once for each record, in the order of the file."""
        before = self._ids.get(record.id)
        if before is None:
            self._ids[record.id] = before = (record.line, record.split, record.images)
            repeated = False
        else:
            # the same image in two splits is reported as such
            repeated = before[1] == record.split or before[2] != record.images
        if repeated:
            self._faults.add(
                record.line,
                f"the id {record.id!r} was used before, in line {before[0]}; remove one of the two, or give "
                "samples of the same image different ids",
            )
        for image in record.images if self._across_splits else ():
            line, split = self._images.setdefault(image, (record.line, record.split))
            here, there = record.split or "train", split or "train"
            if here != there:
                self._faults.add(
                    record.line, f"the image {image} is in {here} here and in {there} in line {line}; keep one"
                )


def split_by_id(records: Iterable[Record], fraction: float, salt: str = "roc") -> tuple[list[Record], list[Record]]:
    """Holds out a part of the records, decided for each by a hash of its id.

    The same record is held out whatever the order and number of the others, in every run and on every machine.

    Args:
        records: any records.
        fraction: share to hold out, 0..1; met on average, not exactly.
        salt: another salt gives another choice.

    Returns:
        (kept, held out), both in the order given.

    Raises:
        ValueError: a fraction outside 0..1.
    """
    if not 0 <= fraction <= 1:
        raise ValueError(f"the fraction to hold out is {fraction}; expected 0..1")
    kept: list[Record] = []
    held_out: list[Record] = []
    for record in records:
        digest = hashlib.sha256(f"{salt}:{record.id}".encode()).digest()
        place = int.from_bytes(digest[:8], "big") / 2**64
        (held_out if place < fraction else kept).append(record)
    return kept, held_out


def resolve_splits(
    records: Iterable[Record], *, val_fraction: float = 0.1, salt: str = "roc"
) -> dict[str, list[Record]]:
    """Divides records into what is trained on, what selects the checkpoint, and what is reported on.

    The records' own `split` decides; one without counts as train. Where no record is marked "val", a part of train is
    held out by `split_by_id`, unless that would leave nothing to train on. Test records are never moved.

    Args:
        records: as `read_records` gives them.
        val_fraction: share of train to hold out where the file marks no validation records.
        salt: see `split_by_id`.

    Returns:
        {"train": ..., "val": ..., "test": ...}; each may be empty.
    """
    splits: dict[str, list[Record]] = {"train": [], "val": [], "test": []}
    for record in records:
        splits[record.split or "train"].append(record)
    if not splits["val"]:
        kept, held_out = split_by_id(splits["train"], val_fraction, salt)
        if kept:
            splits["train"], splits["val"] = kept, held_out
    return splits


class _AttributeColumns:
    """The names that are neither fixed nor of a histogram, if what stands under them are numbers."""

    def __init__(self, parsed: Callable[[Any], float | None]) -> None:
        self._parsed = parsed
        self._others: dict[tuple[str, ...], list[str]] = {}
        self._first_line: dict[str, int] = {}
        self._first_text: dict[str, tuple[int, Any]] = {}
        self._filled: dict[str, int] = defaultdict(int)
        self._texts: dict[str, int] = defaultdict(int)

    def see(self, line: int, row: Mapping[str, Any]) -> None:
        names = tuple(row)
        others = self._others.get(names)
        if others is None:
            others = [name for name in names if name not in _FIXED_COLUMNS and not _histogram_level(name)]
            self._others[names] = others
        for name in others:
            self._first_line.setdefault(name, line)
            if row[name] is not None:
                self._filled[name] += 1
                if self._parsed(row[name]) is None:
                    self._texts[name] += 1
                    self._first_text.setdefault(name, (line, row[name]))

    def chosen(self, faults: Faults) -> list[str]:
        columns = []
        for name, line in self._first_line.items():
            if _MODEL_COLUMN.fullmatch(name):
                faults.add(line, f"{name!r} is what a model predicted, not a rating; drop it")
            elif name == "overall":
                faults.add(line, f"the overall score has to be named one of {', '.join(SCORE_COLUMNS)}, not 'overall'")
            elif 2 * self._texts[name] > self._filled[name]:
                # a few texts among numbers are faults of their cells, which _score finds
                line, value = self._first_text[name]
                faults.add(
                    line,
                    f"{name!r} is taken for an attribute, but {shown(value)} is no number; "
                    "drop it, or rename it to dataset, group or comment",
                )
            else:
                columns.append(name)
        return columns


class _RowReader:
    """Turns rows into records. Goes on after a fault, so that the next one is found too; the file is refused later."""

    def __init__(
        self,
        faults: Faults,
        *,
        folder: Path,
        anywhere: bool,  # whether absolute paths may lead out of the folder
        numbers_as_text: bool,  # whether "5" is a number, as in a CSV file
        space: ScoreSpace | None,
        num_levels: int | None,
        attributes: Sequence[str] | None,
    ) -> None:
        self._faults = faults
        self._folder = os.path.abspath(folder)
        self._anywhere = anywhere
        self._number_types = (int, float, str) if numbers_as_text else (int, float)
        self._space = space
        self._num_levels = num_levels
        self._names = attributes
        self._line = 0
        # Worked out once for each set of column names, not for each row.
        self._levels_of: dict[tuple[str, ...], dict[str, dict[int, str]]] = {}
        self._names_of: dict[tuple[str, ...], list[str]] = {}
        self._named_twice: set[str] = set()

    def read(self, rows: Callable[[Faults], Iterator[Row]]) -> Iterator[Record]:
        """Records of the rows that `rows` gives. It is called twice; what it finds wrong counts the second time."""
        columns = self._columns(rows(Faults(Path())))
        empty = True
        for line, written in rows(self._faults):
            self._line = line
            empty = False
            if columns is None:
                continue
            row = self._named(written)
            # A conversation can be about no image at all.
            imageless = row.get("image") is None and row.get("conversations") is not None
            images = [] if imageless else self._images(row.get("image"))
            if images or imageless:
                yield self._record(row, images, columns)
        if empty and not self._faults:
            self._faults.add(None, "there is no sample in this file")

    def _named(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The row under the names this file knows: fixed ones in small letters, `score.light` as `light`."""
        written = tuple(row)
        names = self._names_of.get(written)
        if names is None:
            names = self._names_of[written] = [
                name.lower() if name.lower() in _FIXED_COLUMNS else name.removeprefix("score.") for name in written
            ]
            for name in sorted({name for name in names if names.count(name) > 1} - self._named_twice):
                self._named_twice.add(name)
                self._fault(f"there are two columns for {name!r}; drop one")
        return dict(zip(names, row.values(), strict=True))

    def _columns(self, rows: Iterable[Row]) -> list[str] | None:
        """The attributes' columns; None, and a fault, where a column that every file needs is not there."""
        seen: dict[str, None] = {}
        columns = _AttributeColumns(self._parsed)
        for line, written in rows:
            self._line = line
            row = self._named(written)
            seen |= dict.fromkeys(row)
            columns.see(line, row)
        if seen and "image" not in seen:
            self._faults.add(
                None, f"there is no 'image', only {', '.join(map(repr, seen))}; rename the column of paths"
            )
            return None
        if seen and not any(name in seen for name in (*SCORE_COLUMNS, "conversations")):
            self._faults.add(None, f"there are no overall scores; name their column one of {', '.join(SCORE_COLUMNS)}")
            return None
        return columns.chosen(self._faults)

    def _fault(self, what: str) -> None:
        self._faults.add(self._line, what)

    def _record(self, row: Mapping[str, Any], written: list[str], columns: list[str]) -> Record:
        scores = self._scores(row, columns)
        conversations = self._conversations(row.get("conversations"), len(written), scores)
        if not scores and conversations is None:
            self._fault("there is no score; give one, or remove the sample")
        n_votes = self._n_votes(row)
        identity = self._text(row, "id")
        split = self._text(row, "split")
        if split is not None and split.lower() not in SPLITS:
            self._fault(f"the split is {split!r}; expected one of {', '.join(SPLITS)}")
        return Record(
            id=identity if identity is not None else "|".join(written) or f"line {self._line}",
            images=tuple(path for image in written if (path := self._resolve(image)) is not None),
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

    def _images(self, value: Any) -> list[str]:
        images = value if isinstance(value, list) else [value]
        if not images or not all(isinstance(image, str) and image and "\0" not in image for image in images):
            self._fault(f"the image is {shown(value)}; expected a path or a list of paths")
            return []
        return images

    def _resolve(self, image: str) -> str | None:
        """The path to open. The folder is a border, so that a data file cannot pull in any file of the machine.

        Links are followed wherever they lead: they are the doing of whoever keeps the folder, as in a hub's cache.
        """
        path = os.path.normpath(os.path.join(self._folder, image))
        allowed = self._anywhere and os.path.isabs(image)
        if not allowed and not path.startswith(os.path.join(self._folder, "")):
            self._fault(f"the image {image!r} lies outside of {self._folder}; set image_folder to a folder around it")
            return None
        return path

    def _scores(self, row: Mapping[str, Any], columns: list[str]) -> dict[str, float | None]:
        """attribute -> score in the order of the `[SCORE]`s; None for a score that is there but cannot be used."""
        given = [name for name in SCORE_COLUMNS if name in row]
        if len(given) > 1:
            self._fault(f"there is more than one overall score: {', '.join(given)}; keep one of them")
        value = row[given[0]] if given else None
        scores: dict[str, float | None] = {}
        if isinstance(value, list):
            for name, score in zip(self._list_names(row, len(value)), value, strict=True):
                scores[name] = self._score(score, f"the score of {name!r}")
        elif value is not None:
            scores["overall"] = self._score(value, "the score")
        elif given and row.get("conversations") is None:
            self._fault("the score is empty; give a number, or remove the sample")
            scores["overall"] = None
        for name in columns:
            if row.get(name) is not None:
                scores[name] = self._score(row[name], f"the score of {name!r}")
        return scores

    def _list_names(self, row: Mapping[str, Any], count: int) -> list[str]:
        default = ["overall", *(f"score_{number}" for number in range(2, count + 1))][:count]
        names = row.get("attributes")
        if names is None:
            names = self._names
        if names is None:
            return default
        names = list(names) if isinstance(names, list | tuple) else [names]
        if not all(isinstance(name, str) and name for name in names) or len(set(names)) != len(names):
            self._fault(f"the attributes are {shown(names)}; expected a list of different names")
            return default
        if names[:1] != ["overall"]:
            self._fault(f"the attributes are {', '.join(names)}; the first score has to be named 'overall'")
            return default
        if len(names) != count:
            self._fault(f"there are {count} scores for {len(names)} attributes ({', '.join(names)}); give one for each")
            return default
        return names

    def _score(self, value: Any, what: str) -> float | None:
        score = self._number(value, what)
        if score is not None and self._space is not None:
            try:
                self._space.check(score, what)
            except ValueError as error:
                self._fault(str(error))
                return None
        return score

    def _parsed(self, value: Any) -> float | None:
        """The number that a value stands for, finite or not; None for anything else."""
        if isinstance(value, bool) or not isinstance(value, self._number_types):
            return None
        try:
            # float() takes "1_000" for a number, which no table means by it
            return None if isinstance(value, str) and "_" in value else float(value)
        except (ValueError, OverflowError):
            return None

    def _number(self, value: Any, what: str) -> float | None:
        number = self._parsed(value)
        if number is None:
            self._fault(f"{what} is {shown(value)}; expected a number{self._number_hint(value)}")
        elif not math.isfinite(number):
            self._fault(f"{what} is {number}; expected a finite number")
        else:
            return number
        return None

    def _number_hint(self, value: Any) -> str:
        if isinstance(value, str) and _DECIMAL_COMMA.fullmatch(value):
            return f", with a point: {value.replace(',', '.')}"
        if isinstance(value, str) and str not in self._number_types and re.fullmatch(r"-?\d+(\.\d+)?", value):
            return ", without quotation marks"
        return ""

    def _histograms(
        self, row: Mapping[str, Any], attributes: list[str], n_votes: int | None
    ) -> dict[str, tuple[float, ...]]:
        given: dict[str, list[Any]] = {}
        for attribute, names in self._histogram_columns(tuple(row)).items():
            values = [row[name] for name in names.values()]
            if list(names) != list(range(1, len(names) + 1)):
                self._fault(
                    f"the histogram's columns for {attribute!r} are numbered {list(names)}; expected 1, 2, 3, ..."
                )
            elif any(value is not None for value in values):
                given[attribute] = values
        target = row.get("target")
        if target is not None:
            if given:
                self._fault("there are two histograms, h_1 .. and target; keep one of them")
            nested = isinstance(target, list) and target and all(isinstance(part, list) for part in target)
            if nested and len(target) != len(attributes):
                self._fault(
                    f"the target holds {len(target)} histograms for {len(attributes)} scores; give one for each"
                )
            else:
                given |= zip(attributes, target, strict=True) if nested else {"overall": target}
        histograms = {}
        for attribute, values in given.items():
            if attribute not in attributes:
                self._fault(f"there is a histogram for {attribute!r}, but no score of that name")
            elif (histogram := self._histogram(values, attribute, n_votes)) is not None:
                histograms[attribute] = histogram
        return histograms

    def _histogram_columns(self, names: tuple[str, ...]) -> dict[str, dict[int, str]]:
        """attribute -> level -> column, in ascending order of the levels."""
        if names not in self._levels_of:
            levels: dict[str, dict[int, str]] = defaultdict(dict)
            for name in names:
                if place := _histogram_level(name):
                    attribute, level = place
                    other = levels[attribute].setdefault(level, name)
                    if other != name:
                        self._fault(
                            f"there are two columns for the votes of level {level} of {attribute!r}, {other!r} and "
                            f"{name!r}; drop one"
                        )
            self._levels_of[names] = {attribute: dict(sorted(levels[attribute].items())) for attribute in levels}
        return self._levels_of[names]

    def _histogram(self, values: Any, attribute: str, n_votes: int | None) -> tuple[float, ...] | None:
        """Shares that add up to 1, from shares or from counts of votes; `n_votes` are those of the overall score."""
        what = "the histogram" if attribute == "overall" else f"the histogram of {attribute!r}"
        if not isinstance(values, list) or not values:
            self._fault(f"{what} is {shown(values)}; expected a list of the share of votes for each level")
            return None
        if self._num_levels is None:
            self._num_levels = len(values)
        if len(values) != self._num_levels:
            self._fault(
                f"{what} has {len(values)} levels, expected {self._num_levels}; "
                "num_levels (num_tokens) has to be the length of every histogram"
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
            self._fault(f"{what} has a negative part, {min(numbers):g}; votes cannot be negative")
        elif total == 0:
            self._fault(f"{what} is all 0; leave it out where there are no votes")
        elif (not counts and abs(total - 1) > 1e-3) or not math.isfinite(total):
            self._fault(f"{what} adds up to {total:.6g}; expected shares that add up to 1, or whole numbers of votes")
        elif counts and total != 1 and attribute == "overall" and n_votes is not None and total != n_votes:
            self._fault(f"{what} holds {total:g} votes, but n_votes is {n_votes}; correct the one that is wrong")
        else:
            return tuple(number / total for number in numbers)
        return None

    def _conversations(self, value: Any, n_images: int, scores: Mapping[str, Any]) -> tuple[Turn, ...] | None:
        if value is None:
            return None
        turns: list[Turn] = []
        for turn in value if isinstance(value, list) else [value]:
            role = _ROLES.get(str(turn.get("from"))) if isinstance(turn, dict) else None
            text = turn.get("value") if isinstance(turn, dict) else None
            if role is None or not isinstance(text, str):
                self._fault(f'a turn is {shown(turn)}; expected {{"from": "human" or "gpt", "value": "..."}}')
                return None
            turns.append((role, text))
        roles = [role for role, _ in turns]
        if not roles or roles != ["user", "assistant"] * (len(roles) // 2):
            self._fault(f"the turns are from {', '.join(roles) or 'nobody'}; expected human and gpt by turns, gpt last")
            return None
        asked = sum(text.count(SCORE_TOKEN) for role, text in turns if role == "user")
        if asked:
            self._fault(f"{SCORE_TOKEN} stands in a question; it belongs into answers only")
        places = sum(text.count(SCORE_TOKEN) for role, text in turns if role == "assistant")
        if places != len(scores):
            self._fault(
                f"the answers have {places} {SCORE_TOKEN} for {len(scores)} scores; there has to be one for each"
            )
        return self._with_images(turns, n_images)

    def _with_images(self, turns: list[Turn], n_images: int) -> tuple[Turn, ...]:
        first = turns[0][1].count(IMAGE_PLACEHOLDER)
        later = sum(text.count(IMAGE_PLACEHOLDER) for _, text in turns[1:])
        if later:
            self._fault(f"{IMAGE_PLACEHOLDER} stands after the first question; all images belong into that one")
        elif first == 0:
            turns = [("user", IMAGE_PLACEHOLDER * n_images + turns[0][1]), *turns[1:]]
        elif first != n_images:
            self._fault(f"the first question has {first} {IMAGE_PLACEHOLDER} for {n_images} images; give one for each")
        return tuple(turns)

    def _text(self, row: Mapping[str, Any], name: str) -> str | None:
        value = row.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, str | int):
            self._fault(f"the {name} is {shown(value)}; expected a text")
            return None
        return str(value).strip() or None

    def _comment(self, row: Mapping[str, Any]) -> str | None:
        comment = self._text(row, "comment")
        for mark in (SCORE_TOKEN, IMAGE_PLACEHOLDER):
            if comment is not None and mark in comment:
                self._fault(f"the comment contains {mark}, which is kept for the model; remove it")
        return comment

    def _std(self, row: Mapping[str, Any]) -> float | None:
        std = self._number(row["std"], "the std") if row.get("std") is not None else None
        if std is not None and std < 0:
            self._fault(f"the std is {std:g}; a standard deviation cannot be negative")
        return std

    def _n_votes(self, row: Mapping[str, Any]) -> int | None:
        n_votes = self._number(row["n_votes"], "n_votes") if row.get("n_votes") is not None else None
        if n_votes is None:
            return None
        if n_votes < 1 or not n_votes.is_integer():
            self._fault(f"n_votes is {n_votes:g}; expected a whole number of at least 1")
        return int(n_votes)

    def _edit(self, row: Mapping[str, Any]) -> dict[str, Any] | None:
        edit = row.get("edit")
        if edit is not None and not isinstance(edit, dict):
            self._fault(f"the edit is {shown(edit)}; expected an object {{...}}")
            return None
        return edit


@functools.cache
def _histogram_level(column: str) -> tuple[str, int] | None:
    """(attribute, level from 1) for the name of a histogram's column, None for any other name."""
    match = _HISTOGRAM_COLUMN.fullmatch(column)
    return (match["attribute"] or "overall", int(match["level"])) if match else None


def plain_id(identity: str) -> str:
    """An id without what does not tell images apart: the extension of a file, capital letters, Unicode form."""
    stem, suffix = os.path.splitext(identity)
    # what follows the point in "3.75" or in "portrait.retouched" is no extension
    is_extension = 2 <= len(suffix[1:]) <= 4 and suffix[1:].isalnum() and not suffix[1:].isdigit()
    return _alike(stem if is_extension else identity)


def missing_images(images: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Those of the images that are not there.

    Args:
        images: paths as in `Record.images`.

    Yields:
        (path, what is wrong and what to do). Where a file of almost this name is there, it is named: names that look
        the same can be written with different code points, as macOS does (NFD, "e" and an accent, for one letter).
    """
    names: dict[str, dict[str, str]] = {}
    for image in images:
        if os.path.isfile(image):
            continue
        if os.path.isdir(image):
            yield image, f"the image {image} is a folder; give the path of one file"
            continue
        if os.path.exists(image):
            yield image, f"the image {image} is no file that can be read twice; save it as one"
            continue
        folder, name = os.path.split(image)
        if os.path.islink(image):
            yield image, f"the image {image} is a link to {os.readlink(image)!r}, which is not there"
            continue
        if folder not in names:
            there = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
            names[folder] = {_alike(other): other for other in there}
        other = names[folder].get(_alike(name))
        if other is None:
            yield image, f"there is no image {image}; check image_folder and the file's name"
        else:
            differs = "capital letters" if _spelt(other) != _spelt(name) else "the code points of its letters"
            yield image, f"there is no image {image}, but {ascii(other)}, which differs in {differs}; write it so"


def _spelt(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _alike(name: str) -> str:
    return _spelt(_spelt(name).casefold())


def _check_image_files(records: Iterable[Record], faults: Faults, *, decode: bool, max_pixels: int) -> None:
    lines: dict[str, list[int | None]] = defaultdict(list)
    for record in records:
        for image in record.images:
            lines[image].append(record.line)
    missing = dict(missing_images(lines))
    for image, fault in missing.items():
        for line in lines[image]:
            faults.add(line, fault)
    if not decode:
        return
    there = [image for image in lines if image not in missing]
    with ThreadPoolExecutor() as pool:
        for image, fault in zip(there, pool.map(lambda image: _image_fault(image, max_pixels), there), strict=True):
            for line in lines[image] if fault else ():
                faults.add(line, fault)


def _image_fault(image: str, max_pixels: int) -> str | None:
    try:
        check_image(image, max_pixels=max_pixels)
    except ImageError as error:
        return str(error)
    return None
