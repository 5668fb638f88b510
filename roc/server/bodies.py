"""Request bodies, counted and timed while they arrive, whatever their headers say.

The bytes of all requests together are counted too, which bounds the memory of this process, and by client, so that one
client does not take it all.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable

from roc.server.errors import Refusal, unavailable
from roc.server.options import Limits
from roc.server.turns import Shares

DRAIN_SECONDS = 2.0
"""How long the rest of a refused body is read and thrown away, so that its sender gets to see the answer."""


class Bodies:
    """The bodies of all requests being processed.

    Args:
        limits: Limits of the server.

    Attributes:
        shares: Bytes they hold now, by client.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.shares = Shares(limits.bytes_in_house)

    @property
    def bytes(self) -> int:
        """Bytes they hold now."""
        return self.shares.total

    async def read(
        self, chunks: AsyncIterator[bytes], content_length: str | None, counted: Counted
    ) -> AsyncIterator[bytes]:
        """Yields the body of a request in pieces.

        Args:
            chunks: The pieces as they arrive.
            content_length: The header of that name; used only to refuse a body early.
            counted: Holds the bytes of this request until it is answered.

        Raises:
            Refusal: 413 too large, 408 too slow, 503 too many bytes of other requests or of this client.
        """
        limits, now = self.limits, asyncio.get_running_loop().time
        digits = content_length or ""
        size = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 20 else 0
        if size > limits.bytes_per_request:
            raise self._too_large(f"a body of {size} bytes")
        if not self.shares.fits(counted.client, size):
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
                    f"only {came} bytes of the body arrived in time; expected a byte every {limits.idle_seconds:g} s "
                    f"and the whole within {limits.body_seconds:g} s; send smaller images, or fewer at a time",
                ) from None
            came += len(chunk)
            if came > limits.bytes_per_request:
                raise self._too_large(f"more than {limits.bytes_per_request} bytes")
            if not self.shares.fits(counted.client, len(chunk)):
                raise self._full()
            counted.add(len(chunk))
            yield chunk

    def _too_large(self, what: str) -> Refusal:
        return Refusal(
            413,
            "too_large",
            f"{what} came; expected at most {self.limits.bytes_per_request}; send fewer or smaller images at a time",
        )

    def _full(self) -> Refusal:
        return unavailable("the server is holding as many bytes of requests, or of this client, as it may", code="busy")


class Counted:
    """The bytes of one request; leaving the `with` block subtracts them from the total.

    Args:
        bodies: The total.
        client: Who sends them.
    """

    def __init__(self, bodies: Bodies, client: Hashable = None) -> None:
        self.bodies = bodies
        self.client = client
        self.bytes = 0

    def add(self, count: int) -> None:
        """Counts bytes that arrived."""
        self.bytes += count
        self.bodies.shares.add(self.client, count)

    def __enter__(self) -> Counted:
        return self

    def __exit__(self, *error: object) -> None:
        self.bodies.shares.add(self.client, -self.bytes)
        self.bytes = 0


async def drain(chunks: AsyncIterator[bytes], most: int) -> None:
    """Reads the rest of a body and throws it away: closing a connection with unread bytes would lose the answer.

    Args:
        chunks: The rest of a body.
        most: Number of bytes after which to stop.
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
