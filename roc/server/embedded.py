"""Images inside JSON: the strings that hold them are decoded one by one while the body arrives.

A general JSON parser would first hold the body, then every image as a `str`, which takes four bytes a character as soon
as one of them is wide. Here an image is held as base64 only until its string ends, and not even that long if it cannot
be one. What is left of the body, its skeleton, is small and is parsed as usual.
"""

from __future__ import annotations

import asyncio
import binascii
import secrets
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from roc.server.errors import Refusal
from roc.server.options import Limits

LONG = 16 * 1024
"""Bytes of a string above which it is taken for an image: more than any name takes, however it is escaped."""

IN_A_THREAD = 2**20
"""Bytes of base64 above which decoding takes more than a few milliseconds and is done in a thread."""

STANDARD = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
POSSIBLE = STANDARD + b"-_= \t\r\n\\"
"""Bytes that may occur in base64 inside a JSON string."""

ESCAPES = {
    **{b"\\/": b"/", b"\\n": b"\n", b"\\r": b"\r", b"\\t": b"\t", b"\\u000a": b"\n", b"\\u000A": b"\n"},
    **{b"\\u000d": b"\r", b"\\u000D": b"\r", b"\\u002b": b"+", b"\\u002B": b"+", b"\\u002f": b"/", b"\\u002F": b"/"},
    **{b"\\u003d": b"=", b"\\u003D": b"=", b"\\u002d": b"-", b"\\u002D": b"-", b"\\u005f": b"_", b"\\u005F": b"_"},
}
"""What writers of JSON make of base64: PHP escapes the slash, .NET the plus sign."""

# One at a time: what decoding takes on top of the bodies is bounded, and Python would not do two at once anyway.
_DECODING = ThreadPoolExecutor(1, thread_name_prefix="base64")


class Image(NamedTuple):
    """An image of a JSON body.

    Attributes:
        data: Content of the file; None if there is none.
        fault: Code and message if it cannot be used.
    """

    data: bytes | None
    fault: tuple[str, str] | None = None


def decode_base64(text: bytes) -> bytes:
    """Decodes base64 in every form that leaves no doubt: with line breaks, without padding, with the letters of URLs.

    Raises:
        ValueError: If it is none, or may mean several things; the message says why.
    """
    if text[:5] == b"data:":
        raise ValueError("it begins with `data:`; send only what follows the comma")
    text = text.strip(b" \t\r\n")
    odd = set(text.translate(None, STANDARD))
    if odd & set(b"\r\n\t"):
        # The indentation of a line goes with its end.
        text = b"".join(line.strip(b" \t") for line in text.splitlines())
        odd = set(text.translate(None, STANDARD))
    if ord(" ") in odd:
        raise ValueError("it holds a space, which may have been a `+` before a form or a URL turned it into one")
    if odd & set(b"-_"):
        if b"+" in text or b"/" in text:
            raise ValueError("it holds letters of both alphabets, `+` or `/` and `-` or `_`")
        text = text.translate(bytes.maketrans(b"-_", b"+/"))
    strange = sorted(odd - set(b"-_="))
    if strange:
        raise ValueError(f"it holds {chr(strange[0])!a}; expected A-Z, a-z, 0-9, `+`, `/` and, at its end, `=`")
    padding = len(text) - len(text.rstrip(b"="))
    length = len(text) - padding
    if b"=" in text[:length]:
        raise ValueError("it goes on after its padding `=`; send each image as a text of its own")
    if length % 4 == 1 or (padding and (padding > 2 or (length + padding) % 4)):
        raise ValueError(f"its length does not fit, {length} letters and {padding} `=`; it may have been cut")
    return binascii.a2b_base64(text if not length % 4 or padding else text + b"=" * (-length % 4), strict_mode=True)


def without_data_prefix(text: bytes) -> bytes:
    """Takes `data:image/png;base64,` away from the beginning of a data URL, however JSON escapes it."""
    head, comma, rest = text[:128].partition(b",")
    if head[:5] != b"data:" or not comma or not head.endswith(b";base64"):
        return text
    return rest + text[128:]


def decoded(text: bytes, limits: Limits) -> Image:
    """Decodes an image, or says why it cannot be used."""
    try:
        data = decode_base64(text)
    except ValueError as error:
        return Image(None, ("invalid_base64", f"the data is no base64: {error}"))
    if len(data) > limits.bytes_per_image:
        return Image(None, too_many_bytes(len(data), limits))
    return Image(data)


def too_many_bytes(count: int, limits: Limits) -> tuple[str, str]:
    """Returns code and message for a file that is too large."""
    return "too_large", f"the file has {count} bytes; expected at most {limits.bytes_per_image}; make it smaller"


def too_many_images(came: str, limits: Limits) -> Refusal:
    """Builds the refusal of a request with too many images."""
    return Refusal(
        413, "too_many_images", f"{came} came; expected at most {limits.images} images; send several requests"
    )


class Scanner:
    """Splits a JSON body into its skeleton and its images, in pieces as they arrive.

    Args:
        limits: What a request may cost.
        data_urls: Whether images may be data URLs, of which only what follows the comma is base64.

    Attributes:
        skeleton: The JSON with a placeholder in the place of each long string.
        images: What became of the long strings, by placeholder.
    """

    def __init__(self, limits: Limits, *, data_urls: bool = False) -> None:
        self.limits = limits
        self.data_urls = data_urls
        self.skeleton = bytearray()
        self.images: dict[str, Image] = {}
        self._token = secrets.token_hex(8)  # so that nobody can write a placeholder
        self._inside = self._escaping = False
        self._text = bytearray()
        self._length = 0
        self._fault: tuple[str, str] | None = None
        self._commas = self._quotes = 0

    async def read(self, chunks: AsyncIterator[bytes]) -> None:
        """Reads a body.

        Raises:
            Refusal: 413 if it has too many values, or too many bytes beside its images.
        """
        async for chunk in chunks:
            position = 0
            while position < len(chunk):
                quote = chunk.find(b'"', position)
                end = len(chunk) if quote < 0 else quote
                if self._inside:
                    self._add(chunk[position:end])
                    if quote >= 0 and self._escaping:
                        self._add(b'"')
                    elif quote >= 0:
                        await self._end_string()
                else:
                    self._commas += chunk.count(b",", position, end)
                    self._write(chunk[position:end])
                    self._inside = quote >= 0
                self._quotes += quote >= 0
                position = end + 1
            self._check()
        if self._inside:
            self._write(b'"' + self._text[:LONG])  # without an end, as it came

    def _add(self, piece: bytes) -> None:
        """Adds to the string that is being read, unless it is known already that it is of no use."""
        slashes = len(piece) - len(piece.rstrip(b"\\"))
        if piece:
            self._escaping = bool((slashes + (self._escaping and slashes == len(piece))) % 2)
        self._length += len(piece)
        if self._fault is not None:
            return
        before = self._length - len(piece)
        self._text += piece
        if self._length <= LONG:
            return
        if self.data_urls and before <= LONG:
            self._text = bytearray(without_data_prefix(bytes(self._text)))
            piece = bytes(self._text)
        # Up to twice as many bytes: base64 takes a third more, and escapes and line breaks some.
        if self._length > 2 * self.limits.bytes_per_image + LONG:
            self._fault = too_many_bytes(self._length // 2, self.limits)
        elif (self._text if len(self._text) < LONG + 2 * len(piece) else piece).translate(None, POSSIBLE):
            self._fault = _unescaped(self._text[: 2 * LONG] + piece, self.limits).fault or (
                "invalid_base64",
                "the data is no base64: it holds other signs",
            )
        if self._fault is not None:
            self._text = bytearray()

    async def _end_string(self) -> None:
        text, length, fault = self._text, self._length, self._fault
        self._text, self._length, self._fault, self._inside, self._escaping = bytearray(), 0, None, False, False
        if length <= LONG:
            # Line breaks as they are make no JSON, but what `base64` prints into a string in a shell.
            for sign, escape in ((b"\n", b"\\n"), (b"\r", b"\\r"), (b"\t", b"\\t")):
                text = text.replace(sign, escape)
            self._write(b'"' + text + b'"')
            return
        if fault is not None:
            image = Image(None, fault)
        elif length < IN_A_THREAD:
            image = _unescaped(text, self.limits)
        else:
            image = await asyncio.get_running_loop().run_in_executor(_DECODING, _unescaped, text, self.limits)
        if len(self.images) > self.limits.images:
            raise too_many_images(f"more than {self.limits.images}", self.limits)
        name = f"<{self._token} {len(self.images)}>"
        self.images[name] = image
        self._write(f'"{name}"'.encode())

    def _write(self, piece: bytes) -> None:
        self.skeleton += piece

    def _check(self) -> None:
        most = self.limits.images
        # Many commas mean many values, each of which takes many times its bytes once parsed.
        if self._commas > 16 * most + 1024 or self._quotes > 2048 * most + 8192:
            raise too_many_images("a list of very many values", self.limits)
        room = 2 * LONG * most + 2**20
        if len(self.skeleton) > room:
            message = f"the JSON has more than {room} bytes beside its images; leave out what is not asked for"
            raise Refusal(413, "too_large", message)


def _unescaped(text: bytearray, limits: Limits) -> Image:
    plain = bytes(text)
    text.clear()
    if b"\\" in plain:
        for escape, sign in ESCAPES.items():
            plain = plain.replace(escape, sign)
    return decoded(plain, limits)
