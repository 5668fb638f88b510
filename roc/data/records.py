"""Records: images with their human scores, the one form that data has in this package, and their splits.

`roc/data/reading.py` reads records from files. Here is what one record holds, when two records are the same image, and
how records are divided into train, val and test.
"""

from __future__ import annotations

import hashlib
import math
import os
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from roc.data.pictures import shown_path
from roc.data.rows import Faults

Turn = tuple[str, str]
"""One turn of a conversation: ("user" or "assistant", its text)."""

SPLITS = {"train": "train", "val": "val", "validation": "val", "test": "test"}
"""Name of a split in a data file -> name of the split."""


@dataclass(frozen=True, slots=True)
class Record:
    """One image, pair or group with its human scores.

    Attributes:
        id: unique in its file; where the file gives none, the image's path as written there.
        images: paths that can be opened; empty only for `conversations` about no image.
        scores: attribute -> human score on the native scale, "overall" first. Attributes that were not rated are
            absent. With `conversations`, the k-th `[SCORE]` is the k-th of these.
        histograms: attribute -> share of the votes for each level, (N,), summing to 1.
        std: standard deviation of the votes for the overall score, in native units.
        n_votes: number of votes behind the overall score.
        comment: a rater's words.
        conversations: turns as in the file, alternating between user and assistant, with one `<|image|>` per image in
            the first; None where question and answer are made from the attributes.
        group: name shared by records that belong together, such as edits of one photo.
        edit: what was done to the image, as in the file.
        split: "train", "val" or "test"; None where the file names none.
        dataset: name of the data set.
        line: line in the file, from 1 (in Parquet the row, from 1).
    """

    id: str
    images: tuple[str, ...]
    scores: dict[str, float] = field(default_factory=dict)
    histograms: dict[str, tuple[float, ...]] = field(default_factory=dict)
    std: float | None = None
    n_votes: int | None = None
    comment: str | None = None
    conversations: tuple[Turn, ...] | None = None
    group: str | None = None
    edit: dict[str, Any] | None = None
    split: str | None = None
    dataset: str | None = None
    line: int | None = None


def plain_id(identity: str) -> str:
    """Strips an id of what does not tell images apart: the file extension, capital letters, the Unicode form."""
    stem, suffix = os.path.splitext(identity)
    # What follows the point in "3.75" or in "portrait.retouched" is no extension.
    is_extension = 2 <= len(suffix[1:]) <= 4 and suffix[1:].isalnum() and not suffix[1:].isdigit()
    return casefold(stem if is_extension else identity)


def casefold(name: str) -> str:
    """Brings a name to small letters in Unicode form NFC, so that names that look alike are equal."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


class Repeats:
    """Finds ids that are used twice and images that stand in two splits, while the records are read one by one.

    A test on an image that was trained on measures memory. A record without a split counts as train.

    Args:
        faults: collects what is found.
        across_splits: whether the same image in two splits is a fault.
    """

    def __init__(self, faults: Faults, *, across_splits: bool = True) -> None:
        self._faults = faults
        self._across_splits = across_splits
        self._ids: dict[str, tuple[int | None, str | None, tuple[str, ...]]] = {}
        self._images: dict[str, tuple[int | None, str | None]] = {}

    def see(self, record: Record) -> None:
        """Compares a record with those before it; to be called once for each record, in the order of the file."""
        before = self._ids.get(record.id)
        if before is None:
            self._ids[record.id] = before = (record.line, record.split, record.images)
            repeated = False
        else:
            # The same image in two splits is reported as that, below.
            repeated = before[1] == record.split or before[2] != record.images
        if repeated:
            self._faults.add(
                record.line,
                f"the id {record.id!r} was used before, in line {before[0]}; remove one of the two, or give "
                "samples of the same image different ids",
            )
        for image in record.images if self._across_splits else ():
            line, split = self._images.setdefault(image, (record.line, record.split))
            here, there = record.split or "train", split or "train"
            if here != there:
                self._faults.add(
                    record.line,
                    f"the image {shown_path(image)} is in {here} here and in {there} in line {line}; keep one",
                )


FEW_RATED = 100
"""Rated photos below which a model learns little and its figures mean little."""


def few_rated(count: int) -> str | None:
    """Says what to expect of a file with few rated photos; None where there are enough, or none at all.

    The uncertainty is that of a rank correlation near 0 at 95% confidence, by Fisher's transformation.
    """
    if not 0 < count < FEW_RATED:
        return None
    held_out = max(1, round(count / 10))
    spread = 1.96 * 1.03 / math.sqrt(held_out - 3) if held_out > 6 else 1.0
    what = "photo" if count == 1 else "photos"
    return (
        f"only {count} rated {what}: below {FEW_RATED} expect a rough order at best, and figures that prove nothing (a "
        f"tenth to validate on is {held_out}, whose SRCC is uncertain by up to {spread:.1f}); rate some hundred more, "
        "or go on from a checkpoint that was trained on many ratings"
    )


def hash_fraction(name: str, salt: str) -> float:
    """Maps a name to 0..1, evenly and the same on every machine: by the first 64 bits of the SHA-256 of `salt:name`."""
    return int.from_bytes(hashlib.sha256(f"{salt}:{name}".encode()).digest()[:8], "big") / 2**64


def split_by_id(records: Iterable[Record], fraction: float, salt: str = "roc") -> tuple[list[Record], list[Record]]:
    """Holds out a part of the records, chosen by a hash of their ids.

    Whether a record is held out depends on nothing else: not on the other records, the order, the run or the machine.

    Args:
        records: any records.
        fraction: share to hold out, 0..1; met on average, not exactly.
        salt: another salt gives another choice.

    Returns:
        (kept, held out), both in the order given.

    Raises:
        ValueError: a fraction outside 0..1.
    """
    if not 0 <= fraction <= 1:
        raise ValueError(f"the fraction to hold out is {fraction}; expected 0..1")
    kept: list[Record] = []
    held_out: list[Record] = []
    for record in records:
        (held_out if hash_fraction(record.id, salt) < fraction else kept).append(record)
    return kept, held_out


def resolve_splits(
    records: Iterable[Record], *, val_fraction: float = 0.1, salt: str = "roc"
) -> dict[str, list[Record]]:
    """Divides records into those to train on, those that select the checkpoint, and those that are reported on.

    The record's own `split` decides; without one it is train. Where no record is marked "val", `split_by_id` holds out
    a part of train, unless that would leave nothing to train on. Test records are never moved.

    Args:
        records: as `read_records` returns them.
        val_fraction: share of train to hold out where the file marks no validation records.
        salt: as for `split_by_id`.

    Returns:
        {"train": ..., "val": ..., "test": ...}; each may be empty.
    """
    splits: dict[str, list[Record]] = {"train": [], "val": [], "test": []}
    for record in records:
        splits[record.split or "train"].append(record)
    if not splits["val"]:
        kept, held_out = split_by_id(splits["train"], val_fraction, salt)
        if kept:
            splits["train"], splits["val"] = kept, held_out
    return splits
