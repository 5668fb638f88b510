"""The two data sets of the comparison, scenes and photos: ratings, and edits whose direction is known.

Edits to learn from are of some kinds and of middling strength. Test edits are of test photos: alike, weaker, stronger,
and of the kind that was held out.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agree_claim.data import photos as squeezed_photos

from roc.data.pairs import Pair, read_pairs
from roc.data.reading import read_records
from roc.data.records import Record, hash_fraction
from roc.data.rows import Faults, iter_rows, write_rows
from roc.demo.dataset import write_dataset
from roc.model.device import usable_cores
from roc.relative.build import build
from roc.relative.config import CATEGORIES, BuildOptions
from roc.relative.consensus import choose_anchors
from roc.score_space import ScoreSpace

SEED = 42
WIDTH = 10.0
"""Delta that spans the whole range: edits are judged in points of 0..10."""
TAUGHT, WEAKER, STRONGER = (0.4, 0.8), (0.1, 0.4), (0.8, 1.0)
"""Strengths."""
TESTS = {
    "alike": "kinds and strengths as taught",
    "weaker": "weaker than taught",
    "stronger": "stronger than taught",
    "other": "the kind held out",
}
EDITS = 2
"""Edits of each photo."""


@dataclass(frozen=True)
class Counts:
    """How much there is.

    Attributes:
        labels: Ratings, and as many pairs, to learn from.
        val: Photos to choose the learning rate by, and as many pairs.
        test: Rated test photos.
        test_edited: Of these, those that are edited.
        anchors: Of the rated training photos, those that the line is fitted on.
    """

    labels: int = 800
    val: int = 150
    test: int = 400
    test_edited: int = 200
    anchors: int = 200


WHOLE = Counts()
QUICK = Counts(labels=40, val=12, test=24, test_edited=6, anchors=10)


@dataclass(frozen=True)
class Data:
    """A data set on disk.

    Attributes:
        name: "scenes" or "photos".
        title: In the report.
        folder: Holds its files.
        space: Range of the ratings.
    """

    name: str
    title: str
    folder: Path
    space: ScoreSpace

    def file(self, name: str) -> Path:
        """Names `ratings`, `val_ratings`, `anchors`, `test_ratings`, `pairs`, `val_pairs`, or a key of `TESTS`."""
        return self.folder / f"{name}.csv"

    def rated(self, name: str) -> list[Record]:
        """Reads a file of ratings."""
        return read_records(self.file(name), space=self.space, check_images=False)

    def pairs(self, name: str) -> list[Pair]:
        """Reads a file of pairs."""
        return read_pairs(self.file(name), check_images=False)


def scenes(folder: Path, counts: Counts, side: int, held_out: str) -> Data:
    """Draws scenes, rates them by the demo's panel and edits them, unless that is done."""
    path = write_dataset(
        folder / "drawn", counts.labels, counts.val, counts.test, size=side, seed=SEED, workers=usable_cores()
    )
    rows: dict[str, list[dict[str, Any]]] = {"train": [], "val": [], "test": []}
    for _, row in iter_rows(path, Faults(path)):
        image = f"drawn/{row['image']}"
        rows[row["split"]].append({"id": image, "image": image, "score": float(row["score"])})
    title = f"Scenes of {side} x {side} pixels"
    return _completed(Data("scenes", title, folder, ScoreSpace(1, 10, 10)), rows, counts, held_out)


def photos(
    folder: Path, path: Path, image_folder: str | None, space: ScoreSpace, counts: Counts, side: int, held_out: str
) -> Data:
    """Takes rated photos of a file, squeezed to squares, and edits them, unless that is done.

    Raises:
        DataError: With all faults of the file.
        ValueError: If it holds too few photos.
    """
    wanted = {"train": counts.labels, "val": counts.val, "test": counts.test}
    data = squeezed_photos(folder, path, image_folder, space, wanted, side)
    rows: dict[str, list[dict[str, Any]]] = {"train": [], "val": [], "test": []}
    for file in (data.learn, data.test):
        for _, row in iter_rows(file, Faults(file)):
            rows[row["split"]].append({"id": row["image"], "image": row["image"], "score": float(row["score"])})
    title = f"Photos of {path.name}, squeezed to {side} x {side} pixels"
    return _completed(Data("photos", title, data.folder, space), rows, counts, held_out)


def _completed(data: Data, rows: dict[str, list[dict[str, Any]]], counts: Counts, held_out: str) -> Data:
    """Writes what is not there yet."""
    if data.file("other").is_file():  # the last one that is written
        return data
    train, val, test = (rows[split] for split in ("train", "val", "test"))
    unit = {row["id"]: data.space.to_unit(row["score"]) * WIDTH for row in train}
    anchors = set(choose_anchors(unit, counts.anchors, seed=SEED))
    _write_rated(data.file("ratings"), train)
    _write_rated(data.file("val_ratings"), val)
    _write_rated(data.file("anchors"), (row for row in train if row["id"] in anchors))
    _write_rated(data.file("test_ratings"), test)
    taught = tuple(name for name in CATEGORIES if name != held_out)
    _write_pairs(data, "pairs", train, taught, TAUGHT, counts.labels)
    _write_pairs(data, "val_pairs", val, taught, TAUGHT, counts.val)
    edited = sorted(test, key=lambda row: hash_fraction(row["id"], "edited"))[: counts.test_edited]
    for name, strengths in {"alike": TAUGHT, "weaker": WEAKER, "stronger": STRONGER}.items():
        _write_pairs(data, name, edited, taught, strengths)
    _write_pairs(data, "other", edited, (held_out,), TAUGHT)
    return data


def _write_rated(file: Path, rows: Iterable[dict[str, Any]]) -> None:
    write_rows(file, ({**row, "split": "train"} for row in rows))


def _write_pairs(
    data: Data,
    name: str,
    rows: Sequence[dict[str, Any]],
    categories: tuple[str, ...],
    strengths: tuple[float, float],
    count: int | None = None,
) -> None:
    """Edits photos and writes pairs of source and edit, at most `count` of them."""
    listed, out = data.folder / f"{name}_sources.csv", data.folder / "edits" / name
    write_rows(listed, ({"image": row["image"]} for row in rows))
    options = BuildOptions(
        sources=(str(listed),), out=str(out), edits=EDITS, categories=categories, weakest=strengths[0],
        strongest=strengths[1], val=0.0, test=0.0, seed=SEED, samples=1,
    )  # fmt: skip
    built = build(options, lambda items, total, done=0, *, unit: items)
    changes = sorted(built.changes, key=lambda change: hash_fraction(change.id, "claim"))[:count]
    if count is not None and len(changes) < count:
        raise ValueError(f"{out} gives {len(changes)} edits that can be used, {count} are needed; give more photos")
    below = os.path.relpath(out, data.folder)
    write_rows(
        data.file(name),
        (
            {"id": change.id, "image_a": f"{below}/{change.before}", "image_b": f"{below}/{change.after}"}
            | {"delta": round(change.delta, 4), "group": change.photo, "category": change.edit["category"]}
            for change in changes
        ),
    )
