"""The service behind the routes: an image goes through decoding, batching and the model, within the limits."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
from collections.abc import Coroutine, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from roc.data.counts import counted
from roc.model.device import default_workers
from roc.server.answers import combine
from roc.server.batching import Batching
from roc.server.bodies import Bodies
from roc.server.children import Starter, in_process
from roc.server.counters import Counters
from roc.server.decoders import Decoded, Decoders
from roc.server.decoding import BYTES_PER_DECODED_PIXEL, BYTES_PER_PIXEL, SPARE_MEMORY
from roc.server.errors import Refusal, unavailable
from roc.server.options import Limits, ServeOptions
from roc.server.turns import PART, Shares, Whose
from roc.server.uploads import Upload
from roc.server.worker import COMPARE

logger = logging.getLogger(__name__)

PREPARED = 128
"""Images that may be decoded and waiting for the model at once: tensors are larger than files."""

STUCK = 5.0
"""A model that has not answered for this many request timeouts is taken for dead."""


@dataclass(eq=False)
class _Request:
    pixels: int = 0


class Service:
    """Scores the images of requests, and refuses what is beyond the limits.

    Args:
        options: Model and limits.
        starter: Starts the processes; tests put threads in their place.

    Attributes:
        limits: What requests may cost.
        checkpoint: The model; a folder or file as an absolute path.
        facts: What the model's process tells about the model; None until it is loaded.
        failure: Why the model could not be loaded.
    """

    def __init__(self, options: ServeOptions, starter: Starter = in_process) -> None:
        self.options = options
        self.limits: Limits = options
        self.bodies = Bodies(options)
        self.counters = Counters()
        self.facts: dict[str, Any] | None = None
        self.failure: str | None = None
        name = options.checkpoint
        self.checkpoint = os.path.abspath(name) if os.path.exists(name) else name
        self._starter = starter
        self._batching: Batching | None = None
        self._decoders: Decoders | None = None
        self._images = Shares(options.queue)
        self._pace = 0.0
        self._over = asyncio.Event()

    @property
    def ready(self) -> bool:
        """Whether images can be scored now."""
        running = self._batching is not None and self._decoders is not None
        return running and self._batching.ready and self._decoders.ready

    @property
    def worker_pid(self) -> int | None:
        """Process id of the model's process."""
        return self._batching.pid if self._batching is not None else None

    async def start(self) -> None:
        """Starts to load the model."""
        options = self.options
        names = ("device", "dtype", "batch_size", "max_new_tokens", "threads")
        self._batching = Batching(
            {"checkpoint": self.checkpoint} | {name: getattr(options, name) for name in names},
            self._starter,
            self.counters,
            wait=options.batch_wait_ms / 1000,
            stuck=STUCK * self.limits.timeout,
            on_ready=self._loaded,
            on_failure=self._failed,
        )

    async def close(self) -> None:
        """Ends all processes."""
        if self._decoders is not None:
            await self._decoders.close()
        if self._batching is not None:
            await self._batching.close()

    async def over(self) -> str:
        """Waits until loading the model has failed; returns the reason."""
        await self._over.wait()
        return self.failure or ""

    def _loaded(self, facts: dict[str, Any]) -> None:
        self.facts = facts
        self.counters.ready.set(1)
        for note in facts.get("notes", ()):
            logger.info("%s", note)
        logger.info("Ready: %s scores %s, in process %s.", facts["id"], ", ".join(facts["attributes"]), self.worker_pid)
        if self._decoders is not None:
            return
        per_pixel = BYTES_PER_PIXEL + (0 if facts["comparison"] is None else BYTES_PER_DECODED_PIXEL)
        memory = per_pixel * self.limits.pixels + SPARE_MEMORY if self._starter is in_process else None
        self._decoders = Decoders(
            (self.checkpoint, facts, self.limits.pixels, memory),
            self._starter,
            self.options.readers or default_readers(facts["device"]),
            self.limits.image_seconds,
            self.counters.restarts.labels("reader").inc,
            PREPARED,
        )

    def _failed(self, reason: str) -> None:
        self.failure = reason
        self._over.set()

    def check_ready(self) -> dict[str, Any]:
        """Returns the facts of the model.

        Raises:
            Refusal: 503 while the model is being loaded. While its process is only being restarted, requests wait.
        """
        if self.facts is None or self._batching is None or self._batching.failing:
            raise unavailable("the model is being loaded", code="not_ready", retry_after=5)
        return self.facts

    @contextlib.contextmanager
    def admit(self, count: int, client: Hashable = None) -> Iterator[None]:
        """Counts images as being processed while the block runs.

        Raises:
            Refusal: 503 if the queue would be too long, or one client would have nearly all of it; 413 for more than it
                ever holds.
        """
        images = self._images
        if count > images.most:
            raise Refusal(
                413,
                "too_many_images",
                f"{count} answers were asked for, one for each image and sample; expected at most {images.most}; send "
                "several requests, or ask for fewer samples",
            )
        if not images.fits(client, count):
            seconds = min(60, max(1, math.ceil(images.total * self._pace)))
            raise unavailable(
                f"{counted(images.total, 'image is', 'images are')} being processed or waiting; the limit is "
                f"{images.most}, and one client may have {PART} times what is left",
                code="busy",
                retry_after=seconds,
            )
        images.add(client, count)
        self.counters.queue.set(images.total)
        try:
            yield
        finally:
            images.add(client, -count)
            self.counters.queue.set(images.total)

    def due(self) -> float:
        """Gives the time of the event loop by which a request that has arrived now is to be answered."""
        return asyncio.get_running_loop().time() + self.limits.timeout

    async def assess(
        self,
        images: Sequence[Upload],
        mode: str,
        client: Hashable = None,
        *,
        samples: int = 1,
        until: float | None = None,
    ) -> list[dict[str, Any]]:
        """Scores the images of one request.

        Args:
            images: In the order of the request.
            mode: "score" or "describe".
            client: Who asks; clients take turns.
            samples: Answers of a model that reasons about each image, to be combined.
            until: Time of the event loop by which it has to be done; None takes `due`.

        Returns:
            For each image `{"scores": ..., "text": ..., "answers": ..., "tokens": ...}`, the last being the length of
            its prompt, or `{"error": {"code", "message"}}`.

        Raises:
            Refusal: 413 if the images have too many pixels together, 503 if processes end again and again or cannot
                be started, 504 after the timeout.
        """
        whose = Whose(client, _Request())
        work = [self._one(image, mode, whose, samples) for image in images]
        return await self._together(work, self.counters.images.labels("lost"), until)

    async def compare(
        self, pairs: Sequence[tuple[Upload, Upload]], client: Hashable = None, *, until: float | None = None
    ) -> list[dict[str, Any]]:
        """Has a model that was taught to compare images of one request; their pixels were counted before.

        Args:
            pairs: First and second image of each; both have been scored.
            client: As for `assess`.
            until: As for `assess`.

        Returns:
            For each pair what `roc.scoring.comparing.Compared.to_dict` gives, or `{"error": {"code", "message"}}`.

        Raises:
            Refusal: 503 or 504, as for `assess`.
        """
        whose = Whose(client, _Request())
        work = [self._pair(first, second, whose) for first, second in pairs]
        return await self._together(work, self.counters.pairs.labels("lost"), until)

    async def _together(
        self, work: Sequence[Coroutine[Any, Any, dict[str, Any]]], lost: Any, until: float | None
    ) -> list[dict[str, Any]]:
        """Waits for all parts of a request, and ends them with it; `lost` counts them where there is no answer."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        tasks = [asyncio.create_task(one) for one in work]
        try:
            async with asyncio.timeout_at(self.due() if until is None else until):
                found = await asyncio.gather(*tasks)
        except TimeoutError:
            lost.inc(len(work))
            seconds = f"{self.limits.timeout:g}"
            raise Refusal(
                504, "timeout", f"no answer within {seconds} s; send fewer images at a time, or try again later"
            ) from None
        except Refusal:
            lost.inc(len(work))
            raise
        finally:
            for task in tasks:
                task.cancel()
        self._pace += 0.05 * ((loop.time() - began) / max(1, self._images.total) - self._pace)
        return found

    async def _one(self, image: Upload, mode: str, whose: Whose, samples: int) -> dict[str, Any]:
        if image.data is None:
            return self._refused(*(image.fault or ("unreadable_image", "the file is empty")))
        assert self._decoders is not None and self._batching is not None
        async with self._decoders.decode(mode, image.data, whose=whose) as decoded:
            self._count_pixels(whose.request, decoded)
            if decoded.inputs is None:
                return self._refused("unreadable_image", decoded.fault or "it cannot be read")
            row = await self._row(mode, decoded, whose, samples)
        if "error" in row:
            self.counters.images.labels("unscored").inc()
            return {"error": {"code": "unscored", "message": row["error"]}}
        self.counters.images.labels("scored").inc()
        return row | {"tokens": decoded.length}

    async def _pair(self, first: Upload, second: Upload, whose: Whose) -> dict[str, Any]:
        assert self._decoders is not None and self._batching is not None
        assert first.data is not None and second.data is not None
        async with self._decoders.decode(COMPARE, first.data, second.data, whose=whose) as decoded:
            if decoded.inputs is None:
                self.counters.pairs.labels("refused").inc()
                fault = decoded.fault or "they cannot be read"
                return {"error": {"code": "unreadable_image", "message": fault}}
            row = await self._batching.score(COMPARE, decoded.length, decoded.inputs, whose)
        if "error" in row:
            self.counters.pairs.labels("refused").inc()
            return {"error": {"code": "unscored", "message": row["error"]}}
        self.counters.pairs.labels("compared").inc()
        return row

    async def _row(self, mode: str, decoded: Decoded, whose: Whose, samples: int) -> dict[str, Any]:
        """Has the model score a decoded image; several answers about it are combined."""
        assert self._batching is not None and decoded.inputs is not None
        if samples == 1:
            return await self._batching.score(mode, decoded.length, decoded.inputs, whose)
        score = self._batching.score
        rows = await asyncio.gather(*(score("sample", decoded.length, decoded.inputs, whose) for _ in range(samples)))
        wrong = next((row for row in rows if "error" in row), None)
        return wrong or combine(self.check_ready(), rows)

    def _count_pixels(self, request: _Request, decoded: Decoded) -> None:
        request.pixels += self.limits.pixels if decoded.pixels is None else decoded.pixels
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
    """Chooses how many processes decode images: at least two, so that one huge file does not hold up the others."""
    return max(2, default_workers(device))
