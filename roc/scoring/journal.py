"""The journal of a scoring run: a file that is right whenever the run is killed.

The first line holds the settings, each further line the row of one image: JSON, written whole and flushed. A killed run
leaves at most a torn last line, which is cut off when the next run opens the file; images before it are done, all
others are not. So no image is lost, and none is scored twice. Runs that do something else one by one keep the same
journal, with another name for what they do (`key`).

Only one run at a time has the file: the operating system holds the lock, and frees it however the process ends.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

_SETTINGS = "settings"
_BEGINNING = b'{"settings": '


class Journal:
    """The open journal; a context manager that closes it.

    Args:
        path: The file; created if it is not there.
        settings: What decides the numbers, JSON values by name. A journal with others is refused.
        about: Further facts for whoever reads the file; a journal that is there already keeps its own.
        overwrite: Start anew, whatever is there.
        earlier: The settings as an earlier version of roc noted them; a journal with these is accepted too.
        key: Name of the value that tells rows apart.

    Attributes:
        settings: Those in the file.
        about: The facts in the file.
        lost: Bytes at the end that were cut off because they are no whole lines.

    Raises:
        ValueError: The file has other settings, is no journal, or is being written by another run.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        settings: Mapping[str, Any],
        about: Mapping[str, Any] | None = None,
        *,
        overwrite: bool = False,
        earlier: Mapping[str, Any] | None = None,
        key: str = "image",
    ) -> None:
        self._key = key
        self.path = Path(path)
        self.settings = json.loads(json.dumps(dict(settings)))
        self.about = dict(about or {})
        self.lost = 0
        self._places: dict[str, int] = {}
        # One handle for everything: closing another handle of this file would release the lock.
        self._file = os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
        try:
            self._lock()
            if overwrite:
                self._file.truncate(0)
            self._read(earlier)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, image: str) -> bool:
        return image in self._places

    @property
    def images(self) -> Iterable[str]:
        """Names of the images that are done, in the order of writing."""
        return self._places.keys()

    def write(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Appends rows, each with its `key`, and flushes them before it returns."""
        place, lines = self._file.seek(0, os.SEEK_END), []
        for row in rows:
            line = json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n"
            self._places[row[self._key]] = place
            place += len(line)
            lines.append(line)
        self._file.write(b"".join(lines))
        self._file.flush()

    def rows(self, images: Iterable[str]) -> Iterator[dict[str, Any]]:
        """Reads the rows of these images, in this order, one at a time."""
        at = -1
        for image in images:
            place = self._places[image]
            if place != at:
                self._file.seek(place)
            line = self._file.readline()
            at = place + len(line)
            yield json.loads(line)

    def rename(self, path: str | os.PathLike[str]) -> None:
        """Gives the file another name; it stays open and locked."""
        os.replace(self.path, path)
        self.path = Path(path)

    def _lock(self) -> None:
        try:
            import fcntl
        except ImportError:  # Windows
            return
        try:
            # A lock of the process, not of the handle: workers that are forked later do not hold it.
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            raise ValueError(f"{self.path}: another run is writing this; wait for it, or name another --out") from error
        except OSError:
            return  # a file system without locks

    def _read(self, earlier: Mapping[str, Any] | None) -> None:
        settings = self.settings
        header = self._file.readline()
        found = _parsed(header)
        if found is None or _SETTINGS not in found:
            # A run that is killed at once leaves the beginning of a header. Anything else is not ours to truncate.
            if header.endswith(b"\n") or not _BEGINNING.startswith(header[: len(_BEGINNING)]):
                raise ValueError(f"{self.path}: this is no journal of roc; move it, or give --overwrite")
            self._file.seek(0)
            self._file.truncate()
            self._file.write(_header(settings, self.about))
            self._file.flush()
            return
        then = found[_SETTINGS]
        if then not in (settings, earlier):
            raise ValueError(
                f"{self.path}: this run was begun with other settings: {differences(then, settings)}. Give those "
                "again, name another --out, or start anew with --overwrite."
            )
        self.settings = then
        self.about = found["about"]
        end = len(header)
        for line in self._file:
            row = _parsed(line)
            if row is None or not isinstance(row.get(self._key), str):
                break
            self._places[row[self._key]] = end  # the later of two rows counts: the image was tried again
            end += len(line)
        self.lost = self._file.seek(0, os.SEEK_END) - end
        self._file.truncate(end)


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Says in which settings two runs differ."""
    names = [name for name in {**then, **now} if then.get(name) != now.get(name)]
    return "; ".join(f"{name} was {then.get(name)!r}, is {now.get(name)!r}" for name in names)


def _header(settings: Mapping[str, Any], about: Mapping[str, Any]) -> bytes:
    return json.dumps({_SETTINGS: settings, "about": about}, ensure_ascii=False).encode() + b"\n"


def _parsed(line: bytes) -> dict[str, Any] | None:
    """Parses a line; None where it is torn or damaged."""
    if not line.endswith(b"\n"):
        return None
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None
