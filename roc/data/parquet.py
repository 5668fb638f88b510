"""Parquet files: rows, pictures inside them included, read and written with pyarrow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from roc.data.pictures import Picture, PictureCells

_ROWS, _ROWS_WITH_PICTURES = 10_000, 64
"""Rows that are held in memory at a time."""

_ABOUT = b"roc"
"""Key of the text that is kept beside the rows."""


class NoParquet(ValueError):
    """A file that is no Parquet file, or no pyarrow to read one; the message says so without naming the file."""


def columns_of(path: Path) -> list[str]:
    """Lists the columns, without those under which pandas writes its row numbers.

    Raises:
        NoParquet: it cannot be read.
    """
    pyarrow = _pyarrow()
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            return [name for name in file.schema_arrow.names if not name.startswith("__index_level_")]
    except pyarrow.ArrowInvalid as error:
        raise NoParquet(f"this is not a Parquet file, or a damaged one: {error}") from error


def iter_parquet(path: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Reads the rows one by one; bytes become `Picture`s.

    Raises:
        NoParquet: it cannot be read.
    """
    pyarrow = _pyarrow()
    pictures = PictureCells(path.name)
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            kinds = {name: file.schema_arrow.field(name).type for name in columns}
            nested = [name for name, kind in kinds.items() if "binary" in str(kind)]
            number = 0
            for batch in file.iter_batches(_ROWS_WITH_PICTURES if nested else _ROWS, columns=list(columns)):
                for row in batch.to_pylist():
                    number += 1
                    for name in nested:
                        row[name] = pictures.read(row[name], number)
                    yield row
    except pyarrow.ArrowInvalid as error:
        raise NoParquet(f"this is not a Parquet file, or a damaged one: {error}") from error


def about_of(path: Path) -> str | None:
    """Returns the text that `write_parquet` kept beside the rows; None where there is none.

    Raises:
        NoParquet: it cannot be read.
    """
    pyarrow = _pyarrow()
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            text = (file.schema_arrow.metadata or {}).get(_ABOUT)
    except pyarrow.ArrowInvalid as error:
        raise NoParquet(f"this is not a Parquet file, or a damaged one: {error}") from error
    return None if text is None else text.decode()


def write_parquet(
    path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str], about: str | None = None
) -> None:
    """Writes rows; pictures are stored as the `datasets` library stores them.

    Args:
        path: file to write.
        rows: column name -> value; a missing name is an empty cell.
        columns: the columns, in order.
        about: a text to keep beside the rows, for `about_of`.

    Raises:
        ValueError: a column of several types, or objects of different names in one column.
        NoParquet: there is no pyarrow.
    """
    pyarrow = _pyarrow()
    arrays = {}
    for name in columns:
        values = [_stored(row.get(name)) for row in rows]
        try:
            arrays[name] = pyarrow.array(values)
        except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError) as error:
            raise ValueError(f"{name!r}: a column of Parquet holds one type only: {error}; write .jsonl") from error
        nested = next((number for number, value in enumerate(values) if isinstance(value, list | dict)), None)
        # Objects with different names would all come back with the names of all.
        if nested is not None and arrays[name].to_pylist() != values:
            raise ValueError(f"{name!r}: Parquet cannot hold objects with different names in one column; write .jsonl")
    table = pyarrow.table(arrays)
    if about is not None:
        table = table.replace_schema_metadata({_ABOUT: about.encode()})
    pyarrow.parquet.write_table(table, path)


def _stored(value: Any) -> Any:
    if isinstance(value, Picture):
        return {"bytes": value.content, "path": value.name}
    return [_stored(part) for part in value] if isinstance(value, list) else value


def _pyarrow() -> ModuleType:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise NoParquet(
            "Parquet files need pyarrow; install it by `pip install 'roc-mllm[parquet]'`, or save as CSV"
        ) from error
    return pyarrow
