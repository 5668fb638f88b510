"""The two data sets of the comparison: scenes whose leading attribute is known, and rated photos, made small."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from claims import choose_photos
from PIL import Image

from roc.data.images import open_image
from roc.data.reading import read_records
from roc.data.records import Record
from roc.data.rows import write_rows
from roc.files import write_folder
from roc.score_space import ScoreSpace

from . import scenes

_FEWEST = {"train": 16, "val": 3, "test": 12}


@dataclass(frozen=True)
class Data:
    """A data set on disk.

    Attributes:
        name: "scenes" or "photos".
        title: In the report.
        folder: Holds `learn.csv` (training and validation), `test.csv` and the pictures.
        space: Range of the scores.
    """

    name: str
    title: str
    folder: Path
    space: ScoreSpace

    @property
    def learn(self) -> Path:
        """File of the training and validation rows."""
        return self.folder / scenes.LEARN_FILE

    @property
    def test(self) -> Path:
        """File of the test rows."""
        return self.folder / scenes.TEST_FILE

    def tested(self) -> list[Record]:
        """Reads the test rows."""
        return read_records(self.test, space=self.space, check_images=False)

    def leading(self) -> dict[str, str] | None:
        """Reads the known leading attribute of every picture; None for photos."""
        return scenes.leading_of(self.folder) if self.name == "scenes" else None


def demo_scenes(folder: Path, counts: dict[str, int], side: int) -> Data:
    """Draws the scenes, unless they are there."""
    scenes.draw(folder, counts, side)
    shown = ", ".join(f"{count} {split}" for split, count in counts.items())
    space = ScoreSpace(scenes.MIN_SCORE, scenes.MAX_SCORE, 10)
    return Data("scenes", f"scenes of {side} x {side} pixels whose leading attribute is known ({shown})", folder, space)


def photos(
    folder: Path, path: Path, image_folder: str | None, space: ScoreSpace, counts: dict[str, int], side: int
) -> Data:
    """Takes rated photos of a file, at most `counts` of each split, squeezed to squares of `side` pixels.

    Which ones is decided by a hash of their ids. Without test rows, a fifth of the training rows is the test.

    Raises:
        DataError: With all faults of the file.
        ValueError: If a split is too small to train on or to tell anything.
    """
    chosen = choose_photos(path, image_folder, space, counts, _FEWEST, salt="agree-claim")
    # Pictures that another file has left in this folder are not mistaken for these.
    told = json.dumps([os.fspath(image_folder or ""), counts, side]).encode()
    folder /= hashlib.sha256(path.read_bytes() + told).hexdigest()[:12]
    if not folder.is_dir():
        write_folder(folder, lambda partial: _squeeze(partial, chosen, side))
    shown = ", ".join(f"{len(chosen[split])} {split}" for split in counts)
    return Data("photos", f"{path.name}, squeezed to {side} x {side} pixels ({shown})", folder, space)


def _squeeze(folder: Path, splits: dict[str, list[Record]], side: int) -> None:
    (folder / "images").mkdir(parents=True)
    rows: dict[str, list[dict[str, object]]] = {scenes.LEARN_FILE: [], scenes.TEST_FILE: []}
    for split, records in splits.items():
        for number, record in enumerate(records):
            image = f"images/{split}_{number}.png"
            open_image(record.images[0]).resize((side, side), Image.Resampling.BICUBIC).save(folder / image)
            row = {"id": record.id, "image": image, "score": record.scores["overall"], "split": split}
            rows[scenes.TEST_FILE if split == "test" else scenes.LEARN_FILE].append(row)
    for file, found in rows.items():
        write_rows(folder / file, found)
