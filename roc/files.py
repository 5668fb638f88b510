"""Files that are there as a whole or not at all.

A full disk or a killed process leaves the old file in its place, or none, but never half of a new one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def write_whole(path: str | os.PathLike[str], write: Callable[[Path], Any]) -> Path:
    """Lets `write` fill a temporary file beside `path`, then gives it its name in one step.

    Args:
        path: the file to be; its folder is made if it is not there.
        write: takes the temporary path.

    Returns:
        `path`.

    Raises:
        OSError: the folder or file cannot be written; what was there before stays.
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


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """Writes UTF-8 text as a whole or not at all."""
    return write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: str | os.PathLike[str], content: Any) -> Path:
    """Writes JSON as a whole or not at all, indented, with a final newline."""
    return write_text(path, json.dumps(content, indent=2) + "\n")
