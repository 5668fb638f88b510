"""Reads the body of a request: the images in it and what is asked about them.

Starlette's parser (python-multipart) splits multipart bodies; `embedded` takes the images out of JSON, and pydantic
reads the rest. Both see the body only through `Bodies.read`, which counts and times it, and nothing is written to disk.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar
from urllib.parse import unquote

from pydantic import BaseModel, ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from roc.data.counts import counted
from roc.score_space import REWARD_SCALES
from roc.server.embedded import LONG, Image, Scanner, decoded, too_many_bytes, too_many_images
from roc.server.errors import Refusal
from roc.server.options import Limits
from roc.server.schemas import (
    MOST_SAMPLES,
    DescribeRequest,
    FeatureRequest,
    ImageData,
    RankRequest,
    RewardRequest,
    ScoreRequest,
)

FIELD_BYTES = 64 * 1024
LONGEST_NAME = 1024
CHARSETS = ("utf-8", "us-ascii", "iso-8859-1")
FILE_NAME = re.compile(rb";\s*filename\*\s*=\s*utf-8'[^']*'([^;\s\"]+)", re.IGNORECASE)
"""A file name in the form of RFC 5987, which RFC 7578 forbids here and some clients send all the same."""

Form = TypeVar("Form", bound=BaseModel)


@dataclass(frozen=True)
class Upload:
    """One image of a request.

    Attributes:
        name: Its name in the answer.
        data: Content of the file; None if there is none.
        fault: Code and message if it is already known that the image cannot be used.
    """

    name: str
    data: bytes | None = field(repr=False)
    fault: tuple[str, str] | None = None


@dataclass(frozen=True)
class Order:
    """What a request asks for.

    Attributes:
        images: In the order of the request.
        attributes: Names of the scores; None = all.
        distribution: Whether to include the probabilities of the levels.
        scale: Scale of rewards: "unit", "native", "percentile" or "reference".
        data_set: On whose scale scores and native rewards are; None = on the declared one.
        samples: Answers of a model that reasons about each image.
        describe: Whether a ranking comes with the model's words.
        compare: Whether the images next to each other in a ranking are compared.
    """

    images: list[Upload]
    attributes: list[str] | None = None
    distribution: bool = False
    scale: str = "unit"
    data_set: str | None = None
    samples: int = 1
    describe: bool = False
    compare: bool = False


async def read_score(headers: Headers, chunks: AsyncIterator[bytes], limits: Limits) -> Order:
    """Reads a body of `/v1/score`.

    Raises:
        Refusal: 400, 413, 415 or 422.
    """
    if kind_of(headers) == "application/json":
        asked, long = await read_json(ScoreRequest, chunks, limits)
        images = _named(asked.images, long, limits)
        return Order(images, asked.attributes, asked.distribution, data_set=asked.scale)
    images, fields = await _multipart(headers, chunks, limits, ("attributes", "distribution", "scale"))
    return replace(_score_order(images, fields), data_set=fields.get("scale") or None)


async def read_describe(headers: Headers, chunks: AsyncIterator[bytes], limits: Limits) -> Order:
    """Reads a body of `/v1/describe`.

    Raises:
        Refusal: 400, 413, 415 or 422.
    """
    if kind_of(headers) == "application/json":
        asked, long = await read_json(DescribeRequest, chunks, limits)
        images = _named(asked.images, long, limits)
        return Order(images, asked.attributes, asked.distribution, samples=asked.samples)
    images, fields = await _multipart(headers, chunks, limits, ("attributes", "distribution", "samples"))
    samples = fields.get("samples", "") or "1"
    if not (samples.isascii() and samples.isdigit() and 1 <= int(samples[:9]) <= MOST_SAMPLES):
        raise _invalid("samples", f"samples is {shown(samples)}; expected a whole number, 1 to {MOST_SAMPLES}")
    return replace(_score_order(images, fields), samples=int(samples))


def _score_order(images: list[Upload], fields: Mapping[str, str]) -> Order:
    """Makes the order of form fields that `/v1/score` and `/v1/describe` share."""
    distribution = _flag(fields, "distribution")
    names = [name.strip() for name in fields.get("attributes", "").split(",")]
    return Order(images, [name for name in names if name] or None, distribution)


def _flag(fields: Mapping[str, str], name: str) -> bool:
    """Reads a field of a form that is true or false; absent or empty it is false."""
    value = fields.get(name, "") or "false"
    if value not in ("true", "false"):
        raise _invalid(name, f"{name} is {shown(value)}; expected true or false")
    return value == "true"


async def read_rank(headers: Headers, chunks: AsyncIterator[bytes], limits: Limits) -> Order:
    """Reads a body of `/v1/rank`.

    Raises:
        Refusal: 400, 413, 415 or 422.
    """
    if kind_of(headers) == "application/json":
        asked, long = await read_json(RankRequest, chunks, limits)
        images, attribute, data_set = _named(asked.images, long, limits), asked.attribute, asked.scale
        flags = {"describe": asked.describe, "compare": asked.compare}
    else:
        images, fields = await _multipart(headers, chunks, limits, ("attribute", "describe", "compare", "scale"))
        attribute, data_set = fields.get("attribute") or None, fields.get("scale") or None
        flags = {name: _flag(fields, name) for name in ("describe", "compare")}
    if not 2 <= len(images) <= 64:
        raise _invalid("files", f"{counted(len(images), 'image')} came; expected 2 to 64")
    odd = next((name for name, on in flags.items() if on), None)
    if odd is not None and data_set is not None:
        what = "the words hold the shared score" if odd == "describe" else "a change is on a range of its own"
        raise _invalid("scale", f"{odd} came with scale, but {what}; leave one of them out")
    return Order(images, None if attribute is None else [attribute], data_set=data_set, **flags)


async def read_reward(headers: Headers, chunks: AsyncIterator[bytes], limits: Limits) -> Order:
    """Reads a body of `/v1/reward`.

    Raises:
        Refusal: 400, 413, 415 or 422.
    """
    if kind_of(headers) != "application/json":
        raise unsupported(headers, "application/json")
    asked, long = await read_json(RewardRequest, chunks, limits)
    images = _images([(f"image {i}", data) for i, data in enumerate(asked.images)], long, limits)
    attributes = None if asked.attribute is None else [asked.attribute]
    if asked.scale in REWARD_SCALES:
        return Order(images, attributes, scale=asked.scale)
    return Order(images, attributes, scale="native", data_set=asked.scale)


async def read_features(headers: Headers, chunks: AsyncIterator[bytes], limits: Limits) -> Order:
    """Reads a body of `/v1/features`.

    Raises:
        Refusal: 400, 413, 415 or 422.
    """
    if kind_of(headers) == "application/json":
        asked, long = await read_json(FeatureRequest, chunks, limits)
        return Order(_named(asked.images, long, limits))
    images, _ = await _multipart(headers, chunks, limits, ())
    return Order(images)


def kind_of(headers: Headers) -> str:
    """Gives the media type of a body, without its parameters."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def check_encoding(headers: Headers) -> None:
    """Refuses compressed bodies, which no route takes.

    Raises:
        Refusal: 415.
    """
    if headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        came = shown(headers["content-encoding"])
        raise Refusal(415, "unsupported_media_type", f"Content-Encoding: {came} came; send the body uncompressed")


def unsupported(headers: Headers, expected: str) -> Refusal:
    """Builds the refusal of a media type."""
    came = shown(headers.get("content-type", "")) if "content-type" in headers else "no Content-Type"
    return Refusal(415, "unsupported_media_type", f"{came} came; expected {expected}")


class _Parser(MultiPartParser):
    """Starlette's parser; a part whose only file name is in the form of RFC 5987 counts as a file too."""

    def on_headers_finished(self) -> None:
        part = self._current_part
        disposition = part.content_disposition or b""
        extended = FILE_NAME.search(disposition)
        if extended and b"filename" not in parse_options_header(disposition)[1]:
            name = unquote(extended[1].decode("latin-1")).replace("\\", "\\\\").replace('"', '\\"')
            part.content_disposition = disposition + b'; filename="' + name.encode() + b'"'
        super().on_headers_finished()


async def _multipart(
    headers: Headers, chunks: AsyncIterator[bytes], limits: Limits, known: Sequence[str]
) -> tuple[list[Upload], dict[str, str]]:
    if kind_of(headers) != "multipart/form-data":
        raise unsupported(headers, "multipart/form-data with parts `files`, or application/json")
    files, fields = await _form(headers, chunks, limits, known)
    odd = next((name for name, _ in files if name != "files"), None)
    if odd is not None:
        raise _invalid(clean(odd), f"a file came as {shown(odd)}; send every image as `files`")
    if not files:
        raise _invalid("files", "no image came; send one or more parts `files`")
    return [upload for _, upload in files], fields


async def read_parts(
    headers: Headers, chunks: AsyncIterator[bytes], limits: Limits, known: Sequence[str]
) -> tuple[dict[str, Upload], dict[str, str]]:
    """Reads a multipart body whose files have names of their own.

    Args:
        headers: Of the request.
        chunks: The body.
        limits: What it may cost.
        known: Names of the fields that are no files.

    Returns:
        (files by the names of their parts, fields)

    Raises:
        Refusal: 400, 413, 415 or 422.
    """
    files, fields = await _form(headers, chunks, limits, known)
    twice = [name for i, (name, _) in enumerate(files) if name in {other for other, _ in files[:i]}]
    if twice:
        raise _invalid(clean(twice[0]), f"the part {shown(twice[0])} came twice; send it once")
    return dict(files), fields


async def _form(
    headers: Headers, chunks: AsyncIterator[bytes], limits: Limits, known: Sequence[str]
) -> tuple[list[tuple[str, Upload]], dict[str, str]]:
    charset = parse_options_header(headers["content-type"])[1].get(b"charset", b"utf-8").decode("latin-1").lower()
    if charset not in CHARSETS:
        message = f"charset={shown(charset)} came; expected {', '.join(CHARSETS)}, or none, which means utf-8"
        raise Refusal(415, "unsupported_media_type", message)
    # One field more than expected, so that a field which came twice can be named.
    parser = _Parser(headers, chunks, max_files=limits.images, max_fields=len(known) + 1, max_part_size=FIELD_BYTES)
    parser.spool_max_size = limits.bytes_per_request + 1
    try:
        form = await parser.parse()
    except FormParserError as error:  # older versions of Starlette let it through
        raise _no_multipart(str(error)) from error
    except MultiPartException as error:
        if error.message.startswith("Too many files"):
            raise too_many_images(f"more than {limits.images}", limits) from error
        if error.message.startswith("Too many fields"):
            message = f"too many parts without a file name; expected {', '.join(known)}, each once"
            raise _invalid("body", message) from error
        raise _no_multipart(error.message) from error
    try:
        files: list[tuple[str, Upload]] = []
        fields: dict[str, str] = {}
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                files.append((name, await _part(value, len(files), limits)))
            elif name in fields:
                raise _invalid(name, f"the field {name} came twice; send it once")
            elif name in known:
                fields[name] = value
            elif name == "files":
                raise _invalid("files", "a part `files` came without a file name; send it as a file")
            else:
                raise _invalid(clean(name), f"a field {shown(name)} came; expected {', '.join(known)}, each once")
    finally:
        await form.close()
    return files, fields


def _no_multipart(reason: str) -> Refusal:
    message = f"the body is no complete multipart/form-data: {clean(reason)}; send each image as a part"
    return Refusal(400, "bad_multipart", message)


async def _part(file: UploadFile, index: int, limits: Limits) -> Upload:
    name = clean(file.filename or "") or f"image {index}"
    if file.size is not None and file.size > limits.bytes_per_image:
        return Upload(name, None, too_many_bytes(file.size, limits))
    content = await file.read()
    await file.close()  # which is the other copy
    return Upload(name, content)


async def read_json(
    model: type[Form], chunks: AsyncIterator[bytes], limits: Limits, *, data_urls: bool = False
) -> tuple[Form, dict[str, Image]]:
    """Reads a JSON body.

    Args:
        model: Its form.
        chunks: The body.
        limits: What it may cost.
        data_urls: Whether images may be data URLs.

    Returns:
        (the body with placeholders for its long strings, what became of those)

    Raises:
        Refusal: 413 or 422.
    """
    body = Scanner(limits, data_urls=data_urls)
    await body.read(chunks)
    try:
        return model.model_validate_json(bytes(body.skeleton)), body.images
    except ValidationError as error:
        faults = [
            {"where": clean(".".join(map(str, fault["loc"]))) or "body", "message": clean(fault["msg"])}
            for fault in error.errors(include_url=False, include_context=False, include_input=False)[:20]
        ]
        reasons = "; ".join(f"{fault['where']}: {fault['message']}" for fault in faults[:3])
        raise Refusal(
            422, "invalid_request", f"the JSON is not what was expected: {reasons}; see /openapi.json", faults
        ) from error


def _named(images: Sequence[ImageData], long: Mapping[str, Image], limits: Limits) -> list[Upload]:
    return _images([(clean(one.name or "") or f"image {i}", one.data) for i, one in enumerate(images)], long, limits)


def _images(images: Sequence[tuple[str, str]], long: Mapping[str, Image], limits: Limits) -> list[Upload]:
    if len(images) > limits.images:
        raise too_many_images(f"{len(images)}", limits)
    if set(long) - {data for _, data in images}:
        raise _invalid("body", f"a text of more than {LONG} bytes came where no image is expected")
    found = [long.get(data) or decoded(data.encode("utf-8", "replace"), limits) for _, data in images]
    return [Upload(name, *image) for (name, _), image in zip(images, found, strict=True)]


def _invalid(where: str, message: str) -> Refusal:
    return Refusal(422, "invalid_request", message, [{"where": where, "message": message}])


def clean(text: str) -> str:
    """Makes text from outside fit for an answer: valid UTF-8, printable, of limited length."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    return "".join(sign if sign.isprintable() else "\ufffd" for sign in text[:LONGEST_NAME])


def shown(text: str) -> str:
    """Quotes the beginning of a text from outside for a message."""
    return repr(clean(text)[:80])
