"""A public data set on disk: finding its files, reading its tables, and collecting its rated images as rows.

Each converter of this folder describes one data set. Its docstring gives the published layout, the native range, the
splits, the licence and the sources of all this; its `LAYOUT` says the same in code; its `read(dataset)` calls
`DatasetFolder.add` once for each rated image. Here is what all of them share: finding files and images, reading
tables, statistics of votes, and the rule that nothing is dropped silently. A row that cannot be used goes into
`left_out` with its file, line and reason, an image that is listed but missing into `absent`.

Scores keep their native range and direction. Statistics of votes are those of all votes (the standard deviation
divides by n, not by n - 1), as the score head computes them from its distribution.
"""

from __future__ import annotations

import logging
import os
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from roc.data.cells import shown
from roc.data.datasets.cells import Unusable, number, statistics
from roc.data.datasets.layout import Layout
from roc.data.faults import DataError
from roc.data.headed import BrokenTable, iter_cells
from roc.prompts import IMAGE_PLACEHOLDER, SCORE_TOKEN

logger = logging.getLogger(__name__)


class DatasetFolder:
    """The folder of a data set, and what was read from it so far.

    Args:
        root: the folder.
        layout: what is expected in it.
        images: folder of the images below root, if its name differs from the published one.
        captions: "one" or "all" comments per image, for data sets that have several.
        splits: splits to keep; empty for all. Images of the others may be missing.

    Attributes:
        rows: the records, as rows of a data file.
        left_out: rows that could not be used, one "FILE:LINE: reason" each.
        absent: images that are listed but missing, as paths below root.
        side_tables: suffix of a file beside the records -> rows; for what does not fit into a record.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        layout: Layout,
        *,
        images: str | None = None,
        captions: str = "one",
        splits: Sequence[str] = (),
    ) -> None:
        self.root = Path(root)
        self.layout = layout
        self.captions = captions
        self.rows: list[dict[str, Any]] = []
        self.left_out: list[str] = []
        self.absent: list[str] = []
        self.side_tables: dict[str, list[dict[str, Any]]] = {}
        self._images = images
        self._wanted = splits
        self._space = layout.space
        self._level_values = self._space.levels
        self._found: list[str] = []
        self._missing: list[tuple[str, ...]] = []
        self._listings: dict[str, frozenset[str]] = {}
        self._where = ""
        self._listed: dict[str, str] = {}

    # --- files ---------------------------------------------------------------------------------------------------

    def find(self, *names: str, needed: bool = True) -> str:
        """Finds a file under one of its names.

        Args:
            names: paths below root, the first that exists is taken.
            needed: whether `require` reports it where none exists.

        Returns:
            The path, relative to root; "" where none exists.
        """
        for name in names:
            if (self.root / name).exists():
                self._found.append(name)
                return name
        if needed:
            self._missing.append(names)
        return ""

    def holds(self, path: Path) -> bool:
        """Tells whether a path is one of the files that were found."""
        found = (self.root / name for name in self._found)
        return path.exists() and any(path.samefile(one) for one in found if one.is_file())

    def image_folders(self, *names: str) -> tuple[str, ...]:
        """Finds the folders of images: all of `names` that exist, at least one. `--images` takes their place."""
        names = (self._images,) if self._images is not None else names
        there = tuple(name for name in names if (self.root / name).is_dir())
        if there:
            self._found += [f"{name}/" for name in there]
        else:
            self._missing.append(tuple(f"{name}/" for name in names))
        return there

    def require(self) -> None:
        """Raises an error if anything that was looked for is missing; to be called before reading.

        Raises:
            DataError: with all missing files and folders, and the layout.
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
        """Looks for a folder directly below root that holds what is missing in root."""
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
            columns: columns that have to be there.
            delimiter: character between the cells of a CSV.

        Yields:
            ("FILE:LINE", column -> cell as text without spaces around it, "" where empty).

        Raises:
            DataError: a column is missing, so this is another file than expected; or there are no rows.
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
        """Reads a text file.

        Yields:
            ("FILE:LINE", text without spaces around it) of every line that is not blank.

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
                    f"{self.root / name}: reading .xlsx needs openpyxl; install it by `pip install 'roc-mllm[xlsx]'`, "
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
                # Every row of a sheet is as wide as its widest; the table is as wide as its header.
                while len(texts) > width and not texts[-1]:
                    texts.pop()
                width = width or len(texts)
                if any(texts):
                    yield line, texts + [""] * (width - len(texts))
        finally:
            book.close()

    def _encoding(self, name: str) -> str:
        """Takes Latin-1 for a file that is no UTF-8, as some old tables with names of persons are not."""
        with (self.root / name).open(encoding="utf-8-sig") as file:
            try:
                while file.read(1 << 20):
                    pass
            except UnicodeDecodeError:
                logger.warning("%s is not UTF-8 and was read as Latin-1; look at names with accents", name)
                return "latin-1"
        return "utf-8-sig"

    @contextmanager
    def row(self, where: str) -> Iterator[None]:
        """Surrounds the reading of one row, so that an `Unusable` is noted in `left_out` with its place."""
        self._where = where
        try:
            yield
        except Unusable as error:
            self.left_out.append(f"{where}: {error}")

    # --- records -------------------------------------------------------------------------------------------------

    def count_votes(self, name: str, vote: str, image: Sequence[str], also: Sequence[str] = ()) -> dict[str, list[int]]:
        """Counts the votes of a table with one vote per row.

        Args:
            name: path below root.
            vote: column of the votes.
            image: columns that name the image, joined by "/".
            also: further columns that have to be there.

        Returns:
            image -> votes for each of the layout's levels (N,).
        """
        counts: dict[str, list[int]] = {}
        for where, row in self.table(name, vote, *image, *also):
            with self.row(where):
                level = self.level_index(row[vote], vote)
                counts.setdefault("/".join(row[column] for column in image), [0] * self._space.num_levels)[level] += 1
        return counts

    def level_index(self, vote: str, what: str) -> int:
        """Finds a vote among the layout's levels, from 0.

        Raises:
            Unusable: it is none of them.
        """
        levels = self._level_values
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
            folders: folders to look for the image in, from `image_folders`.
            image: its name in the data set, a path below one of `folders`.
            score: score in the native range; None takes the mean of `counts`.
            counts: votes for each of the layout's levels (N,); std, number of votes and histogram come from them.
            std, n_votes: statistics of the votes, where only they are published.
            attributes: name -> score in its range; None where not rated.
            split, group, comment: as in `Record`.
            id: only for images with several records; None takes the image's path.
            other_names: further names that the image's file may have.

        Raises:
            Unusable: something is out of range, or the image was listed before.
        """
        if counts is not None:
            score, std, n_votes = statistics(counts, self._level_values)
        for name, value in {"overall": score, **(attributes or {})}.items():
            if value is not None:
                what = "the score" if name == "overall" else f"the score of {name!r}"
                try:
                    self._space.of(name).check(value, what)
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
        if self._wanted and split not in self._wanted:
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
        """Finds an image; returns its path below root, or None."""
        for name in names:
            inside = posixpath.normpath(name) if name else ".."
            if inside.startswith("..") or posixpath.isabs(inside):
                raise Unusable(f"the image is {shown(name or None)}; expected a path inside of {folders[0]}/")
            for folder in folders:
                path = posixpath.normpath(posixpath.join(folder, inside))
                place, file = posixpath.split(path)
                if place not in self._listings:
                    try:
                        with os.scandir(self.root / place) as entries:
                            self._listings[place] = frozenset(entry.name for entry in entries if entry.is_file())
                    except OSError:
                        self._listings[place] = frozenset()
                if file in self._listings[place]:
                    return path
        return None

    def warn_of_other_means(self, images: Sequence[str], kind: str) -> None:
        """Warns if the published means of some images are not the means of their ratings.

        Args:
            images: those images; may be empty.
            kind: what they are, such as "photos".
        """
        if images:
            logger.warning(
                "%d %s have a published mean that is not the mean of their ratings, first %s; the ratings were taken",
                len(images),
                kind,
                ", ".join(images[:3]),
            )


def _indented(text: str) -> list[str]:
    return [f"  {line}" for line in text.splitlines()]
