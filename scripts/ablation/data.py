"""The data of the comparison: the demo's scenes, or a rated file with pictures shrunk to the model's input size."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from roc.data.images import open_image
from roc.data.reading import read_records
from roc.data.records import Record, resolve_splits, split_by_id
from roc.demo.dataset import RATINGS_FILE, write_dataset
from roc.files import write_whole
from roc.model.device import usable_cores
from roc.prompts import QUESTIONS, SCORE_TOKEN, answer, question
from roc.score_space import ScoreSpace

from .arms import SENTENCE, WORDS
from .base import Base

# Often enough that the five words become one token each, as in the published models.
_REPEATS = 200
# Side of the demo's scenes for a model that takes pictures of any size.
_USUAL_SIZE = 128


@dataclasses.dataclass(frozen=True)
class Data:
    """The data that all runs share.

    Attributes:
        name: Its name in the report.
        space: Native scale and number of levels.
        records: By split, "train", "val" (chooses the learning rate) and "test" (reported).
        base: The model that is taught.
        features: Folder for outputs of a frozen vision tower, which all runs share; None keeps none.
    """

    name: str
    space: ScoreSpace
    records: dict[str, list[Record]]
    base: Base
    features: Path | None = None

    @property
    def has_comments(self) -> bool:
        """Whether any training row has a comment."""
        return any(record.comment for record in self.records["train"])

    @property
    def has_histograms(self) -> bool:
        """Whether any training row has a histogram."""
        return any("overall" in record.histograms for record in self.records["train"])

    def texts(self) -> list[str]:
        """Collects the tokenizer's training texts; all arms share them, so that they start from the same weights."""
        comments = [record.comment for record in self.records["train"] if record.comment]
        levels = [SENTENCE.replace(SCORE_TOKEN, word) for word in WORDS]
        return [*QUESTIONS, question(), answer(), *levels * _REPEATS, *comments[:2000]]


def demo(folder: Path, counts: tuple[int, int, int], base: Base, *, draw: bool) -> Data:
    """Takes the demo's scenes; `draw` draws those that are not there yet."""
    path = folder / RATINGS_FILE
    if draw:
        size = base.picture_size() or _USUAL_SIZE
        write_dataset(folder, *counts, size=size, seed=0, workers=usable_cores())
    space = ScoreSpace(1, 10, 10)
    name = f"demo scenes ({', '.join(map(str, counts))} for training, validation, test)"
    return Data(name, space, _splits(path, None, space), base)


def own(path: Path, image_folder: Path | None, space: ScoreSpace, folder: Path | None, base: Base) -> Data:
    """Reads a rated file; its pictures are shrunk into `folder` once, where the model takes squares of one size.

    Without a folder they stay as they are: where nothing is trained, they are not needed.

    Raises:
        DataError: With all faults of the file.
        ValueError: If a split is too small to train on or to tell anything.
    """
    splits, name = _splits(path, image_folder, space), path.name
    if not splits["test"]:
        # Taken from the training rows, so that nothing the file marks as validation is reported.
        splits["train"], splits["test"] = split_by_id(splits["train"], 0.2, salt="ablation")
        name += " (a fifth of its training rows, by a hash of their ids, is the test)"
    for split, fewest in (("train", 2), ("val", 3), ("test", 3)):
        if len(splits[split]) < fewest:
            raise ValueError(
                f"{path}: {len(splits[split])} usable {split} rows, at least {fewest} are needed; usable is a row with "
                "one picture and an overall score, and a column 'split' says what it is for"
            )
    size = None if folder is None else base.picture_size()
    if size is None:
        return Data(name, space, splits, base)
    # Pictures that another file has left in this folder, or this one from another place, are not mistaken for these.
    folder /= hashlib.sha256(path.read_bytes() + os.fsencode(f"{image_folder} {size}")).hexdigest()[:12]
    shrunk = {split: _shrunk(records, folder / split, size) for split, records in splits.items()}
    return Data(name, space, shrunk, base)


def _splits(path: Path, image_folder: Path | None, space: ScoreSpace) -> dict[str, list[Record]]:
    """Reads the rows with one picture and an overall score, by split."""
    records = read_records(path, image_folder, space=space, num_levels=space.num_levels, check_images=False)
    usable = [record for record in records if len(record.images) == 1 and "overall" in record.scores]
    return resolve_splits(usable, val_fraction=0.1)


def _shrunk(records: list[Record], folder: Path, size: int) -> list[Record]:
    """Resizes the pictures to squares of `size`, as the model's processor would."""

    def shrink(numbered: tuple[int, Record]) -> Record:
        number, record = numbered
        target = folder / f"{number}.png"
        if not target.exists():
            square = open_image(record.images[0]).resize((size, size), Image.Resampling.BICUBIC)
            write_whole(target, lambda path: square.save(path, format="PNG"))
        return dataclasses.replace(record, images=(str(target),))

    with ThreadPoolExecutor() as pool:
        return list(pool.map(shrink, enumerate(records)))
