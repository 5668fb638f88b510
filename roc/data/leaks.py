"""What of a test set is in a training set too, so that a model could know it by heart.

Four ways in which that happens, told for each pair of records:

* *same id*, also where only extension, capital letters or the Unicode form differ. Ids of two named data sets are not
  compared: number 17 of one is not number 17 of the other;
* *identical file*: the same bytes, under whatever name;
* *looks the same*: resized, compressed again, made brighter or grey, or mirrored;
* *same source*: edits of one photo, by `group`, by what `edit` names as its source, or by ids such as `12_blur2`.

Looks are compared by the signs of the lowest frequencies of the picture's cosine transform (a perceptual hash), 63 of
them to find pairs and 255 to confirm them. Tried on 2,400 photos: 87 pairs passed, and by eye all but one show one
scene, taken again a moment later or exposed otherwise; the one is two blurs. Of 400 altered copies it found all that
were saved at JPEG quality 30, halved, turned grey or mirrored, 98% of those brightened by a fifth, 95% of those with 2%
cut off each side, but 24% with 5% cut off and half of those turned by 3 degrees: such edits are found by their names.
A picture that is all but plain has no such signs and is not compared by its looks.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from scipy.fft import dctn

from roc.data.images import ImageError, open_image
from roc.data.reading import scan_records
from roc.data.records import Record, plain_id
from roc.data.rows import DataError, Faults, write_rows
from roc.data.survey import missing_images, survey

COARSE, FINE = 8, 16
"""Sides of the squares of frequencies whose signs are kept; their first one, the brightness, is left out."""

MAX_COARSE, MAX_FINE = 7, 80
"""Signs that may differ, of 63 and of 255, in pictures that look the same."""

_LOOK = f"bytes and signs of {FINE} x {FINE} frequencies, 1"
_THUMBNAIL = 64
_PLAIN = 2.0  # standard deviation of a thumbnail's grey values below which its signs are noise
_BLOCK = (1024, 8192)
_SEPARATOR = re.compile(r"[_\-. ]+")
_LISTED = 10

_EDIT = re.compile(
    r"[_\-. ]+(edit(ed)?|crop(ped)?|blur(red)?|bright(er|ness)?|dark(er)?|contrast|colou?r|sat(uration)?|gamma|noise|"
    r"noisy|jpe?g|compressed|flip(ped)?|mirror(ed)?|rot(ated?)?|resized?|scaled?|small|large|thumb(nail)?|gr[ae]y|bw|"
    r"sharp(en(ed)?)?|exposure|hdr|filter(ed)?|retouch(ed)?|enhanced?|orig(inal)?|copy|aug(mented)?)[_\-]?\d*$"
)


class Entry(NamedTuple):
    """What of a record is compared."""

    id: str
    line: int | None
    images: tuple[str, ...]
    dataset: str | None
    group: str | None
    source: str | None


class Print(NamedTuple):
    """What is kept of an image file.

    Attributes:
        digest: hash of its bytes.
        signs: of the frequencies, row by row, 256 bits in hexadecimal; None for a picture that is all but plain.
    """

    digest: str
    signs: str | None


@dataclass(frozen=True)
class Leak:
    """A record of the training set and one of the test set that belong together.

    Attributes:
        train, test: the two records.
        reasons: "same id", "identical file", "looks the same", "looks the same, mirrored", "same source"; at least one.
    """

    train: Entry
    test: Entry
    reasons: tuple[str, ...]


@dataclass
class LeakReport:
    """What `find_leaks` found.

    Attributes:
        train, test: number of records of each file.
        leaks: by line of the test file. Of a source with many training records, or of many identical files, the first
            ten are told for each test record.
        train_leaked: number of training records that have a counterpart in the test file, those not told included.
        unreadable: images that could not be compared, with the reason.
        plain: images that are too plain to be compared by their looks.
        opened: whether images were opened at all.
    """

    train: int
    test: int
    leaks: list[Leak] = field(default_factory=list)
    train_leaked: int = 0
    unreadable: list[str] = field(default_factory=list)
    plain: list[str] = field(default_factory=list)
    opened: bool = True

    def rows(self) -> Iterator[dict[str, Any]]:
        """A row for each leak, as a report file holds them."""
        for leak in self.leaks:
            yield {
                "test_line": leak.test.line,
                "test_id": leak.test.id,
                "train_line": leak.train.line,
                "train_id": leak.train.id,
                "why": "; ".join(leak.reasons),
            }

    def write(self, path: str | os.PathLike[str]) -> None:
        """Writes the leaks as a table."""
        write_rows(path, self.rows())

    def summary(self) -> str:
        """The counts."""
        counts: dict[str, int] = defaultdict(int)
        for leak in self.leaks:
            for reason in leak.reasons:
                counts[reason] += 1
        tests = len({leak.test.line for leak in self.leaks})
        lines = [
            f"{len(self.leaks)} leaks: {tests} of {self.test} test records ({tests / max(self.test, 1):.2%}) and "
            f"{self.train_leaked} of {self.train} training records"
        ]
        lines += [f"  {reason:<26} {count}" for reason, count in counts.items()]
        if not self.opened:
            lines.append("images were not opened: compared by ids and sources only")
        if self.plain:
            lines.append(f"{len(self.plain)} images are too plain to be compared by their looks")
        if self.unreadable:
            lines.append(f"{len(self.unreadable)} images could not be compared")
        return "\n".join(lines)


def read_entries(path: str | os.PathLike[str], image_folder: str | os.PathLike[str] | None = None) -> list[Entry]:
    """The records of a data file, as far as they are compared.

    Raises:
        DataError: the file has faults. That images are not there is none yet.
    """
    faults = Faults(Path(path))
    entries = [entry_of(record) for record in scan_records(path, image_folder, faults, space=None)]
    if faults:
        raise DataError(faults.texts())
    return entries


def entry_of(record: Record) -> Entry:
    """What of this record is compared."""
    edit = record.edit or {}
    source = next((str(edit[name]) for name in ("source_id", "source") if edit.get(name) is not None), None)
    return Entry(record.id, record.line, record.images, record.dataset, record.group, source)


def fingerprint(path: str) -> list[str | None]:
    """A file's `Print`, as a list that JSON can hold.

    Raises:
        ImageError: a file that cannot be used.
    """
    picture = open_image(path)
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return [digest, signs_of(picture)]


def signs_of(picture: Image.Image) -> str | None:
    """Signs of the lowest 16 x 16 frequencies of a picture, see `Print`."""
    small = picture.convert("L").resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.LANCZOS)
    values = np.asarray(small, dtype=np.float32)
    if values.std() < _PLAIN:
        return None
    signs = dctn(values, norm="ortho")[:FINE, :FINE] > 0
    signs[0, 0] = False
    return np.packbits(signs).tobytes().hex()


def find_prints(
    images: Sequence[str], *, memory: str | os.PathLike[str] | None = None, workers: int | None = None
) -> tuple[dict[str, Print], list[str]]:
    """Opens every image once.

    Args:
        images: paths, each once.
        memory, workers: as for `survey`.

    Returns:
        (image -> its print, what is wrong with the images that have none).
    """
    missing = dict(missing_images(images))
    there = [image for image in images if image not in missing]
    prints, unreadable = {}, list(missing.values())
    for image, found in survey(there, fingerprint, _LOOK, memory=memory, workers=workers):
        if isinstance(found, ImageError):
            unreadable.append(str(found))
        else:
            prints[image] = Print(*found)
    return prints, unreadable


def find_leaks(
    train: Sequence[Entry],
    test: Sequence[Entry],
    *,
    open_images: bool = True,
    memory: str | os.PathLike[str] | None = None,
    workers: int | None = None,
) -> LeakReport:
    """Compares every record of one file with every record of another.

    Args:
        train, test: as `read_entries` gives them.
        open_images: whether to compare files and looks. False compares ids, paths and sources only.
        memory, workers: as for `survey`.

    Returns:
        The report; images that cannot be opened are listed in it.
    """
    reasons: dict[tuple[int, int], list[str]] = defaultdict(list)
    involved: set[int] = set()
    for pair, reason in _named_alike(train, test, involved):
        if reason not in reasons[pair]:
            reasons[pair].append(reason)
    report = LeakReport(len(train), len(test), opened=open_images)
    of_train, of_test = _users(train), _users(test)
    found: list[tuple[str, str, str]] = [(image, image, "identical file") for image in of_test if image in of_train]
    if open_images:
        prints, report.unreadable = find_prints(list(of_train | of_test), memory=memory, workers=workers)
        report.plain = [image for image, one in prints.items() if one.signs is None]
        sides = [{image: prints[image] for image in users if image in prints} for users in (of_train, of_test)]
        found += looking_alike(*sides)
        tested = {one.digest for one in sides[1].values()}
        involved.update(i for image, one in sides[0].items() if one.digest in tested for i in of_train[image])
    for one, other, reason in found:
        for i in of_train[one]:
            for j in of_test[other]:
                if reason not in reasons[i, j]:
                    reasons[i, j].append(reason)
    report.train_leaked = len(involved.union(i for i, _ in reasons))
    pairs = sorted(reasons, key=lambda pair: (pair[1], pair[0]))
    report.leaks = [Leak(train[i], test[j], tuple(reasons[i, j])) for i, j in pairs]
    return report


def looking_alike(train: Mapping[str, Print], test: Mapping[str, Print]) -> Iterator[tuple[str, str, str]]:
    """Pairs of images with the same bytes or the same looks.

    Args:
        train, test: image -> its print.

    Yields:
        (image of train, image of test, reason). Identical files are not compared by their looks; of many in train,
        the first ten are given.
    """
    by_digest = defaultdict(list)
    for image, one in train.items():
        by_digest[one.digest].append(image)
    for image, one in test.items():
        for other in by_digest.get(one.digest, ())[:_LISTED]:
            yield other, image, "identical file"
    ours = [image for image, one in train.items() if one.signs is not None]
    theirs = [image for image, one in test.items() if one.signs is not None]
    if not ours or not theirs:
        return
    left, right = _bits(train[image].signs for image in ours), _bits(test[image].signs for image in theirs)
    for mirrored in (False, True):
        # Seen in a mirror, every second frequency along the width changes its sign.
        turned = np.logical_xor(right, np.arange(FINE) % 2 == 1) if mirrored else right
        turned[:, 0, 0] = False
        for i, j in near_pairs(left, turned):
            if train[ours[i]].digest != test[theirs[j]].digest:
                yield ours[i], theirs[j], "looks the same, mirrored" if mirrored else "looks the same"


def near_pairs(left: np.ndarray, right: np.ndarray) -> Iterator[tuple[int, int]]:
    """Indices of signs that differ in at most `MAX_COARSE` and `MAX_FINE` places.

    Every pair is compared, by a matrix product: of signs +1 and -1, it counts agreements less differences.

    Args:
        left, right: signs, bool, (n, 16, 16) and (m, 16, 16).

    Yields:
        (row of left, row of right).
    """
    coarse = [one[:, :COARSE, :COARSE].reshape(len(one), -1) for one in (left, right)]
    coarse = [np.where(one, np.float32(1), np.float32(-1)) for one in coarse]
    least = COARSE * COARSE - 2 * MAX_COARSE
    rows, columns = _BLOCK
    for i in range(0, len(left), rows):
        for j in range(0, len(right), columns):
            agree = coarse[0][i : i + rows] @ coarse[1][j : j + columns].T
            a, b = np.nonzero(agree >= least)
            differ = np.logical_xor(left[i + a], right[j + b]).sum(axis=(1, 2)) <= MAX_FINE
            yield from zip((i + a[differ]).tolist(), (j + b[differ]).tolist(), strict=True)


def _bits(signs: Iterable[str]) -> np.ndarray:
    packed = np.frombuffer(bytes.fromhex("".join(signs)), dtype=np.uint8)
    return np.unpackbits(packed).astype(bool).reshape(-1, FINE, FINE)


def _users(entries: Sequence[Entry]) -> dict[str, list[int]]:
    """Image, with all links followed -> the entries it stands in."""
    users = defaultdict(list)
    for place, entry in enumerate(entries):
        for image in entry.images:
            users[os.path.realpath(image)].append(place)
    return dict(users)


def _named_alike(
    train: Sequence[Entry], test: Sequence[Entry], involved: set[int]
) -> Iterator[tuple[tuple[int, int], str]]:
    """((row of train, row of test), reason), of a large group the first; `involved` takes all rows of train."""
    plain = [plain_id(entry.id) for entry in train]
    index, longer = defaultdict(list), defaultdict(list)
    for i, entry in enumerate(train):
        for key in source_keys(entry):
            index[key].append(i)
        for stem in stems(plain[i]):
            longer[stem].append(i)
    for j, entry in enumerate(test):
        own = plain_id(entry.id)
        alike = [index.get(key, []) for key in source_keys(entry)]
        # `12` in one file and `12_whatever` in the other
        alike += [longer.get(own, []), *(index.get(("id", stem), []) for stem in stems(own))]
        for places in alike:
            same_set = [
                i for i in places if None in (train[i].dataset, entry.dataset) or train[i].dataset == entry.dataset
            ]
            involved.update(same_set)
            for i in same_set[:_LISTED]:
                yield (i, j), "same id" if plain[i] == own else "same source"


def stems(name: str) -> list[str]:
    """The ids of which this one may name an edit: `a/12_b-c` -> `a/12`, `a/12_b`."""
    folder, base = os.path.split(name)
    return [os.path.join(folder, base[: match.start()]) for match in _SEPARATOR.finditer(base) if match.start()]


def source_keys(entry: Entry) -> list[tuple[str, str]]:
    """Names under which a record can belong together with others: its id, the source's id, its group."""
    own = plain_id(entry.id)
    names = [own, _without_edits(own)]
    if entry.source is not None:
        names.append(plain_id(entry.source))
    keys = [("id", name) for name in dict.fromkeys(names)]
    return keys if entry.group is None else [*keys, ("group", entry.group)]


def _without_edits(name: str) -> str:
    """`12_blur2` and `12_crop-blur` without their endings, `12`."""
    while True:
        shorter = _EDIT.sub("", name)
        if shorter == name or not os.path.basename(shorter):
            return name
        name = shorter
