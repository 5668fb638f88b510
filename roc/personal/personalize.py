"""The work of `roc personalize`: features of the rated photos, the verdict on held-out ones, and the head's file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import transformers

from roc.checkpoint.head_file import read_declaration
from roc.checkpoint.personal_head import PersonalHead, base_facts, personal_declaration
from roc.data.digest import content_digest
from roc.data.pictures import shown_path
from roc.data.rows import DataError, Faults
from roc.model.declaration import Declaration, declare
from roc.model.personal import read_personal_file
from roc.personal.features import Features
from roc.personal.fit import Flat, fit
from roc.personal.opinions import Pairs
from roc.personal.options import PersonalOptions
from roc.personal.rated import Rated, read_rated
from roc.personal.validation import Verdict, validate
from roc.scoring.assessment import Assessment
from roc.scoring.batches import OutOfMemory
from roc.scoring.features import FeatureScorer
from roc.scoring.local import score_images
from roc.scoring.run import Watch
from roc.scoring.sources import Source


class Personalized(NamedTuple):
    """What came of the ratings.

    Attributes:
        verdict: Personal against general score on held-out photos.
        photos: Number of photos.
        file: The head; None where it does not help and nothing was written.
    """

    verdict: Verdict
    photos: int
    file: Path | None


def personalize(options: PersonalOptions, watch: Watch = lambda rows, total, done: rows) -> Personalized:
    """Fits a personal head, and writes it if it helps.

    Args:
        options: The checkpoint, the ratings and the file to write.
        watch: Sees the photos as they are done; it may draw a progress bar.

    Raises:
        DataError: With all faults of the data file and its photos.
        ValueError: If the checkpoint or the ratings cannot be used.
        FileExistsError: If `out` is there, and is not to be replaced or no personal head.
    """
    out = Path(options.out)
    check_out(out, overwrite=options.overwrite)
    # All that is known without the weights comes first, since a large model loads for minutes.
    declaration = read_declaration(options.checkpoint)
    check_general(declaration)
    rated = read_rated(options.data_path, options.image_folder, declaration.attributes[0])
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    assessment = Assessment(options.checkpoint, device=options.device)
    declare(assessment.model, assessment.model.declaration.uncalibrated())
    features = photo_features(assessment, rated, options, watch)
    try:
        verdict = validate(features, rated.opinions)
        if not verdict.helps:
            return Personalized(verdict, len(features), None)
        direction = fit(features, rated.opinions).direction
    except Flat as error:
        raise ValueError(
            f"{options.checkpoint}: {error}; train it, or take another checkpoint: there is nothing to move"
        ) from error
    pairs = len(rated.opinions) if isinstance(rated.opinions, Pairs) else 0
    personal = verdict.entry(content_digest(Path(options.data_path)) or "", len(features), pairs)
    base = options.checkpoint
    head = PersonalHead(
        declaration=personal_declaration(assessment.model.declaration, personal),
        direction=tuple(float(np.float32(value)) for value in direction),
        base=os.path.abspath(base) if os.path.isdir(base) else base,
        facts=base_facts(assessment.model),
    )
    head.write(out)
    return Personalized(verdict, len(features), out)


def check_out(out: Path, *, overwrite: bool) -> None:
    """Makes sure that a head can be written, without replacing anything but an older head.

    Raises:
        FileExistsError: If `out` is there, and is not to be replaced or no personal head.
        ValueError: If its folder cannot be written to.
    """
    if out.exists():
        if not overwrite:
            raise FileExistsError(f"{out} is there already; name another --out, or replace it with --overwrite")
        try:
            read_personal_file(out)
        except ValueError as error:
            raise FileExistsError(f"{out} is there and is no personal head, so it stays; name another --out") from error
    # The folder is made when there is something to write into it.
    there = next(folder for folder in (out.parent, *out.parent.absolute().parents) if folder.exists())
    if not there.is_dir():
        raise ValueError(f"{out.parent} cannot be made a folder: {there} is a file; name another --out")
    if not os.access(there, os.W_OK):
        raise ValueError(f"{there} cannot be written to; name another --out")


def check_general(declaration: Declaration) -> None:
    """Makes sure that a checkpoint gives the general score.

    Raises:
        ValueError: If it is a personal head itself.
    """
    if declaration.personal is not None:
        raise ValueError("this is a personal head already; name the checkpoint it belongs to, and all of the ratings")


def photo_features(assessment: Assessment, rated: Rated, options: PersonalOptions, watch: Watch) -> Features:
    """Runs the model on the photos of a data file, each once.

    Raises:
        DataError: With all photos that cannot be read.
        ValueError: If not even one photo fits into memory.
    """
    scorer = FeatureScorer(assessment)
    sources = [Source(image, image) for image in rated.images]
    rows = score_images(scorer, sources, options.checkpoint, workers=options.workers)
    faults, found = Faults(Path(options.data_path)), []
    try:
        for row in watch(rows, len(sources), 0):
            if "error" in row:
                for line in rated.lines[row["image"]]:
                    faults.add(line, f"{shown_path(row['image'])}: {row['error']}")
            else:
                found.append(row["feature"])
    except OutOfMemory as error:
        raise ValueError(f"{error}; free some, or choose another --device") from error
    if faults:
        raise DataError(faults.texts())
    logits, hidden = (np.array(part, dtype=np.float64) for part in zip(*found, strict=True))
    levels = np.array(assessment.model.score_levels().tolist())
    return Features(logits, hidden, levels)
