"""Columns: what the names in a data file mean, before any value is judged.

Fixed names are known in any mixture of capital and small letters. `h_1` .. `h_N` and `h_<attribute>_1` .. hold the
votes for each level. Every other column is the score of the attribute it is named after, if most of its cells are
numbers. `roc/data/reading.py` lists the fixed columns for users.
"""

from __future__ import annotations

import functools
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from roc.data.rows import Faults, Row, shown

SCORE_COLUMNS = ("score", "mos", "gt_score", "mean")
"""Names of the overall score's column."""

_FIXED_COLUMNS = {
    *SCORE_COLUMNS,
    *("image", "id", "std", "n_votes", "comment", "split", "dataset", "group"),
    *("target", "conversations", "attributes", "edit"),
}
_VOTE_COLUMN = re.compile(r"h_(?:(?P<attribute>.+)_)?(?P<level>\d+)")
_MODEL_COLUMN = re.compile(r"prediction(\..+)?|p_\d+", re.IGNORECASE)


class Columns:
    """The columns of one file, worked out once for each set of names rather than for each row.

    Args:
        faults: collects what is wrong with the names.
        parsed: value of a cell -> the number it stands for, None where it is no number.
    """

    def __init__(self, faults: Faults, parsed: Callable[[Any], float | None]) -> None:
        self._faults = faults
        self._parsed = parsed
        self._names: dict[tuple[str, ...], list[str]] = {}
        self._vote_columns: dict[tuple[str, ...], dict[str, dict[int, str]]] = {}
        self._doubled: set[str] = set()

    def named(self, line: int, row: Mapping[str, Any]) -> dict[str, Any]:
        """Renames the cells of a row: fixed names in small letters, `score.light` as `light`."""
        written = tuple(row)
        names = self._names.get(written)
        if names is None:
            names = self._names[written] = [
                name.lower() if name.lower() in _FIXED_COLUMNS else name.removeprefix("score.") for name in written
            ]
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
        candidates = _AttributeCandidates(self._parsed)
        for line, written in rows:
            row = self.named(line, written)
            seen |= dict.fromkeys(row)
            candidates.see(line, row)
        if seen and "image" not in seen:
            self._faults.add(
                None, f"there is no 'image', only {', '.join(map(repr, seen))}; rename the column of paths"
            )
            return None
        if seen and not any(name in seen for name in (*SCORE_COLUMNS, "conversations")):
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
            others = [name for name in names if name not in _FIXED_COLUMNS and not _vote_level(name)]
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
                # A few texts among numbers are faults of their cells, found when the row becomes a record.
                line, value = self._first_text[name]
                faults.add(
                    line,
                    f"{name!r} is taken for an attribute, but {shown(value)} is no number; "
                    "drop it, or rename it to dataset, group or comment",
                )
            else:
                columns.append(name)
        return columns


@functools.cache
def _vote_level(column: str) -> tuple[str, int] | None:
    """(attribute, level from 1) for the name of a column of votes, None for any other name."""
    match = _VOTE_COLUMN.fullmatch(column)
    return (match["attribute"] or "overall", int(match["level"])) if match else None
