"""The local engine: many images scored on this machine, prepared in worker processes ahead of the model."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from typing import Any

from roc.model.device import default_workers, usable_cores
from roc.model.float32_tower import picture_dtype
from roc.scoring.batches import Scorer, by_shape
from roc.scoring.prepare import Preparation, Prepared, prepare
from roc.scoring.sources import Source
from roc.scoring.stamps import STAMP, Stamp

logger = logging.getLogger(__name__)


def score_images(
    scorer: Scorer,
    sources: Sequence[Source],
    pretrained: str | os.PathLike[str],
    *,
    workers: int | None = None,
    image_seconds: float | None = None,
) -> Iterator[dict[str, Any]]:
    """Scores images on this machine.

    Args:
        scorer: The model and what its rows should hold.
        sources: The images.
        pretrained: The checkpoint that the scorer's model comes from.
        workers: Processes that read and resize; 0 does it in this process, None takes as many as fit this machine.
        image_seconds: Longest time to read and resize one image; None for no limit.

    Yields:
        One row per image in the order of `sources`, as soon as it and all before it are done: `image` and the columns
        of `Scorer.row`, or `image` and `error`; and `file`, the stamp of its file, where it has one.

    Raises:
        OutOfMemory: A single image does not fit into memory.
    """
    assessment = scorer.assessment
    dtype = picture_dtype(assessment.model)
    dataset = Preparation(sources, pretrained, assessment.collator, dtype, scorer.places, True, assessment.lookups)
    if workers is None:
        workers = default_workers(assessment.model.device.type)
    elif workers > usable_cores():
        logger.warning("%d workers share %d CPU cores; fewer may be faster", workers, usable_cores())
    done: dict[int, dict[str, Any]] = {}
    stamps: dict[int, Stamp] = {}
    following = 0

    def readable() -> Iterator[Prepared]:
        for prepared in prepare(dataset, workers, image_seconds):
            if prepared.stamp is not None:
                stamps[prepared.index] = prepared.stamp
            if prepared.inputs is None:
                done[prepared.index] = {"error": prepared.fault}
            else:
                yield prepared

    def row_of(index: int) -> dict[str, Any]:
        stamp = {STAMP: stamps.pop(index)} if index in stamps else {}
        return {"image": sources[index].name} | done.pop(index) | stamp

    for index, row in scorer.score(by_shape(readable(), lambda: scorer.batch.size)):
        done[index] = row
        while following in done:
            yield row_of(following)
            following += 1
    while following < len(sources):
        yield row_of(following)
        following += 1
