"""Writing files as a whole or not at all.

A full disk or a killed process leaves the old file in its place, or none, but never half of a new one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
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
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


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
