"""Faults: everything that is wrong with a data file is found first and reported together, each with its line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

_FAULTS_SHOWN = 50
_LINES_LISTED = 10


class DataError(ValueError):
    """A data file that cannot be used.

    Attributes:
        faults: everything that is wrong, one "FILE:LINE: fault; remedy" each. The message shows the first 50.

    Args:
        remedy: what would mend all of them; the last line of the message.
    """

    def __init__(self, faults: Sequence[str], remedy: str | None = None) -> None:
        self.faults = list(faults)
        lines = self.faults[:_FAULTS_SHOWN]
        if len(self.faults) > 1:
            lines.insert(0, f"{len(self.faults)} faults in the data:")
        if len(self.faults) > _FAULTS_SHOWN:
            lines.append(f"... and {len(self.faults) - _FAULTS_SHOWN} more")
        if remedy is not None:
            lines.append(remedy)
        super().__init__("\n".join(lines))


class Line(int):
    """A line number that knows which row of its file it is, from 1: a JSON file may have all its rows in one line.

    Attributes:
        row: number of the row.
        shared: whether other rows begin on the same line.
    """

    row: int
    shared: bool

    @classmethod
    def of(cls, line: int, row: int, *, shared: bool = False) -> Line:
        """Makes the line number of a row."""
        made = cls(line)
        made.row = row
        made.shared = shared
        return made


class Faults:
    """The faults of one file, collected to be reported together in the order of its lines; true if there is any."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._found: list[tuple[int, str, list[int]]] = []
        self._of_cause: dict[Any, list[int]] = {}

    def add(self, line: int | None, what: str, cause: Any = None) -> None:
        """Adds a fault.

        Args:
            line: where it is; None for a fault of the whole file.
            what: what is wrong and what to do about it.
            cause: faults with an equal cause are told once, by the first of them with the lines of the others; None
                for a fault of its own.
        """
        lines = self._of_cause.get(cause) if cause is not None else None
        if lines is not None:
            lines.append(line or 0)
            return
        lines = [line or 0]
        if cause is not None:
            self._of_cause[cause] = lines
        self._found.append((line or 0, what, lines))

    def __bool__(self) -> bool:
        return bool(self._found)

    def rows(self) -> set[int]:
        """Returns the rows that have faults, from 1; 0 stands for the whole file. A line that is no row has none."""
        places = [place for *_, lines in self._found for place in lines]
        return {place.row if isinstance(place, Line) else 0 for place in places if isinstance(place, Line) or not place}

    def texts(self, *, all_lines: bool = False) -> list[str]:
        """Returns one "FILE:LINE: fault; remedy" each; faults of the whole file come first, without a line.

        Args:
            all_lines: list every line that has a fault told once, not only the first ten.
        """
        found = sorted(self._found, key=lambda fault: (fault[0], getattr(fault[0], "row", 0)))
        listed = None if all_lines else _LINES_LISTED
        return [f"{self.path}{_place(line)}: {what}{_more_lines(lines, listed)}" for line, what, lines in found]


def _place(line: int) -> str:
    if not line:
        return ""
    return f":{line}: sample {line.row}" if isinstance(line, Line) and line.shared else f":{line}"


def _more_lines(lines: Sequence[int], most: int | None) -> str:
    shared = any(isinstance(line, Line) and line.shared for line in lines)
    numbers = [line.row if shared and isinstance(line, Line) else int(line) for line in lines]
    others = list(dict.fromkeys(numbers))[1:]
    if not others:
        return ""
    listed = ", ".join(map(str, others[:most])) + ("" if most is None or len(others) <= most else ", ...")
    what = "sample" if shared else "line"
    return f" (the same in {len(others)} more {what}{'' if len(others) == 1 else 's'}: {listed})"
