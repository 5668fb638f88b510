"""A scoring run: images found, scored by an engine, journalled, and written out; killed at any moment, it goes on.

`score_paths` gives rows and writes nothing. `score_to_file` writes an output and the files beside it
(roc/scoring/outputs.py). While it works, every row goes into the journal, from which the same run goes on; a finished
run is recognised by `scores.run.json` and only chosen from anew.

PyTorch is imported once the images are found, so that a wrong path is told at once.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import roc
from roc.scoring.journal import Journal
from roc.scoring.options import NEW_RAY, ScoreOptions
from roc.scoring.outputs import Facts, Outputs, check_outputs, make_folders
from roc.scoring.selection import select
from roc.scoring.sources import Source, find_sources

if TYPE_CHECKING:
    from roc.scoring.batches import Scorer
    from roc.scoring.cluster import Cluster

logger = logging.getLogger(__name__)

Row = dict[str, Any]
Watch = Callable[[Iterator[Row], int, int], Iterable[Row]]
"""Takes rows as they are done, the number of all images and how many were done before; gives the rows on. It may draw a
progress bar."""


class Scores(NamedTuple):
    """Rows of a run that writes no file.

    Attributes:
        overall: Name of the score in their column `prediction`.
        rows: As they are done, in the order of the input.
    """

    overall: str
    rows: Iterator[Row]


@dataclass(frozen=True)
class Outcome:
    """What a run has done.

    Attributes:
        facts: What stands in `scores.run.json`.
        scored: Images scored by this command; None where the run was finished before.
        seconds: How long that took, without loading the model.
        chosen: How many images were chosen; None where that was not asked for.
    """

    facts: Facts
    scored: int | None
    seconds: float
    chosen: int | None


def score_paths(options: ScoreOptions) -> Scores:
    """Scores images and keeps nothing.

    Args:
        options: What to score, with which model.

    Raises:
        ValueError: The images or the checkpoint cannot be used, or a single image does not fit into memory.
    """
    sources = _found(options)
    scorer = _scorer(options)
    return Scores(scorer.assessment.attributes[0], _scored(options, scorer, sources))


def score_to_file(options: ScoreOptions, watch: Watch = lambda rows, total, done: rows) -> Outcome:
    """Scores images into a file, or goes on with doing so; what was scored before is not scored again.

    Args:
        options: What to score, with which model, and where the scores go.
        watch: Sees every row that is scored.

    Raises:
        ValueError: The images, the checkpoint or the output cannot be used, the output belongs to another run, or a
            single image does not fit into memory.
        OSError: An output cannot be written.
        ImportError: A package for the output or the engine is missing.
    """
    check_outputs(options)
    files = Outputs(options.out)
    with ExitStack() as stack:
        cluster = _cluster(options, stack)
        sources = [
            source if (fault := files.name_fault(source.name)) is None else source._replace(fault=fault)
            for source in _found(options)
        ]
        scorer = _scorer(options, cluster)
        about, settings = _about(options, scorer), _settings(options, scorer)
        facts = {**about, "settings": settings, **_names(sources)}
        facts["outs"] = files.sharing(facts)
        finished = files.out.exists() and not files.journal.exists() and not options.overwrite
        if finished:
            files.check_same(facts)
            facts["failed"] = files.read_facts()["failed"]
            if not (options.retry_failed and facts["failed"]):
                return Outcome(facts, None, 0.0, select(options, facts, sources, files.read_rows))
        make_folders(options)
        journal = stack.enter_context(Journal(files.journal, settings, about, overwrite=options.overwrite))
        if finished:
            journal.write(files.read_rows())
        _check_images(options, journal, sources)
        todo = _to_score(options, journal, sources)
        start = time.perf_counter()
        rows = _scored(options, scorer, todo, cluster)
        for row in watch(rows, len(sources), len(sources) - len(todo)):
            journal.write([row])
        seconds = time.perf_counter() - start
        names = [source.name for source in sources]
        facts["failed"] = files.write_errors(journal.rows(names))
        files.write_rows(journal.rows(names))
        chosen = select(options, facts, sources, lambda: journal.rows(names))
        files.write_facts(facts)
        journal.remove()
    return Outcome(facts, len(todo), seconds, chosen)


def _found(options: ScoreOptions) -> list[Source]:
    listing = find_sources(
        options.paths,
        image_folder=options.image_folder,
        column=options.column,
        leave_out=[] if options.copy_to is None else [options.copy_to],
    )
    if listing.repeated:
        logger.warning("%d images were named more than once; each is scored once", listing.repeated)
    return listing.sources


def _cluster(options: ScoreOptions, stack: ExitStack) -> Cluster | None:
    """Gives the Ray engine where it is asked for, not started yet; it ends with the stack."""
    if options.engine == "local":
        return None
    from roc.scoring.cluster import Cluster

    return stack.enter_context(
        Cluster(
            None if options.ray_address == NEW_RAY else options.ray_address,
            scorers=options.actors,
            workers=options.workers,
            device=options.device,
            compiled=options.compile,
        )
    )


def _scorer(options: ScoreOptions, cluster: Cluster | None = None) -> Scorer:
    import transformers

    from roc.scoring.assessment import Assessment
    from roc.scoring.batches import Scorer, Wanted

    device, dtype = options.device, options.dtype
    if cluster is not None:
        cluster.start()
        # The model loaded here says what the weights are; the actors load it again.
        device, dtype = "cpu", dtype or cluster.dtype
    transformers.utils.logging.disable_progress_bar()  # of loading weights
    compiled = options.compile and cluster is None
    assessment = Assessment(options.checkpoint, device=device, dtype=dtype, compile=compiled)
    asked = assessment.wanted(options.attributes)
    names = tuple(name for name in assessment.attributes if name in asked)
    if options.distribution and assessment.attributes[0] not in names:
        raise ValueError(
            f"--distribution gives the levels of {assessment.attributes[0]}; name it among --attributes as well"
        )
    wanted = Wanted(names, options.distribution, options.describe, options.max_new_tokens)
    return Scorer(assessment, wanted, options.batch_size)


def _scored(
    options: ScoreOptions, scorer: Scorer, sources: Sequence[Source], cluster: Cluster | None = None
) -> Iterator[Row]:
    """Gives rows as they are done; the local engine keeps the order of the sources."""
    from roc.scoring.batches import OutOfMemory
    from roc.scoring.local import score_images

    try:
        if cluster is not None:
            yield from cluster.score_images(scorer, sources, options.checkpoint, batch_size=options.batch_size)
        else:
            yield from score_images(scorer, sources, options.checkpoint, workers=options.workers)
    except OutOfMemory as error:
        again = "" if options.out is None else ", and the same command goes on from here"
        raise ValueError(f"{error}; free some{again}") from error


def _check_images(options: ScoreOptions, journal: Journal, sources: Sequence[Source]) -> None:
    """Makes sure that the images in a journal are among those given, or were so when the run began.

    Raises:
        ValueError: The journal was begun with other images.
    """
    if journal.lost:
        logger.warning("%s: its torn end (%d bytes) is done again", journal.path, journal.lost)
    names = {source.name for source in sources}
    gone = [image for image in journal.images if image not in names]
    if not gone:
        return
    if journal.about["asked"] != _asked(options):
        raise ValueError(
            f"{journal.path} holds scores of {len(gone)} images that are not among those given now ({gone[0]}, ...); "
            f"it was begun with {journal.about['asked']}. Give the same, name another --out, or start anew with "
            "--overwrite."
        )
    logger.warning("%d images are done, but no longer there; they are left out (%s, ...)", len(gone), gone[0])


def _to_score(options: ScoreOptions, journal: Journal, sources: Sequence[Source]) -> list[Source]:
    """Lists the images that are not done, or failed and are to be tried again."""
    done = set(journal.images)
    if options.retry_failed:
        done -= {row["image"] for row in journal.rows(list(done)) if "error" in row}
    todo = [source for source in sources if source.name not in done]
    if len(journal):
        logger.info("going on: %d of %d images are done", len(sources) - len(todo), len(sources))
    return todo


def _settings(options: ScoreOptions, scorer: Scorer) -> dict[str, Any]:
    """Collects what decides the numbers; a run goes on only under the same. Journals hold it: names and values stay."""
    from roc.checkpoint.fingerprint import weights_fingerprint

    model, wanted = scorer.assessment.model, scorer.wanted
    return {
        "weights": weights_fingerprint(model),
        "dtype": scorer.assessment.dtype,
        "attributes": list(wanted.attributes),
        "distribution": wanted.distribution,
        "describe": wanted.describe,
        **({"max_new_tokens": wanted.max_new_tokens} if wanted.describe else {}),
        **({"compile": True} if options.compile else {}),
    }


def _about(options: ScoreOptions, scorer: Scorer) -> dict[str, Any]:
    """Collects facts for whoever reads the journal or `scores.run.json`."""
    declared = scorer.assessment.model.declaration
    is_folder = os.path.isdir(options.checkpoint)
    return {
        "roc": roc.__version__,
        "checkpoint": os.path.abspath(options.checkpoint) if is_folder else options.checkpoint,
        "asked": _asked(options),
        "min_score": declared.space.min_score,
        "max_score": declared.space.max_score,
        "calibrated": declared.distribution_supervised,
    }


def _asked(options: ScoreOptions) -> str:
    """Gives the words that name the images: all of them, or of many the first ones and a hash over all."""
    words = [*options.paths, *(["--column", options.column] if options.column != "image" else [])]
    words += ["--image_folder", options.image_folder] if options.image_folder is not None else []
    if len(words) > 8:
        digest = hashlib.sha256("\n".join(words).encode(errors="surrogateescape")).hexdigest()[:16]
        words = [*words[:3], f"... ({len(words)} words, {digest})"]
    return " ".join(words).encode(errors="backslashreplace").decode()


def _names(sources: Sequence[Source]) -> dict[str, Any]:
    """Gives the number of images and a hash over their names in order."""
    digest = hashlib.sha256()
    for source in sources:
        digest.update(source.name.encode() + b"\n")
    return {"images": len(sources), "names": digest.hexdigest()[:16]}
