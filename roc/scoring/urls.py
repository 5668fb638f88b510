"""Images behind URLs (`s3://`, `gs://`, `hf://`, ...), listed and read through fsspec.

Each kind of storage needs a package of its own beside fsspec (s3fs, gcsfs, ...); fsspec says which one is missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO


def is_url(path: str) -> bool:
    """Tells whether a path is a URL and no file of this machine."""
    return "://" in path


def open_url(url: str) -> BinaryIO:
    """Opens a file for reading; a part of it may be read without the rest.

    Raises:
        OSError: It cannot be opened, whichever error the storage raises.
    """
    system, path = _system(url)
    try:
        return system.open(path, "rb")
    except OSError:
        raise
    except Exception as error:  # each storage has errors of its own
        raise OSError(f"{type(error).__name__}: {error}") from error


def files_below(url: str) -> Iterator[tuple[str, str | None]]:
    """Lists all files in a folder and its subfolders, by name; for a file, itself.

    Yields:
        (URL, what the storage calls this state of it, where it says so)

    Raises:
        ValueError: Nothing is there, or the storage cannot be reached.
    """
    system, path = _system(url)
    try:
        found = sorted(system.find(path, detail=True).items())
    except Exception as error:
        raise ValueError(f"{url}: cannot be listed: {type(error).__name__}: {error}") from error
    if not found:
        raise ValueError(f"{url}: no such file or folder, or there is nothing in it")
    return ((system.unstrip_protocol(name), _version(about)) for name, about in found)


def _version(about: Any) -> str | None:
    """Gives the mark by which a storage tells states of a file apart: its ETag or the like, or size and time."""
    if not isinstance(about, dict):
        return None
    for name in ("ETag", "etag", "md5", "content_md5", "checksum", "sha256", "oid", "crc32c", "generation"):
        if isinstance(about.get(name), str | int):
            return f"{about[name]}"
    times = ("mtime", "LastModified", "last_modified", "updated", "modified", "created")
    time = next((about[name] for name in times if about.get(name) is not None), "")
    return f"{about['size']} {time}".strip() if about.get("size") is not None else None


def _system(url: str) -> tuple[Any, str]:
    import fsspec

    try:
        return fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise ValueError(f"{url}: {error}") from error
    except Exception as error:
        raise ValueError(f"{url}: cannot be reached: {error}") from error
