"""Records of a data file scored with a checkpoint through the scoring pipeline, which reads each image once.

Worker processes open and resize the images while the model scores. An image that cannot be read is found in the same
pass; all of them are reported together, each with its line in the data file.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import transformers
from PIL import Image

from roc.data.pictures import shown_path
from roc.data.records import Record
from roc.data.rows import DataError, Faults
from roc.evaluation.image_effect import image_effect, sample_pictures
from roc.model.adapters import lora_state
from roc.model.scales import DataScale
from roc.scoring.assessment import Assessment
from roc.scoring.batches import OutOfMemory, Scorer, Wanted
from roc.scoring.local import score_images
from roc.scoring.reasoning import Sampling
from roc.scoring.results import Assessed
from roc.scoring.run import Watch
from roc.scoring.scales import on_scale
from roc.scoring.sources import Source


class _PlainScorer(Scorer):
    """A scorer that gives the scores of an image as they are instead of the columns of a table."""

    def row(self, assessed: Assessed) -> dict[str, Any]:
        return {"assessed": assessed}


def load_assessment(pretrained: str, device: str | None = None) -> Assessment:
    """Loads a checkpoint, without the progress bars and warnings of transformers.

    Args:
        pretrained: Folder or hub id.
        device: "cuda", "mps", "cpu", ...; None takes the first of these that is there.
    """
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return Assessment(pretrained, device=device)


def image_metrics(assessment: Assessment, paths: Sequence[str], scale: DataScale | None = None) -> dict[str, Any]:
    """Measures whether the first score depends on the image, and finds what makes the numbers of a checkpoint void.

    Args:
        assessment: The model.
        paths: Images that it scored; a sample of them is scored again.
        scale: Of a data set, on which the scores are read; None = the declared one.

    Returns:
        Keys of an evaluation: those of `ImageEffect.to_metrics` where an image can be read; `untrained`,
        `idle_adapter` and `stand_in` (with `trained_on`) where they are true.
    """
    model, first = assessment.model, assessment.attributes[0]
    found: dict[str, Any] = {}
    if model.declaration.stand_in:
        found |= {"stand_in": True, "trained_on": model.declaration.dataset}
    if not any(bool(parameter.any()) for parameter in model.score_head.parameters()):
        found["untrained"] = True
    if lora_state(model) in ("initial", "zero"):
        found["idle_adapter"] = True

    def score(pictures: Sequence[Image.Image]) -> list[float]:
        found = assessment.score(pictures, [first])
        return [(one if scale is None else on_scale(one, scale)).scores[first].value for one in found]

    pictures = sample_pictures(paths)
    return found | (image_effect(score, pictures).to_metrics() if pictures else {})


def score_records(
    assessment: Assessment,
    pretrained: str | os.PathLike[str],
    records: Sequence[Record],
    data_path: str | os.PathLike[str],
    *,
    batch_size: int | None = None,
    workers: int | None = None,
    sampling: Sampling | None = None,
    watch: Watch = lambda rows, total, done: rows,
) -> list[Assessed]:
    """Scores records, one forward pass per batch.

    Args:
        assessment: The model.
        pretrained: The checkpoint that it was loaded from; worker processes read its processor.
        records: With one image each.
        data_path: The file that the records come from, for messages.
        batch_size: Images per forward pass; None finds one while scoring.
        workers: Processes that read and resize images; 0 does it in this process, None takes as many as fit this
            machine.
        sampling: Has a model that reasons write critiques, and how; None scores in one forward pass.
        watch: Sees the rows as they are done; it may draw a progress bar.

    Returns:
        The scores of each record, in order.

    Raises:
        DataError: With all images that cannot be read.
        ValueError: If not even one image fits into memory.
    """
    lines: dict[str, list[int | None]] = {}
    for record in records:
        lines.setdefault(record.images[0], []).append(record.line)
    wanted = Wanted(assessment.attributes)
    if sampling is not None:
        wanted = Wanted(assessment.attributes, describe=True, sampling=sampling)
    scorer = _PlainScorer(assessment, wanted, batch_size)
    sources = [Source(image, image) for image in lines]
    rows = score_images(scorer, sources, pretrained, workers=workers)
    faults = Faults(Path(data_path))
    assessed: dict[str, Assessed] = {}
    try:
        for row in watch(rows, len(sources), 0):
            image = row["image"]
            if "error" in row:
                for line in lines[image]:
                    faults.add(line, f"{shown_path(image)}: {row['error']}")
            else:
                assessed[image] = row["assessed"]
    except OutOfMemory as error:
        raise ValueError(f"{error}; free some, or choose another --device") from error
    if faults:
        raise DataError(faults.texts())
    return [assessed[record.images[0]] for record in records]
