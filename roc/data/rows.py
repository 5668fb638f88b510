"""Rows: the one reader and the one writer of tables, whatever the format and whatever the columns mean.

JSON, JSON Lines, CSV, Excel, Parquet and data sets of the `datasets` library all become pairs of a line number and a
dict of column name -> value. Only what makes a file unreadable as a file is found here; `roc/data/cells.py` says what a
cell stands for, `roc/data/reading.py` knows the columns of data files and checks their values. All collect what they
find in the same `Faults`, so that one error names everything that is wrong with a file.

`write_rows` writes what `iter_rows` reads back as the same rows, or raises an error that names what the format cannot
hold.
"""

from __future__ import annotations

import datetime
import json
import math
import numbers
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from roc.data.cells import empty_cells, shown, with_numbers
from roc.data.faults import DataError, Faults, Line
from roc.data.headed import Row, check_header, read_csv, read_spreadsheet, write_csv
from roc.data.hub import NoDataset, is_dataset, iter_dataset
from roc.data.parquet import NoParquet, columns_of, iter_parquet, write_parquet
from roc.data.pictures import Picture
from roc.data.spreadsheet import NoSpreadsheet, write_spreadsheet
from roc.files import write_whole

TABLES = (".csv", ".tsv", ".jsonl", ".json", ".parquet", ".xlsx")
"""Suffixes of the files that are read and written."""

_TEXT_ONLY = (".csv", ".tsv")


def read_rows(path: Path, faults: Faults) -> list[Row]:
    """Reads all rows at once, as `iter_rows` yields them."""
    return list(iter_rows(path, faults))


def iter_rows(path: Path, faults: Faults) -> Iterator[Row]:
    """Reads the rows of a file one by one.

    Args:
        path: a `.json` (one list of objects), `.jsonl`, `.csv`, `.tsv`, `.xlsx` or `.parquet` file, a folder that
            `datasets` wrote, or `hf://datasets/ORGANISATION/NAME`. In a CSV file comma, semicolon or tab separates the
            cells, whichever its header has most of or a first line `sep=;` names, and every value is a text. Only a
            `.json` file is held in memory as a whole.
        faults: collects what is wrong with single lines. A file that is broken from some line on yields the rows
            before it.

    Yields:
        Rows in the order of the file, perhaps none; those without any value are left out. Pictures inside a table are
        `Picture`s.

    Raises:
        DataError: no such file, an unknown suffix, not UTF-8, a damaged file, or no package to read it.
    """
    readers = {
        ".json": _read_json,
        ".jsonl": _read_jsonl,
        ".csv": read_csv,
        ".tsv": read_csv,
        ".xlsx": read_spreadsheet,
        ".parquet": _read_parquet,
    }
    reader = readers.get(path.suffix.lower())
    if is_dataset(path):
        reader = _read_dataset
    elif path.is_dir():
        raise DataError([_folder_fault(path, readers)])
    elif not path.is_file():
        raise DataError([f"{path}: no such file; expected a {', '.join(readers)} file"])
    elif reader is None:
        raise DataError([f"{path}: the suffix {path.suffix!r} is not known; expected one of {', '.join(readers)}"])
    try:
        for number, (line, row) in enumerate(reader(path, faults), start=1):
            if empty_cells(row) or not row:
                yield (line if isinstance(line, Line) else Line.of(line, number)), row
    except UnicodeDecodeError as error:
        raise DataError([f"{path}: this is not UTF-8 text ({error}); save it as UTF-8"]) from error
    except (NoParquet, NoSpreadsheet, NoDataset) as error:
        raise DataError([f"{path}: {error}"]) from error
    except OSError as error:
        raise DataError([f"{path}: cannot be read: {error}"]) from error


def iter_rows_for(path: Path, target: Path) -> Iterator[Row]:
    """Reads rows to be written into another file: numbers of a CSV file become numbers where `target` has such.

    Faults of single lines are not collected; whoever copies rows has read the file before.
    """
    to_numbers = path.suffix.lower() in _TEXT_ONLY and target.suffix.lower() not in _TEXT_ONLY
    for line, row in iter_rows(path, Faults(path)):
        yield line, with_numbers(row) if to_numbers else row


def _folder_fault(folder: Path, suffixes: Iterable[str]) -> str:
    """Says what to give instead of a folder."""
    try:
        tables = sorted(name for name in os.listdir(folder) if os.path.splitext(name)[1].lower() in suffixes)
    except OSError:
        tables = []
    table = f", such as {folder / tables[0]}" if tables else " with the columns image and score"
    return (
        f"{folder}: this is a folder, and a data file is expected: a {', '.join(suffixes)} file{table}. Pictures are "
        f"scored without one: roc score {folder} --checkpoint CHECKPOINT"
    )


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
    separator, count, before = "[", 0, False
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
        position = skip(text, end).end()
        begins = line
        line += text.count("\n", sample_at, position)
        after = skip(text, position + 1).end()
        more = text[position : position + 1] == "," and line == begins and "\n" not in text[position:after]
        count += 1
        yield from _json_row(Line.of(begins, count, shared=before or more), sample, faults)
        separator, before = ",", more
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
    columns = columns_of(path)
    check_header(columns, faults)
    if not faults:
        yield from enumerate(iter_parquet(path, columns), start=1)


def _read_dataset(path: Path, faults: Faults) -> Iterator[Row]:
    yield from enumerate(iter_dataset(path), start=1)


def write_rows(path: str | os.PathLike[str], rows: Iterable[Mapping[str, Any]], columns: Sequence[str] = ()) -> int:
    """Writes a table. The old file of that name stays whole until the new one is complete.

    Args:
        path: file to write; its suffix is the format: `.csv`, `.tsv`, `.jsonl`, `.json` (one list), `.parquet` or
            `.xlsx`. Its folder is created if needed.
        rows: column name -> value. None and a missing name are the same: an empty cell, or nothing at all in JSON.
            Lists and objects fit into JSON and Parquet only, a `Picture` into Parquet only. Text that a spreadsheet
            would run as a formula (`=1+1.jpg`) gets an apostrophe in front in CSV and TSV, which `iter_rows` takes off
            again; in .xlsx it is stored as text.
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
    if suffix not in TABLES:
        raise ValueError(f"{path}: the suffix {path.suffix!r} is not known; expected one of {', '.join(TABLES)}")
    plain = (_plain_row(number, row, suffix) for number, row in enumerate(rows, start=1))
    count = 0

    def write(temporary: Path) -> None:
        nonlocal count
        if suffix in (".json", ".jsonl"):
            count = _write_json(temporary, plain, as_list=suffix == ".json")
            return
        held = list(plain)
        count, names = len(held), _columns(columns, held)
        if suffix == ".parquet":
            write_parquet(temporary, held, names)
            return
        _check_flat(held)
        if suffix == ".xlsx":
            write_spreadsheet(temporary, held, names)
        else:
            write_csv(temporary, held, names, "\t" if suffix == ".tsv" else ",")

    write_whole(path, write)
    return count


def _plain_row(number: int, row: Mapping[str, Any], suffix: str) -> dict[str, Any]:
    plain = {name: _plain(value, f"row {number}, {name!r}") for name, value in row.items()}
    for name, value in plain.items() if suffix != ".parquet" else ():
        if isinstance(value, Picture) or (isinstance(value, list) and any(isinstance(one, Picture) for one in value)):
            raise ValueError(f"row {number}, {name!r}: {suffix} cannot hold the picture {value}; write .parquet")
    return plain


def _plain(value: Any, where: str) -> Any:
    """Converts a value to the types of JSON: numpy's numbers become Python's, paths become text."""
    if value is None or isinstance(value, str | bool | int | Picture):
        return value
    if isinstance(value, Decimal) and value.is_finite():
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
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


def _check_flat(rows: Sequence[Mapping[str, Any]]) -> None:
    """Refuses what a table of single cells cannot give back."""
    for number, row in enumerate(rows, start=1):
        for name, value in row.items():
            if isinstance(value, list | dict):
                raise ValueError(f"row {number}, {name!r}: a table of text cannot hold {shown(value)}; write .jsonl")
            if isinstance(value, str) and (value != value.strip() or not value) and name.lower() == "image":
                raise ValueError(f"row {number}, {name!r}: {value!r} begins or ends with a blank; write .jsonl")


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
