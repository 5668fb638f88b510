"""A public data set as it lies on disk: what its folder has to hold, and how it is read into rows.

Each other file of this folder describes one data set. Its docstring tells the published layout, the native range, the
rule of the split, the licence and where all this was read; its `LAYOUT` tells the same to the command; its
`read(reader)` calls `Reader.add` once for each rated image. What belongs to every data set is here: finding files and
images, reading tables, statistics of votes, and the rule that nothing is dropped in silence. A row that cannot be used
goes into `Reader.left_out` with its file, line and reason, an image that is listed but not there into `Reader.absent`.

Scores keep their native range and direction. Statistics of votes are those of all votes (the standard deviation divides
by n, not by n - 1), as the score head computes them from its distribution.
"""

from __future__ import annotations

import math
import os
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from roc.data.rows import BrokenTable, DataError, iter_cells, shown
from roc.prompts import IMAGE_PLACEHOLDER, SCORE_TOKEN
from roc.score_space import ScoreSpace


class Unusable(ValueError):
    """A row of a data set that gives no record; the message says why."""


@dataclass(frozen=True)
class Layout:
    """What is known of a data set before its folder is opened.

    Attributes:
        name: as the papers write it; the `dataset` of every record.
        tree: what the folder holds, as an error shows it: a line for each file or folder.
        min_score, max_score: native range; every score of a record has to lie in it.
        num_tokens: levels that suit the data: those of the votes where they are published, else 10.
        attributes: names of the other scores, in the order of the columns.
        splits: of the published split, out of train, val, test; empty where none is published.
        remarks: what whoever uses the records has to know; printed by the command.
        unverified: what of this could not be read in public code or documents; the command warns of it.
    """

    name: str
    tree: str
    min_score: float
    max_score: float
    num_tokens: int = 10
    attributes: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    unverified: str | None = None

    @property
    def space(self) -> ScoreSpace:
        """The scale of every score."""
        return ScoreSpace(self.min_score, self.max_score, self.num_tokens)


class Reader:
    """The folder of one data set while it is read.

    Args:
        root: the folder.
        layout: what is expected in it.
        images: folder of the images below root, where it is named otherwise than published.
        captions: "one" or "all", of data sets with several comments per image.
        splits: keep the records of these only; None = all. Images of the others need not be there.

    Attributes:
        rows: the records so far, as rows of a data file.
        left_out: rows that could not be used, one "FILE:LINE: why" each.
        absent: images that are listed but not there, paths below root.
        notes: what was found that whoever uses the records should know.
        side_tables: suffix of a file beside the records -> rows; for what a record has no place for.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        layout: Layout,
        *,
        images: str | None = None,
        captions: str = "one",
        splits: Sequence[str] | None = None,
    ) -> None:
        self.root = Path(root)
        self.layout = layout
        self.captions = captions
        self.rows: list[dict[str, Any]] = []
        self.left_out: list[str] = []
        self.absent: list[str] = []
        self.notes: list[str] = []
        self.side_tables: dict[str, list[dict[str, Any]]] = {}
        self._images = images
        self._wanted = splits
        self._space = layout.space
        self._levels = self._space.levels
        self._found: list[str] = []
        self._missing: list[tuple[str, ...]] = []
        self._names: dict[str, frozenset[str]] = {}
        self._where = ""
        self._listed: dict[str, str] = {}

    # --- files ---------------------------------------------------------------------------------------------------

    def find(self, *names: str, needed: bool = True) -> str:
        """The first of some paths below root that is there.

        Returns:
            The path, relative to root; "" where there is none, and `require` then reports it if it is needed.
        """
        for name in names:
            if (self.root / name).exists():
                self._found.append(name)
                return name
        if needed:
            self._missing.append(names)
        return ""

    def holds(self, path: Path) -> bool:
        """Whether this is one of the files that were found."""
        found = (self.root / name for name in self._found)
        return path.exists() and any(path.samefile(one) for one in found if one.is_file())

    def folders(self, *names: str) -> tuple[str, ...]:
        """Those of some folders of images that are there; at least one is needed. `--images` takes their place."""
        names = (self._images,) if self._images is not None else names
        there = tuple(name for name in names if (self.root / name).is_dir())
        if there:
            self._found += [f"{name}/" for name in there]
        else:
            self._missing.append(tuple(f"{name}/" for name in names))
        return there

    def require(self) -> None:
        """To be called after everything was looked for.

        Raises:
            DataError: files or folders of the layout are missing; names them all, and the layout.
        """
        if not self._missing:
            return
        name = self.layout.name
        if not self.root.is_dir():
            head = f"{self.root}: no such folder; --root has to be the folder of {name}"
        elif self._found:
            head = f"{self.root}: a part of {name} is missing (there: {', '.join(self._found)})"
        else:
            head = f"{self.root}: this is not the folder of {name}; nothing of its layout is there"
        lines = [head, *(f"  missing: {' or '.join(names)}" for names in self._missing)]
        if deeper := self._deeper():
            lines.append(f"  all of it is in {deeper}; give --root {deeper}")
        raise DataError(["\n".join([*lines, f"{name} is expected as:", *_indented(self.layout.tree)])])

    def _deeper(self) -> Path | None:
        """A folder directly below root that holds what was not found in root."""
        folders = sorted(path for path in self.root.iterdir() if path.is_dir()) if self.root.is_dir() else []
        for folder in folders:
            if all(any((folder / name).exists() for name in names) for names in self._missing):
                return folder
        return None

    # --- rows ----------------------------------------------------------------------------------------------------

    def table(self, name: str, *columns: str, delimiter: str = ",") -> Iterator[tuple[str, dict[str, str]]]:
        """Reads a `.csv` or the first sheet of an `.xlsx`.

        Args:
            name: path below root.
            columns: those that are needed.
            delimiter: of a CSV.

        Yields:
            ("FILE:LINE", column -> cell as text without spaces around it, "" where empty).

        Raises:
            DataError: a needed column is not there, so that this is another file than expected; or there is no row.
        """
        cells = self._xlsx(name) if name.endswith(".xlsx") else self._csv(name, delimiter)
        _, header = next(cells, (1, []))
        missing = [column for column in columns if column not in header]
        if missing:
            raise DataError(
                [
                    f"{self.root / name}: there is no column {', '.join(missing)}, only "
                    f"{', '.join(header) or 'nothing'}; this is not the file that {self.layout.name} comes with"
                ]
            )
        empty = True
        for line, row in cells:
            empty = False
            if len(row) == len(header):
                yield f"{name}:{line}", dict(zip(header, row, strict=True))
            elif any(row):
                self.left_out.append(f"{name}:{line}: {len(row)} cells where the header has {len(header)}")
        if empty:
            raise self._nothing_in(name)

    def lines(self, name: str) -> Iterator[tuple[str, str]]:
        """("FILE:LINE", text without spaces around it) of every line of a text file that is not blank.

        Raises:
            DataError: there is no such line.
        """
        empty = True
        with (self.root / name).open(encoding=self._encoding(name)) as file:
            for line, text in enumerate(file, start=1):
                if text.strip():
                    empty = False
                    yield f"{name}:{line}", text.strip()
        if empty:
            raise self._nothing_in(name)

    def _nothing_in(self, name: str) -> DataError:
        return DataError(
            [f"{self.root / name}: there is nothing in it; this is no complete copy of {self.layout.name}"]
        )

    def _csv(self, name: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
        with (self.root / name).open(encoding=self._encoding(name), newline="") as file:
            try:
                yield from iter_cells(file, delimiter, lenient=True)
            except BrokenTable as error:
                what = f"cannot be read from here on: {error}"
                raise DataError([f"{self.root / name}:{error.line}: {what}"]) from error

    def _xlsx(self, name: str) -> Iterator[tuple[int, list[str]]]:
        try:
            from openpyxl import load_workbook
        except ImportError as error:
            raise DataError(
                [
                    f"{self.root / name}: reading .xlsx needs openpyxl; install it by `pip install openpyxl`, "
                    "or save the sheet under the same name as .csv"
                ]
            ) from error
        try:
            book = load_workbook(self.root / name, read_only=True, data_only=True)
        except (BadZipFile, KeyError) as error:
            raise DataError([f"{self.root / name}: this is no .xlsx, or a damaged one: {error}"]) from error
        try:
            width = 0
            for line, row in enumerate(book.worksheets[0].iter_rows(values_only=True), start=1):
                texts = ["" if value is None else str(value).strip() for value in row]
                # every row of a sheet is as wide as its widest; the table is as wide as its header
                while len(texts) > width and not texts[-1]:
                    texts.pop()
                width = width or len(texts)
                if any(texts):
                    yield line, texts + [""] * (width - len(texts))
        finally:
            book.close()

    def _encoding(self, name: str) -> str:
        """UTF-8, or Latin-1 where the file cannot be UTF-8, as old tables with names of persons sometimes cannot."""
        with (self.root / name).open(encoding="utf-8-sig") as file:
            try:
                while file.read(1 << 20):
                    pass
            except UnicodeDecodeError:
                self.notes.append(f"{name} is not UTF-8 and was read as Latin-1; look at names with accents")
                return "latin-1"
        return "utf-8-sig"

    @contextmanager
    def row(self, where: str) -> Iterator[None]:
        """Around the reading of one row: what makes it `Unusable` is reported with where it stands."""
        self._where = where
        try:
            yield
        except Unusable as error:
            self.left_out.append(f"{where}: {error}")

    # --- records -------------------------------------------------------------------------------------------------

    def level(self, vote: str, what: str) -> int:
        """Place of a vote among the layout's levels, from 0; `Unusable` if it is none of them."""
        levels = self._levels
        value = number(vote, what)
        place = round((value - levels[0]) / (levels[1] - levels[0]))
        if not 0 <= place < len(levels) or abs(levels[place] - value) > 1e-6:
            raise Unusable(f"{what} is {value:g}, none of the levels {', '.join(f'{level:g}' for level in levels)}")
        return place

    def add(
        self,
        folders: Sequence[str],
        image: str,
        *,
        score: float | None = None,
        counts: Sequence[float] | None = None,
        std: float | None = None,
        n_votes: int | None = None,
        attributes: Mapping[str, float | None] | None = None,
        split: str | None = None,
        group: str | None = None,
        comment: str | None = None,
        id: str | None = None,
        other_names: Sequence[str] = (),
    ) -> None:
        """Adds the record of one image.

        Args:
            folders: where the image may lie, from `folders`.
            image: its name as the data set lists it, a path below one of `folders`.
            score: native range; None = the mean of `counts`.
            counts: votes for each of the layout's levels (N,); they also give std, number of votes and histogram.
            std, n_votes: of the votes, where only they are published.
            attributes: name -> score in the same range; None where not rated.
            split, group, comment: as in `Record`.
            id: only where an image has several records; None = the image's path.
            other_names: under which the image may lie as well.

        Raises:
            Unusable: something is out of range, or the image was listed before.
        """
        if counts is not None:
            score, std, n_votes = statistics(counts, self._levels)
        values = {"the score": score, **{f"the score of {name!r}": value for name, value in (attributes or {}).items()}}
        for what, value in values.items():
            if value is not None:
                try:
                    self._space.check(value, what)
                except ValueError as error:
                    raise Unusable(str(error)) from error
        if std is not None and std < 0:
            raise Unusable(f"the standard deviation is {std:g}; it cannot be negative")
        if n_votes is not None and n_votes < 1:
            raise Unusable(f"the number of votes is {n_votes}; expected at least 1")
        for mark in (SCORE_TOKEN, IMAGE_PLACEHOLDER):
            if comment is not None and mark in comment:
                raise Unusable(f"the comment contains {mark}, which is kept for the model")
        if (id or image) in self._listed:
            raise Unusable(f"{shown(id or image)} was listed before, in {self._listed[id or image]}")
        self._listed[id or image] = self._where
        if self._wanted is not None and split not in self._wanted:
            return
        path = self._path(folders, (image, *other_names))
        if path is None:
            self.absent.append(f"{folders[0]}/{image}")
            return
        row = {"image": path, "id": id, "score": score, "std": std, "n_votes": n_votes, **(attributes or {})}
        row |= {"split": split, "group": group, "comment": comment, "dataset": self.layout.name}
        if counts is not None:
            row |= {f"h_{place}": count for place, count in enumerate(counts, start=1)}
        self.rows.append(row)

    def _path(self, folders: Sequence[str], names: Sequence[str]) -> str | None:
        """The image's path below root; None if it is not there."""
        for name in names:
            inside = posixpath.normpath(name) if name else ".."
            if inside.startswith("..") or posixpath.isabs(inside):
                raise Unusable(f"the image is {shown(name or None)}; expected a path inside of {folders[0]}/")
            for folder in folders:
                path = posixpath.normpath(posixpath.join(folder, inside))
                place, file = posixpath.split(path)
                if place not in self._names:
                    try:
                        with os.scandir(self.root / place) as entries:
                            self._names[place] = frozenset(entry.name for entry in entries if entry.is_file())
                    except OSError:
                        self._names[place] = frozenset()
                if file in self._names[place]:
                    return path
        return None


def number(text: str, what: str) -> float:
    """A cell as a finite number; `Unusable` if it is none."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    # float() takes "1_000" for a number, which no table means by it
    if "_" in text or not math.isfinite(value):
        raise Unusable(f"{what} is {shown(text or None)}; expected a number")
    return value


def statistics(counts: Sequence[float], levels: Sequence[float]) -> tuple[float, float, int]:
    """Mean, standard deviation and number of votes.

    Args:
        counts: votes for each level (N,), not negative, at least one vote.
        levels: values of the levels (N,).
    """
    total = math.fsum(counts)
    if min(counts) < 0 or total <= 0:
        given = ", ".join(f"{count:g}" for count in counts)
        raise Unusable(f"the votes are {given}; expected at least one, and none below 0")
    mean = math.fsum(count * level for count, level in zip(counts, levels, strict=True)) / total
    variance = math.fsum(count * (level - mean) ** 2 for count, level in zip(counts, levels, strict=True)) / total
    return mean, math.sqrt(variance), round(total)


def _indented(text: str) -> list[str]:
    return [f"  {line}" for line in text.splitlines()]
