"""Reads the requests of decision clients: `score` questions about images, in the two forms that such clients send.

`/v1/systemone` and `/v1/decisions` take both forms, told apart by their fields: `state`, `assets` and named questions
with `criteria` (System One), or `input` and a list of questions with `levels` (OpenAI). The model answers the question
that it was trained on, so a request chooses the attribute and the levels; its texts are not read. What is not offered
is refused with what is.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.datastructures import Headers

from roc.data.counts import counted
from roc.server.embedded import Image, decoded, too_many_images, without_data_prefix
from roc.server.errors import Refusal
from roc.server.options import Limits
from roc.server.uploads import Order, Upload, clean, kind_of, read_json, read_parts, shown, unsupported

MOST_LEVELS = 10
MOST_QUESTIONS = 64
LONGEST_LEVEL = 2000
"""Characters of a level, or of the JSON of one that is no text: the answer repeats the levels."""

LONGEST_NAME = 256
"""Characters of the name of a question, which the answer repeats too."""

OFFERED = f"this server answers `score` questions about one image, with 2 to {MOST_LEVELS} ordered levels"

Place = tuple[str | int, ...]
"""Where in the body a value stands."""


@dataclass(frozen=True)
class Question:
    """A score question.

    Attributes:
        name: What the answer is called.
        levels: What each level is called, the lowest first, as it came.
        image: Index of its image in the order.
        attribute: The score asked for by `x_attribute`; None = see `words`.
        words: The instructions where they are plain text; those that are the name of an attribute ask for it.
    """

    name: str | None
    levels: tuple[Any, ...]
    image: int
    attribute: str | None
    words: str | None


@dataclass(frozen=True)
class DecisionOrder(Order):
    """Questions about the images of a request.

    Attributes:
        questions: In the order of the request.
        named: Whether answers are named, as in the form of System One, or listed.
    """

    questions: tuple[Question, ...] = ()
    named: bool = True


class DecisionRequest(BaseModel):
    """Body of `/v1/systemone` and `/v1/decisions`; fields that are not listed are ignored."""

    model_config = ConfigDict(
        extra="ignore",
        strict=True,
        json_schema_extra={
            "examples": [
                {
                    "model": "jev-latest",
                    "state": ["photo"],
                    "assets": {"photo": {"type": "image", "format": "png", "data_base64": "iVBORw0..."}},
                    "questions": {"quality": {"type": "score", "criteria": ["poor", "fair", "good"]}},
                }
            ]
        },
    )

    model: str = Field(description="any name; the answer says which model it was")
    state: str | dict[str, Any] | list[Any] | None = Field(default=None, description="holds or names the image")
    input: str | list[Any] | None = Field(default=None, description="the same in the form of OpenAI: user messages")
    questions: dict[str, dict[str, Any]] | list[dict[str, Any]] = Field(
        description=f"1 to {MOST_QUESTIONS}, by name with `criteria`, or a list with `levels`; each of the type score"
    )
    assets: dict[str, dict[str, Any]] | None = Field(default=None, description="images by the name that `state` holds")
    images: list[str] | None = Field(default=None, description="images as data URLs, beside `state`")


def _refusal(place: Place, message: str) -> Refusal:
    where = ".".join(clean(str(part)) for part in place) or "body"
    return Refusal(422, "invalid_request", f"{where}: {message}", [{"where": where, "message": message}])


async def read_decision(headers: Headers, chunks: AsyncIterator[bytes], limits: Limits) -> DecisionOrder:
    """Reads a body of `/v1/systemone` or `/v1/decisions`.

    Raises:
        Refusal: 400, 413, 415 or 422.
    """
    if kind_of(headers) == "application/json":
        asked, long = await read_json(DecisionRequest, chunks, limits, data_urls=True)
        return _Reader(asked, long, {}, limits).order()
    if kind_of(headers) != "multipart/form-data":
        raise unsupported(headers, "application/json, or multipart/form-data with a part `request` and the images")
    parts, fields = await read_parts(headers, chunks, limits, ("request",))
    if "request" not in fields:
        raise _refusal((), "no part `request` came; it holds the JSON, and each asset names its part")

    async def once() -> AsyncIterator[bytes]:
        yield fields["request"].encode("utf-8", "replace")

    asked, long = await read_json(DecisionRequest, once(), limits, data_urls=True)
    return _Reader(asked, long, parts, limits).order()


class _Reader:
    """Finds the images and the questions of one request.

    Args:
        asked: The request, with placeholders for its long strings.
        long: What became of the long strings.
        parts: Images of a multipart body by the names of their parts.
        limits: What a request may cost.
    """

    def __init__(
        self, asked: DecisionRequest, long: Mapping[str, Image], parts: Mapping[str, Upload], limits: Limits
    ) -> None:
        self.asked = asked
        self.long = long
        self.parts = parts
        self.limits = limits
        self.uploads: dict[str, Upload] = {}
        self.used: set[str] = set()
        names = sorted(asked.assets or (), key=len, reverse=True)  # a shorter name may be a part of a longer one
        self.names = re.compile("|".join(map(re.escape, names))) if names else None

    def order(self) -> DecisionOrder:
        """Gives what is asked for."""
        asked = self.asked
        named = isinstance(asked.questions, dict)
        if asked.state is None and asked.input is None:
            raise _refusal(("input" if not named else "state",), "Field required; it holds or names the image")
        if asked.state is not None and asked.input is not None:
            raise _refusal(("input",), "`state` came too; send one of them")
        if not 1 <= len(asked.questions) <= MOST_QUESTIONS:
            came = f"{len(asked.questions)} questions came" if asked.questions else "no question came"
            raise _refusal(("questions",), f"{came}; expected 1 to {MOST_QUESTIONS} in a request")
        self._read_assets()
        where = "state" if asked.state is not None else "input"
        shared = list(self._images(asked.state if asked.state is not None else asked.input, (where,)))
        shared += [self._url(url, ("images", i)) for i, url in enumerate(asked.images or ())]
        items = list(asked.questions.items() if named else enumerate(asked.questions))
        questions = tuple(self._question(name, one, list(dict.fromkeys(shared)), named) for name, one in items)
        self._check_unused()
        if len(self.uploads) > self.limits.images:
            raise too_many_images(f"{len(self.uploads)}", self.limits)
        attributes = [one.attribute for one in questions if one.attribute is not None]
        return DecisionOrder(list(self.uploads.values()), attributes or None, questions=questions, named=named)

    def _check_unused(self) -> None:
        idle = [name for name in self.asked.assets or () if f"asset {name}" not in self.used]
        if idle:
            raise _refusal(("assets", idle[0]), "nothing names this asset; put its name into `state`")
        left = [name for name in self.parts if f"part {name}" not in self.used]
        if left:
            raise _refusal((), f"a part {shown(left[0])} came that no asset names")
        if set(self.long) - self.used:
            raise _refusal((), "a text of more than 16 KiB came where no image is expected")

    def _read_assets(self) -> None:
        assets = self.asked.assets or {}
        if len(assets) > self.limits.images:
            raise too_many_images(f"{len(assets)} assets", self.limits)
        if "" in assets:
            raise _refusal(("assets",), "an asset without a name came; name it, and put the name into `state`")
        for name, asset in assets.items():
            place = ("assets", name)
            if asset.get("type", "image") != "image":
                raise _refusal((*place, "type"), f"{shown(str(asset['type']))} came; only images are offered")
            part, data = asset.get("part"), asset.get("data_base64")
            if isinstance(part, str):
                if part not in self.parts:
                    raise _refusal((*place, "part"), f"there is no part {shown(part)} in the body")
                self.used.add(f"part {part}")
                self.uploads[f"asset {name}"] = self.parts[part]
            elif isinstance(data, str):
                self.uploads[f"asset {name}"] = self._upload(data, clean(name))
            else:
                raise _refusal(place, "expected `data_base64`, or `part` in a multipart body")

    def _upload(self, data: str, name: str) -> Upload:
        self.used.add(data)
        found = self.long.get(data) or decoded(without_data_prefix(data.encode("utf-8", "replace")), self.limits)
        return Upload(name, *found)

    def _url(self, url: Any, place: Place) -> str:
        """Takes an image from a data URL; gives its key."""
        if not isinstance(url, str) or not (url in self.long or url.startswith("data:")):
            came = shown(url) if isinstance(url, str) else type(url).__name__
            raise _refusal(place, f"{came} came; URLs are not fetched, send a data URL, data:image/png;base64,...")
        key = f"url {url if url in self.long else '.'.join(map(str, place))}"
        self.uploads.setdefault(key, self._upload(url, f"image {len(self.uploads)}"))
        return key

    def _images(self, value: Any, place: Place) -> Iterator[str]:
        """Finds the images in a part of the request: names of assets, and parts of messages that are images."""
        if isinstance(value, str):
            for name in dict.fromkeys(self.names.findall(value) if self.names else ()):
                self.used.add(f"asset {name}")
                yield f"asset {name}"
            return
        if isinstance(value, dict):
            kind = value.get("type")
            if kind in ("input_image", "image_url"):
                url = value.get("image_url")
                yield self._url(url.get("url") if isinstance(url, dict) else url, (*place, "image_url"))
                return
            if kind in ("input_file", "input_audio", "input_video", "file", "video_url"):
                raise _refusal(place, f"{shown(kind)} came; {OFFERED}")
        parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for name, part in parts:
            yield from self._images(part, (*place, name))

    def _question(self, name: str | int, one: dict[str, Any], shared: Sequence[str], named: bool) -> Question:
        place: Place = ("questions", name)
        kind = one.get("type")
        if kind != "score":
            came = shown(kind) if isinstance(kind, str) else "no type" if kind is None else type(kind).__name__
            raise _refusal((*place, "type"), f"{came} came; {OFFERED}")
        if named and not name:
            raise _refusal(place, "a question without a name came; name it")
        own = list(dict.fromkeys(self._images(one.get("instructions"), (*place, "instructions"))))
        levels = self._levels(one, place, "criteria" if named else "levels")
        images = own or shared
        if own and shared:
            raise _refusal(place, f"it has an image beside the shared one; comparing is not offered, {OFFERED}")
        if not images and self.asked.assets:
            raise _refusal(place, "no image came for it; put the name of its asset into `state`")
        if len(images) != 1:
            raise _refusal(place, f"{len(images) or 'no'} images came for it; {OFFERED}")
        called, attribute, words = one.get("name"), one.get("x_attribute"), one.get("instructions")
        for key, value in (("name", called), ("x_attribute", attribute)):
            if value is not None and not isinstance(value, str):
                raise _refusal((*place, key), f"{type(value).__name__} came; expected a text")
        if len(str(name) if named else called or "") > LONGEST_NAME:
            raise _refusal(("questions",), f"a name has more than {LONGEST_NAME} characters; send a shorter one")
        index = list(self.uploads).index(images[0])
        return Question(
            str(name) if named else called, levels, index, attribute, words if isinstance(words, str) else None
        )

    def _levels(self, one: dict[str, Any], place: Place, key: str) -> tuple[Any, ...]:
        levels = one.get(key)
        if not isinstance(levels, list) or not 2 <= len(levels) <= MOST_LEVELS:
            came = counted(len(levels), "level") if isinstance(levels, list) else type(levels).__name__
            came = "nothing" if levels is None else came
            raise _refusal(
                (*place, key), f"{came} came; expected a list of 2 to {MOST_LEVELS} levels, the lowest first"
            )
        for i, level in enumerate(levels):
            good = isinstance(level, str | dict | list) if key == "criteria" else isinstance(level, dict)
            if not good or (key == "levels" and not isinstance(level.get("label"), str)):
                expected = "a text, an object or a list" if key == "criteria" else 'an object {"label": "..."}'
                raise _refusal((*place, key, i), f"{json.dumps(level)[:80]} came; expected {expected}")
            length = len(level if isinstance(level, str) else json.dumps(level, ensure_ascii=False))
            if length > LONGEST_LEVEL:
                raise _refusal((*place, key, i), f"{length} characters came; expected at most {LONGEST_LEVEL}")
            if any(True for _ in self._images(level, (*place, key, i))):
                raise _refusal((*place, key, i), f"an image came as a level; {OFFERED}")
        return tuple(levels)
