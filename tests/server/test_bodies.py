"""Bodies are counted and timed while they arrive."""

import asyncio

import pytest
from serving import Limits

from roc.server.bodies import Bodies, Counted, drain
from roc.server.errors import Refusal


async def pieces(*chunks, pause=0.0):
    for chunk in chunks:
        await asyncio.sleep(pause)
        yield chunk


def read(chunks, limits, told=None, bodies=None):
    bodies = bodies or Bodies(limits)

    async def whole():
        with Counted(bodies) as counted:
            got = b""
            async for chunk in bodies.read(chunks, told, counted):
                got += chunk
                assert bodies.bytes >= len(got)
            return got

    try:
        return asyncio.run(whole())
    finally:
        bodies.last = bodies.bytes


LIMITS = Limits(bytes_per_request=10, bytes_in_house=15, idle_seconds=0.1, body_seconds=0.15)


def test_a_body_that_fits_and_is_given_back():
    bodies = Bodies(LIMITS)
    assert read(pieces(b"12345", b"67890"), LIMITS, "10", bodies) == b"1234567890"
    assert bodies.bytes == 0


@pytest.mark.parametrize("told", [None, "3", "-1", "abc", "٣", "9" * 5000])
def test_whatever_the_header_says_the_bytes_count(told):
    with pytest.raises(Refusal) as error:
        read(pieces(b"12345", b"678901", b"never read"), LIMITS, told)
    assert (error.value.status, error.value.code) == (413, "too_large")


def test_a_length_that_is_too_much_is_believed_before_a_byte_is_read():
    with pytest.raises(Refusal, match="a body of 11 bytes"):
        read(None, LIMITS, "11")


def test_all_bodies_together():
    bodies = Bodies(LIMITS)
    bodies.shares.add("other", 12)
    with pytest.raises(Refusal) as error:
        read(pieces(b"12345"), LIMITS, None, bodies)
    assert (error.value.status, error.value.code, error.value.headers) == (503, "busy", {"Retry-After": "1"})
    assert bodies.bytes == 12
    with pytest.raises(Refusal, match="as many bytes"):
        read(None, LIMITS, "4", bodies)


def test_a_sender_that_stops():
    with pytest.raises(Refusal) as error:
        read(pieces(b"1", pause=5), LIMITS)
    assert error.value.status == 408 and "only 0 bytes" in error.value.message


def test_a_sender_that_drips():
    with pytest.raises(Refusal) as error:
        read(pieces(*[b"1"] * 9, pause=0.05), LIMITS)
    assert error.value.status == 408


def test_draining_ends():
    left = pieces(*[b"12345"] * 100)
    asyncio.run(drain(left, 12))

    async def forever():
        await asyncio.sleep(30)
        yield b""

    import roc.server.bodies

    before, roc.server.bodies.DRAIN_SECONDS = roc.server.bodies.DRAIN_SECONDS, 0.05
    try:
        asyncio.run(drain(forever(), 12))
    finally:
        roc.server.bodies.DRAIN_SECONDS = before
