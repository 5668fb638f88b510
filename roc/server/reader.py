"""Processes that decode and resize images: one image at a time each, under limits of time and memory.

A file that ends its reader, or keeps it busy for too long, costs that reader and gets a fault like any other; the next
one is there in milliseconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, NamedTuple

from roc.server.children import Child, Starter, receive, send

if TYPE_CHECKING:
    from PIL import Image

    from roc.scoring import Preparation

SPARE_MEMORY = 512 * 2**20
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
        from roc.images import ImageError, open_image

        try:
            return open_image(self.data, max_pixels=self.pixels)
        except ImageError as error:
            raise ImageError(str(error).removeprefix("image: ")) from error


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

    from roc.collator import RocCollator
    from roc.processing import load_processor
    from roc.scoring import Preparation

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

    preparation.sources = [Picture(data, pixels)]
    prepared = preparation[0]
    if prepared.inputs is None:
        fault = prepared.fault or "it cannot be read"
        if "MemoryError" in fault or "llocate memory" in fault or "Unable to allocate" in fault:
            fault = "decoding it takes more memory than one image may have; make it smaller"
        return {"fault": fault}, []
    inputs = {name: tensor.contiguous() for name, tensor in prepared.inputs.items()}
    return {"length": prepared.length}, [safetensors.torch.save(inputs)]


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
    """

    length: int
    inputs: bytes | None
    fault: str | None = None


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
        self._arguments = arguments
        self._starter = starter
        self._seconds = seconds
        self._on_restart = on_restart
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    async def read(self, mode: str, data: bytes) -> Read:
        """Decodes and resizes an image.

        Args:
            mode: "score" or "describe".
            data: the bytes of the file.
        """
        job = _Job(mode, data, self._loop.create_future())
        self._jobs.put(job)
        return await job.future

    async def close(self) -> None:
        """Ends all readers."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            await asyncio.to_thread(thread.join, 10)

    def _serve(self) -> None:
        child = self._new()
        while (job := self._jobs.get()) is not None:
            if job.future.cancelled():
                continue
            if child is None:
                child = self._new()
            found, fine = self._ask(child, job)
            self._loop.call_soon_threadsafe(_settle, job.future, found)
            if not fine:
                if child is not None:
                    child.kill()
                    child.close()
                child = self._new()
                self._loop.call_soon_threadsafe(self._on_restart)
        if child is not None:
            child.close(2.0)

    def _new(self) -> Child | None:
        """A reader that is ready; None where it does not start, which is tried again with the next image."""
        child = Child(run, self._arguments, self._starter)
        try:
            child.receive(120)
            return child
        except (EOFError, TimeoutError):
            child.kill()
            child.close()
            return None

    def _ask(self, child: Child | None, job: _Job) -> tuple[Read, bool]:
        """What became of the image, and whether its reader is still of use."""
        if child is None:
            return Read(0, None, "no process that reads images could be started; the log of the server says why"), True
        try:
            child.send({"mode": job.mode}, [job.data])
            header, parts = child.receive(self._seconds)
        except TimeoutError:
            return Read(0, None, f"decoding it takes longer than {self._seconds:g} s; make it smaller"), False
        except (EOFError, OSError):
            return Read(0, None, "reading it ended the process that read it; the file may be damaged"), False
        if "fault" in header:
            return Read(0, None, header["fault"]), True
        return Read(header["length"], parts[0]), True


def _settle(future: asyncio.Future[Read], found: Read) -> None:
    if not future.done():
        future.set_result(found)
