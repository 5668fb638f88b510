"""Votes on the photos: read from tables, brought to one scale, and agreed on photo by photo."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from roc.data.cells import as_number, as_text
from roc.data.columns import SCORE_COLUMNS
from roc.data.faults import DataError, Faults
from roc.data.records import SPLITS
from roc.data.rows import read_rows
from roc.relative.config import VoteOptions, vote_table
from roc.relative.consensus import Consensus, consensus
from roc.score_space import TOLERANCE

SCALE = (0.0, 10.0)
"""Votes of all scorers are brought to this scale."""


@dataclass
class Votes:
    """What is known of the photos.

    Attributes:
        by_photo: Id -> scorer -> vote, on `SCALE`.
        splits: Id -> split, where a table says it.
        strangers: Rows that are about no photo.
        failed: Id -> why a model gave no vote; the last reason counts.
    """

    by_photo: dict[str, dict[str, float]] = field(default_factory=dict)
    splits: dict[str, str] = field(default_factory=dict)
    strangers: int = 0
    failed: dict[str, str] = field(default_factory=dict)

    def add(self, photo: str, scorer: str, vote: float, low: float, high: float) -> None:
        """Adds a vote that was given on low..high."""
        unit = min(1.0, max(0.0, (vote - low) / (high - low)))
        self.by_photo.setdefault(photo, {})[scorer] = SCALE[0] + unit * (SCALE[1] - SCALE[0])

    def agreed(self, options: VoteOptions) -> dict[str, Consensus]:
        """Agrees on the score of each photo that has votes."""
        return {
            photo: consensus(
                list(votes.values()), options.consensus, cutoff=options.cutoff, fewest=options.fewest_votes
            )
            for photo, votes in self.by_photo.items()
        }


def read_votes(options: VoteOptions, photos: Mapping[str, str], image_folder: str | None) -> Votes:
    """Reads the tables of votes.

    Args:
        options: Names the tables and their columns.
        photos: Id -> path of every photo; a row belongs to the photo of its name, or of its path.
        image_folder: Where relative paths in the tables start from; None for the folder of each.

    Raises:
        DataError: With all faults of a table.
        ValueError: A table that is about none of the photos, or about one twice.
    """
    votes = Votes()
    by_path = {os.path.realpath(path): photo for photo, path in photos.items()}
    names = Counter(Path(vote_table(one)[0]).stem for one in options.votes)
    for one in options.votes:
        file, low, high = vote_table(one)
        name = Path(file).stem if names[Path(file).stem] == 1 else file
        _read_table(votes, file, name, (low, high), options.vote_columns, photos, by_path, image_folder)
    return votes


def _read_table(
    votes: Votes,
    file: str,
    name: str,
    scale: tuple[float, float],
    columns: Sequence[str] | None,
    photos: Mapping[str, str],
    by_path: Mapping[str, str],
    image_folder: str | None,
) -> None:
    faults = Faults(Path(file))
    rows = read_rows(Path(file), faults)
    found = _vote_columns([row for _, row in rows], columns, faults)
    folder = os.path.dirname(os.path.abspath(file)) if image_folder is None else image_folder
    seen: dict[str, int] = {}
    for line, row in rows:
        image = as_text(row.get("image")) or ""
        photo = image if image in photos else by_path.get(os.path.realpath(os.path.join(folder, image)))
        if photo is None:
            votes.strangers += 1
            continue
        if photo in seen:
            faults.add(line, f"{photo} was voted on before, in line {seen[photo]}; keep one of the two", "repeated")
        seen[photo] = line
        split = as_text(row.get("split"))
        if split is not None and split.strip():
            if split.strip().lower() not in SPLITS:
                faults.add(line, f"the split is {split!r}; expected one of {', '.join(SPLITS)}", ("split", split))
            votes.splits[photo] = SPLITS.get(split.strip().lower(), "train")
        for column in found:
            value = row.get(column)
            if value is None:
                continue
            vote = as_number(value, from_text=True)
            if vote is None or not math.isfinite(vote):
                faults.add(line, f"the vote {column!r} is {value!r}; expected a number", ("no number", column))
            elif not scale[0] - TOLERANCE <= vote <= scale[1] + TOLERANCE:
                what = f"the vote {column!r} is {vote:g}, outside {scale[0]:g}..{scale[1]:g}; give its range: "
                faults.add(line, f"{what}--votes {file}=LOW:HIGH", ("outside", column))
            else:
                votes.add(photo, name if len(found) == 1 else f"{name}:{column}", vote, *scale)
    if faults:
        raise DataError(faults.texts())
    if not seen:
        image = as_text(rows[0][1].get("image")) if rows else None
        near = next(
            (os.path.dirname(path) for path in by_path if image and os.path.basename(path) == os.path.basename(image)),
            None,
        )
        advice = "" if near is None else f"; if they start from {near}, give --image_folder {near}"
        raise ValueError(
            f"{file}: none of its {len(rows)} rows is about one of the {len(photos)} photos; its column image has to "
            f"hold their names or paths{advice}"
        )


def _vote_columns(rows: Sequence[Mapping[str, object]], wanted: Sequence[str] | None, faults: Faults) -> list[str]:
    names = list(dict.fromkeys(name for row in rows for name in row))
    if rows and "image" not in names:
        faults.add(None, f"there is no column 'image', only {', '.join(names)}")
    if wanted is None:
        usual = [name for name in ("prediction", *SCORE_COLUMNS) if name in names][:1]
        if rows and not usual:
            faults.add(None, f"there is no column of votes; name some of {', '.join(names)} by --vote_columns")
        return usual
    if missing := [name for name in wanted if name not in names]:
        faults.add(None, f"there is no column {missing[0]!r}, only {', '.join(names)}")
    return [name for name in wanted if name in names]
