"""One's own data file: ratings of photos, or pairs of photos, told apart by the columns."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from roc.data.counts import counted
from roc.data.pairs import read_pairs
from roc.data.pictures import shown_path
from roc.data.reading import read_records
from roc.data.rows import DataError, Faults, iter_rows
from roc.personal.opinions import Opinions, Pairs, Ratings
from roc.personal.options import FEWEST


class Rated(NamedTuple):
    """What the file says.

    Attributes:
        images: Paths of the n photos, each once.
        opinions: On them.
        lines: Path -> the lines that name it.
    """

    images: list[str]
    opinions: Opinions
    lines: dict[str, list[int | None]]


def read_rated(path: str | os.PathLike[str], image_folder: str | os.PathLike[str] | None, attribute: str) -> Rated:
    """Reads ratings or pairs.

    Args:
        path: A file with the columns image and score, or image_a, image_b and preferred or delta.
        image_folder: Folder that its paths are relative to; None = that of the file.
        attribute: Name of the score that is personalised; ratings are read from the column of its name, or `score`.

    Raises:
        DataError: With all faults of the file.
        ValueError: If there are too few, or all say the same.
    """
    first = next(iter(iter_rows(Path(path), Faults(Path(path)))), (0, {}))[1]
    pairs = any(name in first for name in ("image_a", "image_b", "preferred"))
    if pairs:
        return _pairs(path, image_folder)
    try:
        return _ratings(path, image_folder, attribute)
    except DataError as error:
        if first and error.faults[0].startswith(f"{path}: "):  # a fault of the columns
            raise DataError(error.faults, "A file of pairs has the columns image_a, image_b and preferred.") from error
        raise


def _ratings(path: str | os.PathLike[str], image_folder: str | os.PathLike[str] | None, attribute: str) -> Rated:
    records = read_records(path, image_folder, space=None, check_images=False)
    faults, values, lines = Faults(Path(path)), {}, {}
    for record in records:
        rating = record.scores.get(attribute, record.scores.get("overall"))
        if len(record.images) != 1:
            faults.add(record.line, f"this row has {len(record.images)} pictures; expected one with its rating")
        elif rating is None:
            faults.add(record.line, f"{shown_path(record.images[0])} has no rating; give the column 'score' a number")
        elif record.images[0] in values:
            faults.add(record.line, f"{shown_path(record.images[0])} is rated twice; keep one of the two")
        else:
            values[record.images[0]] = rating
            lines[record.images[0]] = [record.line]
    if faults:
        raise DataError(faults.texts())
    check_ratings(list(values.values()), str(path))
    return Rated(list(values), Ratings(np.array(list(values.values()), dtype=np.float64)), lines)


def check_ratings(values: list[float], where: str) -> None:
    """Makes sure that ratings are enough and not all the same.

    Raises:
        ValueError: If they are not.
    """
    if len(values) < FEWEST:
        raise ValueError(
            f"{where} holds {counted(len(values), 'rating')}; expected at least {FEWEST}: rate more photos"
        )
    if len(set(values)) == 1:
        raise ValueError(
            f"all {len(values)} ratings of {where} are {values[0]:g}, so they say nothing about which photo is better; "
            "rate some photos higher and some lower"
        )


def _pairs(path: str | os.PathLike[str], image_folder: str | os.PathLike[str] | None) -> Rated:
    pairs = read_pairs(path, image_folder, check_images=False)
    lines: dict[str, list[int | None]] = {}
    for pair in pairs:
        for image in pair.images:
            lines.setdefault(image, []).append(pair.line)
    places = {image: place for place, image in enumerate(lines)}
    wins = np.array([pair.wins for pair in pairs])
    check_pairs(int((wins != 0.5).sum()), str(path))
    ends = np.array([[places[image] for image in pair.images] for pair in pairs])
    return Rated(list(places), Pairs(ends, wins), lines)


def check_pairs(decided: int, where: str) -> None:
    """Makes sure that pairs are enough.

    Args:
        decided: Number of those that are no ties.
        where: What holds them, for the message.

    Raises:
        ValueError: If they are not.
    """
    if decided < FEWEST:
        raise ValueError(
            f"{where} holds {decided} pairs with a preferred photo; expected at least {FEWEST}: compare more"
        )
