"""What runs in a process that decodes images: image files in, model inputs out, within a memory limit.

A message holds one file or, to be compared, two.

`decoders` keeps the pool of these processes. Users meet them as readers: in `--readers`, in /metrics and in the error
code `no_reader`.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from roc.server.children import receive, send
from roc.server.worker import COMPARE

if TYPE_CHECKING:
    from PIL import Image

    from roc.scoring.prepare import Preparation, Prepared

Prepare = Callable[[list["EncodedImage"]], "Prepared"]

SPARE_MEMORY = 512 * 2**20
HEADER_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "JPEG2000", "AVIF", "HEIF")
BYTES_PER_PIXEL = 24
"""Memory that decoding takes at worst: 16-bit grey becomes two float64 arrays on its way to 8 bits."""
BYTES_PER_DECODED_PIXEL = 4
"""Memory of an image that waits, decoded, for the other one of its pair."""


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
            return open_image(self.data, pixel_limit=self.pixels)
        except ImageError as error:
            raise ImageError(str(error).removeprefix("image: ")) from error

    @property
    def digest(self) -> str:
        """Digest of the file."""
        from roc.scoring.stamps import digest_of

        return digest_of(self.data)

    @property
    def decoded_pixels(self) -> int:
        """Width x height according to the header; 0 if the header was enough to refuse the image."""
        from PIL import Image

        from roc.data.images import pillow_alone

        size = (0, 0)
        with pillow_alone(), contextlib.suppress(Exception):
            with Image.open(io.BytesIO(self.data), formats=_known_formats()) as image:
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

    from roc.checkpoint.lookups import lookups_of
    from roc.model.collator import RocCollator
    from roc.model.processing import load_processor
    from roc.scoring.pair_batches import PairPreparation
    from roc.scoring.prepare import Preparation

    with connection:
        collator = RocCollator(load_processor(checkpoint), facts["declaration"])
        dtype, lookups = getattr(torch, facts["picture_dtype"]), lookups_of(checkpoint)
        preparations = {
            mode: _alone(Preparation([], checkpoint, collator, dtype, places, lookups=lookups))
            for mode, places in facts["places"].items()
        }
        if facts["comparison"] is not None:
            words = facts["comparison"]["words"]
            preparations[COMPARE] = PairPreparation(collator, dtype, words=words).prepared
        if memory is not None:
            torch.set_num_threads(1)
            _limit_memory(memory)
        send(connection, {"ready": True})
        while True:
            try:
                header, files = receive(connection)
            except EOFError:
                return
            try:
                send(connection, *_prepared(preparations[header["mode"]], files, pixels))
            except BrokenPipeError:
                return


def _alone(preparation: Preparation) -> Prepare:
    """Makes a function that prepares the one image of a message."""

    def prepare(images: list[EncodedImage]) -> Prepared:
        preparation.sources = images
        return preparation[0]

    return prepare


def _prepared(prepare: Prepare, files: Sequence[bytes], pixels: int) -> tuple[dict[str, Any], list[bytes]]:
    import safetensors.torch

    images = [EncodedImage(data, pixels) for data in files]
    prepared = prepare(images)
    decoded = sum(image.decoded_pixels for image in images)
    if prepared.inputs is None:
        fault = prepared.fault or "it cannot be read"
        if "MemoryError" in fault or "llocate memory" in fault or "Unable to allocate" in fault:
            fault = "decoding it takes more memory than one image may have; make it smaller"
        return {"fault": fault, "pixels": decoded}, []
    inputs = {name: tensor.contiguous() for name, tensor in prepared.inputs.items()}
    return {"length": prepared.length, "pixels": decoded}, [safetensors.torch.save(inputs)]


def _limit_memory(more: int) -> None:
    """Limits this process to the memory it has now and `more` bytes. Does nothing where the system cannot do that."""
    with contextlib.suppress(ImportError, OSError, ValueError, StopIteration):
        import resource

        with open("/proc/self/status", encoding="utf-8") as status:
            has = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmData"))
        resource.setrlimit(resource.RLIMIT_DATA, (has + more, has + more))
