"""The images to be scored: folders, patterns, lists, tables, tar files and URLs become one list, in order.

Images are not opened here: a million files are listed in seconds, and one that cannot be read is found when its turn
comes. Each image has one name in every output: the path as it was given, so that the outputs of two machines can be
compared, or the text in the list or table, so that the scores can be joined to it.
"""

from __future__ import annotations

import glob
import os
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from roc.data.columns import image_column
from roc.data.hub import is_dataset
from roc.data.images import ImageError, open_image
from roc.data.pictures import Picture
from roc.data.rows import TABLES, DataError
from roc.scoring.urls import files_below, is_url, open_url

# Suffixes that a folder or tar file is searched for; an image given by name may end in anything.
_PICTURES = frozenset(
    ".jpg .jpeg .jpe .jfif .png .apng .webp .gif .tif .tiff .bmp .ppm .pgm .pbm .pnm .jp2 .j2k .jpx .avif .heic .heif"
    .split()
)  # fmt: skip
_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")


class Source(NamedTuple):
    """One image.

    Attributes:
        name: What the outputs call it.
        path: Its file, or the tar file that holds it; may be a URL.
        offset: Where in the tar file it begins, in bytes; None for a file of its own.
        size: Its size in the tar file, in bytes.
        fault: Why it cannot be read, where that was found while listing.
    """

    name: str
    path: str
    offset: int | None = None
    size: int = 0
    fault: str | None = None

    def open(self) -> Image.Image:
        """Opens the image as `open_image` does.

        Raises:
            ImageError: It cannot be used; the message does not repeat the name.
        """
        if self.fault is not None:
            raise ImageError(self.fault)
        try:
            return open_image(self.read() if self.offset is not None or is_url(self.path) else self.path)
        except ImageError as error:
            raise ImageError(str(error).removeprefix(f"{self.path}: ").removeprefix("image: ")) from error

    def read(self) -> bytes:
        """Reads the bytes of the file.

        Raises:
            ImageError: They cannot be read.
        """
        try:
            with open_url(self.path) if is_url(self.path) else open(self.path, "rb") as file:
                if self.offset is None:
                    return file.read()
                file.seek(self.offset)
                return file.read(self.size)
        except OSError as error:
            raise ImageError(f"cannot be opened: {error}") from error


class Listing(NamedTuple):
    """The images that were found.

    Attributes:
        sources: In the order of the paths; within folders and patterns by name.
        repeated: How many were named more than once; they are listed once.
    """

    sources: list[Source]
    repeated: int


def find_sources(
    paths: Sequence[str | os.PathLike[str]],
    *,
    image_folder: str | os.PathLike[str] | None = None,
    column: str = "image",
    leave_out: Iterable[str | os.PathLike[str]] = (),
) -> Listing:
    """Lists the images behind paths.

    A path is one of these:

    - a folder: the images and `.tar` files in it and in its subfolders, hidden ones left out
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
    repeated = 0
    for path in map(os.fspath, paths):
        before = len(found) + repeated
        for source in _expand(path, image_folder, column, closed):
            earlier = found.setdefault(source.name, source)
            if earlier is not source:
                repeated += 1
                if (earlier.path, earlier.offset) != (source.path, source.offset):
                    raise ValueError(
                        f"{source.name} stands for two images, {earlier.path} and {source.path}; score them in two "
                        "runs, or give paths that tell them apart"
                    )
        if len(found) + repeated == before:
            raise ValueError(f"{path}: there is no image in it")
    return Listing(list(found.values()), repeated)


def _expand(path: str, image_folder: str | os.PathLike[str] | None, column: str, closed: set[str]) -> Iterator[Source]:
    if is_dataset(Path(path)):
        yield from _listed(path, image_column(Path(path), column), image_folder)
        return
    if is_url(path):
        yield from _stored(path)
        return
    if not os.path.lexists(path) and glob.has_magic(path):
        matches = sorted(glob.glob(path, recursive=True))
        if not matches:
            raise ValueError(f"{path}: nothing matches this pattern")
        wanted = {*_PICTURES, ".tar", os.path.splitext(path)[1].lower()}
        start = os.path.abspath(os.path.dirname(path.partition("**")[0]))
        ways = {start: (os.path.realpath(start),)}
        for match in matches:
            if "**" in path and _way(os.path.abspath(os.path.dirname(match)), ways) is None:
                continue
            # With ** a folder matches beside all that is in it.
            folder = os.path.isdir(match)
            if "**" not in path if folder else os.path.splitext(match)[1].lower() in wanted:
                yield from _expand(match, image_folder, column, closed)
        return
    lower = path.lower()
    if os.path.isdir(path):
        yield from _folder(path, closed, ())
    elif not os.path.exists(path):
        raise ValueError(f"{path}: no such file or folder")
    elif lower.endswith(_COMPRESSED):
        raise ValueError(f"{path}: a compressed tar file cannot be read from the middle; unpack it to .tar")
    elif lower.endswith(".tar"):
        yield from _tar(path)
    elif lower.endswith(".txt"):
        yield from _listed(path, _lines(Path(path)), image_folder)
    elif os.path.splitext(lower)[1] in TABLES:
        yield from _listed(path, image_column(Path(path), column), image_folder)
    else:
        yield _source(path, path)


def _way(folder: str, known: dict[str, tuple[str, ...] | None]) -> tuple[str, ...] | None:
    """Gives the real folders down to this one; None where a link leads back to one of them, which ** would follow."""
    if folder not in known:
        above = os.path.dirname(folder)
        way = () if above == folder else _way(above, known)
        real = os.path.realpath(folder)
        known[folder] = None if way is None or real in way else (*way, real)
    return known[folder]


def _source(name: str, path: str) -> Source:
    try:
        name.encode()
    except UnicodeEncodeError:
        readable = name.encode(errors="backslashreplace").decode()
        return Source(readable, path, fault="its name is not UTF-8, so no output can hold it; rename it")
    return Source(name, path)


def _folder(folder: str, closed: set[str], above: tuple[str, ...]) -> Iterator[Source]:
    """Searches files and subfolders by name; `above` are the folders around it, so that no link leads in a circle."""
    real = os.path.realpath(folder)
    if real in closed or real in above:
        return
    try:
        with os.scandir(folder) as entries:
            here = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        yield Source(folder, folder, fault=f"this folder cannot be read: {error.strerror}")
        return
    for entry in here:
        # macOS leaves "._a.jpg" beside "a.jpg" on foreign disks; thumbnails lie in hidden folders too.
        if entry.name.startswith("."):
            continue
        suffix = os.path.splitext(entry.name)[1].lower()
        if entry.is_dir():
            yield from _folder(entry.path, closed, (*above, real))
        elif suffix == ".tar":
            yield from _tar(entry.path)
        elif suffix in _PICTURES:
            source = _source(entry.path, entry.path)
            # Opening a named pipe would wait until somebody writes into it.
            pipe = not entry.is_file() and os.path.exists(entry.path)
            yield source._replace(fault=source.fault or "this is no file but a pipe or a device") if pipe else source


def _stored(url: str) -> Iterator[Source]:
    for name in files_below(url):
        suffix = os.path.splitext(name)[1].lower()
        hidden = any(part.startswith(".") for part in name.removeprefix(url).split("/"))
        if suffix == ".tar":
            yield Source(name, name, fault="tar files behind a URL are not read; copy it to a disk")
        elif not hidden and (suffix in _PICTURES or name == url):
            yield _source(name, name)


def _tar(path: str) -> Iterator[Source]:
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                hidden = os.path.basename(member.name).startswith(".")
                if member.isreg() and not hidden and os.path.splitext(member.name)[1].lower() in _PICTURES:
                    yield _source(f"{path}/{member.name}", path)._replace(offset=member.offset_data, size=member.size)
                tar.members = []  # tarfile would keep them all
        if _more(path, tar.offset):
            raise tarfile.ReadError("its last member is followed by something that is neither a member nor its end")
    except (tarfile.TarError, OSError) as error:
        yield Source(path, path, fault=f"this tar file is damaged or cut short, what follows is lost: {error}")


def _more(path: str, offset: int) -> bool:
    """Tells whether anything but zeros follows.

    tarfile takes a damaged header for the end, and so the end of the first of two concatenated tar files.
    """
    with open(path, "rb") as file:
        file.seek(offset)
        return any(block.strip(b"\0") for block in iter(lambda: file.read(1 << 20), b""))


def _lines(path: Path) -> list[str]:
    try:
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
            yield _source(image, image if is_url(image) else os.path.join(folder, image))
