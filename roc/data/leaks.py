"""Leaks: what of a test set is in a training set too, so that a test on it measures memory.

Four kinds are found, each for a pair of records:

* *same id*, also where only extension, capital letters or the Unicode form differ. Ids of two named data sets are not
  compared: number 17 of one is not number 17 of the other;
* *identical file*: the same bytes, under whatever name;
* *looks the same*: resized, compressed again, made brighter or grey, or mirrored (`roc/data/lookalikes.py`);
* *same source*: edits of one photo, by `group`, by the source that `edit` names, or by ids such as `12_blur2`.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from roc.data.counts import counted
from roc.data.lookalikes import MOST_PAIRS, find_lookalikes, hash_images
from roc.data.reading import scan_records
from roc.data.records import Record, plain_id
from roc.data.rows import DataError, Faults, write_rows

_SEPARATOR = re.compile(r"[_\-. ]+")

_EDIT = re.compile(
    r"[_\-. ]+(edit(ed)?|crop(ped)?|blur(red)?|bright(er|ness)?|dark(er)?|contrast|colou?r|sat(uration)?|gamma|noise|"
    r"noisy|jpe?g|compressed|flip(ped)?|mirror(ed)?|rot(ated?)?|resized?|scaled?|small|large|thumb(nail)?|gr[ae]y|bw|"
    r"sharp(en(ed)?)?|exposure|hdr|filter(ed)?|retouch(ed)?|enhanced?|orig(inal)?|copy|aug(mented)?)[_\-]?\d*$"
)


class Entry(NamedTuple):
    """The part of a record that is compared."""

    id: str
    line: int | None
    images: tuple[str, ...]
    dataset: str | None
    group: str | None
    source: str | None


@dataclass(frozen=True)
class Leak:
    """A record of the training set and one of the test set that belong together.

    Attributes:
        train, test: the two records.
        reasons: one or more of "same id", "identical file", "looks the same", "looks the same, mirrored", "same
            source".
    """

    train: Entry
    test: Entry
    reasons: tuple[str, ...]


@dataclass
class LeakReport:
    """What `find_leaks` found.

    Attributes:
        train, test: number of records of each file.
        leaks: the pairs, by line of the test file; at most ten for one test record and one source, or one test record
            and its identical files.
        train_leaked: number of training records with a counterpart in the test file, also of pairs that `leaks` omits.
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
        """Yields a row of a report file for each leak."""
        for leak in self.leaks:
            yield {
                "test_line": leak.test.line,
                "test_id": leak.test.id,
                "train_line": leak.train.line,
                "train_id": leak.train.id,
                "why": "; ".join(leak.reasons),
            }

    def write(self, path: str | os.PathLike[str]) -> None:
        """Writes the leaks as a table, in the format of the suffix."""
        write_rows(path, self.rows())

    def summary(self) -> str:
        """Counts the leaks, by reason too, and the images that were not compared."""
        counts: dict[str, int] = defaultdict(int)
        for leak in self.leaks:
            for reason in leak.reasons:
                counts[reason] += 1
        tests = len({leak.test.line for leak in self.leaks})
        lines = [
            f"{counted(len(self.leaks), 'leak')}: {tests} of {counted(self.test, 'test record')} "
            f"({tests / max(self.test, 1):.2%}) and "
            f"{self.train_leaked} of {counted(self.train, 'training record')}"
        ]
        lines += [f"  {reason:<26} {count}" for reason, count in counts.items()]
        if not self.opened:
            lines.append("images were not opened: compared by ids and sources only")
        if self.plain:
            lines.append(f"{counted(len(self.plain), 'image is', 'images are')} too plain to be compared by looks")
        if self.unreadable:
            lines.append(f"{counted(len(self.unreadable), 'image')} could not be compared")
        return "\n".join(lines)


def read_entries(path: str | os.PathLike[str], image_folder: str | os.PathLike[str] | None = None) -> list[Entry]:
    """Reads the part of a data file that is compared.

    Raises:
        DataError: the file has faults; missing images are none yet.
    """
    faults = Faults(Path(path))
    entries = [entry_of(record) for record in scan_records(path, image_folder, faults, space=None)]
    if faults:
        raise DataError(faults.texts())
    return entries


def entry_of(record: Record) -> Entry:
    """Takes the part of a record that is compared."""
    edit = record.edit or {}
    source = next((str(edit[name]) for name in ("source_id", "source") if edit.get(name) is not None), None)
    return Entry(record.id, record.line, record.images, record.dataset, record.group, source)


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
        train, test: as `read_entries` returns them.
        open_images: whether to compare files and looks too. False compares ids, paths and sources only.
        memory, workers: as for `survey`.

    Returns:
        The report; it lists the images that cannot be opened.
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
        hashes, report.unreadable = hash_images(list(of_train | of_test), memory=memory, workers=workers)
        report.plain = [image for image, one in hashes.items() if one.signs is None]
        sides = [{image: hashes[image] for image in users if image in hashes} for users in (of_train, of_test)]
        found += find_lookalikes(*sides)
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


def _users(entries: Sequence[Entry]) -> dict[str, list[int]]:
    """Maps each image, with all links followed, to the positions of the entries that have it."""
    users = defaultdict(list)
    for place, entry in enumerate(entries):
        for image in entry.images:
            users[os.path.realpath(image)].append(place)
    return dict(users)


def _named_alike(
    train: Sequence[Entry], test: Sequence[Entry], involved: set[int]
) -> Iterator[tuple[tuple[int, int], str]]:
    """Finds pairs by their names.

    Args:
        train, test: the entries.
        involved: collects the positions of all entries of train that belong to one of test.

    Yields:
        ((position in train, position in test), reason); of a large source the first `MOST_PAIRS`.
    """
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
            for i in same_set[:MOST_PAIRS]:
                yield (i, j), "same id" if plain[i] == own else "same source"


def stems(name: str) -> list[str]:
    """Lists the ids that this one may be an edit of: `a/12_b-c` -> `a/12`, `a/12_b`."""
    folder, base = os.path.split(name)
    return [os.path.join(folder, base[: match.start()]) for match in _SEPARATOR.finditer(base) if match.start()]


def source_keys(entry: Entry) -> list[tuple[str, str]]:
    """Lists the names that link a record to others, as (kind, name): its id, its source's id, its group."""
    own = plain_id(entry.id)
    names = [own, _without_edits(own)]
    if entry.source is not None:
        names.append(plain_id(entry.source))
    keys = [("id", name) for name in dict.fromkeys(names)]
    return keys if entry.group is None else [*keys, ("group", entry.group)]


def _without_edits(name: str) -> str:
    """Strips the endings that name an edit: `12_blur2` and `12_crop-blur` become `12`."""
    while True:
        shorter = _EDIT.sub("", name)
        if shorter == name or not os.path.basename(shorter):
            return name
        name = shorter
