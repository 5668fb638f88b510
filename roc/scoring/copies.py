"""Chosen pictures copied or moved into a folder, best first: 01_name.jpg, 02_name.jpg, ...

No picture is ever lost or replaced. A move is written down before it begins, so that the same command, killed at any
moment, goes on with the same pictures; between disks the copy is compared with the original before that is deleted.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from roc.data.images import ImageError
from roc.data.pictures import cache_folder
from roc.files import write_json, write_whole
from roc.scoring.sources import Source
from roc.scoring.urls import is_url

LONGEST_NAME = 220
"""Bytes of a copy's name; file systems take 255, and it is written under a longer one first."""

CHOSEN = "chosen, but not "
"""With which the reasons of those begin that could not be copied or moved."""

Fault = dict[str, str]
"""An `image`, and the `error` for which it could not be copied or moved."""


def copy_images(sources: Sequence[Source], folder: Path) -> list[Fault]:
    """Copies images in their order as 01_name.jpg, 02_name.jpg, ...; a copy that is there already stays.

    Returns:
        The images that could not be copied.

    Raises:
        ValueError: Another file is there under that name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    faults = []
    for rank, source in enumerate(sources, start=1):
        target = folder / _name(rank, len(sources), source)
        try:
            _copy(source, target)
        except (OSError, ImageError) as error:
            faults.append({"image": source.name, "error": f"{CHOSEN}copied to {target}: {error}"})
    return faults


def _copy(source: Source, target: Path) -> None:
    if target.exists():
        if target.read_bytes() != source.read():
            raise ValueError(f"{target} is there already and is another picture; name a new folder")
    elif source.offset is None and not is_url(source.path):
        source.length()  # raises for a pipe
        write_whole(target, lambda path: shutil.copy2(source.path, path))
    else:
        data = source.read()
        write_whole(target, lambda path: path.write_bytes(data))


def plan_moves(sources: Sequence[Source], places: Sequence[int], folder: Path, plan: Path) -> list[Fault]:
    """Writes down which images are to be moved where.

    Args:
        sources: The images, best first.
        places: Their places among all images.
        folder: Where they go.
        plan: The file that is written.

    Returns:
        The images that cannot be moved.

    Raises:
        ValueError: Another file is in the place of one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    moves, faults = [], []
    for rank, (source, place) in enumerate(zip(sources, places, strict=True), start=1):
        target = folder / _name(rank, len(sources), source)
        path = os.path.abspath(source.path)
        kind = lies_in(source) or ("behind a link" if os.path.islink(path) else None)
        if kind is not None:
            faults.append({"image": source.name, "error": f"{CHOSEN}moved: it lies {kind}; use copy_to"})
            continue
        if target.exists() and not os.path.samefile(target, path) and not _is_equal(path, target):
            raise ValueError(f"{target} is there already and is another picture; name a new folder")
        moves.append({"image": source.name, "place": place, "from": path, "to": os.path.abspath(target)})
    write_json(plan, moves)
    return faults


def lies_in(source: Source) -> str | None:
    """Says what an image lies in that is no folder of the user; None where it is a file of its own."""
    if source.offset is not None:
        return "in a tar file"
    if is_url(source.path):
        return "behind a URL"
    return "in a table" if Path(os.path.abspath(source.path)).is_relative_to(cache_folder()) else None


def carry_out(plan: Path) -> tuple[dict[str, Any], list[Fault]]:
    """Moves the images of a plan, or those left to be moved of one that was begun; the plan stays.

    Returns:
        Image -> {"to": where it is, "place": its place among all images}, and the images that could not be moved.
    """
    moved, faults = {}, []
    for move in json.loads(plan.read_text(encoding="utf-8")):
        try:
            _move(move["from"], Path(move["to"]))
            moved[move["image"]] = {"to": move["to"], "place": move["place"]}
        except OSError as error:
            faults.append({"image": move["image"], "error": f"{CHOSEN}moved to {move['to']}: {error}"})
    return moved, faults


def _move(path: str, target: Path) -> None:
    if path == str(target) or not os.path.exists(path):
        if not target.exists():
            raise FileNotFoundError(errno.ENOENT, "no such file", path)
        return
    if not target.exists():
        try:
            os.rename(path, target)
            return
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
        write_whole(target, lambda temporary: shutil.copy2(path, temporary))
    elif os.path.samefile(path, target):
        return
    if not _is_equal(path, target):
        raise FileExistsError(errno.EEXIST, "another picture is there", str(target))
    os.unlink(path)


def _is_equal(one: str | os.PathLike[str], other: str | os.PathLike[str]) -> bool:
    """Compares two files byte by byte."""
    if os.path.getsize(one) != os.path.getsize(other):
        return False
    with open(one, "rb") as first, open(other, "rb") as second:
        return all(a == b for a, b in zip(_pieces(first), _pieces(second), strict=True))


def _pieces(file: Any) -> Iterator[bytes]:
    return iter(lambda: file.read(1 << 20), b"")


def _name(rank: int, count: int, source: Source) -> str:
    """Names a copy by rank and picture; a name too long for a file system is cut before its suffix."""
    name = source.name.replace("\\", "/").rpartition("/")[2]
    stem, suffix = os.path.splitext(name)
    room = LONGEST_NAME - len(suffix.encode()) - len(f"{count}_")
    stem = stem.encode()[: max(room, 1)].decode(errors="ignore")
    return f"{rank:0{len(str(count))}d}_{stem}{suffix}"
