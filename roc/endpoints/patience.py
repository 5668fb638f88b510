"""Waiting while an endpoint is down: a run stays where it is, says so, and goes on once somebody answers.

What nobody answers although others get answers is no fault of the endpoint, and is given up. So is what times out again
and again at an endpoint that has answered, even when nothing else is asked meanwhile.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from roc.endpoints.chat import EndpointDown, EndpointError

logger = logging.getLogger(__name__)

T = TypeVar("T")

SHORTEST, LONGEST = 1.0, 60.0
"""Seconds between two tries: doubled from the first to the second number."""

TELL = 60.0
"""Seconds between two notes that the run is waiting."""

FEWEST_TRIES = 3
"""Tries after which a question is given up that nobody answers while others are answered."""

BROKEN_TRIES = 5
"""Tries after which a question is given up that the endpoint breaks on (status 500), whoever else is answered, or that
times out at an endpoint which has answered before."""


class Patience:
    """Waits for one endpoint, on behalf of all threads that ask it.

    Args:
        name: What is asked, for the notes.
        minutes: How long nobody may answer before the run ends.
        stopping: Set when the run is to end: nobody waits any longer.
    """

    def __init__(self, name: str, minutes: float, stopping: threading.Event) -> None:
        self._name, self._seconds, self._stopping = name, 60 * minutes, stopping
        self._lock = threading.Lock()
        self._down_since: float | None = None
        self._answered = 0.0
        self._told = 0.0

    def __call__(self, ask: Callable[[], T]) -> T:
        """Asks until there is an answer.

        Raises:
            EndpointError: This question gets no usable answer.
            EndpointDown: The run is to end.
            ValueError: Nobody answered for too long.
        """
        start, tries, late, pause = time.monotonic(), 0, 0, SHORTEST
        while True:
            try:
                found = ask()
            except EndpointDown as error:
                tries += 1
                late += error.timed_out
                broken = error.status == 500 and tries >= BROKEN_TRIES
                broken |= late >= BROKEN_TRIES and self._answered > 0
                if broken or (tries >= FEWEST_TRIES and self._answered > start):
                    raise EndpointError(f"{error} ({tries} tries)") from error
                self._wait(error, pause)
                pause = min(LONGEST, 2 * pause)
            else:
                self._back()
                return found

    def _wait(self, error: EndpointDown, pause: float) -> None:
        now = time.monotonic()
        with self._lock:
            if self._down_since is None:
                self._down_since = self._told = now
            since = now - self._down_since
            tell = now - self._told >= TELL or since == 0
            if tell:
                self._told = now
        if since > self._seconds:
            raise ValueError(
                f"{self._name} has not answered for {since / 60:.0f} minutes (--patience), the last time: {error}. "
                "What was done is kept; the same command goes on from here"
            ) from error
        if tell:
            for_long = f" for {since / 60:.0f} min" if since >= TELL else ""
            logger.warning(
                "%s does not answer%s (%s); waiting. Ctrl-C ends the run, nothing is lost", self._name, for_long, error
            )
        if self._stopping.wait(pause):
            raise error

    def _back(self) -> None:
        with self._lock:
            self._answered = now = time.monotonic()
            if self._down_since is not None:
                logger.warning("%s answers again, after %.0f s", self._name, now - self._down_since)
                self._down_since = None
