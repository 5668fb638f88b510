"""Images inside JSON, without a server."""

import asyncio
import base64
import json
import tracemalloc

import pytest
from serving import Limits

from roc.server import embedded
from roc.server.embedded import LONG, Scanner, decode_base64
from roc.server.errors import Refusal

SMALL = bytes(range(256))
LARGE = bytes(range(256)) * 100


def wrapped(text, width, end):
    return end.join(text[i : i + width] for i in range(0, len(text), width))


def forms(data):
    """The forms of base64 that people send: what it is, and the text."""
    text = base64.b64encode(data).decode()
    safe = base64.urlsafe_b64encode(data).decode()
    return {
        "plain": text,
        "mime": wrapped(text, 76, "\r\n") + "\r\n",
        "unix": wrapped(text, 76, "\n"),
        "indented": "\n    " + wrapped(text, 64, "\n    ") + "\n",
        "unpadded": text.rstrip("="),
        "of_urls": safe,
        "of_urls_unpadded": safe.rstrip("="),
        "of_urls_wrapped": wrapped(safe, 76, "\n"),
    }


@pytest.mark.parametrize("form", forms(b""))
@pytest.mark.parametrize("length", [1, 2, 3, 255, 256])
def test_forms_of_base64(form, length):
    assert decode_base64(forms(SMALL[-length:])[form].encode()) == SMALL[-length:]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("data:image/png;base64,AAAA", "follows the comma"),
        ("AA AA", "a space"),
        ("A+A-", "both alphabets"),
        ("A/A_", "both alphabets"),
        ("AAA%3D", "'%'"),
        ("AA\u00e4A", "'\\xa4'"),
        ("AAAAA", "cut"),
        ("AAAAA===", "cut"),
        ("AA=", "cut"),
        ("AAAA=", "cut"),
        ("AAA==", "cut"),
        ("QQ==QQ==", "goes on after its padding"),
        ("====", "cut"),
    ],
)
def test_what_is_no_base64_or_may_mean_several_things(text, reason):
    with pytest.raises(ValueError, match=".") as error:
        decode_base64(text.encode())
    assert reason in str(error.value)


def scan(body, size, limits=None):
    async def chunks():
        for i in range(0, len(body), size):
            yield body[i : i + size]

    async def whole():
        scanner = Scanner(limits or Limits())
        await scanner.read(chunks())
        return scanner

    return asyncio.run(whole())


@pytest.mark.parametrize("size", [1, 7, 1000, 65536, 10**6])
@pytest.mark.parametrize("escape", ["", "slashes", "plus", "all"])
def test_long_strings_are_taken_out_however_they_arrive(size, escape):
    if size == 1 and escape not in ("", "all"):
        return
    text = base64.b64encode(LARGE).decode()
    body = json.dumps({"images": [{"name": 'a "b" \\', "data": text}, {"name": "\\\\", "data": "QQ=="}]})
    if escape in ("slashes", "all"):
        body = body.replace("/", "\\/")
    if escape in ("plus", "all"):
        body = body.replace("+", "\\u002B")
    scanner = scan(body.encode(), size)
    (image,) = scanner.images.values()
    assert image.data == LARGE and image.fault is None
    found = json.loads(scanner.skeleton)["images"]
    assert found[0]["data"] in scanner.images and found[0]["name"] == 'a "b" \\'
    assert found[1] == {"name": "\\\\", "data": "QQ=="}


@pytest.mark.parametrize("size", [7, 65536])
def test_line_breaks_as_a_shell_leaves_them(size):
    """`"$(base64 a.jpg)"` puts line breaks into the string as they are."""
    for data in (SMALL, LARGE):
        text = wrapped(base64.b64encode(data).decode(), 76, "\n")
        scanner = scan(b'{"images": ["' + text.encode() + b'"]}', size)
        (found,) = json.loads(scanner.skeleton)["images"]
        assert (scanner.images[found].data if scanner.images else decode_base64(found.encode())) == data


@pytest.mark.parametrize("sign", ["\u4e2d", "\U0001f600", "%", '\\"', "\\u4e2d", "\x00"])
@pytest.mark.parametrize("place", [0, 10, 20_000, -1])
def test_a_long_string_that_is_no_base64(sign, place):
    text = base64.b64encode(LARGE).decode()
    body = f'["{text[:place]}{sign}{text[place:]}", "QQ=="]'.encode()
    scanner = scan(body, 4096)
    (image,) = scanner.images.values()
    assert image.data is None and image.fault[0] == "invalid_base64" and json.loads(scanner.skeleton)[1] == "QQ=="


def test_bodies_that_end_too_early():
    for body in (b'{"images": ["' + b"A" * 50_000, b'{"images": ["AAA', b'["\\"', b'"'):
        with pytest.raises(ValueError):
            json.loads(scan(body, 1000).skeleton)


def test_too_much_beside_the_images():
    limits = Limits(images=2, queue=2)
    for body in (b" " * 3_000_000, b'["a",' * 100_000, b'"' + b'\\"' * 100_000, b'""' * 100_000):
        with pytest.raises(Refusal) as error:
            scan(b"[" + body, 65536, limits)
        assert error.value.status == 413
    long = json.dumps("A" * 2 * LONG).encode()
    with pytest.raises(Refusal) as error:
        scan(b"[" + b",".join([long] * 9), 65536, limits)
    assert error.value.code == "too_many_images"


def test_an_image_that_is_too_large():
    limits = Limits(bytes_per_image=20_000)
    body = json.dumps([base64.b64encode(bytes(n)).decode() for n in (20_000, 20_001, 100_000)]).encode()
    fine, more, far_more = scan(body, 5000, limits).images.values()
    assert fine.data == bytes(20_000)
    assert more.fault[0] == far_more.fault[0] == "too_large"


@pytest.mark.parametrize("wide", [b"", "\u4e2d".encode()])
def test_what_reading_takes(wide):
    """Never the body as a whole and never four bytes a character."""
    megabytes = 8
    text = b"A" * (megabytes * 2**20) + wide
    pieces = [b'{"images": ["', *[text[i : i + 65536] for i in range(0, len(text), 65536)], b'"]}']

    async def chunks():
        for piece in pieces:
            yield piece

    async def whole():
        scanner = Scanner(Limits())
        tracemalloc.start()
        await scanner.read(chunks())
        now, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return scanner, now / 2**20, peak / 2**20

    scanner, now, peak = asyncio.run(whole())
    assert now < 0.8 * megabytes and peak < 3.2 * megabytes
    assert (next(iter(scanner.images.values())).data is None) == bool(wide)
    assert embedded.IN_A_THREAD < len(text)
