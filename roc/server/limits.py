"""What a request may cost: how many images, bytes, pixels and seconds.

The body of a request is counted and timed while it comes in, whatever its headers say, and so are the bytes of all
requests together: that is what bounds the memory of this process.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, fields

from roc.server.errors import Refusal, unavailable

MEBIBYTE = 2**20

DRAIN_SECONDS = 2.0
"""How long a refused body is read on and thrown away, so that its sender gets to see the answer."""


@dataclass(frozen=True)
class Limits:
    """Every limit of the server; each is a flag of `roc serve` too."""

    images: int = field(default=64, metadata={"help": "images of one request"})
    bytes_per_image: int = field(default=20 * MEBIBYTE, metadata={"help": "bytes of one image file"})
    bytes_per_request: int = field(default=64 * MEBIBYTE, metadata={"help": "bytes of the body of one request"})
    bytes_in_house: int = field(default=512 * MEBIBYTE, metadata={"help": "bytes of all bodies at work at once"})
    pixels: int = field(default=60_000_000, metadata={"help": "width x height of one image"})
    pixels_per_request: int = field(
        default=1_000_000_000, metadata={"help": "width x height of all images of one request together"}
    )
    queue: int = field(default=512, metadata={"help": "images at work and waiting; beyond it: 503"})
    body_seconds: float = field(default=60.0, metadata={"help": "that a body may take to come in"})
    idle_seconds: float = field(default=10.0, metadata={"help": "without a single byte of a body or of the headers"})
    timeout: float = field(default=60.0, metadata={"help": "seconds from a whole body to its answer; beyond it: 504"})
    image_seconds: float = field(default=20.0, metadata={"help": "that decoding one image may take"})
    max_connections: int = field(default=1000, metadata={"help": "open connections; beyond it: 503"})

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if not math.isfinite(value) or value <= 0:
                raise ValueError(f"--{one.name} is {value}; expected a number above 0")
        if self.queue < self.images:
            raise ValueError(f"--queue is {self.queue}; expected {self.images} or more, or less of --images")
        if self.bytes_in_house < self.bytes_per_request:
            raise ValueError(f"--bytes_in_house is {self.bytes_in_house}; expected --bytes_per_request or more")
        if self.pixels_per_request < self.pixels:
            raise ValueError(f"--pixels_per_request is {self.pixels_per_request}; expected --pixels or more")


class Bodies:
    """Bodies of requests that are at work, counted together.

    Args:
        limits: of the server.

    Attributes:
        bytes: that they hold now.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.bytes = 0

    async def read(self, chunks: AsyncIterator[bytes], told: str | None, counted: Counted) -> AsyncIterator[bytes]:
        """The body of a request in pieces.

        Args:
            chunks: as they come in.
            told: the header `Content-Length`; believed only where it is too much.
            counted: what is given back when the request is answered.

        Raises:
            Refusal: 413 too large, 408 too slow, 503 too much at work already.
        """
        limits, now = self.limits, asyncio.get_running_loop().time
        size = int(told) if told and told.isascii() and told.isdigit() and len(told) < 20 else 0
        if size > limits.bytes_per_request:
            raise self._too_large(f"a body of {size} bytes")
        if self.bytes + size > limits.bytes_in_house:
            raise self._full()
        deadline = now() + limits.body_seconds
        came = 0
        while True:
            try:
                async with asyncio.timeout(max(0.0, min(deadline - now(), limits.idle_seconds))):
                    chunk = await anext(chunks)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise Refusal(
                    408,
                    "too_slow",
                    f"after {came} bytes the body did not go on; expected a byte every {limits.idle_seconds:g} s and "
                    f"the whole within {limits.body_seconds:g} s; send smaller images, or fewer at a time",
                ) from None
            came += len(chunk)
            counted.add(len(chunk))
            if came > limits.bytes_per_request:
                raise self._too_large(f"more than {limits.bytes_per_request} bytes")
            if self.bytes > limits.bytes_in_house:
                raise self._full()
            yield chunk

    def _too_large(self, what: str) -> Refusal:
        return Refusal(
            413,
            "too_large",
            f"{what} came; a request holds {self.limits.bytes_per_request} at most; send fewer or smaller images",
        )

    def _full(self) -> Refusal:
        return unavailable("the server holds as many bytes of other requests as it may", code="busy")


class Counted:
    """The bytes of one request, given back at its end (`with`).

    Args:
        bodies: where they count.
    """

    def __init__(self, bodies: Bodies) -> None:
        self.bodies = bodies
        self.bytes = 0

    def add(self, count: int) -> None:
        """Takes notice of bytes that came."""
        self.bytes += count
        self.bodies.bytes += count

    def __enter__(self) -> Counted:
        return self

    def __exit__(self, *error: object) -> None:
        self.bodies.bytes -= self.bytes
        self.bytes = 0


async def drain(chunks: AsyncIterator[bytes], most: int) -> None:
    """Reads on and throws away: a connection that is closed with bytes unread loses the answer on its way.

    Args:
        chunks: the rest of a body.
        most: bytes, after which the sender is left to its own.
    """
    came = 0
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            async for chunk in chunks:
                came += len(chunk)
                if came > most:
                    return
    except TimeoutError:
        return
