"""Pictures that lie behind a URL (`s3://`, `gs://`, `hf://`, ...): found and read through fsspec.

Each kind of storage needs its own package beside fsspec (s3fs, gcsfs, ...); fsspec says which one is missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO


def is_url(path: str) -> bool:
    """Whether a path names something that the file system of this machine does not have."""
    return "://" in path


def open_url(url: str) -> BinaryIO:
    """Opens it for reading; a part of it may be read without the rest.

    Raises:
        OSError: where that is not possible, whatever the storage says.
    """
    system, path = _system(url)
    try:
        return system.open(path, "rb")
    except OSError:
        raise
    except Exception as error:  # each storage has errors of its own
        raise OSError(f"{type(error).__name__}: {error}") from error


def files_below(url: str) -> Iterator[str]:
    """URLs of all files in a folder and its subfolders, by name; of a file, its own.

    Raises:
        ValueError: nothing is there, or it cannot be asked.
    """
    system, path = _system(url)
    try:
        found = sorted(system.find(path))
    except Exception as error:
        raise ValueError(f"{url}: cannot be listed: {type(error).__name__}: {error}") from error
    if not found:
        raise ValueError(f"{url}: no such file or folder, or there is nothing in it")
    return (system.unstrip_protocol(name) for name in found)


def _system(url: str) -> tuple[Any, str]:
    import fsspec

    try:
        return fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise ValueError(f"{url}: {error}") from error
    except Exception as error:
        raise ValueError(f"{url}: cannot be reached: {error}") from error
