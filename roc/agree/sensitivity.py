"""Measuring sensitivities: ten perturbed passes for each photo, journalled, into a table (Eq. 5).

Every photo that is done is a row of the journal, `sens.parquet.journal.jsonl`, which stays: killed at any moment, the
same command goes on with the next photo; a photo that was replaced since, that another fold scores now, or that was
added is done (again), and the table is written from the journal. Photos that cannot be scored are in
`sens.errors.csv`, with the reason.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from roc.agree.attributes import ATTRIBUTES
from roc.agree.config import SensitivityOptions
from roc.agree.folds import fold_numbers, seen_photos
from roc.agree.photo_journal import PASSES, Row, Watch, check_free, check_photos, journal_of, source_of
from roc.agree.routing import from_scores, medians_of
from roc.agree.scorers import Callables, Checkpoints, Pictures
from roc.agree.table import PREFIX, SensitivityTable, write_table
from roc.agree.views import CHANGES, Views
from roc.data.reading import read_records
from roc.data.records import Record
from roc.data.rows import DataError, write_rows
from roc.scoring.finished import changed, some
from roc.scoring.identity import versions
from roc.scoring.journal import Journal
from roc.scoring.sources import Source
from roc.scoring.stamps import STAMP

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What a run has done.

    Attributes:
        photos: All of the data file.
        scored: Photos that this command scored.
        failed: Photos without a row in the table; the errors file says why.
        flat: Photos that no perturbation moved.
        seen: Photos scored by a model that was trained on them; None where that could not be found out.
        medians: Attribute -> median of its sensitivities.
        seconds: How long the scoring took.
        errors: The errors file.
    """

    photos: int
    scored: int
    failed: int
    flat: int
    seen: int | None
    medians: dict[str, float]
    seconds: float
    errors: Path


def measure(
    options: SensitivityOptions,
    watch: Watch = lambda rows, total, done: rows,
    *,
    functions: Sequence[Pictures] | None = None,
) -> Outcome:
    """Measures the sensitivities of all photos of a data file, or goes on with doing so.

    Args:
        options: Photos, models, perturbations, output.
        watch: Sees every photo that is done.
        functions: Callables to measure in place of checkpoints, one for each fold; `options.checkpoint` then names
            them. Which photos they were trained on cannot be found out.

    Raises:
        DataError: The data file has faults.
        ValueError: A photo would be scored by a model that was trained on it, no photo could be scored, a checkpoint
            cannot be used, or the output belongs to another run.
        OSError: An output cannot be written.
    """
    out = Path(options.out)
    records = read_records(options.data_path, options.image_folder, space=None, check_images=False, unrated=True)
    folds = fold_numbers(records, options.folds, options.seed)
    import pyarrow  # noqa: F401  # tells early that Parquet cannot be written

    check_free(out, options.data_path, overwrite=options.overwrite)
    seen = None if functions is not None else _count_seen(options, records, folds)
    scorers = Checkpoints(options) if functions is None else Callables(functions, options.checkpoint)
    sources = [source_of(record) for record in records]
    out.parent.mkdir(parents=True, exist_ok=True)
    about = {"versions": versions(), "checkpoints": list(options.checkpoint), "data_path": options.data_path}
    with Journal(
        journal_of(out), _settings(options, scorers.facts), about, overwrite=options.overwrite, key="id"
    ) as journal:
        check_photos(journal, sources)
        start = time.perf_counter()
        scored = _score_all(options, scorers, sources, folds, journal, watch)
        seconds = time.perf_counter() - start
        rows = list(journal.rows(source.name for source in sources))
        return _written(options, journal, scorers.facts, rows, scored, seconds, seen)


def _settings(options: SensitivityOptions, facts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Collects what decides the numbers; a run goes on only under the same. Journals hold it: names and values stay."""
    models = {f"{name}.{place}": value for place, one in enumerate(facts, start=1) for name, value in one.items()}
    own = {"delta": options.delta, "side": options.side, "folds": options.folds, "seed": options.seed}
    return {**own, **models}


def _count_seen(options: SensitivityOptions, records: Sequence[Record], folds: Sequence[int]) -> int | None:
    """Counts the photos whose model was trained on them; None where a checkpoint does not say what it was trained on.

    Raises:
        ValueError: There are some, and nobody allowed that.
    """
    total, known = 0, True
    for place, checkpoint in enumerate(options.checkpoint, start=1):
        photos = seen_photos(checkpoint)
        if photos is None:
            known = False
            logger.warning(
                "%s does not say which photos it was trained on; whether it saw these is unknown", checkpoint
            )
            continue
        own = [record for record, fold in zip(records, folds, strict=True) if fold == place]
        met = [record.id for record in own if any(os.path.realpath(image) in photos for image in record.images)]
        if met and not options.allow_seen:
            advice = (
                "give the checkpoints in the order of their folds, each trained on its file of `roc agree folds`"
                if options.folds > 1
                else "divide the photos by `roc agree folds`, or give --allow_seen"
            )
            raise ValueError(
                f"{checkpoint} was trained on {len(met)} of the {len(own)} photos that it would score ({met[0]}"
                f"{', ...' * (len(met) > 1)}): what a model knows by heart looks insensitive; {advice}"
            )
        total += len(met)
    return total if known else None


def _score_all(
    options: SensitivityOptions,
    scorers: Checkpoints | Callables,
    sources: Sequence[Source],
    folds: Sequence[int],
    journal: Journal,
    watch: Watch,
) -> int:
    """Scores what is left, then what was replaced meanwhile; returns the number of photos."""
    fold_of = {source.name: fold for source, fold in zip(sources, folds, strict=True)}
    todo, count = _to_score(options, sources, fold_of, journal), 0
    for _ in range(PASSES):

        def rows(todo: Sequence[Source] = todo) -> Iterator[Row]:
            # The last checkpoint is the one that is loaded already.
            for fold in range(options.folds, 0, -1):
                own = [source for source in todo if fold_of[source.name] == fold]
                if own:
                    found = scorers.rows(fold - 1, Views(own, options.delta, options.side))
                    for views in _tens(found):
                        yield _row(views, fold)

        for row in watch(rows(), len(sources), len(sources) - len(todo)) if todo else ():
            journal.write([row])
            count += 1
        todo = changed(journal, sources) if todo else []
        if not todo:
            break
        logger.warning("%d photos were replaced meanwhile and are scored again (%s)", len(todo), some(todo))
    return count


def _to_score(
    options: SensitivityOptions, sources: Sequence[Source], fold_of: Mapping[str, int], journal: Journal
) -> list[Source]:
    again = {source.name for source in changed(journal, sources)}
    if again:
        logger.warning("%d photos were replaced since and are scored again", len(again))
    for row in journal.rows(list(journal.images)):
        if row["fold"] != fold_of[row["id"]] or (options.retry_failed and "error" in row):
            again.add(row["id"])
    todo = [source for source in sources if source.name not in journal or source.name in again]
    if len(journal):
        logger.info("going on: %d of %d photos are done", len(sources) - len(todo), len(sources))
    return todo


def _tens(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while views := list(itertools.islice(rows, len(CHANGES))):
        yield views


def _row(views: Sequence[Row], fold: int) -> Row:
    """Joins the rows of the ten views of a photo into one of the journal."""
    names = {view["image"] for view in views}
    if len(views) != len(CHANGES) or len(names) != 1:
        raise RuntimeError(f"{len(views)} views of {', '.join(sorted(names))} came together; expected ten of one photo")
    # The first stamp was taken before anything was read: a photo that is replaced between two views is noticed by it.
    head = {"id": views[0]["image"], "fold": fold, **({STAMP: views[0][STAMP]} if STAMP in views[0] else {})}
    if errors := [view["error"] for view in views if "error" in view]:
        return {**head, "error": errors[0]}
    scores: dict[str, list[float]] = {name: [0.0, 0.0] for name in ATTRIBUTES}
    for (name, sign), view in zip(CHANGES, views, strict=True):
        scores[name][sign < 0] = view["prediction"]
    return {**head, "scores": scores}


def _written(
    options: SensitivityOptions,
    journal: Journal,
    facts: Sequence[Mapping[str, Any]],
    rows: Sequence[Row],
    scored: int,
    seconds: float,
    seen: int | None,
) -> Outcome:
    """Writes table and errors from the rows of the journal."""
    out = Path(options.out)
    failed = [{"id": row["id"], "reason": " ".join(row["error"].split())} for row in rows if "error" in row]
    errors = out.with_name(f"{out.stem}.errors.csv")
    if failed:
        write_rows(errors, failed)
    else:
        errors.unlink(missing_ok=True)
    good = [row for row in rows if "error" not in row]
    if not good:
        raise ValueError(f"none of the {len(rows)} photos could be scored; {errors} says why: {failed[0]['reason']}")
    models = [hashlib.sha256(json.dumps(one, sort_keys=True).encode()).hexdigest()[:16] for one in facts]
    values = {
        name: from_scores(*torch.tensor([row["scores"][name] for row in good], dtype=torch.float64).T, options.delta)
        for name in ATTRIBUTES
    }
    columns = {PREFIX + name: column.tolist() for name, column in values.items()}
    table = [
        {
            "id": row["id"],
            "fold": row["fold"],
            **{name: column[place] for name, column in columns.items()},
            "f": models[row["fold"] - 1],
            "digest": (row.get(STAMP) or [None])[-1],
        }
        for place, row in enumerate(good)
    ]
    flat = int(torch.stack(list(values.values())).eq(0).all(dim=0).sum())
    counts = {"photos": len(rows), "failed": len(failed), "flat": flat, "seen": seen}
    medians = medians_of(values)
    if not scored:
        _tell_changed(out, table)
    write_table(out, table, {"settings": journal.settings, "medians": medians, **journal.about, **counts})
    return Outcome(scored=scored, medians=medians, seconds=seconds, errors=errors, **counts)


def _tell_changed(out: Path, rows: Sequence[Row]) -> None:
    """Says where a finished table is not what the run wrote, before it is written again."""
    if not out.exists():
        return
    try:
        there = SensitivityTable.read(out)
    except (DataError, ValueError):
        there = None
    values = {name: [row[PREFIX + name] for row in rows] for name in ATTRIBUTES}
    same = there is not None and there.ids == tuple(row["id"] for row in rows)
    if not same or any(there.values[name].tolist() != column for name, column in values.items()):
        logger.warning("%s was changed since it was written; written again from its journal", out)
