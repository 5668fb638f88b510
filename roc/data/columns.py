"""Columns: what the names in a data file mean, before any value is judged.

Fixed names are known in any mixture of capital and small letters. `h_1` .. `h_N` and `h_<attribute>_1` .. hold the
votes for each level. Every other column is the score of the attribute it is named after, if most of its cells are
numbers; one that nobody asked for and that holds something else is not read, and that is said in one note.
`roc/data/reading.py` lists the fixed columns for users.
"""

from __future__ import annotations

import functools
import logging
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from roc.data.cells import as_text, shown
from roc.data.pictures import Picture, without_bytes
from roc.data.rows import DataError, Faults, Row, read_rows

logger = logging.getLogger(__name__)

SCORE_COLUMNS = ("score", "mos", "gt_score", "mean")
"""Names of the overall score's column."""

_FIXED_COLUMNS = {
    *SCORE_COLUMNS,
    *("image", "id", "std", "n_votes", "comment", "split", "dataset", "group"),
    *("target", "conversations", "attributes", "edit"),
}
_NORMALISED = frozenset(("gt_score_norm", "std_norm"))
"""Columns of other projects' files that repeat the score on another scale; no ratings of their own."""
_VOTE_COLUMN = re.compile(r"h_(?:(?P<attribute>.+)_)?(?P<level>\d+)")
_MODEL_COLUMN = re.compile(r"prediction(\..+)?|p_\d+", re.IGNORECASE)


class Columns:
    """The columns of one file, worked out once for each set of names rather than for each row.

    Args:
        faults: collects what is wrong with the names.
        parsed: value of a cell -> the number it stands for, None where it is no number.
        wanted: attributes that somebody asked for; None where nobody said.
        fits: whether a score, the second argument, lies on the range of an attribute.
        unrated: whether the overall score may be missing.

    Attributes:
        grouped: whether rows may have no score, because their group and their edit say how they stand to each other.
    """

    def __init__(
        self,
        faults: Faults,
        parsed: Callable[[Any], float | None],
        wanted: Sequence[str] | None = None,
        fits: Callable[[str, float], bool] = lambda attribute, score: True,
        *,
        unrated: bool = False,
    ) -> None:
        self._faults = faults
        self._parsed = parsed
        self._wanted = wanted
        self._fits = fits
        self._unrated = unrated
        self._names: dict[tuple[str, ...], list[str]] = {}
        self._vote_columns: dict[tuple[str, ...], dict[str, dict[int, str]]] = {}
        self._doubled: set[str] = set()
        self.grouped = False

    def named(self, line: int, row: Mapping[str, Any]) -> dict[str, Any]:
        """Renames the cells of a row: fixed names in small letters, `score.light` as `light`."""
        written = tuple(row)
        names = self._names.get(written)
        if names is None:
            names = self._names[written] = [_known(name) for name in written]
            for name in sorted({name for name in names if names.count(name) > 1} - self._doubled):
                self._doubled.add(name)
                self._faults.add(line, f"there are two columns for {name!r}; drop one")
        return dict(zip(names, row.values(), strict=True))

    def attributes(self, rows: Iterable[Row]) -> list[str] | None:
        """Finds the columns that hold scores of attributes.

        Args:
            rows: all rows of the file.

        Returns:
            Names of the columns; None, and a fault, if a column that every file needs is missing.
        """
        seen: dict[str, None] = {}
        candidates = _AttributeCandidates(self._parsed, self._wanted, self._fits)
        for line, written in rows:
            row = self.named(line, written)
            seen |= dict.fromkeys(row)
            candidates.see(line, row)
        if seen and "image" not in seen:
            self._faults.add(
                None, f"there is no 'image', only {', '.join(map(repr, seen))}; rename the column of paths"
            )
            return None
        self.grouped = "group" in seen and "edit" in seen
        needs_scores = seen and not self.grouped and not self._unrated
        if needs_scores and not any(name in seen for name in (*SCORE_COLUMNS, "conversations")):
            self._faults.add(None, f"there are no overall scores; name their column one of {', '.join(SCORE_COLUMNS)}")
            return None
        return candidates.chosen(self._faults)

    def votes(self, line: int, names: tuple[str, ...]) -> dict[str, dict[int, str]]:
        """Finds the columns of votes: attribute -> level, ascending -> column."""
        if names not in self._vote_columns:
            columns: dict[str, dict[int, str]] = defaultdict(dict)
            for name in names:
                if place := _vote_level(name):
                    attribute, level = place
                    other = columns[attribute].setdefault(level, name)
                    if other != name:
                        self._faults.add(
                            line,
                            f"there are two columns for the votes of level {level} of {attribute!r}, {other!r} and "
                            f"{name!r}; drop one",
                        )
            self._vote_columns[names] = {attribute: dict(sorted(columns[attribute].items())) for attribute in columns}
        return self._vote_columns[names]


class _AttributeCandidates:
    """Columns that are neither fixed nor votes; each is an attribute if what stands in it are numbers."""

    def __init__(
        self, parsed: Callable[[Any], float | None], wanted: Sequence[str] | None, fits: Callable[[str, float], bool]
    ) -> None:
        self._parsed = parsed
        self._wanted = wanted
        self._fits = fits
        self._others: dict[tuple[str, ...], list[str]] = {}
        self._first_line: dict[str, int] = {}
        self._first_text: dict[str, tuple[int, Any]] = {}
        self._filled: dict[str, int] = defaultdict(int)
        self._texts: dict[str, int] = defaultdict(int)
        self._outside: dict[str, int] = defaultdict(int)

    def see(self, line: int, row: Mapping[str, Any]) -> None:
        names = tuple(row)
        others = self._others.get(names)
        if others is None:
            others = [name for name in names if name not in _FIXED_COLUMNS and not _vote_level(name)]
            self._others[names] = others
        for name in others:
            self._first_line.setdefault(name, line)
            if row[name] is not None:
                self._filled[name] += 1
                number = self._parsed(row[name])
                if number is None:
                    self._texts[name] += 1
                    self._first_text.setdefault(name, (line, row[name]))
                elif self._wanted is not None and not self._fits(name, number):
                    self._outside[name] += 1

    def chosen(self, faults: Faults) -> list[str]:
        columns, unread = [], []
        for name, line in self._first_line.items():
            asked_for = self._wanted is not None and name in self._wanted
            mostly_text = 2 * self._texts[name] > self._filled[name]
            if _MODEL_COLUMN.fullmatch(name):
                faults.add(line, f"{name!r} is what a model predicted, not a rating; drop it")
            elif name == "overall":
                faults.add(line, f"the overall score has to be named one of {', '.join(SCORE_COLUMNS)}, not 'overall'")
            elif mostly_text and asked_for:
                line, value = self._first_text[name]
                faults.add(
                    line, f"the attribute {name!r} is {shown(value)}; expected numbers, or leave it out of --attributes"
                )
            elif name in _NORMALISED and not asked_for:
                unread.append(f"{name!r} (another scale)")
            elif mostly_text or (self._wanted is not None and not asked_for and self._texts[name]):
                unread.append(f"{name!r} (no numbers)" if mostly_text else f"{name!r} (not only numbers)")
            elif self._wanted is not None and not asked_for and self._outside[name]:
                unread.append(f"{name!r} (outside the range)")
            else:
                columns.append(name)  # its cells are judged when their rows become records
        if unread:
            _note(f"{faults.path}: not read: {', '.join(unread)}; a column is an attribute if it holds scores")
        return columns


@functools.cache
def _note(text: str) -> None:
    """Logs a note, once however often a file is read."""
    logger.warning(text)


@functools.cache
def _known(name: str) -> str:
    """Gives a fixed name and the prefixes their small letters, and `score.light` its short form."""
    lower = name.lower()
    if lower in _FIXED_COLUMNS:
        return lower
    if lower.startswith("score."):
        return name[len("score.") :]
    return f"h_{name[2:]}" if _VOTE_COLUMN.fullmatch(lower) else name


def image_column(path: Path, column: str = "image") -> list[str | Picture]:
    """Reads the column of images of a table, whatever else stands in it.

    Args:
        path: a file that `iter_rows` reads.
        column: its name; other capital letters count as the same where no column has exactly this name.

    Returns:
        A path, URL or picture for each row; numbers are the names that their digits make.

    Raises:
        DataError: the table cannot be read, lacks the column, or has cells that name no image.
    """
    faults = Faults(path)
    rows = read_rows(path, faults)
    names = list(dict.fromkeys(name for _, row in rows for name in row))
    alike = [name for name in names if name.lower() == column.lower()]
    chosen = column if column in names else alike[0] if len(alike) == 1 else None
    images: list[str | Picture] = []
    if rows and chosen is None:
        faults.add(None, f"there is no column {column!r}; choose by --column one of {', '.join(names)}")
    for line, row in rows if chosen is not None else ():
        cell = without_bytes(row.get(chosen))
        image = cell if isinstance(cell, Picture) else as_text(cell)
        if not image:
            faults.add(line, f"{chosen!r} has to be the path of one image, got {shown(cell)}")
        else:
            images.append(image)
    if faults:
        raise DataError(faults.texts())
    return images


def as_known(row: Mapping[str, Any], known: frozenset[str]) -> dict[str, Any]:
    """Renames the columns of a row that differ from a known name in capital letters only, where just one does.

    Args:
        row: column -> cell.
        known: names in small letters.
    """
    return dict(zip(_as_known(tuple(row), known), row.values(), strict=True))


@functools.lru_cache(maxsize=1000)
def _as_known(names: tuple[str, ...], known: frozenset[str]) -> tuple[str, ...]:
    lower = [name.lower() for name in names]
    return tuple(
        small if small in known and lower.count(small) == 1 else name for name, small in zip(names, lower, strict=True)
    )


@functools.cache
def _vote_level(column: str) -> tuple[str, int] | None:
    """(attribute, level from 1) for the name of a column of votes, None for any other name."""
    match = _VOTE_COLUMN.fullmatch(column)
    return (match["attribute"] or "overall", int(match["level"])) if match else None
