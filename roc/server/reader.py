"""Processes that decode and resize images: one image at a time each, under limits of time and memory.

A file that ends two readers, or keeps one busy for too long, costs them and gets a fault like any other; the next one
is there in milliseconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import queue
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, NamedTuple

from roc.server.children import Child, Starter, receive, send
from roc.server.errors import Refusal, unavailable

if TYPE_CHECKING:
    from PIL import Image

    from roc.scoring.prepare import Preparation

logger = logging.getLogger(__name__)

PAUSE = 1.0
"""Seconds after which a reader that could not be started is tried again."""

SPARE_MEMORY = 512 * 2**20
HEADERS_READ = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "JPEG2000", "AVIF", "HEIF")
BYTES_PER_PIXEL = 24
"""What decoding takes at worst: 16-bit grey values become two arrays of float64 on their way to 8 bits."""


class Picture:
    """The bytes of an image, as `Preparation` opens its sources.

    Args:
        data: of the file.
        pixels: largest width x height that is decoded.
    """

    def __init__(self, data: bytes, pixels: int) -> None:
        self.data = data
        self.pixels = pixels

    def open(self) -> Image.Image:
        """The picture.

        Raises:
            ImageError: as `open_image`; the message does not begin with a name.
        """
        from roc.data.images import ImageError, open_image

        try:
            return open_image(self.data, max_pixels=self.pixels)
        except ImageError as error:
            raise ImageError(str(error).removeprefix("image: ")) from error

    @property
    def cost(self) -> int:
        """Its pixels as the header tells them; 0 where that alone was enough to refuse it."""
        from PIL import Image

        size = (0, 0)
        with contextlib.suppress(Exception), Image.open(io.BytesIO(self.data), formats=_known_formats()) as image:
            size = image.size
        cost = size[0] * size[1]
        return cost if cost <= self.pixels else 0


def _known_formats() -> list[str]:
    from PIL import Image

    return [name for name in HEADERS_READ if name in Image.OPEN]


def run(connection: Connection, checkpoint: str, facts: dict[str, Any], pixels: int, memory: int | None) -> None:
    """What runs in a reader: bytes in, prepared inputs out, until the pipe is closed.

    Args:
        connection: the reader's end.
        checkpoint: whose processor is used.
        facts: of the model, as the worker tells them.
        pixels: largest width x height that is decoded.
        memory: bytes this process may take beyond what it has when it begins; None = no limit.
    """
    import torch

    from roc.model.collator import RocCollator
    from roc.model.processing import load_processor
    from roc.scoring.prepare import Preparation

    with connection:
        collator = RocCollator(load_processor(checkpoint), facts["roc"])
        dtype = getattr(torch, facts["picture_dtype"])
        preparations = {
            mode: Preparation([], checkpoint, collator, dtype, places) for mode, places in facts["places"].items()
        }
        if memory is not None:
            torch.set_num_threads(1)
            _limit_memory(memory)
        send(connection, {"ready": True})
        while True:
            try:
                header, (data,) = receive(connection)
            except EOFError:
                return
            try:
                send(connection, *_prepared(preparations[header["mode"]], data, pixels))
            except BrokenPipeError:
                return


def _prepared(preparation: Preparation, data: bytes, pixels: int) -> tuple[dict[str, Any], list[bytes]]:
    import safetensors.torch

    picture = Picture(data, pixels)
    preparation.sources = [picture]
    prepared = preparation[0]
    if prepared.inputs is None:
        fault = prepared.fault or "it cannot be read"
        if "MemoryError" in fault or "llocate memory" in fault or "Unable to allocate" in fault:
            fault = "decoding it takes more memory than one image may have; make it smaller"
        return {"fault": fault, "pixels": picture.cost}, []
    inputs = {name: tensor.contiguous() for name, tensor in prepared.inputs.items()}
    return {"length": prepared.length, "pixels": picture.cost}, [safetensors.torch.save(inputs)]


def _limit_memory(more: int) -> None:
    """Has the system refuse this process memory beyond what it has and some more; where that is not known, nothing."""
    with contextlib.suppress(ImportError, OSError, ValueError, StopIteration):
        import resource

        with open("/proc/self/status", encoding="utf-8") as status:
            has = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmData"))
        resource.setrlimit(resource.RLIMIT_DATA, (has + more, has + more))


class Read(NamedTuple):
    """What became of an image.

    Attributes:
        length: tokens of its row.
        inputs: of the model, as safetensors; None where the image cannot be used.
        fault: why not.
        pixels: that were decoded, or tried; None where the reader did not live to tell.
    """

    length: int
    inputs: bytes | None
    fault: str | None = None
    pixels: int | None = 0


class _Job(NamedTuple):
    mode: str
    data: bytes
    future: asyncio.Future[Read]


class Readers:
    """A number of readers, each with a thread here that speaks to it.

    Args:
        arguments: of `run`, without the connection.
        starter: of the processes.
        count: of them.
        seconds: that one image may take.
        on_restart: called when one had to be started anew.
    """

    def __init__(
        self,
        arguments: tuple[Any, ...],
        starter: Starter,
        count: int,
        seconds: float,
        on_restart: Callable[[], None] = lambda: None,
    ) -> None:
        self.count = count
        self._arguments = arguments
        self._starter = starter
        self._seconds = seconds
        self._on_restart = on_restart
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._closing = threading.Event()
        # None = being started for the first time.
        self._up: list[bool | None] = [None] * count
        self._threads = [threading.Thread(target=self._serve, args=(i,), daemon=True) for i in range(count)]
        for thread in self._threads:
            thread.start()

    @property
    def ready(self) -> bool:
        """Whether there is a reader, or one is on its way."""
        return any(up is not False for up in self._up)

    async def read(self, mode: str, data: bytes) -> Read:
        """Decodes and resizes an image.

        Args:
            mode: "score" or "describe".
            data: the bytes of the file.

        Raises:
            Refusal: 503 where no reader can be started.
        """
        if not self.ready:
            raise _no_reader()
        job = _Job(mode, data, self._loop.create_future())
        self._jobs.put(job)
        return await job.future

    async def close(self) -> None:
        """Ends all readers."""
        self._closing.set()
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            await asyncio.to_thread(thread.join, 10)

    def _serve(self, place: int) -> None:
        """In a thread: has a reader work while there is one; images are refused only where there is none at all."""
        child: Child | None = None
        while not self._closing.is_set():
            child = child or self._new(place)
            if child is None:
                self._refuse_all_if_alone()
                self._closing.wait(PAUSE)
                continue
            job = self._jobs.get()
            if job is None:
                break
            if job.future.cancelled():
                continue
            try:
                child = self._work(place, child, job)
            except Exception:
                # Nobody knows of what kind, but this thread has to live, and somebody waits for an answer.
                logger.exception("A fault while a reader was given an image")
                self._call(_refuse, job.future)
                child = None
        if child is not None:
            child.close(2.0)

    def _work(self, place: int, child: Child, job: _Job) -> Child | None:
        """Has an image read, by a second reader where the first one ended; what is left is the reader for the next."""
        current = child if child.alive else self._replaced(place, child)
        tries = 2
        while current is not None:
            found, fine, again = self._ask(current, job)
            tries -= 1
            if not (again and tries):
                self._call(_settle, job.future, found)
                return current if fine else self._replaced(place, current)
            current = self._replaced(place, current)
        self._call(_refuse, job.future)
        return None

    def _replaced(self, place: int, child: Child) -> Child | None:
        with contextlib.suppress(Exception):
            child.kill()
            child.close()
        self._call(self._on_restart)
        return self._new(place)

    def _new(self, place: int) -> Child | None:
        """A reader that is ready; None where it does not start."""
        child = None
        try:
            child = Child(run, self._arguments, self._starter)
            child.receive(120)
        except Exception as error:
            # Not OSError alone: the process that all are forked from may be gone (EOFError), or no thread be left.
            logger.error("A process that reads images could not be started: %r", error)
            self._up[place] = False
            if child is not None:
                with contextlib.suppress(Exception):
                    child.kill()
                    child.close()
            return None
        self._up[place] = True
        return child

    def _refuse_all_if_alone(self) -> None:
        while not self.ready:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return
            if job is None:
                self._jobs.put(None)
                return
            self._call(_refuse, job.future)

    def _ask(self, child: Child, job: _Job) -> tuple[Read, bool, bool]:
        """What became of the image, whether its reader is still of use, and whether to try another one."""
        try:
            child.send({"mode": job.mode}, [job.data])
            header, parts = child.receive(self._seconds)
            pixels = max(0, int(header.get("pixels", 0)))
            if "fault" in header:
                return Read(0, None, str(header["fault"]), pixels), True, False
            return Read(int(header["length"]), parts[0], None, pixels), True, False
        except TimeoutError:
            fault = f"decoding it takes longer than {self._seconds:g} s; make it smaller"
            return Read(0, None, fault, None), False, False
        except Exception:
            # EOFError where it ended; of any kind where what it said is no message.
            fault = "reading it ended the process that read it; the file may be damaged"
            return Read(0, None, fault, None), False, True

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            logger.debug("the event loop was closed before the reader was done")


def _no_reader() -> Refusal:
    return unavailable("no process that reads images could be started", code="no_reader", retry_after=5)


def _settle(future: asyncio.Future[Read], found: Read) -> None:
    if not future.done():
        future.set_result(found)


def _refuse(future: asyncio.Future[Read]) -> None:
    if not future.done():
        future.set_exception(_no_reader())
