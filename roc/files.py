"""Writing files and folders as a whole or not at all.

A full disk or a killed process leaves the old file in its place, or none, but never half of a new one. What a killed
process leaves beside it is removed when the file is written again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


def write_whole(path: str | os.PathLike[str], write: Callable[[Path], Any]) -> Path:
    """Has `write` fill a temporary file beside `path`, then renames it in one step.

    Args:
        path: the file to write; its folder is created if needed.
        write: takes the path of the temporary file.

    Returns:
        `path`.

    Raises:
        OSError: the folder or file cannot be written; an older file of this name stays as it was.
    """
    path = Path(path)
    temporary = _temporary(path)
    try:
        with _naming(path, temporary):
            write(temporary)
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def write_folder(path: str | os.PathLike[str], fill: Callable[[Path], Any]) -> Path:
    """Has `fill` write into a temporary folder beside `path`, then renames it in one step.

    Args:
        path: the folder to make; it may be there if it is empty.
        fill: takes the path of the temporary folder.

    Returns:
        `path`.

    Raises:
        OSError: the folder cannot be written, or `path` is there and not empty.
    """
    path = Path(path)
    temporary = _temporary(path)
    try:
        with _naming(path, temporary):
            temporary.mkdir()
            fill(temporary)
            if path.exists():
                path.rmdir()
            os.rename(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return path


@contextlib.contextmanager
def _naming(path: Path, temporary: Path) -> Iterator[None]:
    """Has errors of the system name what was to be written and not the temporary file or folder."""
    try:
        yield
    except OSError as error:
        if error.filename is not None and os.fspath(temporary) == str(error.filename):
            error.filename = os.fspath(path)
        raise


def _temporary(path: Path) -> Path:
    """Names a temporary file or folder beside a path, and removes what killed processes left there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    start = _start(path)
    _remove_leftovers(path.parent, start)
    return path.with_name(f"{start}{os.getpid()}-{threading.get_ident()}.tmp")


def _start(path: Path) -> str:
    """How names of temporary files and folders for a path begin on this machine, as others may write there too."""
    name = path.name if len(os.fsencode(path.name)) < 150 else hashlib.sha256(os.fsencode(path.name)).hexdigest()
    machine = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
    return f".{name}.{machine}."


def _remove_leftovers(folder: Path, start: str) -> None:
    """Deletes temporary files and folders of processes of this machine that no longer live."""
    for name in os.listdir(folder):
        if name.startswith(start) and name.endswith(".tmp"):
            process = name[len(start) : -len(".tmp")].partition("-")[0]
            if process.isdigit() and not _lives(int(process)):
                leftover = folder / name
                if leftover.is_dir():
                    shutil.rmtree(leftover, ignore_errors=True)
                else:
                    leftover.unlink(missing_ok=True)


def _lives(process: int) -> bool:
    if os.name != "posix":
        return True  # elsewhere signal 0 would end it
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def write_text(path: str | os.PathLike[str], text: str, errors: str = "strict") -> Path:
    """Writes UTF-8 text as a whole or not at all.

    Args:
        path: the file to write; its folder is created if needed.
        text: its content.
        errors: how characters that UTF-8 cannot hold are treated, as for `str.encode`.

    Returns:
        `path`.
    """
    return write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8", errors=errors))


def write_json(path: str | os.PathLike[str], content: Any) -> Path:
    """Writes indented JSON, with a final newline, as a whole or not at all."""
    return write_text(path, json.dumps(content, indent=2) + "\n")


def moved_with(path: str | os.PathLike[str], name: str) -> str:
    """Looks for a checkpoint that has moved together with a file or folder that names it.

    Args:
        path: What names it; only a folder is looked from.
        name: Folder or hub id as it was.

    Returns:
        `name`, where there is such a folder; else the folder at the same place relative to a folder above `path`; else
        `name` again.
    """
    if os.path.isdir(name) or not os.path.isdir(path):
        return name
    words = Path(name).parts
    ends = [Path(*words[start:]) for start in range(1, len(words))] if os.path.isabs(name) else [Path(name)]
    here = Path(path).resolve()
    for folder in (here, *here.parents):
        for end in ends:
            if any((folder / end / file).is_file() for file in ("config.json", "adapter_config.json")):
                return str(folder / end)
    return name
