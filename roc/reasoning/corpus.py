"""Writing a corpus: for each photo a critique that passes all filters, in equal numbers for each tier.

A photo's story depends on the answers alone: up to `attempts` texts, each looked at by the rules, then by the judge of
the tone, then by the judge of the facts. A photo without a usable text makes room for the next one of its tier. As the
answers are kept, a run that goes on, or asks for more texts, finds its way back to where it was without asking.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

from roc.data.images import ImageError
from roc.data.reading import read_records
from roc.endpoints.chat import Reply
from roc.reasoning.authors import Author, AuthorError, Request, authors_of
from roc.reasoning.config import CorpusConfig
from roc.reasoning.filters import Rejection, check_facts, check_form, check_leak, check_tone
from roc.reasoning.outputs import Outputs, rejected_rows
from roc.reasoning.replies import NotAsked, NoText, Replies, Usage
from roc.reasoning.tiers import Photo, queues
from roc.reasoning.wording import read_claims, read_tone
from roc.scoring.journal import Journal

logger = logging.getLogger(__name__)

VERDICTS = 3
"""How often a judge is asked until the verdict can be read."""

Progress = Callable[..., Iterable[Any]]
"""Gives items on and shows how many are done: `roc.commands.progress.with_progress`."""


@dataclass(frozen=True)
class Attempt:
    """One text about a photo, and why it is not used; None where it is."""

    critique: str
    rejection: Rejection | None


@dataclass
class Outcome:
    """What came of one photo.

    Attributes:
        photo: The photo.
        attempts: The texts in their order; only the last one can be usable.
        error: Why an author could not be asked about it, if so.
    """

    photo: Photo
    attempts: list[Attempt] = field(default_factory=list)
    error: str | None = None

    @property
    def critique(self) -> str | None:
        """The usable text, if there is one."""
        return self.attempts[-1].critique if self.attempts and self.attempts[-1].rejection is None else None


@dataclass(frozen=True)
class Corpus:
    """What a run wrote.

    Attributes:
        kept: Photos with a usable text, in the order of the data file.
        surplus: Those whose tier has more texts than the others.
        others: Photos without a usable text.
        usage: Cost by role, earlier runs included.
        asked: Answers that this run asked for.
        seconds: How long it took.
        short: Texts that were asked for and that the photos did not give.
    """

    kept: list[Outcome]
    surplus: list[Outcome]
    others: list[Outcome]
    usage: Mapping[str, Usage]
    asked: int
    seconds: float
    short: int = 0

    @property
    def failed(self) -> list[Outcome]:
        """Photos about which an author could not be asked."""
        return [outcome for outcome in self.others if outcome.error is not None]


def write_corpus(options: CorpusConfig, progress: Progress, authors: Mapping[str, Author] | None = None) -> Corpus:
    """Writes a corpus and its files, or goes on with one.

    Args:
        options: Photos, authors, and where the corpus goes.
        progress: Shows how many texts there are.
        authors: {"writer": ..., "judge": ...}; None makes those that the options name.

    Returns:
        What was written.

    Raises:
        DataError: With all faults of the data file.
        ValueError: Photos or authors that cannot be used, a file that is in the way, or no usable text at all.
    """
    start = time.monotonic()
    files = Outputs(options.out)
    files.check(overwrite=options.overwrite)
    photos = read_photos(options)
    waiting = queues(photos, balance=options.balance, seed=options.seed)
    authors = authors_of(options) if authors is None else authors
    with Journal(files.journal, {"corpus": 1}, overwrite=options.overwrite, key="reply") as journal:
        replies = Replies(journal, authors, options)
        writing = Writing(options, replies, waiting, at_once=max(author.at_once for author in authors.values()))
        done = writing.remember()
        for _ in progress(writing.run(), writing.wanted, done, unit="texts"):
            pass
    kept, surplus, others = writing.sorted(photos)
    short = 0 if options.count is None else options.count - len(kept)
    corpus = Corpus(kept, surplus, others, replies.usage, replies.asked, time.monotonic() - start, short)
    files.write(corpus, options)
    if not kept:
        raise ValueError(_nothing_kept(corpus, files))
    return corpus


def _nothing_kept(corpus: Corpus, files: Outputs) -> str:
    reasons = Counter(row["reason"] for row in rejected_rows(corpus))
    counts = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common())
    error = f"; the first photo that failed: {corpus.failed[0].error}" if corpus.failed else ""
    return f"no text is of use ({counts}), so no corpus was written{error}; {files.rejected} holds every text and why"


def read_photos(options: CorpusConfig) -> list[Photo]:
    """Reads the photos to write about, in the order of the data file; those that cannot be are counted in the log."""
    space = options.space
    records = read_records(options.data_path, options.image_folder, space=space, check_images=False)
    records = [record for record in records if (record.split or "train") in options.split]
    usable = [record for record in records if len(record.images) == 1 and "overall" in record.scores]
    if len(usable) < len(records):
        logger.warning(
            "%d of %d records have no single image with an overall score and are left out",
            len(records) - len(usable),
            len(records),
        )
    return [Photo.of(record, space) for record in usable]


class Writing:
    """The state of a run: which photos of each tier have come to what.

    Args:
        options: How many texts, attempts and filters.
        replies: Whom to ask.
        waiting: Photos of each tier in their order, the shortest queue first.
        at_once: Photos that are worked on at the same time.
    """

    def __init__(
        self, options: CorpusConfig, replies: Replies, waiting: Mapping[str, list[Photo]], *, at_once: int
    ) -> None:
        self._options, self._replies, self._waiting, self._at_once = options, replies, waiting, at_once
        self._known: dict[str, Outcome] = {}
        share = min(map(len, waiting.values()))
        self._share = share if options.count is None else options.count // len(waiting)

    @property
    def wanted(self) -> int:
        """Texts in all, as far as is known by now."""
        return self._share * len(self._waiting)

    def remember(self) -> int:
        """Works out what earlier answers are enough for, asking nobody; returns how many usable texts that gives."""
        kept = 0
        for queue in self._waiting.values():
            found = 0
            for photo in queue:
                if found >= self._share:
                    break
                try:
                    self._known[photo.id] = outcome = self._story(photo, remembered=True)
                except NotAsked:
                    continue
                found += outcome.critique is not None
            kept += found
        return kept

    def run(self) -> Iterator[Outcome]:
        """Asks the authors until every tier has its texts; yields each photo that got a usable text."""
        with ThreadPoolExecutor(self._at_once) as pool:
            try:
                for tier, queue in self._waiting.items():
                    yield from self._fill(queue, pool)
                    found = len(self._usable(queue))
                    if len(self._waiting) > 1 and found < self._share:
                        self._share = found  # the other tiers need no more
                        logger.warning(
                            "all %d %s photos gave %d texts, so there are as many of each tier", len(queue), tier, found
                        )
            except BaseException:
                logger.info("Stopping; answers that are under way are waited for and kept")
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def _fill(self, queue: list[Photo], pool: ThreadPoolExecutor) -> Iterator[Outcome]:
        found, photos = 0, iter(queue)
        running: set[Future[Outcome]] = set()
        while True:
            while found + len(running) < self._share and len(running) < self._at_once:
                photo = next(photos, None)
                if photo is None:
                    break
                known = self._known.get(photo.id)
                if known is None:
                    running.add(pool.submit(self._story, photo))
                else:
                    found += known.critique is not None
            if not running:
                return
            ended, running = wait(running, return_when=FIRST_COMPLETED)
            for outcome in (future.result() for future in ended):
                self._known[outcome.photo.id] = outcome
                if outcome.critique is not None:
                    found += 1
                    yield outcome

    def _usable(self, queue: Iterable[Photo]) -> list[Outcome]:
        known = (self._known.get(photo.id) for photo in queue)
        return [outcome for outcome in known if outcome is not None and outcome.critique is not None]

    def sorted(self, photos: Iterable[Photo]) -> tuple[list[Outcome], list[Outcome], list[Outcome]]:
        """Divides the photos that were written about into kept, surplus and without a text, in the order given."""
        usable = {tier: self._usable(queue) for tier, queue in self._waiting.items()}
        share = min(self._share, min(map(len, usable.values())))
        chosen = {outcome.photo.id for found in usable.values() for outcome in found[:share]}
        kept, surplus, others = [], [], []
        for photo in photos:
            outcome = self._known.get(photo.id)
            if outcome is not None:
                group = others if outcome.critique is None else kept if photo.id in chosen else surplus
                group.append(outcome)
        return kept, surplus, others

    def _story(self, photo: Photo, *, remembered: bool = False) -> Outcome:
        """Has texts about one photo written and judged until one is usable."""

        def ask(role: str, request: Request) -> Reply:
            return self._replies.ask(role, request, remembered=remembered)

        outcome = Outcome(photo)
        try:
            for number in range(self._options.attempts):
                try:
                    reply = ask("writer", Request.write(photo, self._options.space.range, number))
                except NoText as error:
                    outcome.attempts.append(Attempt("", Rejection("form", str(error))))
                    continue
                critique = " ".join(reply.text.split())
                rejection = self._rejection(photo, critique, reply.cut, ask)
                outcome.attempts.append(Attempt(critique, rejection))
                if rejection is None:
                    break
        except (AuthorError, ImageError) as error:
            outcome.error = str(error)
        return outcome

    def _rejection(
        self, photo: Photo, critique: str, cut: bool, ask: Callable[[str, Request], Reply]
    ) -> Rejection | None:
        found = check_form(critique, cut=cut) or check_leak(critique, photo.score, self._options.space)
        if found is not None:
            return found
        named = _verdict(ask, read_tone, lambda number: Request.tone(critique, number))
        if isinstance(named, Rejection):
            return named
        found = check_tone(named, photo.unit)
        if found is not None:
            return found
        claims = _verdict(ask, read_claims, lambda number: Request.facts(photo, critique, number))
        return claims if isinstance(claims, Rejection) else check_facts(claims)


def _verdict(
    ask: Callable[[str, Request], Reply], read: Callable[[str], Any], request: Callable[[int], Request]
) -> Any:
    """Asks the judge until the verdict can be read; a `Rejection` where it never can."""
    for number in range(VERDICTS):
        try:
            reply = ask("judge", request(number))
        except NoText as error:
            last = str(error)
            continue
        verdict = None if reply.cut else read(reply.text)
        if verdict is not None:
            return verdict
        last = repr(reply.text[:80])
    return Rejection("unjudged", f"{VERDICTS} verdicts could not be read, the last one: {last}")
