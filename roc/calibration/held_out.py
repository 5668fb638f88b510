"""Held-out ratings beside the scores of a model: what a calibration is fitted to."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from roc.calibration.options import CalibrateOptions
from roc.data.counts import counted
from roc.data.digest import picture_digest
from roc.data.records import Record
from roc.evaluation.evaluated_rows import evaluable
from roc.model.declaration import Declaration
from roc.score_space import ScoreSpace

if TYPE_CHECKING:
    from roc.scoring.results import Assessed
    from roc.scoring.run import Watch

logger = logging.getLogger(__name__)

_VALIDATION = ("val", "validation")


def read_held_out(options: CalibrateOptions, declaration: Declaration) -> tuple[list[Record], ScoreSpace]:
    """Reads the ratings that a calibration is fitted to.

    Args:
        options: File, split and scale.
        declaration: Of the model, without intervals.

    Returns:
        Records with one image and a rating each, on the scale of the returned space: the raters' own with
        `options.affine`, else the one that people rate on for the checkpoint.

    Raises:
        DataError: With all faults of the file.
        ValueError: If no row can be used, or ratings are on another scale than said.
    """
    from roc.evaluation.rating_scale import check_same_scale, mapped, own_ranges, rating_space, read_rated

    given = None if options.min_score is None else (options.min_score, options.max_score)
    own = own_ranges(options.attribute_ranges, declaration.attributes, options.checkpoint)
    space = declaration.rating_space
    scale = rating_space(
        space, given, own, map_range=options.map_range or options.affine, checkpoint=options.checkpoint
    )
    records = read_rated(
        options.data_path,
        options.image_folder,
        ratings=scale,
        space=space,
        attributes=declaration.attributes,
        split=None,
    )
    chosen = evaluable(_of_split(options, records))
    if not chosen:
        raise ValueError(f"{options.data_path} has no row with one image and a rating to calibrate on")
    if given is None:
        check_same_scale(chosen, space, options.checkpoint)
    return (chosen, scale) if options.affine else (mapped(chosen, scale, space), space)


def _of_split(options: CalibrateOptions, records: Sequence[Record]) -> list[Record]:
    """Chooses rows that were not trained on, as far as the file marks any."""
    marked = {record.split for record in records} - {None}
    split = options.split
    if split is None:
        split = "val" if "val" in marked else "test" if "test" in marked else "all"
        if split == "all" and marked:
            raise ValueError(
                f"{options.data_path} marks all of its rows as training rows; intervals fitted to what a model has "
                "learnt are too narrow. Give ratings that it was not trained on, or --split all if these were not"
            )
        if split != "all":
            logger.info("calibrating on the rows marked %s", split)
    if split == "all":
        trained = sum(record.split == "train" for record in records)
        if trained:
            logger.warning(
                "%s marked train; if the model was trained on them, intervals are too narrow",
                counted(trained, "row is", "rows are"),
            )
        return list(records)
    split = "val" if split in _VALIDATION else split
    chosen = [record for record in records if record.split == split]
    if not chosen:
        raise ValueError(f"{options.data_path} marks no row {split}; name another --split")
    return chosen


class HeldOut:
    """Ratings, the scores that a model gives their photos, and fingerprints of both.

    Args:
        records: With one image and at least one rating each.
        assessed: Their scores.
    """

    def __init__(self, records: Sequence[Record], assessed: Sequence[Assessed]) -> None:
        digests = [picture_digest(record.images[0]) for record in records]
        # By their content: an order that nobody chose, and the same one whenever the rows are read.
        order = sorted(range(len(records)), key=lambda place: (digests[place], place))
        self.records = [records[place] for place in order]
        self.assessed = [assessed[place] for place in order]
        self.digests = [digests[place] for place in order]

    @property
    def fingerprint(self) -> str:
        """Hash of all photos with their ratings, 16 hexadecimal digits; the order of the rows does not count."""
        rows = sorted(
            [digest, sorted(record.scores.items())] for digest, record in zip(self.digests, self.records, strict=True)
        )
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]

    def rated(self, attribute: str, part: slice = slice(None)) -> list[tuple[Record, Assessed]]:
        """Lists the photos, in the order of their fingerprints, that have a rating and a score of an attribute.

        Args:
            attribute: Name of the score.
            part: Which of all photos.
        """
        pairs = list(zip(self.records, self.assessed, strict=True))[part]
        return [
            (record, one)
            for record, one in pairs
            if attribute in record.scores
            and one.scores[attribute] is not None
            and math.isfinite(one.scores[attribute].value)
        ]


def score_held_out(
    options: CalibrateOptions, declaration: Declaration, records: Sequence[Record], watch: Watch
) -> HeldOut:
    """Scores the photos with the head as it is declared.

    Args:
        options: Checkpoint, device and speed.
        declaration: Of the model, without intervals.
        records: What `read_held_out` gives.
        watch: Sees the images as they are scored.
    """
    from roc.evaluation.scored_records import load_assessment, score_records
    from roc.model.declaration import declare

    assessment = load_assessment(options.checkpoint, options.device)
    declare(assessment.model, declaration)
    found = score_records(
        assessment,
        options.checkpoint,
        records,
        options.data_path,
        batch_size=options.batch_size,
        workers=options.workers,
        watch=watch,
    )
    return HeldOut(records, found)
