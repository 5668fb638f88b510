"""Dividing a data file into train, val and test so that nothing of the test set is trained on.

Whole sources are divided, not records: all edits of one photo, all records of one `group`, the same image under two
ids, and on request images that look the same (`roc/data/lookalikes.py`) stay together. A hash of the source's name
alone decides where it goes, so a record goes the same way in every run, on every machine, and when others are added.

A test set that the file names is kept exactly as it is, since published numbers depend on it. Other records of its
sources can then be used for nothing, and are written to a file of their own.
"""

from __future__ import annotations

import os
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from roc.data.leaks import Entry, entry_of, source_keys, stems
from roc.data.lookalikes import find_lookalikes, hash_images
from roc.data.reading import scan_records
from roc.data.records import Repeats, hash_fraction, plain_id
from roc.data.rows import TABLES, DataError, Faults, iter_rows, iter_rows_for, write_rows
from roc.data.usual_ranges import guess_range

LEFT_OUT = "left_out"
ALL = "all"
"""The file of all rows but those that are left out, with their splits in a column."""

Name = tuple[str, ...]
"""One name of a source: (data set, kind, name), or ("image", path)."""


@dataclass
class SplitReport:
    """What `split_data` wrote.

    Attributes:
        files: "train", "val", "test", "left_out" -> its file; those without records are not written. "all" -> the file
            that holds the first three, which training takes as it is.
        records, sources: the same keys -> number of records and of sources.
        kept_test, kept_val: whether the file named a test or validation set, which was kept.
        unreadable: what is wrong with the images whose looks could not be compared.
        range: native range of the scores, by guess; None where it is not one of the usual ones.
    """

    files: dict[str, Path] = field(default_factory=dict)
    records: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    kept_test: bool = False
    kept_val: bool = False
    unreadable: list[str] = field(default_factory=list)
    range: tuple[float, float] | None = None

    def summary(self) -> str:
        """Lists the files with their sizes."""
        total = sum(self.records.values())
        lines = []
        for name, path in self.files.items():
            if name == ALL:
                parts = [f"{part} {self.records[part]}" for part in ("train", "val", "test") if self.records[part]]
                lines.append(f"{path}: {', '.join(parts)}, told apart by the column split")
                continue
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

    def training_command(self, image_folder: str | os.PathLike[str]) -> str:
        """Returns the command that trains on the division."""
        low, high = ("LOW", "HIGH") if self.range is None else (f"{end:g}" for end in self.range)
        words = ["--data_path", os.fspath(self.files[ALL]), "--image_folder", os.fspath(image_folder)]
        return (
            f"roc finetune --model_name_or_path MODEL {shlex.join(words)} --min_score {low} --max_score {high} "
            "--output_dir OUT"
        )


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
    """Divides a data file into files `train`, `val` and `test` with all its columns, in its format.

    Args:
        path: the data file.
        out: folder for the files, among them `all`, which holds all rows; or a name with the suffix of a table, for
            that one alone.
        val, test: shares of the sources, met on average. A split that the file marks is kept, and no records are added
            to it (to val: only those of the same source).
        seed: another seed gives another division.
        image_folder: folder that the paths in the file are relative to; needed for `by_looks`.
        by_looks: whether images that look the same are one source; opens all of them.
        memory, workers: as for `roc.data.survey.survey`.

    Returns:
        What was written.

    Raises:
        DataError: the file has faults; the same image in two splits is none, it is corrected.
        ValueError: shares that leave nothing, or an `out` that holds the data file or other files of these names.
    """
    if not (0 <= val < 1 and 0 <= test < 1 and val + test < 1):
        raise ValueError(f"val is {val:g} and test {test:g}; expected shares from 0 that leave something to train on")
    path, out = Path(path), Path(out)
    targets = _targets(path, out)
    _check_targets(targets, path, alone=out.suffix.lower() in TABLES)
    entries, splits, scale = _read(path, image_folder)
    report = SplitReport(range=scale, kept_test="test" in splits, kept_val="val" in splits)
    links = _links(entries)
    if by_looks:
        images = list(dict.fromkeys(image for entry in entries for image in entry.images))
        looks, report.unreadable = _links_by_looks(images, memory, workers)
        links += looks
    members = defaultdict(list)
    for place, source in enumerate(_sources(entries, links)):
        members[source].append(place)
    for source, places in members.items():
        there = {splits[place] for place in places}
        chosen = _chosen(source, there, report, val=val, test=test, seed=seed)
        for place in places:
            splits[place] = LEFT_OUT if chosen == "test" and report.kept_test and splits[place] != "test" else chosen
        report.sources.update({splits[place] for place in places})
    report.records.update(splits)

    for name, target in targets.items():
        if name == ALL or report.records[name]:
            rows = zip(splits, iter_rows_for(path, target), strict=True)
            kept = ("train", "val", "test") if name == ALL else (name,)
            write_rows(target, (_marked(row, split) for split, (_, row) in rows if split in kept))
            report.files[name] = target
        else:
            target.unlink(missing_ok=True)  # of an earlier run with other shares
    return report


def source_names(entries: Sequence[Entry]) -> list[str]:
    """Names the source of each entry; entries of one photo, its edits and its groups among them, share the name.

    Args:
        entries: as `entry_of` makes them, in any order. Their images are not opened.

    Returns:
        (len(entries),) names, the same on every machine.
    """
    return _sources(entries, _links(entries))


def _targets(path: Path, out: Path) -> dict[str, Path]:
    """Chooses the files to write."""
    suffix = path.suffix.lower() if path.suffix.lower() in TABLES else ".parquet"
    if out.suffix.lower() in TABLES:
        return {LEFT_OUT: out.with_name(f"{out.stem}.left_out{out.suffix}"), ALL: out}
    return {name: out / f"{name}{suffix}" for name in ("train", "val", "test", LEFT_OUT, ALL)}


def _read(
    path: Path, image_folder: str | os.PathLike[str] | None
) -> tuple[list[Entry], list[str | None], tuple[float, float] | None]:
    """Reads the entries of a file, the splits it gives them, and the range of its scores, by guess."""
    faults = Faults(path)
    # The same image in two splits is what a division corrects; an id of two images is not.
    repeats = Repeats(faults, across_splits=False)
    entries, splits, scores = [], [], []
    for record in scan_records(path, image_folder, faults, space=None):
        repeats.see(record)
        entries.append(entry_of(record))
        splits.append(record.split)
        scores += [record.scores["overall"]] if "overall" in record.scores else []
    if faults:
        raise DataError(faults.texts())
    return entries, splits, guess_range(min(scores), max(scores)) if scores else None


def _check_targets(targets: Mapping[str, Path], path: Path, *, alone: bool) -> None:
    """Refuses to replace or delete anything but what an earlier split wrote."""
    for name, target in targets.items():
        if not target.exists():
            continue
        if path.exists() and target.samefile(path):
            raise ValueError(f"{target} is the data file itself; name another {'file' if alone else 'folder'}")
        if alone:
            raise ValueError(f"{target} is there already; name another file, or delete it")
        if name != LEFT_OUT:
            _, row = next(iter_rows(target, Faults(target)), (0, {}))
            splits = ("train", "val", "test") if name == ALL else (name,)
            if not any(column.lower() == "split" and value in splits for column, value in row.items()):
                raise ValueError(f"{target} is there already, and not from an earlier split; name another folder")


def _chosen(source: str, there: set[str | None], report: SplitReport, *, val: float, test: float, seed: int) -> str:
    """Chooses the split of a source, `there` being those that the file gives its records."""
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
    """Sets the split of a row; a row that is left out keeps what it said."""
    if split == LEFT_OUT:
        return row
    name = next((name for name in row if name.lower() == "split"), "split")
    return {**row, name: split}


def _links(entries: Sequence[Entry]) -> list[tuple[Name, Name]]:
    """Lists pairs of names that belong to one source."""
    links = []
    ids = {(entry.dataset or "", "id", plain_id(entry.id)) for entry in entries}
    for entry in entries:
        names = [(entry.dataset or "", *key) for key in source_keys(entry)]
        names += [name for stem in stems(plain_id(entry.id)) if (name := (entry.dataset or "", "id", stem)) in ids]
        names += [("image", os.path.realpath(image)) for image in entry.images]
        names += [("image", image) for image in entry.images]
        links += [(names[0], name) for name in names[1:]]
    return links


def _links_by_looks(
    images: Sequence[str], memory: str | os.PathLike[str] | None, workers: int | None
) -> tuple[list[tuple[Name, Name]], list[str]]:
    """Lists pairs of images that look the same, and what is wrong with those that cannot be compared."""
    hashes, unreadable = hash_images(images, memory=memory, workers=workers)
    # Identical files by their digest, not by their pairs: a thousand copies of one picture have a million.
    first = {one.digest: image for image, one in reversed(hashes.items())}
    links = [(("image", image), ("image", first[one.digest])) for image, one in hashes.items()]
    distinct = {image: hashes[image] for image in first.values()}
    links += [(("image", one), ("image", other)) for one, other, _ in find_lookalikes(distinct, distinct)]
    return links, unreadable


def _sources(entries: Sequence[Entry], links: Iterable[tuple[Name, Name]]) -> list[str]:
    """Names each entry's source: by its group if it has one, otherwise by the first of its ids in the alphabet."""
    above: dict[Name, Name] = {}

    def top(name: Name) -> Name:
        above.setdefault(name, name)
        while above[name] != name:
            above[name] = above[above[name]]
            name = above[name]
        return name

    for one, other in links:
        above[top(one)] = top(other)
    own = [(entry.dataset or "", *source_keys(entry)[0]) for entry in entries]
    tops = [top(name) for name in own]
    names: dict[Name, Name] = {}
    for entry, of in zip(entries, tops, strict=True):
        for kind, name in source_keys(entry):
            # Paths depend on the machine, so they decide nothing; "group" sorts before "id".
            candidate = (kind, name, entry.dataset or "")
            names[of] = min(names.get(of, candidate), candidate)
    return ["\0".join(names[of]) for of in tops]
