"""Reading bodies of all kinds, without a server."""

import asyncio
import base64
import json
import threading

import pytest
from serving import Limits, photo
from starlette.datastructures import Headers

from roc.server import embedded
from roc.server.errors import Refusal
from roc.server.uploads import read_rank, read_reward, read_score

LIMITS = Limits(images=4, queue=4, bytes_per_image=1000)


async def chunks(body, size=7):
    for start in range(0, len(body), size):
        yield body[start : start + size]


def read(reader, body, kind="application/json", limits=LIMITS):
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    headers = Headers({"content-type": kind} if kind else {})
    return asyncio.run(reader(headers, chunks(body), limits))


def refused(reader, body, kind="application/json", limits=LIMITS):
    with pytest.raises(Refusal) as error:
        read(reader, body, kind, limits)
    assert error.value.message
    return error.value.status, error.value.code


def multipart(*parts, end=b"--B--\r\n"):
    body = b""
    for head, content in parts:
        body += b"--B\r\nContent-Disposition: form-data; " + head + b"\r\n\r\n" + content + b"\r\n"
    return body + end


FORM = "multipart/form-data; boundary=B"
FILE = (b'name="files"; filename="a.jpg"', b"abc")


def encoded(data):
    return base64.b64encode(data).decode()


def test_multipart():
    order = read(
        read_score,
        multipart(FILE, (b'name="attributes"', b"light, overall,"), (b'name="distribution"', b"true"), FILE),
        FORM,
    )
    assert [(image.name, image.data, image.fault) for image in order.images] == [("a.jpg", b"abc", None)] * 2
    assert (order.attributes, order.distribution) == (["light", "overall"], True)


def test_json():
    body = {"images": [{"name": "a.jpg", "data": encoded(b"abc")}, {"data": ""}], "attributes": ["light"]}
    order = read(read_score, body)
    assert [(image.name, image.data) for image in order.images] == [("a.jpg", b"abc"), ("image 1", b"")]
    assert (order.attributes, order.distribution) == (["light"], False)


def test_bad_base64_and_large_files_are_told_beside_the_image():
    data = ["%%%", "data:image/png;base64,AAAA", encoded(bytes(1001)), encoded(b"fine")]
    order = read(read_reward, {"images": data})
    assert [image.fault and image.fault[0] for image in order.images] == [
        *("invalid_base64", "invalid_base64", "too_large", None)
    ]
    assert "follows the comma" in order.images[1].fault[1]
    assert all((image.data is None) == (image.fault is not None) for image in order.images)
    order = read(read_score, multipart((FILE[0], bytes(1001))), FORM)
    assert order.images[0].fault[0] == "too_large" and order.images[0].data is None


def test_reward_and_rank():
    order = read(read_reward, {"images": [encoded(b"a")], "attribute": "light", "scale": "native"})
    assert (order.attributes, order.scale) == (["light"], "native")
    order = read(read_rank, multipart(FILE, FILE, (b'name="attribute"', b"light")), FORM)
    assert (len(order.images), order.attributes, order.describe) == (2, ["light"], False)
    assert read(read_rank, multipart(FILE, FILE, (b'name="describe"', b"true")), FORM).describe
    assert refused(read_rank, multipart(FILE, FILE, (b'name="describe"', b"why")), FORM) == (422, "invalid_request")
    assert refused(read_rank, multipart(FILE), FORM) == (422, "invalid_request")
    assert refused(read_rank, {"images": [{"data": ""}]}) == (422, "invalid_request")
    assert refused(read_reward, multipart(FILE), FORM) == (415, "unsupported_media_type")


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/mixed; boundary=B"])
def test_other_kinds_of_bodies(kind):
    assert refused(read_score, b"{}", kind) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"' * 99,
        b"{" * 100_000,
        b"[" * 100_000,
        b'{"images": []}',
        b'{"images": [{"data": 3}]}',
        b'{"images": [{"data": "\\ud800"}]}',
        b'{"images": [{"data": ""}], "distribution": "yes"}',
        b'{"images": [{"data": ""}], "attributes": []}',
        b'{"images": [{"data": ""}], "url": "http://localhost/"}',
        b'{"images": [{"path": "/etc/passwd"}]}',
        b'{"images": [{"data": "", "name": "' + b"x" * 2000 + b'"}]}',
        b"\xff\xfe{}",
    ],
    ids=lambda body: body[:24].decode("latin-1"),
)
def test_json_that_is_not_what_was_expected(body):
    assert refused(read_score, body) == (422, "invalid_request")


def test_what_came_is_not_sent_back():
    with pytest.raises(Refusal) as error:
        read(read_score, {"images": [{"data": "<script>alert(1)</script>", "<b>": 1}], "distribution": "<script>"})
    assert "<script>" not in json.dumps(error.value.body)


def test_too_many():
    assert refused(read_score, multipart(*[FILE] * 5), FORM) == (413, "too_many_images")
    assert refused(read_score, multipart(*[FILE] * 10_000), FORM) == (413, "too_many_images")
    assert refused(read_score, {"images": [{"data": ""}] * 5}) == (413, "too_many_images")
    assert refused(read_reward, {"images": [""] * 5}) == (413, "too_many_images")
    assert refused(read_score, b"[" + b"0," * 100_000) == (413, "too_many_images")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", (422, "invalid_request")),
        (b"no multipart at all", (400, "bad_multipart")),
        (multipart((FILE[0], bytes(500)), end=b"")[:300], (422, "invalid_request")),
        (multipart((b"nothing", b"")), (400, "bad_multipart")),
        (multipart((b'name="files"', b"abc")), (422, "invalid_request")),
        (multipart((b'name="photo"; filename="a.jpg"', b"abc")), (422, "invalid_request")),
        (multipart(FILE, (b'name="url"', b"http://localhost/")), (422, "invalid_request")),
        (multipart(FILE, (b'name="attributes"', b"a"), (b'name="attributes"', b"b")), (422, "invalid_request")),
        (multipart(FILE, *[(b'name="attributes"', b"a")] * 50), (422, "invalid_request")),
        (multipart(FILE, (b'name="distribution"', b"perhaps")), (422, "invalid_request")),
        (multipart(FILE, (b'name="attributes"', b"a" * 100_000)), (400, "bad_multipart")),
        (b"--B\r\n" + b"X-Header: " + b"x" * 100_000, (400, "bad_multipart")),
    ],
    ids=range(12),
)
def test_multipart_that_is_not_what_was_expected(body, expected):
    assert refused(read_score, body, FORM) == expected
    assert refused(read_score, body, "multipart/form-data") == (400, "bad_multipart")


def test_names_are_made_fit_for_an_answer():
    for name, shown in [
        (b"../../etc/passwd", "../../etc/passwd"),
        (b"\xff\xfe.jpg", None),
        (b"a\x00b\x1b[31m.jpg", None),
        (b"x" * 3000, "x" * 1024),
    ]:
        order = read(read_score, multipart((b'name="files"; filename="' + name + b'"', b"abc")), FORM)
        found = order.images[0].name
        assert found.isprintable() and found.encode() and (shown is None or found == shown)


@pytest.mark.parametrize(
    "charset", ["undefined", "punycode", "unicode_escape", "idna", "base64", "nix", "utf-16", '""']
)
def test_charsets(charset):
    body = multipart((b'name="files"; filename="\\ud800\xc3\xa4.jpg"', b""))
    assert refused(read_score, body, f"{FORM}; charset={charset}") == (415, "unsupported_media_type")
    for known, shown in (("UTF-8", "ä"), ("us-ascii", "Ã¤"), ('"iso-8859-1"', "Ã¤")):
        assert read(read_score, body, f"{FORM}; charset={known}").images[0].name.endswith(f"{shown}.jpg")


def test_a_name_that_came_in_another_form():
    for told, shown in [
        (b"filename*=UTF-8''x.jpg", "x.jpg"),
        (b"filename*=utf-8'de'%C3%A4%22%5C.jpg", 'ä"\\.jpg'),
        (b"filename=\"a.jpg\"; filename*=UTF-8''a.jpg", "a.jpg"),
        (b"filename*=UTF-8''%FF%0D%0A.jpg", None),
    ]:
        image = read(read_score, multipart((b'name="files"; ' + told, b"abc")), FORM).images[0]
        assert image.data == b"abc" and image.name.isprintable() and shown in (None, image.name)


def test_a_field_that_came_twice():
    for count in (2, 3):
        body = multipart(FILE, *[(b'name="attributes"', b"a")] * count)
        with pytest.raises(Refusal, match="the field attributes came twice"):
            read(read_score, body, FORM)


def test_a_real_photo_in_pieces():
    content = photo(3, (200, 150))
    limits = Limits(images=4, queue=4)
    assert read(read_score, multipart((FILE[0], content)), FORM, limits).images[0].data == content


def test_large_bodies_are_decoded_apart_from_the_loop(monkeypatch):
    monkeypatch.setattr(embedded, "IN_A_THREAD", 30_000)
    in_the_loop, decode = [], embedded.decoded

    def watched(*arguments):
        in_the_loop.append(threading.current_thread() is threading.main_thread())
        return decode(*arguments)

    monkeypatch.setattr(embedded, "decoded", watched)
    for data, expected in ((bytes(20_000), True), (bytes(30_000), False)):
        order = read(read_reward, {"images": [encoded(data)]}, limits=Limits())
        assert [image.data for image in order.images] == [data]
        assert in_the_loop == [expected]
        in_the_loop.clear()
