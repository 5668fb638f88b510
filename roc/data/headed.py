"""Tables with a header line: CSV and TSV as text, .xlsx as cells; their cells are put under the names of the header."""

from __future__ import annotations

import codecs
import csv
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from roc.data.cells import guarded, unguarded
from roc.data.faults import Faults
from roc.data.spreadsheet import iter_spreadsheet

Row = tuple[int, dict[str, Any]]
"""(line in the file from 1, column name -> value); an empty cell is None. In Parquet, the row counts as the line."""

_DELIMITERS = ",;\t"
_END = "\0end of the table"
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?[,;\t]*\r?\n?', re.IGNORECASE)


class BrokenTable(ValueError):
    """A CSV file that cannot be read any further; the message says why.

    Attributes:
        line: first line that could not be read.
    """

    def __init__(self, line: int, reason: str) -> None:
        self.line = line
        super().__init__(reason)


def iter_cells(file: Iterable[str], delimiter: str, *, lenient: bool = False) -> Iterator[tuple[int, list[str]]]:
    """Reads the cells of a CSV file, header included.

    Args:
        file: its lines, line ends untouched: of a file opened with `newline=""`.
        delimiter: character between cells.
        lenient: whether blanks before a quoted cell and quotation marks inside of one are accepted.

    Yields:
        (line on which the row begins, its cells without blanks around them); empty lines are left out.

    Raises:
        BrokenTable: the rest of the file cannot be read.
    """
    # A line of our own after the last one: swallowed by a cell, it shows a quotation mark that is not closed.
    lines = csv.reader(itertools.chain(file, [_END]), delimiter=delimiter, strict=not lenient, skipinitialspace=lenient)
    line = 1
    try:
        for cells in lines:
            if cells and cells[-1].endswith(_END):
                if cells != [_END]:
                    raise csv.Error("a quotation mark is not closed")
            elif cells:
                yield line, [cell.strip() for cell in cells]
            line = lines.line_num + 1
    except csv.Error as error:
        raise BrokenTable(line, str(error)) from error


def read_csv(path: Path, faults: Faults) -> Iterator[Row]:
    """Reads a CSV or TSV file, as `iter_rows` describes."""
    with path.open("rb") as file:
        wide = file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # Excel's "Unicode text"
    with path.open(encoding="utf-16" if wide else "utf-8-sig", newline="") as file:
        first = file.readline()
        named = _SEPARATOR_LINE.fullmatch(first)
        if named is None:
            file.seek(0)
        # A name in quotation marks may contain any of them.
        delimiter = named[1] if named else max(_DELIMITERS, key=re.sub(r'"[^"]*"', "", first).count)
        before = 1 if named else 0
        rows = (
            (line + before, [unguarded(cell) if cell[:1] == "'" else cell or None for cell in cells])
            for line, cells in iter_cells(file, delimiter)
        )
        advice = f"put cells that contain {delimiter!r} in quotation marks"
        try:
            yield from _headed(rows, faults, advice)
        except BrokenTable as error:
            what = f"cannot be read from here on: {error}"
            faults.add(error.line + before, f"{what}; look for a quotation mark that is not closed")


def read_spreadsheet(path: Path, faults: Faults) -> Iterator[Row]:
    """Reads the first sheet of an .xlsx file; its rows count as lines."""
    width = 0

    def filled() -> Iterator[tuple[int, list[Any]]]:
        nonlocal width
        for line, cells in iter_spreadsheet(path):
            width = width or len(cells)
            yield line, [*cells, *[None] * (width - len(cells))]

    yield from _headed(filled(), faults, "clear the cells beside the table")


def _headed(rows: Iterator[tuple[int, list[Any]]], faults: Faults, advice: str) -> Iterator[Row]:
    """Puts the cells of rows under the names of the first one.

    Spreadsheets write empty cells beside and below a table; such columns have no name, such rows no value.
    """
    line, header = next(((line, cells) for line, cells in rows if any(cell is not None for cell in cells)), (1, []))
    header = ["" if name is None else str(name) for name in header]
    while header and not header[-1]:
        header.pop()
    check_header(header, faults, line)
    if faults:
        return
    for line, cells in rows:
        if len(cells) == len(header):
            yield line, dict(zip(header, cells, strict=True))
        elif len(cells) > len(header) and all(cell is None for cell in cells[len(header) :]):
            yield line, dict(zip(header, cells, strict=False))
        elif any(cell is not None for cell in cells):
            what = f"{len(cells)} cells where the header has {len(header)}; {advice}"
            faults.add(line, what, ("cells", len(cells)))


def check_header(header: Sequence[str], faults: Faults, line: int = 1) -> None:
    """Adds a fault for each column without a name, or with that of an earlier one."""
    for number, name in enumerate(header, start=1):
        if not name:
            pandas = " (in pandas: to_csv(..., index=False))" if number == 1 else ""
            faults.add(line, f"column {number} has no name; name it or drop it{pandas}")
        elif name in header[: number - 1]:
            faults.add(line, f"the column {name!r} occurs twice; rename or drop one")


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str], delimiter: str) -> None:
    """Writes a table of text; what a spreadsheet would run as a formula gets an apostrophe in front."""
    with path.open("w", encoding="utf-8", newline="") as file:
        # Quoting the header leaves no doubt about which of its commas, semicolons and tabs separate cells.
        quoting = csv.QUOTE_ALL if any(mark in name for name in columns for mark in _DELIMITERS) else csv.QUOTE_MINIMAL
        if columns:
            csv.writer(file, delimiter=delimiter, lineterminator="\n", quoting=quoting).writerow(map(guarded, columns))
        lines = csv.writer(file, delimiter=delimiter, lineterminator="\n")
        quoted = csv.writer(file, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL)
        for row in rows:
            cells = [guarded(cell) if isinstance(cell := row.get(name), str) else cell for name in columns]
            # Python before 3.13 writes a bare carriage return without quotation marks, and readers end the row there.
            writer = quoted if any(isinstance(cell, str) and "\r" in cell for cell in cells) else lines
            writer.writerow(cells)
