"""The scale of the ratings beside the range of a checkpoint: refused where they differ, or mapped when asked for.

Stars from 1 to 5 lie inside the range 1..10, so no single rating is out of place there, and yet every error would
compare two scales. A data file does not say its scale; the options may, and the ratings themselves give a hint.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from roc.data.reading import read_records
from roc.data.records import Record
from roc.data.rows import DataError
from roc.evaluation.keys import range_text
from roc.score_space import ScoreSpace

SUSPECT_ROWS = 10
"""From this many rows on, ratings that all lie in the lower half of the checkpoint's range look like another scale. Of
ten photos rated on the full range, as a rule at least one is above the middle."""

SUSPECT_STARS = 5
"""The same for ratings that are all whole or half numbers, as stars are. Below this, `find_caveats` mentions it."""


def rating_space(
    space: ScoreSpace, given: tuple[float, float] | None, *, map_range: bool, checkpoint: str | os.PathLike[str]
) -> ScoreSpace:
    """Decides which scale the ratings are on.

    Args:
        space: The range of the checkpoint.
        given: Lowest and highest rating that the options name; None where they name none.
        map_range: Whether ratings on another scale are to be mapped.
        checkpoint: Its name, for messages.

    Raises:
        ValueError: If the scales differ and nobody asked for a mapping.
    """
    if given is None:
        return space
    ratings = ScoreSpace(*given, num_levels=space.num_levels)
    if ratings.range != space.range and not map_range:
        raise ValueError(
            f"--min_score and --max_score say that the ratings are on {range_text(ratings.range)}, but {checkpoint} "
            f"scores on {range_text(space.range)}, so every error would compare two scales. Add --map_range to map "
            "the ratings onto the checkpoint's range, or leave both out if the ratings are on it"
        )
    return ratings


def read_rated(
    path: str | os.PathLike[str],
    image_folder: str | os.PathLike[str] | None,
    *,
    ratings: ScoreSpace,
    space: ScoreSpace,
    attributes: Sequence[str],
    split: str | None,
) -> list[Record]:
    """Reads rated rows; that their images can be opened is found out while they are scored.

    Args:
        path, image_folder, attributes, split: As for `read_records`.
        ratings: The scale of the ratings.
        space: The range of the checkpoint.

    Raises:
        DataError: With all faults of the file.
        ValueError: If ratings lie outside their scale; the message names both ranges.
    """

    def read(scale: ScoreSpace | None) -> list[Record]:
        return read_records(path, image_folder, space=scale, attributes=attributes, check_images=False, split=split)

    try:
        return read(ratings)
    except DataError as error:
        try:
            found = [score for record in read(None) for score in record.scores.values()]
        except ValueError:
            found = []
        if not found or all(ratings.min_score <= score <= ratings.max_score for score in found):
            raise
        outside = sum(not ratings.min_score <= score <= ratings.max_score for score in found)
        faults = str(error)
        if 2 * outside >= len(found):  # the scale is wrong, not the rows
            faults = f"{path}: {outside} of {len(found)} ratings lie outside the range {range_text(ratings.range)}."
        raise ValueError(
            f"{faults}\nThe ratings lie on {range_text((min(found), max(found)))}, the checkpoint scores on "
            f"{range_text(space.range)}. If they were given on another scale, name its ends and have it mapped: "
            "--min_score LOWEST --max_score HIGHEST --map_range"
        ) from error


def check_same_scale(records: Sequence[Record], space: ScoreSpace, checkpoint: str | os.PathLike[str]) -> None:
    """Refuses ratings that look as if they were given on a shorter scale than the checkpoint's range.

    Raises:
        ValueError: If no rating of at least `SUSPECT_ROWS` rows, or of `SUSPECT_STARS` rows with stars, is above the
            middle of the range.
    """
    found = [score for record in records for score in record.scores.values()]
    are_stars = all((2 * score).is_integer() for score in found)
    if len(records) < (SUSPECT_STARS if are_stars else SUSPECT_ROWS) or max(found) > space.midpoint:
        return
    low, high = (f"{value:g}" for value in space.range)
    raise ValueError(
        f"the ratings lie on {range_text((min(found), max(found)))} and {checkpoint} scores on "
        f"{range_text(space.range)}: none of {len(records)} rows is above the middle of that range, so they look like "
        "ratings on another scale. Say which scale they are on: its ends with --map_range, such as --min_score 1 "
        f"--max_score 5 --map_range, or, if it is the checkpoint's own, --min_score {low} --max_score {high}"
    )


def mapped(records: Sequence[Record], ratings: ScoreSpace, space: ScoreSpace) -> list[Record]:
    """Maps ratings linearly onto the range of the checkpoint, lowest onto lowest and highest onto highest."""
    factor = space.width / ratings.width
    return [
        replace(
            record,
            scores={
                name: space.min_score + (score - ratings.min_score) * factor for name, score in record.scores.items()
            },
            std=None if record.std is None else record.std * factor,
        )
        for record in records
    ]
