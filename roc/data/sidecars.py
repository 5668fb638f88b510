"""XMP sidecars: which file beside a photo holds its metadata, and what a photo and its sidecar say about its rating.

Programs name them in two ways, `a.jpg.xmp` (darktable, digiKam) and `a.xmp` (Lightroom, Capture One, exiftool). The
second may belong to several photos, such as `a.cr2` and `a.jpg`.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from roc.data.images import ImageError, xmp_block
from roc.data.xmp import MOST_BYTES, Packet, XmpError, read_packet
from roc.files import write_whole


class Folder:
    """The names in a folder, read once.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.names: dict[str, str] = {}
        self.stems: dict[str, int] = {}
        for name in os.listdir(path):
            self.names[name] = name
            if not name.startswith(".") and not name.lower().endswith(".xmp"):
                stem = name.rpartition(".")[0]
                self.stems[stem] = self.stems.get(stem, 0) + 1

    def beside(self, name: str, *, alone: bool = False) -> list[Path]:
        """Finds the sidecars of a photo, `a.jpg.xmp` first.

        Args:
            name: Of the photo.
            alone: Leave out one that other files of the same stem share.
        """
        stem = name.rpartition(".")[0]
        bases = [name] + ([stem] if stem and not (alone and self.stems.get(stem, 0) > 1) else [])
        written = (self.names.get(base + suffix) for base in bases for suffix in (".xmp", ".XMP", ".Xmp"))
        return [self.path / found for found in written if found is not None]


def read_sidecar(path: Path) -> Packet:
    """Reads a sidecar.

    Raises:
        XmpError: It cannot be read; the message names it.
    """
    try:
        return read_packet(content_of(path))
    except XmpError as error:
        raise XmpError(f"{path} {error}") from None


def content_of(path: Path) -> bytes:
    """Reads the bytes of a sidecar.

    Raises:
        XmpError: They cannot be read; the message goes on after its name.
    """
    try:
        if not path.is_file():
            raise XmpError("is no file")
        with path.open("rb") as file:
            return file.read(MOST_BYTES + 1)
    except OSError as error:
        raise XmpError(f"cannot be read: {error.strerror}") from None


def embedded(path: Path) -> Packet:
    """Reads what a photo itself holds; nothing of one without XMP.

    Raises:
        XmpError: It cannot be read; the message names the photo.
    """
    try:
        block = xmp_block(path)
    except ImageError as error:
        raise XmpError(str(error)) from None
    try:
        return Packet(None) if block is None else read_packet(block.rstrip(b"\0"))
    except XmpError as error:
        raise XmpError(f"{path}: the XMP in it {error}") from None


def write_sidecar(path: Path, content: bytes) -> None:
    """Writes a sidecar as a whole; one that is there keeps its permissions, and a link stays one."""
    target = Path(os.path.realpath(path))

    def write(temporary: Path) -> None:
        temporary.write_bytes(content)
        if target.exists():
            shutil.copymode(target, temporary)

    write_whole(target, write)
