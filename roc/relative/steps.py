"""The steps of a build, each kept in a journal as soon as it is done: a killed run does none of them twice.

A step is known by its key, which holds everything that it depends on, and its outcome is a row of JSON values; one that
failed has `error`. Steps of one phase do not depend on each other, so several are done at the same time.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, NamedTuple

from roc.scoring.journal import Journal

logger = logging.getLogger(__name__)

Row = dict[str, Any]

Progress = Callable[..., Iterable[Any]]
"""Gives items on and shows how many are done: `roc.commands.progress.with_progress`."""

KEY = "step"
"""What the journal tells rows apart by."""


class Step(NamedTuple):
    """One thing to do.

    Attributes:
        key: Its name in the journal.
        work: Does it, perhaps in another thread, and gives its row.
    """

    key: str
    work: Callable[[], Row]


class Steps:
    """What was done, and what is to be done.

    Args:
        journal: An open journal whose key is `KEY`.
        progress: Shows how many steps of a phase are done.
        retry: Whether steps that failed are done again.

    Attributes:
        done: Steps that were done since this was made.
        stopping: Set once the run is to end, so that whoever waits for something gives up.
    """

    def __init__(self, journal: Journal, progress: Progress, *, retry: bool = False) -> None:
        self._journal, self._progress, self._retry = journal, progress, retry
        self._again: set[str] = set()
        self.done = 0
        self.stopping = threading.Event()
        if retry:
            self._again = {row[KEY] for row in journal.rows(list(journal.images)) if "error" in row}

    def row(self, key: str) -> Row | None:
        """Gives the outcome of a step; None where it was not done."""
        return next(self._journal.rows([key])) if key in self._journal else None

    def forget(self, key: str) -> None:
        """Has a step done again, whatever came of it."""
        self._again.add(key)

    def carry_out(self, steps: Sequence[Step], *, at_once: int, unit: str) -> None:
        """Does the steps of a phase that are still to be done.

        Args:
            steps: All of the phase.
            at_once: Steps at the same time.
            unit: What one is called, for the bar.
        """
        todo = [step for step in steps if step.key not in self._journal or step.key in self._again]
        if not todo:
            return
        for _ in self._progress(self._each(todo, at_once), len(steps), len(steps) - len(todo), unit=unit):
            pass

    def carry_out_together(
        self, keys: Sequence[str], work: Callable[[Sequence[str]], Iterator[tuple[str, Row]]], *, unit: str
    ) -> None:
        """Does a phase whose steps are one piece of work, as of a model that takes its pictures in batches.

        Args:
            keys: Of all steps.
            work: Takes the keys of those that are still to be done, and yields each of them with its row.
            unit: What one is called, for the bar.
        """
        todo = [key for key in keys if key not in self._journal or key in self._again]
        if not todo:
            return
        rows = (self._keep(key, row) for key, row in work(todo))
        for _ in self._progress(rows, len(keys), len(keys) - len(todo), unit=unit):
            pass

    def _each(self, todo: Sequence[Step], at_once: int) -> Iterator[str]:
        waiting = iter(todo)
        running: dict[Future[Row], str] = {}
        with ThreadPoolExecutor(at_once) as pool:
            try:
                while True:
                    while len(running) < at_once and (step := next(waiting, None)) is not None:
                        running[pool.submit(step.work)] = step.key
                    if not running:
                        return
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        yield self._keep(running.pop(future), future.result())
            except BaseException:
                logger.info("Stopping; what is under way is waited for and kept")
                self.stopping.set()
                pool.shutdown(wait=True, cancel_futures=True)
                for future, key in running.items():
                    if not future.cancelled() and future.exception() is None:
                        self._keep(key, future.result())
                raise

    def _keep(self, key: str, row: Row) -> str:
        self._journal.write([{KEY: key, **row}])
        self._again.discard(key)
        self.done += 1
        return key
