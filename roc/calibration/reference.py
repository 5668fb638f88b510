"""A reference from photos to the declaration on disk: the work of `roc reference`."""

from __future__ import annotations

import hashlib
import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import roc
from roc.calibration.options import ReferenceOptions
from roc.data.counts import counted
from roc.model.calibration import quantiles_of
from roc.model.reference import Reference

if TYPE_CHECKING:
    from roc.scoring.run import Watch

logger = logging.getLogger(__name__)

FEWEST_PHOTOS = 20
"""Of fewer photos a percentile would be a step of more than 5."""


class Referenced(NamedTuple):
    """A reference that was made.

    Attributes:
        reference: As it stands in the checkpoint now.
        failed: Photo -> why it could not be scored.
    """

    reference: Reference
    failed: dict[str, str]


def make_reference(options: ReferenceOptions, watch: Watch = lambda rows, total, done: rows) -> Referenced:
    """Scores a set of photos, and writes the distribution of their scores into the declaration of the checkpoint.

    Args:
        options: Checkpoint and photos.
        watch: Sees the photos as they are scored; it may draw a progress bar.

    Raises:
        ValueError: If checkpoint or photos cannot be used, there are fewer than `FEWEST_PHOTOS`, or half of them have
            one and the same score.
        OSError: If the declaration cannot be written.
    """
    from roc.checkpoint.declared import declaring_file, write_declaration
    from roc.scoring.sources import find_sources

    declaring_file(options.checkpoint)
    sources = find_sources(options.photos).sources
    if len(sources) < FEWEST_PHOTOS:
        came = counted(len(sources), "photo")
        raise ValueError(f"{came} to compare with; give {FEWEST_PHOTOS} or more")

    from roc.evaluation.scored_records import load_assessment
    from roc.scoring.batches import OutOfMemory, Scorer, Wanted
    from roc.scoring.local import score_images
    from roc.scoring.stamps import STAMP

    assessment = load_assessment(options.checkpoint, options.device)
    declaration = assessment.model.declaration
    scorer = Scorer(assessment, Wanted(assessment.attributes), options.batch_size)
    values: dict[str, list[float]] = {name: [] for name in assessment.attributes}
    failed: dict[str, str] = {}
    digests: list[str] = []
    rows = score_images(scorer, sources, options.checkpoint, workers=options.workers)
    try:
        for row in watch(rows, len(sources), 0):
            if "error" in row:
                failed[row["image"]] = row["error"]
                continue
            for place, (name, found) in enumerate(values.items()):
                found.append(row["prediction" if place == 0 else f"prediction.{name}"])
            digests.append(f"{(row.get(STAMP) or [row['image']])[-1]}")
    except OutOfMemory as error:
        raise ValueError(f"{error}; free some, or choose another --device") from error
    scored = len(digests)
    if scored < FEWEST_PHOTOS:
        first = next(iter(failed.items()), ("", ""))
        raise ValueError(
            f"{scored} of {len(sources)} photos could be scored; {FEWEST_PHOTOS} or more are needed ({first[0]}: "
            f"{first[1]})"
        )
    reference = Reference(
        name=options.name or _name(options.photos),
        data=hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()[:16],
        photos=scored,
        quantiles={name: quantiles_of(found) for name, found in values.items()},
        version=roc.__version__,
    )
    write_declaration(options.checkpoint, replace(declaration, reference=reference))
    return Referenced(reference, failed)


def _name(words: tuple[str, ...]) -> str:
    """Names a set of photos by the folder, list or pattern given; of several, by the folder that holds them all."""
    if any("://" in word for word in words):
        return words[0].rstrip("/").rpartition("/")[2]
    paths = [Path(word).resolve() for word in words]
    return (paths[0] if len(paths) == 1 else Path(os.path.commonpath(paths))).name or "photos"
