"""Excel's .xlsx files: the first sheet is a table with a header, read and written with openpyxl."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

_MOST_ROWS, _MOST_LETTERS = 1_048_575, 32_767


class NoSpreadsheet(ValueError):
    """A file that is no .xlsx file, or no openpyxl to read one; the message says so without naming the file."""


def iter_spreadsheet(path: Path) -> Iterator[tuple[int, list[Any]]]:
    """Reads the cells of the first sheet, header included; of a formula the value that was last computed.

    Yields:
        (row from 1, its cells up to the last that is filled); empty rows are left out.

    Raises:
        NoSpreadsheet: it cannot be read.
    """
    openpyxl = _openpyxl()
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except Exception as error:  # zipfile, XML and openpyxl's own errors
        raise NoSpreadsheet(f"this is not an .xlsx file, or a damaged one: {error}") from error
    try:
        sheet = book.worksheets[0]
        sheet.reset_dimensions()  # as some programs write them, they leave rows out
        for number, cells in enumerate(sheet.iter_rows(values_only=True), start=1):
            values = [_read(cell) for cell in cells]
            while values and values[-1] is None:
                values.pop()
            if values:
                yield number, values
    finally:
        book.close()


def write_spreadsheet(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Writes a sheet; text is stored as text, so that none of it is run as a formula.

    Raises:
        ValueError: a value that a cell cannot hold, or too many rows.
        NoSpreadsheet: there is no openpyxl.
    """
    openpyxl = _openpyxl()
    if len(rows) > _MOST_ROWS:
        raise ValueError(f"an .xlsx sheet holds {_MOST_ROWS} rows, there are {len(rows)}; write .csv")
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("roc")
    if columns:
        sheet.append([_cell(openpyxl, sheet, name, "the header") for name in columns])
    for number, row in enumerate(rows, start=1):
        sheet.append([_cell(openpyxl, sheet, row.get(name), f"row {number}, {name!r}") for name in columns])
    book.save(path)


def _read(value: Any) -> Any:
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    return value


def _cell(openpyxl: ModuleType, sheet: Any, value: Any, where: str) -> Any:
    if not isinstance(value, str):
        return value
    if len(value) > _MOST_LETTERS or "\r" in value:
        what = "a carriage return" if "\r" in value else f"more than {_MOST_LETTERS} letters"
        raise ValueError(f"{where}: a cell of an .xlsx file cannot hold {what}; write .csv")
    try:
        cell = openpyxl.cell.WriteOnlyCell(sheet, value)
    except openpyxl.utils.exceptions.IllegalCharacterError as error:
        raise ValueError(f"{where}: a cell of an .xlsx file cannot hold {value!r}; write .csv") from error
    cell.data_type = "s"  # openpyxl takes "=1+1" for a formula, "#N/A" for an error
    cell.quotePrefix = True  # it stays text when somebody edits it
    return cell


def _openpyxl() -> ModuleType:
    try:
        import openpyxl
        import openpyxl.cell
        import openpyxl.utils.exceptions
    except ImportError as error:
        raise NoSpreadsheet(
            ".xlsx files need openpyxl; install it by `pip install 'roc-mllm[xlsx]'`, or save as CSV"
        ) from error
    return openpyxl
