"""What binds a row to the picture it was scored from: size, times and content of the file.

A stamp is plain JSON, `[size, mtime_ns, ctime_ns, digest]` for a file or a member of a tar file, `[version]` for a URL
whose storage gives one (an ETag, or size and time), None where there is nothing to bind to. Comparing looks at size
and times; only a file whose times have changed is read, so that a copied or touched picture is not scored again, and a
replaced one is, even where the size and the time of writing are the old ones.
"""

from __future__ import annotations

import hashlib
import os
from typing import Any

from roc.data.images import ImageError
from roc.scoring.sources import Source
from roc.scoring.urls import is_url

STAMP = "file"
"""Column of a journal that no output has: the stamp of a row."""

Stamp = list[Any]

LARGEST = 2**28
"""Bytes of a file whose content is hashed; of a larger one, size and times have to do."""


def stamp_of(source: Source) -> Stamp | None:
    """Takes the stamp of a picture. It has to be taken before the picture is read: what is replaced later is seen."""
    if is_url(source.path):
        return None if source.version is None else [source.version]
    place = _place(source)
    return None if place is None else [*place, _digest(source)]


def digest_in(stamp: Stamp | None) -> str | None:
    """Reads the digest of the content off a stamp; None where it has none."""
    return None if stamp is None or len(stamp) < 4 else stamp[-1]


def digest_of(data: bytes) -> str:
    """Hashes the content of a file, as a stamp does."""
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def is_changed(source: Source, then: Stamp | None) -> bool:
    """Tells whether a picture is another one than when a stamp was taken; one that is gone is not."""
    if is_url(source.path):
        return None not in (then, source.version) and then != [source.version]
    now = _place(source)
    if now is None:
        return False
    if then is None:  # there was no such file
        return True
    *before, digest = then
    if now == before:
        return False
    if source.offset is None and now[0] != before[0]:
        return True
    if digest is None:
        return now[1] != before[1]
    return _digest(source) != digest


def _place(source: Source) -> list[int] | None:
    try:
        found = os.stat(source.path)
    except (OSError, ValueError):
        return None
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def _digest(source: Source) -> str | None:
    try:
        if source.fault is not None or (source.size if source.offset is not None else source.length()) > LARGEST:
            return None
        return digest_of(source.read())
    except ImageError:
        return None
