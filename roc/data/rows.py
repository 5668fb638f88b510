"""Rows: what a data file says, line by line, before anyone judges what it means.

JSON, JSON Lines, CSV and Parquet all become pairs of a line number and a dict of column name -> value. Found here is
only what makes a file unreadable as a file; `roc/data/reading.py` says which columns there are and checks their
values. Both put what they find into the same `Faults`, so that one error can name everything that is wrong with a file.

`write_rows` is the way back. What it writes reads as the same rows, or it says what this kind of file cannot hold.
"""

from __future__ import annotations

import csv
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
"""(line in the file from 1, column name -> value); an empty cell is None. For Parquet the row stands for the line."""

_FAULTS_SHOWN = 50
_DELIMITERS = ",;\t"
_NUMBERS = (int, float)
_NUMBERS_OR_TEXT = (int, float, str)


class DataError(ValueError):
    """A data file that cannot be used.

    Attributes:
        faults: everything that is wrong, one "FILE:LINE: what; what to do" each. The message shows the first 50.
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
    """Collects what is wrong with one file, to be reported together in the order of its lines; true if anything is."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: list[tuple[int, str]] = []

    def add(self, line: int | None, what: str) -> None:
        """`line` is None for what concerns the whole file; `what` says what is wrong and what to do."""
        self._found.append((line or 0, what))

    def __bool__(self) -> bool:
        return bool(self._found)

    def texts(self) -> list[str]:
        """One "FILE:LINE: what; what to do" each; what concerns the whole file comes first, without a line."""
        found = sorted(self._found, key=lambda fault: fault[0])
        return [f"{self._path}:{line}: {what}" if line else f"{self._path}: {what}" for line, what in found]


def read_rows(path: Path, faults: Faults) -> list[Row]:
    """All rows of `iter_rows` at once."""
    return list(iter_rows(path, faults))


def iter_rows(path: Path, faults: Faults) -> Iterator[Row]:
    """Reads the rows of a file that are there to be read, one after the other.

    Args:
        path: a `.json` (one list of objects), `.jsonl`, `.csv`, `.tsv` or `.parquet` file. Of a CSV file, comma,
            semicolon or tab separates the cells, whichever its header has most of, and every value is a text. Only a
            `.json` file is held in memory as a whole.
        faults: takes what is wrong with single lines. A file that is broken from some line on gives the rows before.

    Yields:
        Rows in the order of the file, perhaps none.

    Raises:
        DataError: no such file, an unknown suffix, not UTF-8, no Parquet file, or pyarrow is missing for one.
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


def _read_csv(path: Path, faults: Faults) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        # A name in quotation marks may contain any of them.
        delimiter = max(_DELIMITERS, key=re.sub(r'"[^"]*"', "", file.readline()).count)
        file.seek(0)
        lines = csv.reader(file, delimiter=delimiter, strict=True)
        line = 1
        try:
            header = [cell.strip() for cell in next(filter(None, lines), [])]
            _check_header(header, faults)
            if faults:
                return
            line = lines.line_num + 1
            for cells in lines:
                if len(cells) == len(header):
                    yield line, {name: cell.strip() or None for name, cell in zip(header, cells, strict=True)}
                elif cells:
                    what = f"{len(cells)} cells where the header has {len(header)}"
                    faults.add(line, f"{what}; put cells that contain {delimiter!r} in quotation marks")
                line = lines.line_num + 1
        except csv.Error as error:
            faults.add(line, f"cannot be read from here on: {error}; look for a quotation mark that is not closed")


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
            # pandas writes its row numbers under such names
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
    if isinstance(value, bool) or not isinstance(value, _NUMBERS_OR_TEXT if from_text else _NUMBERS):
        return None
    try:
        # float() takes "1_000" for a number, which no table means by it.
        return None if isinstance(value, str) and "_" in value else float(value)
    except (ValueError, OverflowError):
        return None


def shown(value: Any) -> str:
    """Describes a value in a fault: its repr cut to 80 characters, or "missing" for None."""
    if value is None:
        return "missing"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def write_rows(path: str | os.PathLike[str], rows: Iterable[Mapping[str, Any]]) -> int:
    """Writes a data file. The old file of that name stays whole until the new one is complete.

    Args:
        path: the suffix says what is written: `.csv`, `.tsv`, `.jsonl`, `.json` (one list) or `.parquet`. Its folder
            is made if it is not there.
        rows: column name -> value. The columns of a table are those of all rows, in the order of their first
            appearance. None and a missing name are the same: an empty cell, or nothing at all in JSON. Lists and
            objects go into JSON and Parquet only.

    Returns:
        The number of rows.

    Raises:
        ValueError: an unknown suffix, or a value that such a file cannot give back; names row (from 1) and column.
        OSError: the file cannot be written.
    """
    path = Path(path)
    writers = {
        ".csv": _write_csv,
        ".tsv": _write_csv,
        ".jsonl": _write_json,
        ".json": _write_json,
        ".parquet": _write_parquet,
    }
    writer = writers.get(path.suffix.lower())
    if writer is None:
        raise ValueError(f"{path}: the suffix {path.suffix!r} is not known; expected one of {', '.join(writers)}")
    plain = (_plain_row(number, row) for number, row in enumerate(rows, start=1))
    count = 0

    def write(temporary: Path) -> None:
        nonlocal count
        count = writer(temporary, plain, path.suffix.lower())

    write_whole(path, write)
    return count


def _plain_row(number: int, row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _plain(value, f"row {number}, {name!r}") for name, value in row.items()}


def _plain(value: Any, where: str) -> Any:
    """The value in the types of JSON: numpy's numbers and paths become Python's numbers and text."""
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


def _columns(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _write_csv(path: Path, rows: Iterable[dict[str, Any]], suffix: str) -> int:
    rows = list(rows)
    columns = _columns(rows)
    for number, row in enumerate(rows, start=1):
        for name, value in row.items():
            if isinstance(value, list | dict):
                raise ValueError(f"row {number}, {name!r}: a table of text cannot hold {shown(value)}; write .jsonl")
            if isinstance(value, str) and (value != value.strip() or not value) and name.lower() == "image":
                raise ValueError(f"row {number}, {name!r}: {value!r} begins or ends with a blank; write .jsonl")
    with path.open("w", encoding="utf-8", newline="") as file:
        delimiter = "\t" if suffix == ".tsv" else ","
        # A quoted header leaves no doubt about which of its commas, semicolons and tabs separate cells.
        quoting = csv.QUOTE_ALL if any(mark in name for name in columns for mark in _DELIMITERS) else csv.QUOTE_MINIMAL
        if columns:
            csv.writer(file, delimiter=delimiter, lineterminator="\n", quoting=quoting).writerow(columns)
        lines = csv.writer(file, delimiter=delimiter, lineterminator="\n")
        quoted = csv.writer(file, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL)
        for row in rows:
            cells = [row.get(name) for name in columns]
            # Left to itself, Python before 3.13 writes a bare carriage return as it is, and readers end the row there.
            writer = quoted if any(isinstance(cell, str) and "\r" in cell for cell in cells) else lines
            writer.writerow(cells)
    return len(rows)


def _write_json(path: Path, rows: Iterable[dict[str, Any]], suffix: str) -> int:
    as_list = suffix == ".json"
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


def _write_parquet(path: Path, rows: Iterable[dict[str, Any]], _suffix: str) -> int:
    pyarrow = _pyarrow(path)
    rows = list(rows)
    columns = {}
    for name in _columns(rows):
        values = [row.get(name) for row in rows]
        try:
            columns[name] = pyarrow.array(values)
        except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError) as error:
            raise ValueError(f"{name!r}: a column of Parquet holds one type only: {error}; write .jsonl") from error
        nested = next((number for number, value in enumerate(values) if isinstance(value, list | dict)), None)
        # Objects with different names would all come back with the names of all.
        if nested is not None and columns[name].to_pylist() != values:
            raise ValueError(f"{name!r}: Parquet cannot hold objects with different names in one column; write .jsonl")
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return len(rows)
