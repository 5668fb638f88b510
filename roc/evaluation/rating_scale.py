"""The scale of the ratings beside the range of a checkpoint: refused where they differ, or mapped when asked for.

Stars from 1 to 5 lie inside the range 1..10, so no single rating is out of place there, and yet every error would
compare two scales. A data file does not say its scale; the options may, and the ratings themselves give a hint.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace

from roc.data.reading import read_records
from roc.data.records import Record
from roc.data.rows import DataError
from roc.evaluation.keys import range_text
from roc.score_space import Range, ScoreSpace, parse_ranges

SUSPECT_ROWS = 10
"""From this many rows on, ratings that all lie in the lower half of the checkpoint's range look like another scale. Of
ten photos rated on the full range, as a rule at least one is above the middle."""

SUSPECT_STARS = 5
"""The same for ratings that are all whole or half numbers, as stars are. Below this, `find_caveats` mentions it."""


def own_ranges(texts: Sequence[str], attributes: Sequence[str], checkpoint: str | os.PathLike[str]) -> dict[str, Range]:
    """Reads `--attribute_ranges`: attribute -> the range of its ratings.

    Args:
        texts: `NAME=LOWEST:HIGHEST`.
        attributes: Of the checkpoint.
        checkpoint: Its name, for messages.

    Raises:
        ValueError: If a text has another form, or the checkpoint does not score an attribute.
    """
    own = parse_ranges(texts)
    unknown = [name for name in own if name not in attributes]
    if unknown:
        raise ValueError(
            f"--attribute_ranges names {', '.join(unknown)}, but {checkpoint} scores {', '.join(attributes)}; correct "
            "the name, or leave it out"
        )
    return own


def rating_space(
    space: ScoreSpace,
    given: Range | None,
    own: Mapping[str, Range] | None = None,
    *,
    map_range: bool,
    checkpoint: str | os.PathLike[str],
) -> ScoreSpace:
    """Decides which scale the ratings are on.

    Args:
        space: The ranges of the checkpoint.
        given: Lowest and highest rating that the options name; None where they name none.
        own: Attribute -> the same of its ratings. An attribute that is not named, and has a range of its own in the
            checkpoint, is rated on that.
        map_range: Whether ratings on another scale are to be mapped.
        checkpoint: Its name, for messages.

    Raises:
        ValueError: If the scales differ and nobody asked for a mapping.
    """
    low, high = given or space.range
    ranges = {**space.attribute_ranges, **(own or {})}
    ratings = replace(space, min_score=low, max_score=high, attribute_ranges=ranges)
    others = [name for name in (*ratings.attribute_ranges, *space.attribute_ranges) if _moves(ratings, space, name)]
    if map_range or (ratings.range == space.range and not others):
        return ratings
    of, flags, theirs, ours = "", "--min_score and --max_score say", ratings.range, space.range
    if theirs == ours:
        of, flags = f" of {others[0]}", "--attribute_ranges says"
        theirs, ours = ratings.of(others[0]).range, space.of(others[0]).range
    raise ValueError(
        f"{flags} that the ratings{of} are on {range_text(theirs)}, but {checkpoint} scores{of and ' it'} on "
        f"{range_text(ours)}, so every error would compare two scales. Add --map_range to map the ratings onto the "
        "checkpoint's range, or leave both out if the ratings are on it"
    )


def _moves(ratings: ScoreSpace, space: ScoreSpace, attribute: str) -> bool:
    return ratings.of(attribute).range != space.of(attribute).range


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
        space: The ranges of the checkpoint.

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
            found = [pair for record in read(None) for pair in record.scores.items()]
        except ValueError:
            found = []
        name = next((name for name, score in found if not _inside(ratings.of(name), score)), None)
        if name is None:
            raise
        scale, own = ratings.of(name).range, name in ratings.attribute_ranges
        alike = {name} if own else {other for other, _ in found} - set(ratings.attribute_ranges)
        scores = [score for other, score in found if other in alike]
        outside = sum(not _inside(ratings.of(name), score) for score in scores)
        what = f"ratings of {name}" if own else "ratings"
        faults = str(error)
        if 2 * outside >= len(scores):  # the scale is wrong, not the rows
            faults = f"{path}: {outside} of {len(scores)} {what} lie outside the range {range_text(scale)}."
        ends = f"--attribute_ranges {name}=LOWEST:HIGHEST" if own else "--min_score LOWEST --max_score HIGHEST"
        raise ValueError(
            f"{faults}\nThe {what} lie on {range_text((min(scores), max(scores)))}, the checkpoint scores on "
            f"{range_text(space.of(name).range)}. If they were given on another scale, name its ends and have it "
            f"mapped: {ends} --map_range"
        ) from error


def _inside(space: ScoreSpace, score: float) -> bool:
    return space.min_score <= score <= space.max_score


def check_same_scale(records: Sequence[Record], space: ScoreSpace, checkpoint: str | os.PathLike[str]) -> None:
    """Refuses ratings that look as if they were given on a shorter scale than the checkpoint's range.

    Raises:
        ValueError: If no rating of at least `SUSPECT_ROWS` rows, or of `SUSPECT_STARS` rows with stars, is above the
            middle of the range.
    """
    found = [
        score
        for record in records
        for name, score in record.scores.items()
        if name not in space.attribute_ranges  # those lie on both sides of the middle of another range
    ]
    are_stars = all((2 * score).is_integer() for score in found)
    if not found or len(records) < (SUSPECT_STARS if are_stars else SUSPECT_ROWS) or max(found) > space.midpoint:
        return
    low, high = (f"{value:g}" for value in space.range)
    raise ValueError(
        f"the ratings lie on {range_text((min(found), max(found)))} and {checkpoint} scores on "
        f"{range_text(space.range)}: none of {len(records)} rows is above the middle of that range, so they look like "
        "ratings on another scale. Say which scale they are on: its ends with --map_range, such as --min_score 1 "
        f"--max_score 5 --map_range, or, if it is the checkpoint's own, --min_score {low} --max_score {high}"
    )


def mapped(records: Sequence[Record], ratings: ScoreSpace, space: ScoreSpace) -> list[Record]:
    """Maps ratings linearly onto the ranges of the checkpoint, lowest onto lowest and highest onto highest.

    Ratings that are on the checkpoint's range already stay as they are.
    """

    def score_of(name: str, score: float) -> float:
        if not _moves(ratings, space, name):
            return score
        theirs, ours = ratings.of(name), space.of(name)
        return ours.min_score + (score - theirs.min_score) * (ours.width / theirs.width)

    factor = space.width / ratings.width
    return [
        replace(
            record,
            scores={name: score_of(name, score) for name, score in record.scores.items()},
            std=None if record.std is None else record.std * factor,
        )
        for record in records
    ]
