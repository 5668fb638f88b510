"""The queue in front of the model: prepared images of many requests become batches for the model's process.

A batch is sent as soon as it is full, or when its oldest image has waited a few milliseconds. While the model works on
one batch, a second one is sent only if it is full; whatever arrives meanwhile makes the next batch larger. Clients, and
the requests of each, take turns.

A model process that ends is started again, and so are the images it had. One that was there each time gets the process
for itself, and is blamed if it ends even that one, twice, and nothing killed it from outside.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from roc.data.counts import counted
from roc.server.children import Child, Starter
from roc.server.counters import Counters
from roc.server.errors import Refusal, unavailable
from roc.server.turns import NOBODY, Whose, in_turn
from roc.server.worker import MODES, run

logger = logging.getLogger(__name__)

FIRST_SIZE = 4
"""Batch size until the worker has found a better one."""

REMEMBERED = 1024
"""Clients and requests of which it is remembered when they had their turn."""

AHEAD = 2
"""Batches that the worker holds at once: one being computed, one ready to be next."""

LONGER = 1.5
"""Largest ratio of the lengths, in tokens, of two prompts in one batch."""

LOSSES = 5
"""An image whose process has ended this many times is given up: its request gets a 503."""

BLAMED = 2
"""An image that has ended this many processes in which nothing else was being scored is blamed for it."""

STARTS = 3
"""How often a worker that is killed while it loads the model for the first time is started."""

LONGEST_PAUSE = 30.0
"""Longest pause, in seconds, before a worker that ends again and again is started once more."""


@dataclass(eq=False)
class _Job:
    index: int
    mode: str
    length: int
    inputs: bytes
    future: asyncio.Future[dict[str, Any]]
    arrived: float
    whose: Whose = NOBODY
    losses: int = 0
    alone: bool = False
    crashes_alone: int = 0


class Batching:
    """Collects prepared images into batches and keeps a worker process running to score them.

    Args:
        settings: Settings of the worker, see `worker.run`.
        starter: Starts the worker's process.
        counters: Where batches and restarts are counted.
        wait: Seconds that an image waits for others.
        stuck: Seconds after which a worker that does not answer is killed.
        on_ready: Called with the facts of the model each time a worker is ready.
        on_failure: Called with the reason if the very first worker cannot load the model.
    """

    def __init__(
        self,
        settings: dict[str, Any],
        starter: Starter,
        counters: Counters,
        *,
        wait: float,
        stuck: float,
        on_ready: Callable[[dict[str, Any]], None],
        on_failure: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._starter = starter
        self._counters = counters
        self._wait = wait
        self._stuck = stuck
        self._on_ready = on_ready
        self._on_failure = on_failure
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._waiting: list[_Job] = []
        self._in_flight: dict[int, tuple[list[_Job], asyncio.TimerHandle]] = {}
        self._sizes = dict.fromkeys(MODES, settings["batch_size"] or FIRST_SIZE)
        self._numbers = itertools.count()
        self._sender = ThreadPoolExecutor(1, thread_name_prefix="to-worker")
        self._child: Child | None = None
        self._failures = self._kills = self._starts = 0
        self._last_led: dict[Hashable, int] = {}
        self._was_ready = self._closing = False
        self.ready = False
        self._sending = self._loop.create_task(self._send_batches())
        self._start()

    @property
    def pid(self) -> int | None:
        """Process id of the worker."""
        return self._child.pid if self._child is not None else None

    @property
    def failing(self) -> bool:
        """Whether the worker ends again and again."""
        return self._failures > 1 or self._kills > STARTS

    async def score(self, mode: str, length: int, inputs: bytes, whose: Whose = NOBODY) -> dict[str, Any]:
        """Scores a prepared image.

        Args:
            mode: "score" or "describe".
            length: Tokens of its prompt.
            inputs: Inputs of the model as safetensors.
            whose: Who asks.

        Returns:
            `{"scores": ..., "text": ...}` or `{"error": message}`.

        Raises:
            Refusal: 503 if one worker after the other ended meanwhile.
        """
        job = _Job(next(self._numbers), mode, length, inputs, self._loop.create_future(), self._loop.time(), whose)
        self._waiting.append(job)
        self._changed.set()
        try:
            return await job.future
        finally:
            if job in self._waiting:
                self._waiting.remove(job)

    async def close(self) -> None:
        """Lets the worker finish its batches, then ends it."""
        self._closing = True
        self._sending.cancel()
        child = self._child
        if child is not None:
            try:
                await self._loop.run_in_executor(self._sender, child.send, {"stop": True})
            except OSError:
                logger.debug("the worker had already ended")
            await asyncio.to_thread(self._thread.join, 10)
            if self._thread.is_alive():
                child.kill()
        self._sender.shutdown(wait=False)

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        """Runs in a thread: starts a worker and passes on its messages until it ends."""
        try:
            child = Child(run, (self._settings,), self._starter)
        except Exception as error:
            # Not only OSError: the fork server may be gone (EOFError), or no thread be left (RuntimeError).
            self._call(
                self._ended, f"it could not be started: {error!r}", isinstance(error, EOFError | ConnectionError)
            )
            return
        self._child = child
        reason, killed = "it ended", False
        try:
            while True:
                header, _ = child.receive()
                if "fault" in header:
                    reason = header["fault"]
                self._call(self._heard, header)
        except EOFError:
            killed = child.was_killed()
            if killed:
                reason = "it was killed, which the system does if memory runs out"
            child.close(5.0)
        except Exception as error:
            reason = f"it sent an invalid message: {error!r}"
            child.kill()
            child.close()
        self._call(self._ended, reason, killed)

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            logger.debug("the event loop was closed before the worker ended")

    def _heard(self, header: dict[str, Any]) -> None:
        if "facts" in header:
            self.ready = self._was_ready = True
            self._failures = self._kills = 0
            self._on_ready(header["facts"])
            self._changed.set()
        if "rows" not in header or header["batch"] not in self._in_flight:
            return
        jobs, watch = self._in_flight.pop(header["batch"])
        watch.cancel()
        self._sizes[header["mode"]] = header["size"]
        rows = dict(header["rows"])
        for job in jobs:
            if not job.future.done():
                job.future.set_result(rows[job.index])
        self._changed.set()

    def _ended(self, reason: str, killed: bool) -> None:
        """Handles the end of the worker: the next one gets what it had, and what was waiting."""
        self.ready = False
        self._child = None
        self._counters.ready.set(0)
        lost = [job for jobs, _ in self._in_flight.values() for job in jobs if not job.future.done()]
        for _, watch in self._in_flight.values():
            watch.cancel()
        self._in_flight.clear()
        if self._closing:
            for job in lost:
                job.future.set_exception(_lost())
            return
        self._starts += 1
        if not self._was_ready and not (killed and self._starts < STARTS):
            self._on_failure(reason)
            return
        again = [job for job in lost if self._deserves_another_try(job, killed)]
        self._waiting[:0] = again
        bad = self._failures + max(0, self._kills - STARTS)
        pause = 0.0 if bad == 0 else min(LONGEST_PAUSE, 2.0 ** (bad - 1))
        self._kills += killed
        self._failures += not killed
        logger.error(
            "The model's process ended: %s; %s.",
            reason,
            counted(len(again), "image goes to a new one", "images go to a new one"),
        )
        self._counters.restarts.labels("worker").inc()
        self._loop.call_later(pause, self._start)

    def _deserves_another_try(self, job: _Job, killed: bool) -> bool:
        """Counts a loss against an image, and settles it if that was one too many."""
        job.losses += 1
        job.crashes_alone += job.alone and not killed
        # After a crash every image of its batches is suspected; after kills that follow each other as well.
        job.alone = job.alone or not killed or job.losses > 1
        if job.crashes_alone >= BLAMED:
            job.future.set_result({"error": "it ended the model's process, twice, with no other image in it"})
        elif job.losses >= LOSSES:
            job.future.set_exception(_lost())
        return not job.future.done()

    async def _send_batches(self) -> None:
        """Sends each batch when it is due."""
        while True:
            delay = self._due()
            if delay is None or delay > 0:
                self._changed.clear()
                try:
                    async with asyncio.timeout(delay):
                        await self._changed.wait()
                except TimeoutError:
                    pass
                continue
            await self._send(self._choose())

    def _due(self) -> float | None:
        """Returns the seconds until the next batch is due; None if something else has to happen first."""
        if not self.ready or not self._waiting or len(self._in_flight) >= AHEAD:
            return None
        first = self._first()
        if first.alone or any(jobs[0].alone for jobs, _ in self._in_flight.values()):
            return None if self._in_flight else 0.0
        if sum(job.mode == first.mode and not job.alone for job in self._waiting) >= self._sizes[first.mode]:
            return 0.0
        if self._in_flight:
            return None
        oldest = min(job.arrived for job in self._waiting)
        return max(0.0, oldest + self._wait - self._loop.time())

    def _first(self) -> _Job:
        """Returns the image that the next batch is for: the oldest of the client whose turn it is."""
        suspect = next((job for job in self._waiting if job.alone), None)
        if suspect is not None:
            return suspect
        led = self._last_led
        return min(self._waiting, key=lambda job: (led.get(job.whose.client, -1), led.get(job.whose, -1), job.index))

    def _choose(self) -> list[_Job]:
        """Takes the first image and others for its batch.

        Clients and requests take turns; of equals those come along that are nearest in length, which need the least
        padding.
        """
        first = self._first()
        size = 1 if first.alone else self._sizes[first.mode]
        alike = [
            job
            for job in self._waiting
            if job.mode == first.mode and not job.alone and _near(job.length, first.length) and job is not first
        ]
        alike.sort(key=lambda job: (abs(job.length - first.length), job.index))
        chosen = [first, *in_turn(alike, lambda job: job.whose)][:size]
        if len(self._last_led) > REMEMBERED:
            self._last_led.clear()
        self._last_led[first.whose.client] = self._last_led[first.whose] = next(self._numbers)
        taken = set(map(id, chosen))
        self._waiting = [job for job in self._waiting if id(job) not in taken]
        return chosen

    async def _send(self, jobs: Sequence[_Job]) -> None:
        number = next(self._numbers)
        child = self._child
        self._in_flight[number] = (list(jobs), self._loop.call_later(self._stuck, self._end_stuck, child))
        self._counters.batches.observe(len(jobs))
        header = {"batch": number, "mode": jobs[0].mode, "indices": [job.index for job in jobs]}
        parts = [job.inputs for job in jobs]
        if child is None:
            return
        try:
            await self._loop.run_in_executor(self._sender, child.send, header, parts)
        except OSError:
            # `_listen` notices the end too, and `_ended` then reports these images as lost.
            logger.debug("the worker ended while a batch was sent to it")

    def _end_stuck(self, child: Child | None) -> None:
        logger.error("The model's process did not answer for %g s.", self._stuck)
        if child is not None:
            child.kill()


def _near(length: int, other: int) -> bool:
    return max(length, other) <= LONGER * min(length, other)


def _lost() -> Refusal:
    return unavailable(
        "one model's process after the other ended while it had this image", code="worker_lost", retry_after=2
    )
