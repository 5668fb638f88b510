"""An image of a request -> its result: the readers, the queue, the model, and how much may be at work at once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from roc.server.batching import Batching
from roc.server.children import Starter, in_process
from roc.server.counters import Counters
from roc.server.errors import Refusal, unavailable
from roc.server.limits import Bodies, Limits
from roc.server.reader import BYTES_PER_PIXEL, SPARE_MEMORY, Read, Readers
from roc.server.uploads import Upload

logger = logging.getLogger(__name__)

PREPARED = 128
"""Images that are decoded or waiting for the model, decoded, at once: tensors are larger than files."""

AHEAD = 1
"""Images that lie ready for whichever reader is done first; each is one that the next request in turn waits for."""

STUCK = 5.0
"""After how many times the timeout of a request a model that does not answer is taken for dead."""


@dataclass(frozen=True)
class Settings:
    """What the service runs with.

    Attributes:
        checkpoint: folder or hub id.
        device: None = the first there is.
        dtype: None = as `Assessment` chooses.
        batch_size: None = found while scoring.
        batch_wait_ms: how long an image waits for others.
        readers: processes that decode and resize; None = as many as fit this machine.
        threads: of PyTorch in the model's process; None = its own choice.
        max_new_tokens: longest answer of `/v1/describe`.
        limits: what a request may cost.
    """

    checkpoint: str
    device: str | None = None
    dtype: str | None = None
    batch_size: int | None = None
    batch_wait_ms: float = 5.0
    readers: int | None = None
    threads: int | None = None
    max_new_tokens: int = 512
    limits: Limits = Limits()


@dataclass(eq=False)
class _Request:
    pixels: int = 0


class Turns:
    """A number of places, and who comes next: the request that holds the fewest; of equals, each in turn.

    Args:
        places: taken at once.
    """

    def __init__(self, places: int) -> None:
        self._free = places
        self._held: Counter[object] = Counter()
        self._waiting: dict[object, deque[asyncio.Future[None]]] = {}

    @contextlib.asynccontextmanager
    async def turn(self, whose: object) -> AsyncIterator[None]:
        """Waits for a place and holds it for as long as it is entered.

        Args:
            whose: the request.
        """
        if self._free:
            self._free -= 1
            self._held[whose] += 1
        else:
            future = asyncio.get_running_loop().create_future()
            self._waiting.setdefault(whose, deque()).append(future)
            try:
                await future
            except asyncio.CancelledError:
                if future.done() and not future.cancelled():
                    self._give_up(whose)
                raise
        try:
            yield
        finally:
            self._give_up(whose)

    def _give_up(self, whose: object) -> None:
        self._held[whose] -= 1
        if not self._held[whose]:
            del self._held[whose]
        while self._waiting:
            whose = min(self._waiting, key=self._held.__getitem__)
            own = self._waiting.pop(whose)
            future = own.popleft()
            if own:
                self._waiting[whose] = own
            if not future.done():
                self._held[whose] += 1
                future.set_result(None)
                return
        self._free += 1


class Service:
    """The model, behind all that keeps it busy and safe.

    Args:
        settings: what it runs with.
        starter: of the processes; tests put threads in their place.

    Attributes:
        facts: of the model; None until it is loaded.
        failure: why it could not be loaded.
    """

    def __init__(self, settings: Settings, starter: Starter = in_process) -> None:
        self.settings = settings
        self.limits = settings.limits
        self.bodies = Bodies(settings.limits)
        self.counters = Counters()
        self.facts: dict[str, Any] | None = None
        self.failure: str | None = None
        self._starter = starter
        self._batching: Batching | None = None
        self._readers: Readers | None = None
        self._images = 0
        self._pace = 0.0
        self._over = asyncio.Event()

    @property
    def ready(self) -> bool:
        """Whether the model can be asked."""
        return self._batching is not None and self._batching.ready and self._readers is not None and self._readers.ready

    @property
    def worker_pid(self) -> int | None:
        """Of the model's process."""
        return self._batching.pid if self._batching is not None else None

    async def start(self) -> None:
        """Begins to load the model."""
        settings = self.settings
        self._prepared = asyncio.Semaphore(PREPARED)
        self._batching = Batching(
            {
                "checkpoint": settings.checkpoint,
                "device": settings.device,
                "dtype": settings.dtype,
                "batch_size": settings.batch_size,
                "max_new_tokens": settings.max_new_tokens,
                "threads": settings.threads,
            },
            self._starter,
            self.counters,
            wait=settings.batch_wait_ms / 1000,
            stuck=STUCK * self.limits.timeout,
            on_ready=self._loaded,
            on_failure=self._failed,
        )

    async def close(self) -> None:
        """Ends all processes."""
        if self._readers is not None:
            await self._readers.close()
        if self._batching is not None:
            await self._batching.close()

    async def over(self) -> str:
        """Waits until the model turns out not to load, and tells why."""
        await self._over.wait()
        return self.failure or ""

    def _loaded(self, facts: dict[str, Any]) -> None:
        self.facts = facts
        self.counters.ready.set(1)
        logger.info("Ready: %s scores %s, in process %s.", facts["id"], ", ".join(facts["attributes"]), self.worker_pid)
        if self._readers is not None:
            return
        memory = BYTES_PER_PIXEL * self.limits.pixels + SPARE_MEMORY if self._starter is in_process else None
        self._readers = Readers(
            (self.settings.checkpoint, facts, self.limits.pixels, memory),
            self._starter,
            self.settings.readers or default_readers(facts["device"]),
            self.limits.image_seconds,
            self.counters.restarts.labels("reader").inc,
        )
        self._turns = Turns(self._readers.count + AHEAD)

    def _failed(self, reason: str) -> None:
        self.failure = reason
        self._over.set()

    def check_ready(self) -> dict[str, Any]:
        """The facts of the model.

        Raises:
            Refusal: 503 while it is being loaded; not while its process is started anew, which what comes in waits for.
        """
        if self.facts is None or self._batching is None or self._batching.failing:
            raise unavailable("the model is being loaded", code="not_ready", retry_after=5)
        return self.facts

    @contextlib.contextmanager
    def admit(self, count: int) -> Iterator[None]:
        """Takes images in, for as long as it is entered.

        Raises:
            Refusal: 503 where there are too many already.
        """
        if self._images + count > self.limits.queue:
            seconds = min(60, max(1, math.ceil(self._images * self._pace)))
            raise unavailable(
                f"{self._images} images are at work or waiting, and {self.limits.queue} may be",
                code="busy",
                retry_after=seconds,
            )
        self._images += count
        self.counters.queue.set(self._images)
        try:
            yield
        finally:
            self._images -= count
            self.counters.queue.set(self._images)

    async def assess(self, images: Sequence[Upload], mode: str) -> list[dict[str, Any]]:
        """What was found for each image.

        Args:
            images: of one request.
            mode: "score" or "describe".

        Returns:
            For each `{"scores": ..., "text": ...}` or `{"error": {"code", "message"}}`.

        Raises:
            Refusal: 413 where they have too many pixels together, 503 where the model's process ended or none that
                reads images can be started, 504 where time is up.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        request = _Request()
        tasks = [asyncio.create_task(self._one(image, mode, request)) for image in images]
        try:
            async with asyncio.timeout(self.limits.timeout):
                found = await asyncio.gather(*tasks)
        except TimeoutError:
            self.counters.images.labels("lost").inc(len(images))
            seconds = f"{self.limits.timeout:g}"
            raise Refusal(
                504, "timeout", f"no answer within {seconds} s; send fewer images at a time, or try again later"
            ) from None
        except Refusal:
            self.counters.images.labels("lost").inc(len(images))
            raise
        finally:
            for task in tasks:
                task.cancel()
        self._pace += 0.05 * ((loop.time() - began) / max(1, self._images) - self._pace)
        return found

    async def _one(self, image: Upload, mode: str, request: _Request) -> dict[str, Any]:
        if image.data is None:
            return self._refused(*(image.fault or ("unreadable_image", "it holds nothing")))
        assert self._readers is not None and self._batching is not None
        async with contextlib.AsyncExitStack() as stack:
            async with self._turns.turn(request):
                await stack.enter_async_context(self._prepared)
                read = await self._readers.read(mode, image.data)
            self._count_pixels(request, read)
            if read.inputs is None:
                return self._refused("unreadable_image", read.fault or "it cannot be read")
            row = await self._batching.score(mode, read.length, read.inputs)
        if "error" in row:
            self.counters.images.labels("unscored").inc()
            return {"error": {"code": "unscored", "message": row["error"]}}
        self.counters.images.labels("scored").inc()
        return row

    def _count_pixels(self, request: _Request, read: Read) -> None:
        request.pixels += self.limits.pixels if read.pixels is None else read.pixels
        if request.pixels > self.limits.pixels_per_request:
            raise Refusal(
                413,
                "too_many_pixels",
                f"the images of this request have more than {self.limits.pixels_per_request} pixels together; send "
                "fewer or smaller images at a time",
            )

    def _refused(self, code: str, message: str) -> dict[str, Any]:
        self.counters.images.labels("refused").inc()
        return {"error": {"code": code, "message": message}}


def default_readers(device: str) -> int:
    """As many as fit this machine: with a GPU most cores, without one half of them, 2 at least, at most 16."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(2, min(16, cores // 2 if device == "cpu" else cores - 2))
