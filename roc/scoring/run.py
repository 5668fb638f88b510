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
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import roc
from roc.checkpoint.names import check_exists
from roc.data.counts import counted
from roc.data.raw import INSTALL, RAW
from roc.files import write_json
from roc.score_space import ranges_text
from roc.scoring.copies import carry_out
from roc.scoring.finished import Outcome, Run, changed, some
from roc.scoring.journal import Journal
from roc.scoring.options import ScoreOptions
from roc.scoring.outputs import Outputs, check_outputs, make_folders
from roc.scoring.sources import Source, find_sources
from roc.scoring.stamps import STAMP

if TYPE_CHECKING:
    from roc.scoring.batches import Scorer
    from roc.scoring.cluster import Cluster
    from roc.scoring.reasoning import Sampling

logger = logging.getLogger(__name__)

Row = dict[str, Any]
_PASSES = 2
"""How often images are gone through: pictures that are replaced while they are scored get one more pass."""
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


def score_paths(options: ScoreOptions) -> Scores:
    """Scores images and keeps nothing.

    Args:
        options: What to score, with which model.

    Raises:
        ValueError: The images or the checkpoint cannot be used, or a single image does not fit into memory.
    """
    sources = _found(options)
    check_exists(options.checkpoint)
    scorer = _scorer(options)
    _tell_stand_in(scorer, sources)
    of = "" if scorer.wanted.scale is None else f", the scale of {scorer.wanted.scale.name}"
    logger.info("%s%s", ranges_text(scorer.space.ranges, scorer.wanted.attributes), of)
    rows = _watched_for_drift(scorer, _scored(options, scorer, sources))
    return Scores(scorer.assessment.attributes[0], ({k: v for k, v in row.items() if k != STAMP} for row in rows))


def _watched_for_drift(scorer: Scorer, rows: Iterable[Row]) -> Iterator[Row]:
    """Gives rows on, and warns after the last one where photos are unlike those that the model was calibrated on."""
    from roc.scoring.drift import Drift

    drift = Drift(scorer.assessment.model.declaration)
    if scorer.wanted.scale is not None:  # a calibration is of the shared score
        yield from rows
        return
    for row in rows:
        drift.add_row(row)
        yield row
    for note in drift.notes():
        logger.warning("%s", note)


def score_to_file(options: ScoreOptions, watch: Watch = lambda rows, total, done: rows) -> Outcome:
    """Scores images into a file, or goes on with doing so; what was scored before is not scored again.

    Pictures that were replaced since are scored again, and files that are not what a finished run wrote are written
    again from its journal.

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
        moved = _moved_before(options, files)
        sources = [
            source if (fault := files.name_fault(source.name)) is None else source._replace(fault=fault)
            for source in _with_moved(_found(options), moved)
        ]
        check_exists(options.checkpoint)
        cluster = _cluster(options, stack)
        scorer = _scorer(options, cluster)
        _tell_stand_in(scorer, sources)
        about, settings = _about(options, scorer), _settings(options, scorer)
        earlier = _earlier(scorer, settings)
        facts = {**about, "settings": settings, **_names(sources), "moved": moved}
        files.check_sharing(facts, earlier)
        before = None if options.overwrite else files.finished(facts, earlier)
        make_folders(options)
        run = Run(options, files, sources, facts)
        if before is not None and (rows := run.finished_rows(stack, before, earlier)) is not None:
            return run.chosen(Outcome(facts, None, 0.0, None), rows, again=bool(before.get("uncopied")))
        journal = run.journal or stack.enter_context(
            Journal(files.journal, settings, about, overwrite=options.overwrite, earlier=earlier)
        )
        files.clean(options.gallery, options.copy_to, options.move_to)
        facts["settings"] = journal.settings
        _check_images(options, journal, sources)
        _tell_versions(journal)
        scored, seconds = _score_all(options, scorer, sources, journal, watch, cluster)
        names = [source.name for source in sources]
        run.write(lambda: journal.rows(names))
        if scorer.assessment.model.declaration.calibration is not None:
            for _ in _watched_for_drift(scorer, journal.rows(names)):
                pass
        journal.rename(files.kept)
        return run.chosen(Outcome(facts, scored, seconds, None), lambda: journal.rows(names))


def _score_all(
    options: ScoreOptions,
    scorer: Scorer,
    sources: Sequence[Source],
    journal: Journal,
    watch: Watch,
    cluster: Cluster | None,
) -> tuple[int, float]:
    """Scores what is left, then what was replaced meanwhile; gives the number of images and the time."""
    todo, scored, start = _to_score(options, journal, sources), 0, time.perf_counter()
    for _ in range(_PASSES):
        rows = _scored(options, scorer, todo, cluster)
        for row in watch(rows, len(sources), len(sources) - len(todo)):
            journal.write([row])
            scored += 1
        todo = changed(journal, sources) if todo else []
        if not todo:
            break
        what = counted(len(todo), "picture was", "pictures were")
        logger.warning("%s replaced meanwhile, to be scored again (%s)", what, some(todo))
    return scored, time.perf_counter() - start


def _moved_before(options: ScoreOptions, files: Outputs) -> dict[str, Any]:
    """Gives what an earlier command has moved; moves that were interrupted are finished first."""
    facts = files.read_facts()
    moved = dict(facts.get("moved", {}))
    if files.moves.exists():
        logger.warning("going on with moving pictures, as %s says", files.moves)
        now, faults = carry_out(files.moves)
        for fault in faults:
            logger.warning("%s: %s", fault["image"], fault["error"])
        moved |= now
        if facts:
            write_json(files.facts, facts | {"moved": moved})
        files.moves.unlink()
    return {} if options.overwrite else moved


def _with_moved(sources: list[Source], moved: dict[str, Any]) -> list[Source]:
    """Puts pictures that an earlier command has moved away back into the list, in their places."""
    if not moved:
        return sources
    found = [
        source._replace(path=moved[source.name]["to"])
        if source.name in moved and not os.path.exists(source.path)
        else source
        for source in sources
    ]
    there = {source.name for source in sources}
    for name, move in sorted(moved.items(), key=lambda item: item[1]["place"]):
        if name not in there:
            found.insert(move["place"], Source(name, move["to"]))
    return found


def _tell_versions(journal: Journal) -> None:
    """Says where a run goes on with other packages, which may move scores by a rounding."""
    then, now = journal.about.get("versions", {}), _versions()
    unlike = [f"{name} {then[name]}, now {now[name]}" for name in now if name in then and then[name] != now[name]]
    if unlike and len(journal):
        logger.warning(
            "%s: this run was begun with %s; scores may differ by a rounding", journal.path, "; ".join(unlike)
        )
    if len(journal) and not then:
        logger.warning(
            "%s was begun by an earlier version of roc, which noted only a part of the weights and nothing of the "
            "pictures; whether all of that is still the same cannot be seen; --overwrite scores anew",
            journal.path,
        )


def _found(options: ScoreOptions) -> list[Source]:
    listing = find_sources(
        options.paths,
        image_folder=options.image_folder,
        column=options.column,
        leave_out=[folder for folder in (options.copy_to, options.move_to) if folder is not None],
    )
    if listing.left_out:
        kinds = ", ".join(f"{count} {suffix or 'without suffix'}" for suffix, count in listing.left_out.most_common())
        logger.info("left out as no pictures by their names: %s", kinds)
        raw = sum(count for suffix, count in listing.left_out.items() if suffix in RAW)
        if raw:
            logger.warning("%s left out; to score RAW files, %s", counted(raw, "RAW file is", "RAW files are"), INSTALL)
    if listing.repeated:
        what = counted(listing.repeated, "image was", "images were")
        logger.warning("%s named more than once; each is scored once", what)
    return listing.sources


def _cluster(options: ScoreOptions, stack: ExitStack) -> Cluster | None:
    """Gives the Ray engine where it is asked for, not started yet; it ends with the stack."""
    if options.engine == "local":
        return None
    from roc.scoring.cluster import Cluster

    return stack.enter_context(Cluster.asked_for(options, compiled=options.compile))


def _scorer(options: ScoreOptions, cluster: Cluster | None = None) -> Scorer:
    import transformers

    from roc.scoring.assessment import Assessment
    from roc.scoring.batches import Scorer, Wanted
    from roc.scoring.reasoning import Sampling

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
    if options.reason and not assessment.model.declaration.reasons:
        raise ValueError(
            f"--reason: {options.checkpoint} does not reason; train it on critiques (docs/reasoning.md), or leave "
            "--reason out"
        )
    declaration = assessment.model.declaration
    scale = None if options.scale is None else declaration.scale(options.scale, options.checkpoint)
    sampling = Sampling(options.samples, options.temperature, options.max_new_tokens, options.seed)
    wanted = Wanted(names, options.distribution, options.describe or options.reason, sampling, scale)
    return Scorer(assessment, wanted, options.batch_size)


def _tell_stand_in(scorer: Scorer, sources: Sequence[Source]) -> None:
    """Says where a small model that nothing pretrained is behind is about to score anything but drawn scenes."""
    declared = scorer.assessment.model.declaration
    if all(_is_scene(source) for source in sources[:3]):
        return
    trained = f", trained on {declared.dataset}" if declared.dataset else ""
    if declared.stand_in:
        logger.warning(
            "this checkpoint is a stand-in to try the software with%s; its scores of real photos mean nothing", trained
        )
    elif declared.tiny_model is not None:
        logger.warning(
            "this checkpoint is a small model with nothing pretrained behind it%s: it has learnt to see from its "
            "training photos alone, and its scores of photos unlike those mean little",
            trained,
        )


def _is_scene(source: Source) -> bool:
    """Tells whether an image lies in a folder that `roc.demo.dataset` wrote."""
    return any(
        (folder / "manifest.json").is_file() and (folder / "ratings.csv").is_file()
        for folder in list(Path(source.path).absolute().parents)[:2]
    )


def _scored(
    options: ScoreOptions, scorer: Scorer, sources: Sequence[Source], cluster: Cluster | None = None
) -> Iterator[Row]:
    """Gives rows as they are done; the local engine keeps the order of the sources."""
    from roc.scoring.batches import OutOfMemory
    from roc.scoring.local import score_images

    try:
        if cluster is not None:
            yield from cluster.score_images(
                scorer, sources, options.checkpoint, batch_size=options.batch_size, image_seconds=options.image_seconds
            )
        else:
            yield from score_images(
                scorer, sources, options.checkpoint, workers=options.workers, image_seconds=options.image_seconds
            )
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
            f"{journal.path} holds scores of {counted(len(gone), 'image that is', 'images that are')} not among those "
            f"given now ({', '.join(gone[:1])}{', ...' if len(gone) > 1 else ''}); "
            f"it was begun with {journal.about['asked']}. Give the same, name another --out, or start anew with "
            "--overwrite."
        )
    what = counted(len(gone), "image is", "images are")
    logger.warning("%s done, but no longer there, and left out (%s%s)", what, gone[0], ", ..." if len(gone) > 1 else "")


def _to_score(options: ScoreOptions, journal: Journal, sources: Sequence[Source]) -> list[Source]:
    """Lists the images that are not done, or failed and are to be tried again."""
    done = set(journal.images)
    if options.retry_failed:
        done -= {row["image"] for row in journal.rows(list(done)) if "error" in row}
    again = changed(journal, sources)
    done -= {source.name for source in again}
    todo = [source for source in sources if source.name not in done]
    if again:
        what = counted(len(again), "picture was", "pictures were")
        logger.warning("%s replaced since, to be scored again (%s)", what, some(again))
    if len(journal):
        logger.info("going on: %d of %d images are done", len(sources) - len(todo), len(sources))
    return todo


def _settings(options: ScoreOptions, scorer: Scorer) -> dict[str, Any]:
    """Collects what decides the numbers; a run goes on only under the same. Journals hold it: names and values stay."""
    from roc.scoring.identity import identity

    wanted = scorer.wanted
    return {
        **identity(scorer.assessment),
        "dtype": scorer.assessment.dtype,
        "attributes": list(wanted.attributes),
        "distribution": wanted.distribution,
        "describe": wanted.describe,
        **({"max_new_tokens": wanted.sampling.max_new_tokens} if wanted.describe else {}),
        **(_sampling(wanted.sampling) if options.reason else {}),
        **({"compile": True} if options.compile else {}),
        **({"scale": wanted.scale.to_dict()} if wanted.scale is not None else {}),
    }


def _sampling(sampling: Sampling) -> dict[str, Any]:
    """Gives what decides the answers of a model that reasons."""
    drawn = {"temperature": sampling.temperature, "seed": sampling.seed}  # also what is written anew is sampled
    return {"reason": True, "samples": sampling.samples, **drawn}


def _earlier(scorer: Scorer, settings: dict[str, Any]) -> dict[str, Any]:
    from roc.scoring.identity import earlier_settings

    return earlier_settings(scorer.assessment, settings)


def _about(options: ScoreOptions, scorer: Scorer) -> dict[str, Any]:
    """Collects facts for whoever reads the journal or `scores.run.json`."""
    declared = scorer.assessment.model.declaration
    is_folder = os.path.isdir(options.checkpoint)
    return {
        "roc": roc.__version__,
        "checkpoint": os.path.abspath(options.checkpoint) if is_folder else options.checkpoint,
        "asked": _asked(options),
        **scorer.space.ranges,
        "calibrated": declared.distribution_supervised,
        "versions": _versions(),
    }


def _versions() -> dict[str, str]:
    from roc.scoring.identity import versions

    return versions()


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
