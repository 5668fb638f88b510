"""The queue in front of the model: prepared images of many requests become batches for the model's process.

A batch is sent as soon as it is full, or when its oldest image has waited a few milliseconds. While the model works on
one batch, a second one is sent only if it is full; whatever arrives meanwhile makes the next batch larger. A model
process that ends is started again.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from roc.server.children import Child, Starter
from roc.server.counters import Counters
from roc.server.errors import Refusal, unavailable
from roc.server.worker import MODES, run

logger = logging.getLogger(__name__)

FIRST_SIZE = 4
"""Batch size until the worker has found a better one."""

AHEAD = 2
"""Batches that the worker holds at once: one being computed, one ready to be next."""

LONGER = 1.5
"""Largest ratio of the lengths, in tokens, of two prompts in one batch."""

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
        self._failures = 0
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
        return self._failures > 1

    async def score(self, mode: str, length: int, inputs: bytes) -> dict[str, Any]:
        """Scores a prepared image.

        Args:
            mode: "score" or "describe".
            length: Tokens of its prompt.
            inputs: Inputs of the model as safetensors.

        Returns:
            `{"scores": ..., "text": ...}` or `{"error": message}`.

        Raises:
            Refusal: 503 if the worker ended meanwhile.
        """
        job = _Job(next(self._numbers), mode, length, inputs, self._loop.create_future(), self._loop.time())
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
            self._call(self._ended, f"it could not be started: {error!r}")
            return
        self._child = child
        reason = "it ended"
        try:
            while True:
                header, _ = child.receive()
                if "fault" in header:
                    reason = header["fault"]
                self._call(self._heard, header)
        except EOFError:
            child.close(5.0)
        except Exception as error:
            reason = f"it sent an invalid message: {error!r}"
            child.kill()
            child.close()
        self._call(self._ended, reason)

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            logger.debug("the event loop was closed before the worker ended")

    def _heard(self, header: dict[str, Any]) -> None:
        if "facts" in header:
            self.ready = self._was_ready = True
            self._failures = 0
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

    def _ended(self, reason: str) -> None:
        """Handles the end of the worker: its batches are lost, waiting images go to the next worker."""
        self.ready = False
        self._child = None
        self._counters.ready.set(0)
        lost = [job for jobs, _ in self._in_flight.values() for job in jobs]
        for _, watch in self._in_flight.values():
            watch.cancel()
        self._in_flight.clear()
        for job in lost:
            if not job.future.done():
                job.future.set_exception(_lost())
        if self._closing:
            return
        if not self._was_ready:
            self._on_failure(reason)
            return
        pause = 0.0 if self._failures == 0 else min(LONGEST_PAUSE, 2.0 ** (self._failures - 1))
        self._failures += 1
        logger.error("The model's process ended: %s; %d images lost; starting a new one.", reason, len(lost))
        self._counters.restarts.labels("worker").inc()
        self._loop.call_later(pause, self._start)

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
        oldest = self._waiting[0]
        if sum(job.mode == oldest.mode for job in self._waiting) >= self._sizes[oldest.mode]:
            return 0.0
        if self._in_flight:
            return None
        return max(0.0, oldest.arrived + self._wait - self._loop.time())

    def _choose(self) -> list[_Job]:
        """Takes the oldest image and the ones nearest to it in length, which need the least padding."""
        oldest = self._waiting[0]
        size = self._sizes[oldest.mode]
        alike = [job for job in self._waiting if job.mode == oldest.mode and _near(job.length, oldest.length)]
        chosen = sorted(alike, key=lambda job: (job is not oldest, abs(job.length - oldest.length), job.index))[:size]
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
    return unavailable("the model's process ended while it worked on this request", code="worker_lost", retry_after=2)
