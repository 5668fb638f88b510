"""Processes that decode and resize images, each one image at a time, under limits of time and memory.

A file that crashes two of them, or keeps one busy for too long, gets an error like any other unreadable image; the
process is replaced within milliseconds. Users meet these processes as readers: in `--readers`, in /metrics and in the
error code `no_reader`.
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
"""Seconds until a process that could not be started is tried again."""

SPARE_MEMORY = 512 * 2**20
HEADER_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "JPEG2000", "AVIF", "HEIF")
BYTES_PER_PIXEL = 24
"""Memory that decoding takes at worst: 16-bit grey becomes two float64 arrays on its way to 8 bits."""


class EncodedImage:
    """The bytes of an image file, with the method `open` that `Preparation` expects of a source.

    Args:
        data: Content of the file.
        pixels: Largest width x height to decode.
    """

    def __init__(self, data: bytes, pixels: int) -> None:
        self.data = data
        self.pixels = pixels

    def open(self) -> Image.Image:
        """Decodes the image.

        Raises:
            ImageError: As `open_image` does; the message does not start with a name.
        """
        from roc.data.images import ImageError, open_image

        try:
            return open_image(self.data, max_pixels=self.pixels)
        except ImageError as error:
            raise ImageError(str(error).removeprefix("image: ")) from error

    @property
    def decoded_pixels(self) -> int:
        """Width x height according to the header; 0 if the header was enough to refuse the image."""
        from PIL import Image

        size = (0, 0)
        with contextlib.suppress(Exception), Image.open(io.BytesIO(self.data), formats=_known_formats()) as image:
            size = image.size
        count = size[0] * size[1]
        return count if count <= self.pixels else 0


def _known_formats() -> list[str]:
    from PIL import Image

    return [name for name in HEADER_FORMATS if name in Image.OPEN]


def run(connection: Connection, checkpoint: str, facts: dict[str, Any], pixels: int, memory: int | None) -> None:
    """Runs in a decoding process: takes image files, returns model inputs, until the pipe is closed.

    Args:
        connection: This process's end of the pipe.
        checkpoint: Checkpoint whose processor prepares the images.
        facts: Facts of the model as the worker tells them.
        pixels: Largest width x height to decode.
        memory: Bytes this process may allocate beyond what it has at its start; None = no limit.
    """
    import torch

    from roc.model.collator import RocCollator
    from roc.model.processing import load_processor
    from roc.scoring.prepare import Preparation

    with connection:
        collator = RocCollator(load_processor(checkpoint), facts["declaration"])
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

    image = EncodedImage(data, pixels)
    preparation.sources = [image]
    prepared = preparation[0]
    if prepared.inputs is None:
        fault = prepared.fault or "it cannot be read"
        if "MemoryError" in fault or "llocate memory" in fault or "Unable to allocate" in fault:
            fault = "decoding it takes more memory than one image may have; make it smaller"
        return {"fault": fault, "pixels": image.decoded_pixels}, []
    inputs = {name: tensor.contiguous() for name, tensor in prepared.inputs.items()}
    return {"length": prepared.length, "pixels": image.decoded_pixels}, [safetensors.torch.save(inputs)]


def _limit_memory(more: int) -> None:
    """Limits this process to the memory it has now and `more` bytes. Does nothing where the system cannot do that."""
    with contextlib.suppress(ImportError, OSError, ValueError, StopIteration):
        import resource

        with open("/proc/self/status", encoding="utf-8") as status:
            has = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmData"))
        resource.setrlimit(resource.RLIMIT_DATA, (has + more, has + more))


class Decoded(NamedTuple):
    """What became of one image.

    Attributes:
        length: Tokens of its prompt.
        inputs: Inputs of the model as safetensors; None if the image cannot be used.
        fault: Why it cannot be used.
        pixels: Width x height that was decoded or attempted; None if the process crashed.
    """

    length: int
    inputs: bytes | None
    fault: str | None = None
    pixels: int | None = 0


class _Job(NamedTuple):
    mode: str
    data: bytes
    future: asyncio.Future[Decoded]


class Decoders:
    """A pool of decoding processes, each with a thread here that talks to it.

    Args:
        arguments: Arguments of `run` after the connection.
        starter: Starts the processes.
        count: Number of processes.
        seconds: Time limit for one image.
        on_restart: Called when a process is replaced.
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
        # Per process: None while it is being started for the first time.
        self._up: list[bool | None] = [None] * count
        self._threads = [threading.Thread(target=self._serve, args=(i,), daemon=True) for i in range(count)]
        for thread in self._threads:
            thread.start()

    @property
    def ready(self) -> bool:
        """Whether a process is running or being started."""
        return any(up is not False for up in self._up)

    async def decode(self, mode: str, data: bytes) -> Decoded:
        """Decodes and resizes an image and makes model inputs of it.

        Args:
            mode: "score" or "describe".
            data: Content of the image file.

        Raises:
            Refusal: 503 if no process can be started.
        """
        if not self.ready:
            raise _no_reader()
        job = _Job(mode, data, self._loop.create_future())
        self._jobs.put(job)
        return await job.future

    async def close(self) -> None:
        """Ends all processes."""
        self._closing.set()
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            await asyncio.to_thread(thread.join, 10)

    def _serve(self, place: int) -> None:
        """Runs in a thread: feeds one process. Images are refused only while no process at all can be started."""
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
                # Whatever it is, this thread has to go on, and somebody waits for an answer.
                logger.exception("An image could not be handed to a process that decodes images.")
                self._call(_refuse, job.future)
                child = None
        if child is not None:
            child.close(2.0)

    def _work(self, place: int, child: Child, job: _Job) -> Child | None:
        """Has an image decoded, by a second process if the first crashes; returns the process for the next image."""
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
        """Starts a process and waits until it is ready; returns None if it does not start."""
        child = None
        try:
            child = Child(run, self._arguments, self._starter)
            child.receive(120)
        except Exception as error:
            # Not only OSError: the fork server may be gone (EOFError), or no thread be left (RuntimeError).
            logger.error("A process that decodes images could not be started: %r", error)
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

    def _ask(self, child: Child, job: _Job) -> tuple[Decoded, bool, bool]:
        """Returns what became of the image, whether the process is still usable, and whether to try another one."""
        try:
            child.send({"mode": job.mode}, [job.data])
            header, parts = child.receive(self._seconds)
            pixels = max(0, int(header.get("pixels", 0)))
            if "fault" in header:
                return Decoded(0, None, str(header["fault"]), pixels), True, False
            return Decoded(int(header["length"]), parts[0], None, pixels), True, False
        except TimeoutError:
            fault = f"decoding it takes longer than {self._seconds:g} s; make it smaller"
            return Decoded(0, None, fault, None), False, False
        except Exception:
            # EOFError if it crashed; anything else if what it sent is no valid message.
            fault = "decoding it crashed the process that did it; the file may be damaged"
            return Decoded(0, None, fault, None), False, True

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            logger.debug("the event loop was closed before the image was decoded")


def _no_reader() -> Refusal:
    return unavailable("no process that decodes images could be started", code="no_reader", retry_after=5)


def _settle(future: asyncio.Future[Decoded], found: Decoded) -> None:
    if not future.done():
        future.set_result(found)


def _refuse(future: asyncio.Future[Decoded]) -> None:
    if not future.done():
        future.set_exception(_no_reader())
