"""Dividing a data file into train, val and test so that nothing of the test set can be learnt by heart.

Whole sources are divided, not records: all edits of one photo, all records of one `group`, the same image under two
ids, and on request images that look the same (`roc/data/leaks.py`) stay together. Where a source goes is decided by a
hash of its name alone, so the same record goes the same way in every run, on every machine, and when others are added.

A test set that the file names is kept exactly as it is, since published numbers hang on it. Records of the same source
that are not part of it can then go nowhere, and are written to a file of their own.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from roc.data.leaks import Entry, entry_of, find_prints, looking_alike, source_keys, stems
from roc.data.reading import scan_records
from roc.data.records import Repeats, hash_fraction, plain_id
from roc.data.rows import DataError, Faults, iter_rows, write_rows

LEFT_OUT = "left_out"


@dataclass
class SplitReport:
    """What `split_data` wrote.

    Attributes:
        files: train, val, test, left_out -> the file; those without records are not written.
        records, sources: the same names -> number of records and of sources.
        kept_test, kept_val: whether the file named a test or validation set, which was kept.
        unreadable: images whose looks could not be compared.
    """

    files: dict[str, Path] = field(default_factory=dict)
    records: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    kept_test: bool = False
    kept_val: bool = False
    unreadable: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """The files and their sizes."""
        total = sum(self.records.values())
        lines = []
        for name, path in self.files.items():
            share = self.records[name] / total
            kept = (
                ", as the file has it"
                if (name == "test" and self.kept_test) or (name == "val" and self.kept_val)
                else ""
            )
            lines.append(
                f"{path}: {self.records[name]} records ({share:.1%}) of {self.sources[name]} sources{kept}"
                + (": of sources of the test set, but not part of it; use them for neither" if name == LEFT_OUT else "")
            )
        return "\n".join(lines)


def split_data(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    val: float = 0.1,
    test: float = 0.1,
    seed: int = 0,
    image_folder: str | os.PathLike[str] | None = None,
    by_looks: bool = False,
    memory: str | os.PathLike[str] | None = None,
    workers: int | None = None,
) -> SplitReport:
    """Writes `train`, `val` and `test` files with all columns of a data file, in its format.

    Args:
        path: the data file.
        out: folder for the files.
        val, test: shares of the sources, met on average. Where the file marks records of that split, they are kept
            and no others are added (to val: only those of the same source).
        seed: another one gives another division.
        image_folder: where the paths in the file start from; matters for `by_looks`.
        by_looks: whether images that look the same are one source; opens all of them.
        memory, workers: as for `roc.data.survey.survey`.

    Returns:
        What was written.

    Raises:
        DataError: the file has faults; the same image in two splits is none, it is mended.
        ValueError: shares that leave nothing, or an `out` that holds the data file or other files of these names.
    """
    if not (0 <= val < 1 and 0 <= test < 1 and val + test < 1):
        raise ValueError(f"val is {val:g} and test {test:g}; expected shares from 0 that leave something to train on")
    path, out = Path(path), Path(out)
    targets = {name: out / f"{name}{path.suffix.lower()}" for name in ("train", "val", "test", LEFT_OUT)}
    _check_targets(targets, path)
    faults = Faults(path)
    # The same image in two splits is what is mended here; an id of two images is not.
    repeats = Repeats(faults, across_splits=False)
    entries, splits = [], []
    for record in scan_records(path, image_folder, faults, space=None):
        repeats.see(record)
        entries.append(entry_of(record))
        splits.append(record.split)
    if faults:
        raise DataError(faults.texts())

    report = SplitReport(kept_test="test" in splits, kept_val="val" in splits)
    links = _links(entries)
    if by_looks:
        images = list(dict.fromkeys(image for entry in entries for image in entry.images))
        prints, report.unreadable = find_prints(images, memory=memory, workers=workers)
        # Identical files by their digest, not by their pairs: a thousand copies of one picture have a million.
        first = {one.digest: image for image, one in reversed(prints.items())}
        links += [(("image", image), ("image", first[one.digest])) for image, one in prints.items()]
        distinct = {image: prints[image] for image in first.values()}
        links += [(("image", one), ("image", other)) for one, other, _ in looking_alike(distinct, distinct)]
    sources = _sources(entries, links)

    members = defaultdict(list)
    for place, source in enumerate(sources):
        members[source].append(place)
    for source, places in members.items():
        there = {splits[place] for place in places}
        chosen = _chosen(source, there, report, val=val, test=test, seed=seed)
        for place in places:
            splits[place] = LEFT_OUT if chosen == "test" and report.kept_test and splits[place] != "test" else chosen
        report.sources.update({splits[place] for place in places})
    report.records.update(splits)

    for name, target in targets.items():
        if report.records[name]:
            rows = zip(splits, iter_rows(path, Faults(path)), strict=True)
            write_rows(target, (_marked(row, name) for split, (_, row) in rows if split == name))
            report.files[name] = target
        else:
            target.unlink(missing_ok=True)  # of an earlier run with other shares
    return report


def _check_targets(targets: Mapping[str, Path], path: Path) -> None:
    """What an earlier split wrote is replaced or deleted; nothing else is."""
    for name, target in targets.items():
        if not target.exists():
            continue
        if path.exists() and target.samefile(path):
            raise ValueError(f"{target} is the data file itself; name another folder")
        if name != LEFT_OUT:
            _, row = next(iter_rows(target, Faults(target)), (0, {}))
            if name not in (value for column, value in row.items() if column.lower() == "split"):
                raise ValueError(f"{target} is there already, and not from an earlier split; name another folder")


def _chosen(source: str, there: set[str | None], report: SplitReport, *, val: float, test: float, seed: int) -> str:
    if "test" in there:
        return "test"
    if "val" in there:
        return "val"
    place = hash_fraction(source, str(seed))
    if not report.kept_test:
        if place < test:
            return "test"
        place -= test
    return "val" if not report.kept_val and place < val else "train"


def _marked(row: dict, split: str) -> dict:
    """The row with its split; what was left out keeps what it said."""
    if split == LEFT_OUT:
        return row
    name = next((name for name in row if name.lower() == "split"), "split")
    return {**row, name: split}


def _links(entries: Sequence[Entry]) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Pairs of names that belong to one source."""
    links = []
    ids = {(entry.dataset or "", "id", plain_id(entry.id)) for entry in entries}
    for entry in entries:
        names = [(entry.dataset or "", *key) for key in source_keys(entry)]
        names += [name for stem in stems(plain_id(entry.id)) if (name := (entry.dataset or "", "id", stem)) in ids]
        names += [("image", os.path.realpath(image)) for image in entry.images]
        names += [("image", image) for image in entry.images]
        links += [(names[0], name) for name in names[1:]]
    return links


def _sources(entries: Sequence[Entry], links: Iterable[tuple[tuple[str, ...], tuple[str, ...]]]) -> list[str]:
    """The name of each entry's source: its group's where it has one, otherwise the first of its ids in the alphabet."""
    above: dict[tuple[str, ...], tuple[str, ...]] = {}

    def top(name: tuple[str, ...]) -> tuple[str, ...]:
        above.setdefault(name, name)
        while above[name] != name:
            above[name] = above[above[name]]
            name = above[name]
        return name

    for one, other in links:
        above[top(one)] = top(other)
    own = [(entry.dataset or "", *source_keys(entry)[0]) for entry in entries]
    tops = [top(name) for name in own]
    names: dict[tuple[str, ...], tuple[str, ...]] = {}
    for entry, of in zip(entries, tops, strict=True):
        for kind, name in source_keys(entry):
            # paths of this machine decide nothing, and "group" comes before "id"
            candidate = (kind, name, entry.dataset or "")
            names[of] = min(names.get(of, candidate), candidate)
    return ["\0".join(names[of]) for of in tops]
