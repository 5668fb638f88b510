"""Rows: the one reader and the one writer of tables, whatever the format and whatever the columns mean.

JSON, JSON Lines, CSV and Parquet all become pairs of a line number and a dict of column name -> value. Only what makes
a file unreadable as a file is found here; `roc/data/reading.py` knows the columns of data files and checks their
values. Both collect what they find in the same `Faults`, so that one error names everything that is wrong with a file.

`write_rows` writes what `iter_rows` reads back as the same rows, or raises an error that names what the format cannot
hold.
"""

from __future__ import annotations

import csv
import itertools
import json
import math
import numbers
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from roc.files import write_whole

Row = tuple[int, dict[str, Any]]
"""(line in the file from 1, column name -> value); an empty cell is None. In Parquet, the row counts as the line."""

_FAULTS_SHOWN = 50
_DELIMITERS = ",;\t"
_WRITTEN = (".csv", ".tsv", ".jsonl", ".json", ".parquet")
_END = "\0end of the table"


class DataError(ValueError):
    """A data file that cannot be used.

    Attributes:
        faults: everything that is wrong, one "FILE:LINE: fault; remedy" each. The message shows the first 50.
    """

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = list(faults)
        lines = self.faults[:_FAULTS_SHOWN]
        if len(self.faults) > 1:
            lines.insert(0, f"{len(self.faults)} faults in the data:")
        if len(self.faults) > _FAULTS_SHOWN:
            lines.append(f"... and {len(self.faults) - _FAULTS_SHOWN} more")
        super().__init__("\n".join(lines))


class Faults:
    """The faults of one file, collected to be reported together in the order of its lines; true if there is any."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: list[tuple[int, str]] = []

    def add(self, line: int | None, what: str) -> None:
        """Adds a fault.

        Args:
            line: where it is; None for a fault of the whole file.
            what: what is wrong and what to do about it.
        """
        self._found.append((line or 0, what))

    def __bool__(self) -> bool:
        return bool(self._found)

    def texts(self) -> list[str]:
        """Returns one "FILE:LINE: fault; remedy" each; faults of the whole file come first, without a line."""
        found = sorted(self._found, key=lambda fault: fault[0])
        return [f"{self._path}:{line}: {what}" if line else f"{self._path}: {what}" for line, what in found]


def read_rows(path: Path, faults: Faults) -> list[Row]:
    """Reads all rows at once, as `iter_rows` yields them."""
    return list(iter_rows(path, faults))


def iter_rows(path: Path, faults: Faults) -> Iterator[Row]:
    """Reads the rows of a file one by one.

    Args:
        path: a `.json` (one list of objects), `.jsonl`, `.csv`, `.tsv` or `.parquet` file. In a CSV file comma,
            semicolon or tab separates the cells, whichever its header has most of, and every value is a text. Only a
            `.json` file is held in memory as a whole.
        faults: collects what is wrong with single lines. A file that is broken from some line on yields the rows
            before it.

    Yields:
        Rows in the order of the file, perhaps none.

    Raises:
        DataError: no such file, an unknown suffix, not UTF-8, no Parquet file, or no pyarrow to read one.
    """
    readers = {
        ".json": _read_json,
        ".jsonl": _read_jsonl,
        ".csv": _read_csv,
        ".tsv": _read_csv,
        ".parquet": _read_parquet,
    }
    reader = readers.get(path.suffix.lower())
    if not path.is_file():
        raise DataError([f"{path}: no such file; data_path has to be a {', '.join(readers)} file"])
    if reader is None:
        raise DataError([f"{path}: the suffix {path.suffix!r} is not known; expected one of {', '.join(readers)}"])
    try:
        yield from reader(path, faults)
    except UnicodeDecodeError as error:
        raise DataError([f"{path}: this is not UTF-8 text ({error}); save it as UTF-8"]) from error
    except OSError as error:
        raise DataError([f"{path}: cannot be read: {error}"]) from error


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


def _read_csv(path: Path, faults: Faults) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        # A name in quotation marks may contain any of them.
        delimiter = max(_DELIMITERS, key=re.sub(r'"[^"]*"', "", file.readline()).count)
        file.seek(0)
        rows = iter_cells(file, delimiter)
        try:
            _, header = next(rows, (1, []))
            _check_header(header, faults)
            if faults:
                return
            for line, cells in rows:
                if len(cells) == len(header):
                    yield line, {name: cell or None for name, cell in zip(header, cells, strict=True)}
                else:
                    what = f"{len(cells)} cells where the header has {len(header)}"
                    faults.add(line, f"{what}; put cells that contain {delimiter!r} in quotation marks")
        except BrokenTable as error:
            what = f"cannot be read from here on: {error}"
            faults.add(error.line, f"{what}; look for a quotation mark that is not closed")


def _check_header(header: Sequence[str], faults: Faults) -> None:
    for number, name in enumerate(header, start=1):
        if not name:
            faults.add(1, f"column {number} has no name; name it or drop it")
        elif name in header[: number - 1]:
            faults.add(1, f"the column {name!r} occurs twice; rename or drop one")


def _read_json(path: Path, faults: Faults) -> Iterator[Row]:
    text = path.read_text(encoding="utf-8-sig")
    decoder = json.JSONDecoder()
    skip = re.compile(r"[ \t\r\n]*").match
    position, line = skip(text).end(), 1 + text[: skip(text).end()].count("\n")
    if not text[position:]:
        return
    if text[position] != "[":
        faults.add(
            line,
            "a .json file has to be one list of samples, [{...}, ...]; name it .jsonl if it has one sample per line",
        )
        return
    separator = "["
    while text[position : position + 1] == separator:
        sample_at = skip(text, position + 1).end()
        line += text.count("\n", position, sample_at)
        if separator == "[" and text[sample_at : sample_at + 1] == "]":
            position = sample_at
            break
        try:
            sample, end = decoder.raw_decode(text, sample_at)
        except json.JSONDecodeError as error:
            faults.add(error.lineno, f"this is not JSON: {error.msg} (column {error.colno})")
            return
        except (ValueError, RecursionError) as error:
            faults.add(line, f"cannot be read as JSON from here on: {error}")
            return
        yield from _json_row(line, sample, faults)
        position = skip(text, end).end()
        line += text.count("\n", sample_at, position)
        separator = ","
    if text[position : position + 1] != "]":
        faults.add(line, "this is not JSON: ',' or ']' expected after a sample; the file may be cut short")
    elif text[skip(text, position + 1).end() :]:
        faults.add(line, "this is not JSON: there is something after the end of the list")


def _read_jsonl(path: Path, faults: Faults) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig") as file:
        for line, text in enumerate(file, start=1):
            if not text.strip():
                continue
            try:
                sample = json.loads(text.rstrip())
            except json.JSONDecodeError as error:
                faults.add(line, f"this is not JSON: {error.msg} (column {error.colno})")
            except (ValueError, RecursionError) as error:
                faults.add(line, f"cannot be read as JSON: {error}")
            else:
                yield from _json_row(line, sample, faults)


def _json_row(line: int, sample: Any, faults: Faults) -> Iterator[Row]:
    if isinstance(sample, dict):
        yield line, sample
    else:
        faults.add(line, f"a sample has to be an object {{...}}, got {shown(sample)}")


def _read_parquet(path: Path, faults: Faults) -> Iterator[Row]:
    pyarrow = _pyarrow(path)
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            # The names under which pandas writes its row numbers.
            columns = [name for name in file.schema_arrow.names if not name.startswith("__index_level_")]
            _check_header(columns, faults)
            if faults:
                return
            row = 0
            for batch in file.iter_batches(batch_size=10_000, columns=columns):
                for values in batch.to_pylist():
                    row += 1
                    yield row, values
    except pyarrow.ArrowInvalid as error:
        raise DataError([f"{path}: this is not a Parquet file, or a damaged one: {error}"]) from error


def _pyarrow(path: Path) -> ModuleType:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise DataError(
            [f"{path}: Parquet files need pyarrow; install it by `pip install pyarrow`, or save as CSV"]
        ) from error
    return pyarrow


def as_number(value: Any, *, from_text: bool = True) -> float | None:
    """Returns the number that a cell stands for, finite or not; None for anything else.

    Args:
        value: a cell of a row.
        from_text: whether the text "5" stands for a number, as it has to in a CSV file.
    """
    if isinstance(value, str):
        # float() takes "1_000" for a number, which no table means by it.
        if not from_text or "_" in value:
            return None
    elif isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def shown(value: Any) -> str:
    """Describes a value in a fault: its repr cut to 80 characters, or "missing" for None."""
    if value is None:
        return "missing"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def write_rows(path: str | os.PathLike[str], rows: Iterable[Mapping[str, Any]], columns: Sequence[str] = ()) -> int:
    """Writes a table. The old file of that name stays whole until the new one is complete.

    Args:
        path: file to write; its suffix is the format: `.csv`, `.tsv`, `.jsonl`, `.json` (one list) or `.parquet`. Its
            folder is created if needed.
        rows: column name -> value. None and a missing name are the same: an empty cell, or nothing at all in JSON.
            Lists and objects fit into JSON and Parquet only.
        columns: columns of a table that come first, even where no row has them. The others follow in the order of
            their first appearance.

    Returns:
        The number of rows.

    Raises:
        ValueError: an unknown suffix, or a value that the format cannot give back; names row (from 1) and column.
        OSError: the file cannot be written.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in _WRITTEN:
        raise ValueError(f"{path}: the suffix {path.suffix!r} is not known; expected one of {', '.join(_WRITTEN)}")
    plain = (_plain_row(number, row) for number, row in enumerate(rows, start=1))
    count = 0

    def write(temporary: Path) -> None:
        nonlocal count
        if suffix == ".parquet":
            count = _write_parquet(temporary, plain, columns)
        elif suffix in (".json", ".jsonl"):
            count = _write_json(temporary, plain, as_list=suffix == ".json")
        else:
            count = _write_csv(temporary, plain, columns, delimiter="\t" if suffix == ".tsv" else ",")

    write_whole(path, write)
    return count


def _plain_row(number: int, row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _plain(value, f"row {number}, {name!r}") for name, value in row.items()}


def _plain(value: Any, where: str) -> Any:
    """Converts a value to the types of JSON: numpy's numbers become Python's, paths become text."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        if not math.isfinite(value):
            raise ValueError(f"{where}: {value} cannot be written; give a number, or None for an empty cell")
        return float(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, list | tuple):
        return [_plain(part, where) for part in value]
    if isinstance(value, Mapping):
        return {str(name): _plain(part, where) for name, part in value.items()}
    raise ValueError(
        f"{where}: {shown(value)} is a {type(value).__name__}; expected a text, a number, a list or a dict"
    )


def _columns(first: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys([*first, *(name for row in rows for name in row)]))


def _write_csv(path: Path, rows: Iterable[dict[str, Any]], columns: Sequence[str], delimiter: str) -> int:
    rows = list(rows)
    columns = _columns(columns, rows)
    for number, row in enumerate(rows, start=1):
        for name, value in row.items():
            if isinstance(value, list | dict):
                raise ValueError(f"row {number}, {name!r}: a table of text cannot hold {shown(value)}; write .jsonl")
            if isinstance(value, str) and (value != value.strip() or not value) and name.lower() == "image":
                raise ValueError(f"row {number}, {name!r}: {value!r} begins or ends with a blank; write .jsonl")
    with path.open("w", encoding="utf-8", newline="") as file:
        # Quoting the header leaves no doubt about which of its commas, semicolons and tabs separate cells.
        quoting = csv.QUOTE_ALL if any(mark in name for name in columns for mark in _DELIMITERS) else csv.QUOTE_MINIMAL
        if columns:
            csv.writer(file, delimiter=delimiter, lineterminator="\n", quoting=quoting).writerow(columns)
        lines = csv.writer(file, delimiter=delimiter, lineterminator="\n")
        quoted = csv.writer(file, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL)
        for row in rows:
            cells = [row.get(name) for name in columns]
            # Python before 3.13 writes a bare carriage return without quotation marks, and readers end the row there.
            writer = quoted if any(isinstance(cell, str) and "\r" in cell for cell in cells) else lines
            writer.writerow(cells)
    return len(rows)


def _write_json(path: Path, rows: Iterable[dict[str, Any]], *, as_list: bool) -> int:
    count = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        for count, row in enumerate(rows, start=1):
            file.write("" if not as_list else "[\n" if count == 1 else ",\n")
            there = {name: value for name, value in row.items() if value is not None}
            file.write(json.dumps(there, ensure_ascii=False))
            file.write("" if as_list else "\n")
        if as_list:
            file.write("\n]\n" if count else "[]\n")
    return count


def _write_parquet(path: Path, rows: Iterable[dict[str, Any]], columns: Sequence[str]) -> int:
    pyarrow = _pyarrow(path)
    rows = list(rows)
    arrays = {}
    for name in _columns(columns, rows):
        values = [row.get(name) for row in rows]
        try:
            arrays[name] = pyarrow.array(values)
        except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError) as error:
            raise ValueError(f"{name!r}: a column of Parquet holds one type only: {error}; write .jsonl") from error
        nested = next((number for number, value in enumerate(values) if isinstance(value, list | dict)), None)
        # Objects with different names would all come back with the names of all.
        if nested is not None and arrays[name].to_pylist() != values:
            raise ValueError(f"{name!r}: Parquet cannot hold objects with different names in one column; write .jsonl")
    pyarrow.parquet.write_table(pyarrow.table(arrays), path)
    return len(rows)
