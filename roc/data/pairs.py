"""Pairs: two pictures and which of them is better, or by how much; as people compare them and as edits are judged.

A file of pairs has the form of a data file (`roc/data/rows.py`): CSV, TSV, JSON Lines, Parquet, `.xlsx`. Its columns:

    image_a, image_b    the two pictures; or one column `image` with both, as JSON Lines allow
    preferred           a, b or tie: which of the two is better
    delta               how much better the second is than the first, in points of their score; below 0 if it is worse
    id                  name of the pair; without it the number of its row
    group               pairs of one source share it
    category            what was done to the second picture; or `category` inside an object `edit`
    split, dataset      as in a data file

A pair needs `preferred` or `delta`. Other columns are not read. A file of groups is read too: each row is one picture,
with `image`, `group` and `edit.delta`, how much better it is than the one picture of its group that has no `edit`; each
becomes a pair of that source and the edited picture.

All faults of a file are found first and reported together, each with its line.
"""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roc.data.cells import as_id, as_number, as_text, shown
from roc.data.columns import as_known
from roc.data.image_paths import ImagePaths
from roc.data.limits import DEFAULT_PIXEL_LIMIT
from roc.data.records import SPLITS, Record
from roc.data.rows import DataError, Faults, iter_rows
from roc.data.survey import check_image_files

WINS = {"a": 0.0, "b": 1.0, "tie": 0.5}
"""Word of the column `preferred` -> share of the second picture's wins."""

_KNOWN = frozenset(
    ("image", "image_a", "image_b", "preferred", "delta", "id", "group", "category", "edit", "split", "dataset")
)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two pictures that were compared.

    Attributes:
        id: Unique in its file.
        images: Paths of the first and of the second.
        wins: 1 where the second is better, 0 where the first is, 0.5 for a tie.
        delta: How much better the second is, in points of the score; None where only the direction is known.
        group: Name of the source; None where the file names none.
        category: What was done to the second; None where the file does not say.
        split: "train", "val" or "test"; None where the file names none.
        dataset: Name of the data set.
        line: Line in the file.
    """

    id: str
    images: tuple[str, str]
    wins: float
    delta: float | None = None
    group: str | None = None
    category: str | None = None
    split: str | None = None
    dataset: str | None = None
    line: int | None = None

    def records(self) -> tuple[Record, Record]:
        """Makes an unrated record of each picture; the group is the pair's, or its id."""
        first, second = (
            Record(
                id=f"{self.id}#{end}",
                images=(image,),
                group=self.group or self.id,
                split=self.split,
                dataset=self.dataset,
                line=self.line,
            )
            for end, image in zip("ab", self.images, strict=True)
        )
        return first, second


def read_pairs(
    path: str | os.PathLike[str],
    image_folder: str | os.PathLike[str] | None = None,
    *,
    width: float | None = None,
    check_images: bool = True,
    pixel_limit: int = DEFAULT_PIXEL_LIMIT,
    split: str | None = None,
) -> list[Pair]:
    """Reads a file of pairs and checks that all of it can be used.

    Args:
        path: The file, see this module.
        image_folder: Folder that the paths in the file are relative to; None for the folder of the file itself.
        width: Largest size of a delta; None leaves it unchecked.
        check_images: Whether to decode every picture. False only checks that the files exist.
        pixel_limit: A picture with more pixels is a fault.
        split: Split to return; None for all.

    Raises:
        DataError: With all faults of the file.
        ValueError: An unknown split.
    """
    path = Path(path)
    if split is not None and split not in SPLITS:
        raise ValueError(f"split is {split!r}; expected one of {', '.join(SPLITS)}")
    folder = path.parent if image_folder is None else Path(image_folder)
    faults = Faults(path)
    reader = _PairReader(faults, folder, anywhere=image_folder is None, width=width)
    pairs = [pair for line, row in iter_rows(path, faults) if (pair := reader.read(line, row)) is not None]
    pairs += reader.of_groups()
    if not pairs and not faults:
        faults.add(None, "there is no pair in this file")
    if split is not None and pairs:
        pairs = [pair for pair in pairs if pair.split == SPLITS[split]]
        if not pairs:
            faults.add(None, f"no pair belongs to the split {split!r}; give them a column 'split'")
    lines: dict[str, list[int | None]] = defaultdict(list)
    for pair in pairs:
        for image in pair.images:
            lines[image].append(pair.line)
    check_image_files(lines, faults, folder=folder, decode=check_images, pixel_limit=pixel_limit)
    if faults:
        raise DataError(faults.texts())
    return pairs


class _PairReader:
    """Turns rows into pairs; goes on after a fault, so that the next one is found too."""

    def __init__(self, faults: Faults, folder: Path, *, anywhere: bool, width: float | None) -> None:
        self._faults = faults
        self._width = width
        self._paths = ImagePaths(folder, self._fault, anywhere=anywhere)
        self._ids: dict[str, int] = {}
        self._groups: dict[str, list[tuple[int, dict[str, Any]]]] = {}
        self._line, self._count = 0, 0

    def of_groups(self) -> list[Pair]:
        """Makes the pairs of the groups whose pictures stand in rows of their own."""
        pairs = []
        for name, members in self._groups.items():
            sources = [(line, row) for line, row in members if row.get("edit") is None]
            edited = [(line, row) for line, row in members if row.get("edit") is not None]
            self._line = members[0][0]
            if len(sources) != 1 or not edited:
                self._fault(
                    f"the group {name!r} has {len(sources)} pictures without 'edit' and {len(edited)} with one; "
                    "expected one source, which has none, and its edits"
                )
                continue
            for line, row in edited:
                both = {name: value for name, value in row.items() if name != "image"}
                both |= {"image": [sources[0][1]["image"], row["image"]], "delta": row["edit"].get("delta")}
                if (pair := self.read(line, both)) is not None:
                    pairs.append(pair)
        return pairs

    def read(self, line: int, written: Mapping[str, Any]) -> Pair | None:
        """Reads a row; None, and a fault, where it cannot be used. A picture of a group waits for `of_groups`."""
        self._line = line
        row = as_known(written, _KNOWN)
        if isinstance(row.get("image"), str) and isinstance(row.get("edit") or {}, Mapping):
            if (group := self._text(row, "group")) is not None:
                self._groups.setdefault(group, []).append((line, row))
                return None
        self._count += 1
        images = self._images(row)
        outcome = self._outcome(row)
        if images is None or outcome is None:
            return None
        wins, delta = outcome
        identity = as_id(self._text(row, "id")) or str(self._count)
        before = self._ids.setdefault(identity, line)
        if before != line:
            self._fault(f"the id {identity!r} was used before, in line {before}; give every pair its own")
        split = self._text(row, "split")
        if split is not None and split.lower() not in SPLITS:
            self._fault(f"the split is {split!r}; expected one of {', '.join(SPLITS)}", ("split", split))
        return Pair(
            id=identity,
            images=images,
            wins=wins,
            delta=delta,
            group=self._text(row, "group"),
            category=self._category(row),
            split=SPLITS.get(split.lower()) if split is not None else None,
            dataset=self._text(row, "dataset"),
            line=line,
        )

    def _images(self, row: Mapping[str, Any]) -> tuple[str, str] | None:
        given = row["image"] if row.get("image") is not None else [row.get("image_a"), row.get("image_b")]
        if not isinstance(given, list) or len(given) != 2 or any(one is None for one in given):
            self._fault(
                "a pair needs two pictures: the columns image_a and image_b, or a list of two under 'image'", "no pair"
            )
            return None
        named = self._paths.named(given)
        found = [self._paths.resolve(image) for image in named]
        if len(found) != 2 or any(path is None for path in found):
            return None
        if os.path.realpath(found[0]) == os.path.realpath(found[1]):
            self._fault(f"both pictures are {shown(named[0])}; a picture is not compared with itself", "same picture")
            return None
        return found[0], found[1]

    def _outcome(self, row: Mapping[str, Any]) -> tuple[float, float | None] | None:
        """Reads who wins, and by how much where that is known."""
        preferred, delta = row.get("preferred"), self._delta(row.get("delta"))
        if preferred is None:
            if row.get("delta") is None:
                self._fault("a pair needs 'preferred' (a, b or tie) or 'delta'; this one has neither", "no outcome")
            return None if delta is None else (0.5 if delta == 0 else float(delta > 0), delta)
        wins = WINS.get(str(preferred).strip().lower())
        if wins is None:
            self._fault(f"preferred is {shown(preferred)}; expected a, b or tie", ("preferred", str(preferred)))
            return None
        if row.get("delta") is not None and delta is None:
            return None
        if delta is not None and wins != (0.5 if delta == 0 else float(delta > 0)):
            self._fault(
                f"preferred is {preferred} and delta is {delta:g}, second minus first; correct one of them", "outcome"
            )
            return None
        return wins, delta

    def _delta(self, value: Any) -> float | None:
        if value is None:
            return None
        delta = as_number(value)
        if delta is None or not math.isfinite(delta):
            self._fault(f"delta is {shown(value)}; expected a number", "no number")
            return None
        if self._width is not None and abs(delta) > self._width + 1e-6:
            self._fault(
                f"delta is {delta:g}, outside -{self._width:g}..{self._width:g}; correct it, or say with delta_width "
                "which difference spans the whole range of the scores",
                "outside the range",
            )
            return None
        return delta

    def _category(self, row: Mapping[str, Any]) -> str | None:
        edit = row.get("edit")
        if isinstance(edit, Mapping) and row.get("category") is None:
            return as_text(edit.get("category"))
        return self._text(row, "category")

    def _text(self, row: Mapping[str, Any], name: str) -> str | None:
        value = row.get(name)
        text = as_text(value) if value is not None else None
        if value is not None and text is None:
            self._fault(f"the {name} is {shown(value)}; expected a text", ("no text", name))
        return (text.strip() or None) if text is not None else None

    def _fault(self, what: str, cause: Any = None) -> None:
        self._faults.add(self._line, what, cause)


def pair_records(pairs: Sequence[Pair]) -> list[Record]:
    """Makes the records of pairs: the pictures of pair i are the records 2 i and 2 i + 1."""
    return [record for pair in pairs for record in pair.records()]
