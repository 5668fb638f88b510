"""The photos of a build and the pictures it writes: names, copies of one size, and what is wrong with an edited one.

All pictures are written in one way, the photo itself too: what tells an edit from its source is then the edit, never
how the file was saved.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from roc.data.images import ImageError
from roc.data.records import hash_fraction
from roc.files import write_whole
from roc.scoring.sources import Source

SMALLEST = 32
"""Pixels that each side of a photo needs."""

VISIBLE = 0.5
"""Mean difference of two pictures, in levels of 0..255, below which nothing was changed."""

SAME_SHAPE = 0.03
"""Share by which two ratios of width to height may differ: editors round to multiples of 8 or 16 pixels."""

_QUALITY = 95


@dataclass(frozen=True)
class Photo:
    """A photo that may be edited.

    Attributes:
        id: Its name.
        source: Where it is.
        split: "train", "val" or "test", for it and all its edits.
    """

    id: str
    source: Source
    split: str

    @property
    def stamp(self) -> str:
        """Tells its file from another one that replaced it."""
        try:
            facts = os.stat(self.source.path)
        except OSError:
            return str(self.source.version)
        return f"{facts.st_size}.{facts.st_mtime_ns}"

    @property
    def folder(self) -> str:
        """Names the folder of its pictures, below that of the build."""
        digest = hashlib.sha256(self.id.encode()).hexdigest()
        stem = re.sub(r"[^A-Za-z0-9_-]+", "_", Path(self.id).stem)[:40] or "photo"
        return f"pictures/{digest[:2]}/{stem}-{digest[:10]}"


def split_of(photo: str, val: float, test: float, seed: int) -> str:
    """Chooses the split of a photo by a hash of its name."""
    place = hash_fraction(photo, f"relative {seed}")
    return "test" if place < test else "val" if place < test + val else "train"


def read_photo(source: Source, side: int) -> tuple[Image.Image, str]:
    """Opens a photo at the size of the build.

    Returns:
        The picture, its longest side at most `side`, and the digest of the file.

    Raises:
        ImageError: It cannot be opened, or is too small.
    """
    content = source.read()
    picture = source.open()
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    if min(picture.size) < SMALLEST:
        raise ImageError(f"it has {picture.width} x {picture.height} pixels; expected {SMALLEST} or more each way")
    return picture, hashlib.sha256(content).hexdigest()


def write_picture(path: Path, picture: Image.Image) -> str:
    """Writes a picture, as a whole or not at all; gives a digest of it."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_QUALITY, subsampling=0)
    write_whole(path, lambda temporary: temporary.write_bytes(buffer.getvalue()))
    return hashlib.sha256(buffer.getvalue()).hexdigest()[:20]


def fitted(picture: Image.Image, size: tuple[int, int]) -> tuple[Image.Image, list[int] | None]:
    """Brings a picture of another size, but of the same shape, to a size: many editors work at one of their own.

    Returns:
        The picture, and its size before where that was another one. A picture of another shape stays as it is.
    """
    if picture.size == size or abs(picture.width * size[1] / (picture.height * size[0]) - 1) > SAME_SHAPE:
        return picture, None
    return picture.resize(size, Image.Resampling.LANCZOS), [picture.width, picture.height]


def edit_fault(before: Image.Image, after: Image.Image) -> tuple[str, str] | None:
    """Finds what is wrong with an edited picture.

    Returns:
        (reason, detail), None where nothing is.
    """
    if after.size != before.size:
        sizes = [f"{one.width} x {one.height}" for one in (after, before)]
        return "other size", f"the edited picture has {sizes[0]} pixels, its source {sizes[1]}"
    one, other = (np.asarray(picture.convert("RGB"), dtype=np.int16) for picture in (before, after))
    difference = float(np.abs(one - other).mean())
    if difference < VISIBLE:
        return "unchanged", f"its pixels differ by {difference:.2f} of 255 levels from those of its source"
    return None
