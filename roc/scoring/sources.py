"""The images to be scored: folders, patterns, lists, tables, tar files and URLs become one list, in order.

Images are not opened here: a million files are listed in seconds, and one that cannot be read is found when its turn
comes. Each image has one name in every output: the path as it was given, so that the outputs of two machines can be
compared, or the text in the list or table, so that the scores can be joined to it.
"""

from __future__ import annotations

import functools
import glob
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from roc.data.columns import image_column
from roc.data.folders import NO_FILE, PICTURES, Found, is_picture, matching, walk
from roc.data.hub import is_dataset
from roc.data.images import ImageError, open_image
from roc.data.nearby import Nearby
from roc.data.pictures import Picture, shown_path
from roc.data.raw import INSTALL as INSTALL_RAW
from roc.data.raw import RAW
from roc.data.rows import TABLES, DataError
from roc.scoring.archives import COMPRESSED, members
from roc.scoring.urls import files_below, is_url, open_url


class Source(NamedTuple):
    """One image.

    Attributes:
        name: What the outputs call it.
        path: Its file, or the tar file that holds it; may be a URL.
        offset: Where in the tar file it begins, in bytes; None for a file of its own.
        size: Its size in the tar file, in bytes.
        fault: Why it cannot be read, where that was found while listing.
        version: Of an image behind a URL, what its storage calls this state of it, where that was told in listing.
        folder: Where relative paths of the list or table that names it start from; None where none does.
    """

    name: str
    path: str
    offset: int | None = None
    size: int = 0
    fault: str | None = None
    version: str | None = None
    folder: str | None = None

    def open(self) -> Image.Image:
        """Opens the image as `open_image` does.

        Raises:
            ImageError: It cannot be used; the message does not repeat the name.
        """
        self._check()
        try:
            return open_image(self.read() if self.offset is not None or is_url(self.path) else self.path)
        except ImageError as error:
            reason = str(error).removeprefix(f"{shown_path(self.path)}: ").removeprefix("image: ")
            raise ImageError(f"{reason}{self._hint()}") from error

    def read(self) -> bytes:
        """Reads the bytes of the file.

        Raises:
            ImageError: They cannot be read.
        """
        self._check()
        try:
            with open_url(self.path) if is_url(self.path) else open(self.path, "rb") as file:
                if self.offset is None:
                    return file.read()
                file.seek(self.offset)
                return file.read(self.size)
        except OSError as error:
            raise ImageError(f"cannot be opened: {error}") from error

    def length(self) -> int:
        """Gives the size of a local file in bytes.

        Raises:
            ImageError: It is not there, or no file.
        """
        self._check()
        try:
            return os.stat(self.path).st_size
        except OSError as error:
            raise ImageError(f"cannot be opened: {error}") from error

    def _hint(self) -> str:
        """Names the file that a list or table may have meant, if there is none of the name in it."""
        if self.folder is None or is_url(self.path) or os.path.lexists(self.path):
            return ""
        return _nearby(self.folder, self.name)

    def _check(self) -> None:
        """Refuses what would be waited for, or read, without end: a pipe, a device."""
        if self.fault is not None:
            raise ImageError(self.fault)
        if is_url(self.path):
            return
        try:
            mode = os.stat(self.path).st_mode
        except (OSError, ValueError):
            return  # opening it says why
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise ImageError(NO_FILE)


@functools.lru_cache(maxsize=16)
def _below(folder: str) -> Nearby:
    return Nearby(folder)


def _nearby(folder: str, written: str) -> str:
    """Says which file a path was probably meant to name, after "; "; empty where there is none like it."""
    meant = _below(folder or ".").find(written)
    return "" if meant is None else f"; {meant.text}"


class Listing(NamedTuple):
    """The images that were found.

    Attributes:
        sources: In the order of the paths; within folders and patterns by name.
        repeated: How many were named more than once; they are listed once.
        left_out: Suffix -> how many files of folders and patterns were left out as no pictures.
    """

    sources: list[Source]
    repeated: int
    left_out: Counter[str]


def find_sources(
    paths: Sequence[str | os.PathLike[str]],
    *,
    image_folder: str | os.PathLike[str] | None = None,
    column: str = "image",
    leave_out: Iterable[str | os.PathLike[str]] = (),
) -> Listing:
    """Lists the images behind paths.

    A path is one of these:

    - a folder: the images and `.tar` files in it and in its subfolders, hidden ones left out; what cannot be searched,
      and links that would lead in a circle, are sources with a fault
    - a pattern (`photos/**/*.jpg`): the images, `.tar` files and folders it matches, and lists if it ends like one
    - a `.txt` file: the paths in its lines, URLs among them
    - a CSV, TSV, .xlsx, JSON, JSON Lines or Parquet file: the paths in one of its columns, URLs among them, or the
      pictures that stand in it
    - a folder that the `datasets` library wrote, or `hf://datasets/ORGANISATION/NAME`: the pictures in one of its
      columns
    - a `.tar` file (such as a shard of a WebDataset): the images in it, named TAR/MEMBER
    - a URL that fsspec knows (`s3://`, `gs://`, ...): the image there, or the images below it
    - anything else: one image

    Args:
        paths: What to list.
        image_folder: Where relative paths in lists and tables start from; None takes the folder of the list.
        column: In tables, the column that holds the paths.
        leave_out: Folders that a search does not enter.

    Raises:
        ValueError: A path does not exist, holds no image, or is a compressed tar file, or two images have one name.
        DataError: A list or table cannot be read, or lacks the column, or has empty cells in it.
    """
    if not paths:
        raise ValueError("no images given; name files, folders, patterns, lists, tables or tar files")
    if image_folder is not None and not Path(image_folder).is_dir():
        raise ValueError(f"{os.fspath(image_folder)}: no such folder; image_folder has to be the folder of the images")
    closed = {os.path.realpath(folder) for folder in leave_out}
    found: dict[str, Source] = {}
    repeated, left_out = 0, Counter()
    for path in map(os.fspath, paths):
        before = len(found) + repeated
        for source in _expand(path, image_folder, column, closed, left_out):
            earlier = found.setdefault(source.name, source)
            if earlier is not source:
                repeated += 1
                if (earlier.path, earlier.offset) != (source.path, source.offset):
                    raise ValueError(
                        f"{source.name} stands for two images, {earlier.path} and {source.path}; score them in two "
                        "runs, or give paths that tell them apart"
                    )
        if len(found) + repeated == before:
            raise ValueError(f"{path}: there is no image in it{_others(left_out)}")
    return Listing(list(found.values()), repeated, left_out)


def _others(left_out: Counter[str]) -> str:
    if not left_out:
        return ""
    kinds = ", ".join(f"{count} {suffix or 'without suffix'}" for suffix, count in left_out.most_common(5))
    raw = f"; to read RAW files, {INSTALL_RAW}" if RAW & set(left_out) else ""
    return f"; other files in it: {kinds}{raw}"


def _expand(
    path: str,
    image_folder: str | os.PathLike[str] | None,
    column: str,
    closed: set[str],
    left_out: Counter[str],
) -> Iterator[Source]:
    if is_dataset(Path(path)):
        yield from _listed(path, image_column(Path(path), column), image_folder)
        return
    if is_url(path):
        yield from _stored(path)
        return
    if not os.path.lexists(path) and glob.has_magic(path):
        yield from _matched(path, image_folder, column, closed, left_out)
        return
    lower = path.lower()
    if os.path.isdir(path):
        yield from _files(walk(path, closed), left_out)
    elif not os.path.lexists(path):
        raise ValueError(f"{path}: no such file or folder{_nearby(*os.path.split(path))}")
    elif lower.endswith(COMPRESSED):
        raise ValueError(f"{path}: a compressed tar file cannot be read from the middle; unpack it to .tar")
    elif lower.endswith(".tar"):
        yield from _tar(path)
    elif lower.endswith(".txt"):
        yield from _listed(path, _lines(Path(path)), image_folder)
    elif os.path.splitext(lower)[1] in TABLES:
        yield from _listed(path, image_column(Path(path), column), image_folder)
    else:
        yield _source(path, path)


def _matched(
    pattern: str,
    image_folder: str | os.PathLike[str] | None,
    column: str,
    closed: set[str],
    left_out: Counter[str],
) -> Iterator[Source]:
    """Lists what a pattern matches; ** is searched like a folder, so that no link leads astray."""
    recursive = "**" in pattern.split("/")
    if recursive:
        before, _, rest = f"/{pattern}".partition("/**")
        top = before[1:] if not pattern.startswith("/") else before[1:] or "/"
        tops = [top] if not glob.has_magic(top) else sorted(glob.glob(top))
        found = sorted(matching("**" + rest, closed, filter(_is_folder, tops)))
    else:
        found = [Found(path) for path in sorted(glob.glob(pattern))]
    if not found:
        raise ValueError(f"{pattern}: nothing matches this pattern")
    lists = os.path.splitext(pattern)[1].lower()
    for one in found:
        suffix = os.path.splitext(one.path)[1].lower()
        if one.fault is None and (os.path.isdir(one.path) or (suffix == lists and suffix not in PICTURES)):
            yield from _expand(one.path, image_folder, column, closed, left_out)
        else:
            yield from _files([one], left_out)


def _is_folder(path: str) -> bool:
    return not path or os.path.isdir(path)


def _source(name: str, path: str) -> Source:
    try:
        name.encode()
    except UnicodeEncodeError:
        readable = name.encode(errors="backslashreplace").decode()
        return Source(readable, path, fault="its name is not UTF-8, so no output can hold it; rename it")
    return Source(name, path)


def _files(found: Iterable[Found], left_out: Counter[str]) -> Iterator[Source]:
    """Gives the images among files, those in tar files too, and counts the others."""
    for path, fault in found:
        suffix = os.path.splitext(path)[1].lower()
        if fault is not None:
            # A pipe called notes.txt is left out like a file of that name.
            if fault != NO_FILE or is_picture(path) or suffix == ".tar":
                source = _source(path, path)
                yield source._replace(fault=source.fault or fault)
            else:
                left_out[suffix] += 1
        elif suffix == ".tar":
            yield from _tar(path)
        elif is_picture(path):
            yield _source(path, path)
        else:
            left_out[suffix] += 1


def _stored(url: str) -> Iterator[Source]:
    for name, version in files_below(url):
        suffix = os.path.splitext(name)[1].lower()
        hidden = any(part.startswith(".") for part in name.removeprefix(url).split("/"))
        if suffix == ".tar":
            yield Source(name, name, fault="tar files behind a URL are not read; copy it to a disk")
        elif not hidden and (suffix in PICTURES or name == url):
            yield _source(name, name)._replace(version=version)


def _tar(path: str) -> Iterator[Source]:
    for member in members(path, PICTURES):
        source = _source(member.name, path)
        yield source._replace(offset=member.offset, size=member.size, fault=source.fault or member.fault)


def _lines(path: Path) -> list[str]:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise OSError(NO_FILE)
        # splitlines would also split at characters that a name may hold
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError([f"{path}: cannot be read as a list of paths: {error}"]) from error
    return [line.strip() for line in lines if line.strip()]


def _listed(
    listed_in: str, images: Iterable[str | Picture], image_folder: str | os.PathLike[str] | None
) -> Iterator[Source]:
    folder = os.path.dirname(listed_in) if image_folder is None else os.fspath(image_folder)
    for image in images:
        if isinstance(image, Picture):
            yield _source(image.name, image.file())
        else:
            source = _source(image, image if is_url(image) else os.path.join(folder, image))
            yield source._replace(folder=folder)
