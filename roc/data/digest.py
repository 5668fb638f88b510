"""The content of a data file, and of its pictures, in hashes: a run on edited data is known as another run."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from roc.data.hub import is_dataset, known_revision


def content_digest(path: Path) -> str | None:
    """Hashes what `iter_rows` reads.

    Args:
        path: a file; a folder of the `datasets` library, all of whose files count; or a data set of the hub, which its
            revision stands for.

    Returns:
        64 hexadecimal digits of a SHA-256, or the revision; None where there is nothing, or no revision is known.
    """
    if path.is_file():
        return _of_file(path)
    if not is_dataset(path):
        return None
    if not path.is_dir():
        return known_revision(path)
    digest = hashlib.sha256()
    for file in sorted(file for file in path.rglob("*") if file.is_file() and not _is_cache(file)):
        digest.update(f"{file.relative_to(path).as_posix()}\0{_of_file(file)}\n".encode())
    return digest.hexdigest()


def _is_cache(file: Path) -> bool:
    """Tells whether the library keeps a file beside a data set, without it being a part of it."""
    return file.name.startswith(("cache-", "tmp")) or file.suffix == ".lock"


def _of_file(path: Path) -> str:
    stat = os.stat(path)
    return _read(os.path.abspath(path), stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=4096)
def _read(path: str, size: int, time: int) -> str:
    """Hashes a file of this size and time, which a run asks for several times."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


KEPT = 256
"""Fingerprints of pictures that stand for a set of them, the smallest ones."""


def picture_digest(path: str) -> str:
    """Hashes the content of a picture file to 12 hexadecimal digits; of what is no file here, its path."""
    if os.path.isfile(path):
        return _of_file(Path(path))[:12]
    return hashlib.sha256(path.encode(errors="surrogateescape")).hexdigest()[:12]


def smallest(digests: Iterable[str]) -> tuple[str, ...]:
    """Gives the `KEPT` smallest of all different fingerprints, ascending.

    Two sets that share a picture in ten share about a tenth of these, whatever their sizes: the smallest ones are a
    random sample, and the same one in each set.
    """
    return tuple(sorted(set(digests))[:KEPT])


def shared(digests: Iterable[str], kept: Sequence[str]) -> int:
    """Counts the pictures of a set that are among the kept ones of another."""
    return len(set(digests) & set(kept))
