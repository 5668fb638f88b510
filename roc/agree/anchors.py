"""Extracting text features: a frozen model describes each photo, attribute by attribute, once and for all.

Every photo that is done is a row of the journal, `anchors.safetensors.journal.jsonl`, with its sentences and features:
killed at any moment, the same command goes on with the next one, and photos that were added or replaced since are done
(again). The file of features is written from the journal. Photos that cannot be read, or whose hidden states are
no numbers, are in `anchors.errors.csv`.
"""

from __future__ import annotations

import base64
import itertools
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from roc.agree.anchor_features import write_features
from roc.agree.anchor_options import AnchorOptions
from roc.agree.anchor_text import NAMES, OVERALL, QUESTIONS, SENTENCES
from roc.agree.anchor_writer import NO_STATE, AnchorWriter
from roc.agree.batches import as_image, as_tensor
from roc.agree.maps import attribute_maps
from roc.agree.photo_journal import PASSES, Row, Watch, check_free, check_photos, journal_of, source_of
from roc.data.images import ImageError
from roc.data.reading import read_records
from roc.data.rows import write_rows
from roc.model.device import checked_device, number_format
from roc.scoring.finished import changed, some
from roc.scoring.identity import versions
from roc.scoring.journal import Journal
from roc.scoring.sources import Source
from roc.scoring.stamps import STAMP, digest_in, stamp_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What a run has done.

    Attributes:
        photos: All of the data file; 0 for fixed sentences.
        described: Photos that this command described.
        failed: Photos without features; the errors file says why.
        width: Numbers of a feature.
        seconds: How long the describing took.
        errors: The errors file.
    """

    photos: int
    described: int
    failed: int
    width: int
    seconds: float
    errors: Path


def extract(
    options: AnchorOptions,
    watch: Watch = lambda rows, total, done: rows,
    *,
    writer: AnchorWriter | None = None,
) -> Outcome:
    """Extracts the features of all photos of a data file, or goes on with doing so; or those of fixed sentences.

    Args:
        options: Photos, model, output.
        watch: Sees every photo that is done.
        writer: The model, where it is loaded already; None loads the one that the options name.

    Raises:
        DataError: The data file has faults.
        ValueError: No photo could be read, the model cannot be used, or the output belongs to another run.
        OSError: There is no such model, or an output cannot be written.
    """
    out = Path(options.out)
    sources: list[Source] = []
    if options.fixed:
        if out.exists() and not options.overwrite:
            raise ValueError(f"{out} is there already; name another --out, or replace it with --overwrite")
    else:
        check_free(out, options.data_path, overwrite=options.overwrite)
        records = read_records(options.data_path, options.image_folder, space=None, check_images=False, unrated=True)
        sources = [source_of(record) for record in records]
    name = options.model or base_of(options.checkpoint)
    if writer is None:
        device = checked_device(options.device)
        writer = AnchorWriter.load(name, device, number_format(options.dtype, device))
    about = {"versions": versions(), "model": name}
    out.parent.mkdir(parents=True, exist_ok=True)
    if options.fixed:
        return _write_fixed(out, writer, about)
    with Journal(journal_of(out), _settings(options, writer), about, overwrite=options.overwrite, key="id") as journal:
        check_photos(journal, sources)
        start = time.perf_counter()
        described = _describe_all(options, writer, sources, journal, watch)
        return _written(out, journal, sources, described, time.perf_counter() - start)


def base_of(checkpoint: str) -> str:
    """Names the model that a checkpoint's head was attached to; of one that names none, the checkpoint itself."""
    from roc.checkpoint.head_file import read_declaration

    return read_declaration(checkpoint).base or checkpoint


def shown_pictures(photo: Image.Image, options: AnchorOptions) -> dict[str, Image.Image]:
    """Makes what the model is shown for each anchor: the photo for "overall", its maps (or itself) for the others."""
    photo = photo.copy()
    photo.thumbnail((options.side, options.side), Image.Resampling.LANCZOS)
    if options.plain:
        return dict.fromkeys(NAMES, photo)
    maps = attribute_maps(as_tensor(photo))
    return {OVERALL: photo} | {name: as_image(plane[0].expand(3, -1, -1)) for name, plane in maps.items()}


def _settings(options: AnchorOptions, writer: AnchorWriter) -> dict[str, Any]:
    """Collects what decides the features; a run goes on only under the same, so names and values stay."""
    own = {"plain": options.plain, "side": options.side, "max_new_tokens": options.max_new_tokens}
    return {**own, "questions": QUESTIONS, **writer.facts}


def _write_fixed(out: Path, writer: AnchorWriter, about: dict[str, Any]) -> Outcome:
    start = time.perf_counter()
    features = np.stack([writer.encode(SENTENCES[name]).numpy() for name in NAMES])
    facts = {"sentences": SENTENCES, **writer.facts, **about}
    write_features(out, [features], None, features.shape[1], facts)
    return Outcome(0, 0, 0, features.shape[1], time.perf_counter() - start, _errors_of(out))


def _describe_all(
    options: AnchorOptions, writer: AnchorWriter, sources: Sequence[Source], journal: Journal, watch: Watch
) -> int:
    """Describes what is left, then what was replaced meanwhile; returns the number of photos."""
    again = {source.name for source in changed(journal, sources)}
    if again:
        logger.warning("%d photos were replaced since and are described again", len(again))
    if options.retry_failed:
        again |= {row["id"] for row in journal.rows(list(journal.images)) if "error" in row}
    todo = [source for source in sources if source.name not in journal or source.name in again]
    if len(journal):
        logger.info("going on: %d of %d photos are done", len(sources) - len(todo), len(sources))
    count = 0
    for _ in range(PASSES):
        if not todo:
            break
        for row in watch(_rows(options, writer, todo, journal), len(sources), len(sources) - len(todo)):
            count += 1
            del row
        todo = changed(journal, sources)
        if todo:
            logger.warning("%d photos were replaced meanwhile and are described again (%s)", len(todo), some(todo))
    return count


def _rows(options: AnchorOptions, writer: AnchorWriter, todo: Sequence[Source], journal: Journal) -> Iterator[Row]:
    """Describes photos, some together, and gives each on once it is in the journal."""
    left = iter(todo)
    while sources := list(itertools.islice(left, options.batch_size)):
        heads = [{"id": source.name, STAMP: stamp_of(source)} for source in sources]
        rows = _described(options, writer, sources, heads)
        journal.write(rows)
        yield from rows


def _described(
    options: AnchorOptions, writer: AnchorWriter, sources: Sequence[Source], heads: Sequence[Row]
) -> list[Row]:
    rows: list[Row] = [dict(head) for head in heads]
    shown: list[tuple[Row, dict[str, Image.Image]]] = []
    for row, source in zip(rows, sources, strict=True):
        try:
            shown.append((row, shown_pictures(source.open(), options)))
        except (ImageError, ValueError) as error:
            row["error"] = str(error)
    if not shown:
        return rows
    found = {
        name: writer.describe([pictures[name] for _, pictures in shown], QUESTIONS[name], options.max_new_tokens)
        for name in NAMES
    }
    for place, (row, _) in enumerate(shown):
        if without := [name for name in NAMES if found[name][place].feature is None]:
            row["error"] = f"{', '.join(without)}: {NO_STATE}"
            continue
        row["sentences"] = {name: found[name][place].text for name in NAMES}
        features = np.stack([found[name][place].feature.numpy() for name in NAMES]).astype("<f4")
        row["features"] = base64.b64encode(features.tobytes()).decode()
    return rows


def _written(out: Path, journal: Journal, sources: Sequence[Source], described: int, seconds: float) -> Outcome:
    """Writes features and errors from the rows of the journal, one photo in memory at a time."""
    failed, good, digests, width = [], [], [], 0
    for row in journal.rows(source.name for source in sources):
        if "error" in row:
            failed.append({"id": row["id"], "reason": " ".join(row["error"].split())})
        else:
            good.append(row["id"])
            digests.append(digest_in(row[STAMP]))
            width = width or _features(row).shape[1]
    errors = _errors_of(out)
    if failed:
        write_rows(errors, failed)
    else:
        errors.unlink(missing_ok=True)
    if not good:
        raise ValueError(
            f"none of the {len(sources)} photos could be described; {errors} says why: {failed[0]['reason']}"
        )
    facts = {**journal.settings, **journal.about}
    write_features(out, (_features(row) for row in journal.rows(good)), good, width, facts, digests)
    return Outcome(len(sources), described, len(failed), width, seconds, errors)


def _features(row: Row) -> np.ndarray:
    return np.frombuffer(base64.b64decode(row["features"]), dtype="<f4").reshape(len(NAMES), -1)


def _errors_of(out: Path) -> Path:
    return out.with_name(f"{out.stem}.errors.csv")
