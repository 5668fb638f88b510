"""`roc data from-xmp`: the stars that people gave to their photos in other programs, as a data file.

A rating is read from the sidecar of a photo, else from the XMP inside it. Stars that `roc score --xmp stars` wrote into
sidecars of its own are predictions, no ratings, and are left out unless somebody has changed them since.
"""

from __future__ import annotations

import functools
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from roc.data.counts import counted
from roc.data.folders import PICTURES, is_picture, walk
from roc.data.raw import INSTALL, is_raw
from roc.data.rows import write_rows
from roc.data.sidecars import Folder, embedded, read_sidecar
from roc.data.xmp import Packet, XmpError

_TRIMMING = (".csv", ".tsv", ".xlsx")


@dataclass
class Starred:
    """What was read.

    Attributes:
        out: The file that was written.
        photos: How many photos there are.
        stars: Rating -> number of photos.
        unrated, rejected, predicted: Photos that were left out: without a rating, rejected, rated by `roc score`.
        raw: RAW files that were left out, because the package that opens them is missing.
        other_inside: Photos that hold another rating than their sidecar, which was taken.
        faults: What could not be read; those photos were left out.
    """

    out: Path
    photos: int = 0
    stars: Counter[float] = field(default_factory=Counter)
    unrated: int = 0
    rejected: int = 0
    predicted: int = 0
    raw: int = 0
    other_inside: int = 0
    faults: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """Says in a few lines what was read and what was left out."""
        counts = ", ".join(f"{count} with {value:g}" for value, count in sorted(self.stars.items()))
        lines = [f"{self.out}: {self.stars.total()} of {counted(self.photos, 'photo')}; stars: {counts}"]
        for count, why in (
            (self.unrated, "without a rating, left out"),
            (self.rejected, "rejected, left out; --rejected gives a score"),
            (self.predicted, "with stars that roc gave, left out"),
            (self.raw, f"in RAW files, left out; to use those, {INSTALL}"),
            (self.other_inside, "with another rating inside than in the sidecar, which was taken"),
        ):
            lines += [f"{counted(count, 'photo')} {why}"] if count else []
        return "\n".join(lines)


def stars_to_file(photos: str, out: str, *, rejected: float | None = None) -> Starred:
    """Reads the ratings of all photos in a folder and its subfolders, and writes those that have one.

    Args:
        photos: The folder.
        out: Data file to write, with the columns `image`, relative to the folder, and `score`.
        rejected: Score of photos that were rejected; None leaves them out.

    Raises:
        ValueError: There is no such folder, no photo in it, none with a rating, or all have the same rating.
    """
    if not os.path.isdir(photos):
        came = "is no folder" if os.path.exists(photos) else "no such folder"
        raise ValueError(f"{photos}: {came}; name the folder of the photos")
    found = Starred(Path(out))
    rows, folder_of = [], functools.lru_cache(maxsize=64)(Folder)
    for path, fault in walk(photos):
        if is_raw(path) and _has_picture(Path(path), folder_of):
            continue
        if not is_picture(path):
            found.raw += is_raw(path)
            continue
        found.photos += 1
        name = os.path.relpath(path, photos).replace(os.sep, "/")
        fault = fault and f"{path}: {fault}"
        try:
            fault = fault or _name_fault(name, path, found.out)
            score = None if fault else _score(Path(path), folder_of(Path(path).parent), found, rejected)
        except (XmpError, OSError) as error:
            score, fault = None, str(error)
        if fault:
            found.faults.append(fault)
        elif score is not None:
            found.stars[score] += 1
            rows.append({"image": name, "score": score})
    _check(photos, found)
    write_rows(found.out, rows)
    return found


def _has_picture(raw: Path, folder_of: Callable[[Path], Folder]) -> bool:
    """Tells whether a RAW file lies beside a picture of the same photo, which is read in its place."""
    names = folder_of(raw.parent).names
    return any(raw.stem + suffix in names or raw.stem + suffix.upper() in names for suffix in PICTURES)


def _score(path: Path, folder: Folder, found: Starred, rejected: float | None) -> float | None:
    """Gives the rating of a photo; None where it is left out, which is counted."""
    packet = _packet(path, folder, found)
    if packet.rating is None:
        found.unrated += 1
    elif packet.is_ours:
        found.predicted += 1
    elif packet.rating == -1:
        found.rejected += rejected is None
        return rejected
    else:
        return packet.rating
    return None


def _packet(path: Path, folder: Folder, found: Starred) -> Packet:
    """Reads what says most about a photo: a sidecar with a rating, else the photo itself."""
    sidecars = [(sidecar, read_sidecar(sidecar)) for sidecar in folder.beside(path.name)]
    rated = [(sidecar, packet) for sidecar, packet in sidecars if packet.rating is not None]
    if len({packet.rating for _, packet in rated}) > 1:
        (one, first), (other, second) = rated[:2]
        raise XmpError(f"{path}: {one.name} says {first.rating:g}, {other.name} says {second.rating:g}; correct one")
    if not rated:
        return embedded(path)
    try:
        inside = embedded(path).rating
    except XmpError:
        inside = None  # the sidecar says it; whether the photo can be opened is for `roc data check`
    found.other_inside += inside not in (None, rated[0][1].rating)
    return rated[0][1]


def _name_fault(name: str, path: str, out: Path) -> str | None:
    try:
        name.encode()
    except UnicodeEncodeError:
        return f"{path.encode(errors='backslashreplace').decode()}: its name is not UTF-8, so no file can hold it"
    if out.suffix.lower() in _TRIMMING and name != name.strip():
        return f"{path}: its name begins or ends with a blank, which {out.suffix} cannot give back; write .jsonl"
    return None


def _check(photos: str, found: Starred) -> None:
    if not found.photos:
        raw = f" but {counted(found.raw, 'RAW file')}; to use RAW files, {INSTALL}" if found.raw else ""
        raise ValueError(f"{photos}: there is no photo in it{raw}")
    if not found.stars:
        why = f"; the first fault: {found.faults[0]}" if found.faults else ""
        left = f", {found.rejected} rejected" if found.rejected else ""
        left += f", {found.predicted} with stars that roc gave" if found.predicted else ""
        raise ValueError(
            f"{photos}: none of its {counted(found.photos, 'photo')} has a rating in XMP{left}{why}; give stars in a "
            "program that writes them into the photos or into sidecars, or have it write what is in its catalogue"
        )
    if len(found.stars) == 1:
        (value,) = found.stars
        count = found.stars[value]
        have = "the only rated photo has" if count == 1 else f"all {count} rated photos have"
        raise ValueError(
            f"{photos}: {have} {value:g} stars; a model learns nothing from one "
            "value, so rate worse or better ones too; nothing was written"
        )
