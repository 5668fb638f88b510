"""Pictures inside tables: the bytes of a file in a cell, as Parquet files of the `datasets` library have them.

Everything that opens images takes paths. So such a picture becomes a file of its own when its path is asked for, in a
cache, under a name made from its content: the same picture is stored once, and another one never under the same name.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from roc.files import write_whole

_CACHED = re.compile(r"[\\/]pictures[\\/](?P<start>[0-9a-f]{2})[\\/](?P=start)[0-9a-f]{30}-(?P<name>[^\\/]+)$")


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture inside a table; as text, its name.

    Attributes:
        name: the path that stands beside it in the table, or FILE#ROW where there is none or an earlier row has it.
        content: the bytes of its file.
    """

    name: str
    content: bytes = field(repr=False)

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"<picture {self.name}, {len(self.content)} bytes>"

    def file(self) -> str:
        """Returns the path of a file with this content, which is written into the cache if it is not there.

        Raises:
            OSError: the cache cannot be written; the variable ROC_CACHE names another folder.
        """
        digest = hashlib.blake2b(self.content, digest_size=16).hexdigest()
        name = os.path.basename(self.name.replace("\\", "/"))[-60:]
        stem = re.sub(r"[^\w.-]", lambda odd: quote(odd[0], safe=""), name)
        path = cache_folder() / "pictures" / digest[:2] / f"{digest}-{stem}"
        try:
            if not (path.is_file() and path.stat().st_size == len(self.content)):
                write_whole(path, lambda temporary: temporary.write_bytes(self.content))
        except OSError as error:
            raise OSError(
                f"the picture {self.name} cannot be stored in {path.parent}: {error.strerror or error}; name another "
                "folder by the variable ROC_CACHE"
            ) from error
        return str(path)


def cache_folder() -> Path:
    """The folder for what can be made again: ROC_CACHE, or `roc` in HF_HOME, XDG_CACHE_HOME or ~/.cache."""
    if given := os.environ.get("ROC_CACHE"):
        return Path(given).expanduser().absolute()
    around = os.environ.get("HF_HOME") or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(around).expanduser().absolute() / "roc"


def shown_path(path: str) -> str:
    """Returns how messages name an image: its path, or for a file of the cache, the picture's name in its table."""
    found = _CACHED.search(path)
    if found is None or not path.startswith(os.path.join(cache_folder(), "")):
        return path
    return unquote(found["name"])


def without_bytes(cell: Any) -> Any:
    """Returns the path of {"bytes": null, "path": ...}, as `datasets` names a file; other cells as they are."""
    if isinstance(cell, Mapping) and set(cell) <= {"bytes", "path"} and cell.get("bytes") is None:
        return cell.get("path")
    return cell


class PictureCells:
    """Turns the cells of one table that hold pictures into `Picture`s.

    Args:
        table: the table's name.
    """

    def __init__(self, table: str) -> None:
        self._table = table
        self._names: set[str] = set()

    def read(self, value: Any, row: int) -> Any:
        """Returns a cell with its pictures, if it has any: bytes, {"bytes": ..., "path": ...}, or a list of them.

        Args:
            value: the cell.
            row: its row, from 1.
        """
        if isinstance(value, bytes):
            return self._picture(None, value, row)
        if isinstance(value, Mapping) and value and set(value) <= {"bytes", "path"}:
            content, path = value.get("bytes"), value.get("path")
            if isinstance(content, bytes):
                return self._picture(path, content, row)
            return without_bytes(value)
        if isinstance(value, list) and any(isinstance(part, bytes | Mapping) for part in value):
            return [self.read(part, row) for part in value]
        return value

    def _picture(self, path: str | None, content: bytes, row: int) -> Picture:
        name = path if path and path not in self._names else f"{self._table}#{row}"
        number = 1
        while name in self._names:  # several in one row
            number += 1
            name = f"{self._table}#{row}.{number}"
        self._names.add(name)
        return Picture(name, content)
