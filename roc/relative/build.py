"""A build: photos are edited, judges say how much better or worse each edit is, and records are made of that.

It works in phases, each of steps that a journal keeps: the chosen photos are written at one size, some of them damaged;
each gets its edits; each edit is judged in both orders by all judges. What is then kept is decided by the outcomes
alone, so the same command, run again, goes on or gives the same files.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from roc.data.images import ImageError
from roc.model.device import usable_cores
from roc.relative.agreement import Agreement, agreement
from roc.relative.asked import make_editors, make_helpers, make_judges, vote_of_models
from roc.relative.changes import Anchor, Change, change_of
from roc.relative.config import EMBEDDED, BuildOptions, with_pipeline
from roc.relative.consensus import choose_anchors
from roc.relative.editing import TOLD, Editing
from roc.relative.editors import Editor, Embedded, Order
from roc.relative.judges import Judge
from roc.relative.judging import Judging
from roc.relative.outputs import Outputs
from roc.relative.photos import Photo, read_photo, split_of, write_picture
from roc.relative.steps import KEY, Progress, Row, Step, Steps
from roc.relative.votes import Votes, read_votes
from roc.scoring.journal import Journal
from roc.scoring.sources import find_sources

if TYPE_CHECKING:
    from roc.scoring.cluster import Cluster

logger = logging.getLogger(__name__)

FAULTS = ("unreadable", "failed", "other size", "unchecked", "unjudged")
"""Reasons for which something is not used although it was meant to be."""


@dataclass
class Built:
    """What a build made.

    Attributes:
        changes: The pairs, in the order of the photos.
        anchors: The anchors, in that order.
        rejected: What is not used: `id`, `image`, `reason`, `detail` and more.
        agreement: How far the judges agree on all edits that all of them judged.
        photos: Photos that were found.
        resized: Edits that came in another size of the same shape, and were brought to that of their source.
        done: Steps that this run did.
        seconds: How long it took.
    """

    changes: list[Change] = field(default_factory=list)
    anchors: list[Anchor] = field(default_factory=list)
    rejected: list[Row] = field(default_factory=list)
    agreement: Agreement = field(default_factory=lambda: agreement([]))
    photos: int = 0
    resized: int = 0
    done: int = 0
    seconds: float = 0.0

    def reject(self, photo: Photo, reason: str, detail: str, **more: Any) -> None:
        """Notes what is not used, and why."""
        head = {"id": photo.id, "image": photo.source.path, "split": photo.split}
        self.rejected.append(head | {"reason": reason, "detail": detail} | more)


def build(
    options: BuildOptions,
    progress: Progress,
    *,
    editors: Mapping[str, Editor] | None = None,
    judges: Sequence[Judge] | None = None,
) -> Built:
    """Builds records, or goes on with building them.

    Args:
        options: Photos, edits, judges, and where the records go.
        progress: Shows how far each phase is.
        editors: Name -> editor; None makes those that the options name.
        judges: The judges; None makes those that the options name.

    Returns:
        What was made; it is written.

    Raises:
        DataError: With all faults of a table of votes.
        ValueError: Photos, editors, judges or a cluster that cannot be used, a folder that is in the way, or no pair at
            all.
        ImportError: With the command that installs what is missing.
    """
    from roc.relative.sheet import write_page

    start = time.monotonic()
    files = Outputs(options.out)
    photos = find_photos(options)
    votes = read_votes(options, {photo.id: photo.source.path for photo in photos}, options.image_folder)
    photos = [
        photo if photo.id not in votes.splits else Photo(photo.id, photo.source, votes.splits[photo.id])
        for photo in photos
    ]
    files.check(overwrite=options.overwrite)
    with ExitStack() as stack:
        cluster = _start_cluster(options, stack)
        settings = settings_of_run(options)
        journal = stack.enter_context(Journal(files.journal, settings, overwrite=options.overwrite, key=KEY))
        steps = Steps(journal, progress, retry=options.retry_failed)
        built = Run(options, files, steps, photos, votes, editors, judges, cluster).all()
        built.done, built.seconds = steps.done, time.monotonic() - start
    files.write(built, options)
    if not built.changes:
        raise ValueError(_nothing(built, files))
    write_page(files, built, options.samples)
    return built


def _start_cluster(options: BuildOptions, stack: ExitStack) -> Cluster | None:
    """Starts or joins the cluster where one is asked for; it ends with the stack."""
    if options.engine == "local":
        return None
    from roc.scoring.cluster import Cluster

    cluster = stack.enter_context(Cluster.asked_for(options))
    cluster.start()
    return cluster


def _nothing(built: Built, files: Outputs) -> str:
    rows = [row for row in built.rejected if "edit" in row] or built.rejected
    counts = Counter(row["reason"] for row in rows).most_common()
    told = ", ".join(f"{reason} {count}" for reason, count in counts)
    first = next(row["detail"] for row in rows if row["reason"] == counts[0][0])
    return f"no edit is of use ({told}), for instance: {first}; {files.rejected} says why of each"


def settings_of_run(options: BuildOptions) -> dict[str, Any]:
    """Collects what decides the pictures; a build goes on only under the same. Journals hold it: names stay."""
    names = ["editors", "edits", "categories", "weakest", "strongest", "damaged", "side", "seed"]
    if set(options.editors) != {EMBEDDED}:
        names += ["instructions", "steps", "send_seed"]
    if with_pipeline(options.editors):
        names.append("dtype")
    return {"build": 1} | {name: options.to_dict()[name] for name in names}


def find_photos(options: BuildOptions) -> list[Photo]:
    """Lists the photos, each with its split."""
    listing = find_sources(
        options.sources, image_folder=options.image_folder, column=options.column, leave_out=[options.out]
    )
    if listing.repeated:
        logger.warning("%d photos were named more than once; each is taken once", listing.repeated)
    return [
        Photo(source.name, source, split_of(source.name, options.val, options.test, options.seed))
        for source in listing.sources
    ]


class Run:
    """One run of a build.

    Args:
        options: Of the build.
        files: Its files.
        steps: What was done, and does the rest.
        photos: All photos.
        votes: What scorers say about them.
        editors, judges: As for `build`.
        cluster: Where pipelines and checkpoints run; None runs them in this process.
    """

    def __init__(
        self,
        options: BuildOptions,
        files: Outputs,
        steps: Steps,
        photos: Sequence[Photo],
        votes: Votes,
        editors: Mapping[str, Editor] | None,
        judges: Sequence[Judge] | None,
        cluster: Cluster | None = None,
    ) -> None:
        self._options, self._files, self._steps, self._photos = options, files, steps, photos
        self._at_once = options.workers or usable_cores()
        editors = make_editors(options, self._at_once, steps.stopping, cluster) if editors is None else editors
        instructor, checker = make_helpers(options, steps.stopping)
        self._editing = Editing(options, steps, files.out, editors, instructor, checker)
        judges = make_judges(options, self._at_once, steps.stopping, cluster) if judges is None else judges
        self._judging = Judging(judges, steps, files.out)
        vote_of_models(options, votes, photos, steps, cluster)
        self._votes, self._consensus = votes, votes.agreed(options)
        if votes.strangers:
            logger.warning("%d rows of the votes are about none of the photos", votes.strangers)
        self._built = Built(photos=len(photos))

    def all(self) -> Built:
        """Does what is left to do, and collects what came of everything."""
        anchors, chosen = self._choose()
        wanted = [photo for photo in self._photos if photo.id in anchors or photo.id in chosen]
        ready = self._write_photos(wanted, chosen)
        edited = [(photo, self._photo_row(photo)) for photo in ready if photo.id in chosen]
        self._editing.edit(edited)
        self._judge(edited)
        for photo in wanted:
            if photo.id in anchors and photo in ready:
                row = self._photo_row(photo)
                self._built.anchors.append(Anchor(photo.id, photo.split, row["picture"], self._consensus[photo.id]))
        self._collect(edited)
        return self._built

    def _choose(self) -> tuple[set[str], set[str]]:
        """Chooses the anchors and the photos to edit."""
        options = self._options
        scores = {name: found.value for name, found in self._consensus.items() if found.value is not None}
        for photo in self._photos:
            found = self._consensus.get(photo.id)
            if found is not None and found.value is None:
                kept = f"{sum(found.keep)} of {len(found.keep)} votes are near enough to each other"
                why = f"; {self._votes.failed[photo.id]}" if photo.id in self._votes.failed else ""
                self._built.reject(photo, "no consensus", f"{kept}, {options.fewest_votes} are needed{why}")
            elif found is None and photo.id in self._votes.failed:
                self._built.reject(photo, "no consensus", self._votes.failed[photo.id])
        training = {
            photo.id: scores[photo.id] for photo in self._photos if photo.split == "train" and photo.id in scores
        }
        anchors = choose_anchors(training, options.anchors, seed=options.seed)
        if scores and len(anchors) < options.anchors:
            logger.warning("%d anchors, not %d: no more photos have a consensus", len(anchors), options.anchors)
        if options.count is None:
            return set(anchors), {photo.id for photo in self._photos}
        if len(scores) >= options.count:
            return set(anchors), set(choose_anchors(scores, options.count, seed=options.seed))
        if scores:
            logger.warning(
                "%d photos have a consensus, %d are to be edited; the others are chosen whatever they look like",
                len(scores),
                options.count,
            )
        others = {photo.id: 0.0 for photo in self._photos if photo.id not in scores}
        filling = choose_anchors(others, options.count - len(scores), seed=options.seed)
        return set(anchors), {*scores, *filling}

    # --- photos -------------------------------------------------------------------------------------------------------

    def _photo_key(self, photo: Photo) -> str:
        """Names the step that writes a photo; it is another one once the file was replaced."""
        return f"photo:{photo.id}:{photo.stamp}"

    def _photo_row(self, photo: Photo) -> Row:
        return self._steps.row(self._photo_key(photo)) or {}

    def _write_photos(self, photos: Sequence[Photo], chosen: set[str]) -> list[Photo]:
        """Writes the photos, and the damaged ones; gives those that can be used."""
        steps = []
        for photo in photos:
            key = self._photo_key(photo)
            damage = self._editing.damage(photo) if photo.id in chosen else None
            row = self._steps.row(key)
            # A photo that was only an anchor before has to be damaged now, and a picture may have been deleted.
            if row is not None and "error" not in row:
                if row["damage"] != (None if damage is None else asdict(damage)) or not self._there(row):
                    self._steps.forget(key)
            steps.append(Step(key, partial(self._write_photo, photo, damage)))
        self._steps.carry_out(steps, at_once=self._at_once, unit="photos")
        usable, digests = [], {}
        for photo in photos:
            row = self._photo_row(photo)
            if "error" in row:
                self._built.reject(photo, "unreadable", row["error"])
            elif (same := digests.setdefault(row["digest"], photo.id)) != photo.id:
                self._built.reject(photo, "repeated", f"it is the same file as {same}")
            else:
                usable.append(photo)
        return usable

    def _there(self, row: Row) -> bool:
        return all((self._files.out / row[name]).is_file() for name in ("picture", "source") if row.get(name))

    def _write_photo(self, photo: Photo, damage: Order | None) -> Row:
        try:
            picture, digest = read_photo(photo.source, self._options.side)
        except (ImageError, OSError) as error:
            return {"error": str(error)}
        written = f"{photo.folder}/photo.jpg"
        content = write_picture(self._files.out / written, picture)
        source = written
        if damage is not None:
            source = f"{photo.folder}/0.jpg"
            damaged = Embedded().edit(picture, damage).picture
            content = write_picture(self._files.out / source, damaged)
        facts = {"digest": digest, "picture": written, "source": source, "content": content}
        return facts | {"damage": None if damage is None else asdict(damage)}

    # --- judgements ---------------------------------------------------------------------------------------------------

    def _judge(self, photos: Sequence[tuple[Photo, Row]]) -> None:
        self._judging.judge(
            [
                (name, written, row)
                for photo, written in photos
                for name, row in self._editing.edited(photo, written)
                if "error" not in row
            ]
        )

    def _collect(self, photos: Sequence[tuple[Photo, Row]]) -> None:
        judged = []
        for photo, written in photos:
            for name, row in self._editing.edited(photo, written):
                self._built.resized += "returned" in row and "error" not in row
                more = {"edited": row.get("picture"), "edit": {key: row[key] for key in TOLD}}
                if "error" in row:
                    self._built.reject(photo, row["reason"], row["error"], **more)
                    continue
                heard = self._judging.heard(written, row)
                if isinstance(heard, str):
                    self._built.reject(photo, "unjudged", heard, **more)
                    continue
                judged.append({judge: one.difference for judge, one in heard.items()})
                change = change_of(name, photo.id, photo.split, written["source"], row, heard)
                if isinstance(change, Change):
                    self._built.changes.append(change)
                else:
                    self._built.reject(photo, *change, **more)
        self._built.agreement = agreement(judged)
