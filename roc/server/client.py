"""Clients of `roc serve` for Python programs: `Client`, and `AsyncClient` with the same methods to be awaited.

    from roc.server.client import Client

    with Client("http://127.0.0.1:8000") as client:
        client.score(["a.jpg", "b.jpg"])["results"][0]["scores"]["overall"]["value"]

Answers are returned as the server sent them, see docs/server.md. A server that is busy or loading (503) is asked again
after the time it names.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx

from roc.data.images import open_image

Image = str | os.PathLike[str] | bytes | Any
"""A path, the bytes of an image file, or a PIL image (sent as PNG, so that it scores as with `Assessment`)."""

LONGEST_PAUSE = 30.0


class ServerError(RuntimeError):
    """The server answered with an error.

    Attributes:
        status: HTTP status.
        code: One word for programs.
        message: What came, what was expected, what to do.
        details: More about single images.
    """

    def __init__(self, status: int, code: str, message: str, details: Sequence[dict[str, Any]] = ()) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.details = list(details)


class _Common:
    """What both clients share: making requests and reading answers."""

    def __init__(self, retries: int) -> None:
        self._retries = retries
        self._limits: dict[str, int] | None = None

    @staticmethod
    def _options(url: str, api_key: str | None, timeout: float) -> dict[str, Any]:
        headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        return {"base_url": url, "headers": headers, "timeout": timeout}

    @staticmethod
    def _form(images: Image | Sequence[Image], fields: dict[str, str | None]) -> dict[str, Any]:
        files = [("files", _file(image, index)) for index, image in enumerate(_several(images))]
        if not files:
            raise ValueError("no image came; expected one or more")
        return {"files": files, "data": {name: value for name, value in fields.items() if value is not None}}

    @staticmethod
    def _score_fields(
        attributes: Sequence[str] | None, distribution: bool, scale: str | None = None
    ) -> dict[str, str | None]:
        names = None if attributes is None else ",".join([attributes] if isinstance(attributes, str) else attributes)
        return {"attributes": names, "distribution": "true" if distribution else None, "scale": scale}

    @staticmethod
    def _rank_fields(attribute: str | None, scale: str | None, **flags: bool) -> dict[str, str | None]:
        told = {name: "true" if flag else None for name, flag in flags.items()}
        return {"attribute": attribute, "scale": scale, **told}

    @classmethod
    def _describe_fields(
        cls, attributes: Sequence[str] | None, distribution: bool, samples: int
    ) -> dict[str, str | None]:
        return cls._score_fields(attributes, distribution) | {"samples": None if samples == 1 else str(samples)}

    @staticmethod
    def _reward_bodies(
        images: Iterable[Image], batch: int, limits: dict[str, int], **rest: str | None
    ) -> Iterator[dict[str, Any]]:
        """Yields request bodies within the limits of the server, each made when it is needed."""
        most = limits["bytes_per_request"] - len(json.dumps({"images": [], **rest}))
        data: list[str] = []
        size = 0
        for index, image in enumerate(images):
            name, content = _file(image, index)
            if len(content) > limits["bytes_per_image"]:
                raise ValueError(
                    f"{name} takes {len(content)} bytes to send; the server accepts {limits['bytes_per_image']}; make "
                    "it smaller, or start the server with a larger --bytes_per_image"
                )
            one = base64.b64encode(content).decode()
            more = len(one) + len('"", ')
            if data and (len(data) >= min(batch, limits["images"]) or size + more > most):
                yield {"json": {"images": data, **rest}}
                data, size = [], 0
            data.append(one)
            size += more
        if data:
            yield {"json": {"images": data, **rest}}

    def _pause(self, response: httpx.Response, attempt: int) -> float | None:
        """Returns the seconds until the next try; None if there is none."""
        if response.status_code != 503 or attempt >= self._retries:
            return None
        asked = response.headers.get("retry-after", "")
        return min(LONGEST_PAUSE, float(asked) if asked.isdigit() else 2.0**attempt)

    @staticmethod
    def _read(response: httpx.Response) -> dict[str, Any]:
        try:
            answer = response.json()
        except ValueError:
            answer = {}
        if response.is_success:
            return answer
        error = answer.get("error") if isinstance(answer, dict) else None
        if not isinstance(error, dict):
            error = {"code": "no_json", "message": response.text[:200] or response.reason_phrase}
        raise ServerError(
            response.status_code, error.get("code", ""), error.get("message", ""), error.get("details", ())
        )


class Client(_Common):
    """Asks a server for scores.

    Args:
        url: Address of the server.
        api_key: Key, if the server asks for one.
        timeout: Seconds for each step of a request.
        retries: How often a busy server (503) is asked again.
        transport: Transport of httpx to use instead of the network.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        api_key: str | None = None,
        timeout: float = 120.0,
        retries: int = 5,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        super().__init__(retries)
        self._http = httpx.Client(**self._options(url, api_key, timeout), transport=transport)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def score(
        self,
        images: Image | Sequence[Image],
        attributes: Sequence[str] | None = None,
        distribution: bool = False,
        *,
        scale: str | None = None,
    ) -> dict[str, Any]:
        """Scores one or several images.

        Args:
            images: Paths, bytes of files, or PIL images.
            attributes: Names of the scores; None = all.
            distribution: Whether to add the probability of each level.
            scale: Of a model that was trained on several data sets, the one on whose scale scores are.

        Returns:
            The answer of `/v1/score`; scores are on the native scale that it names.

        Raises:
            ServerError: If the server refuses. One unreadable image among others is reported in the answer instead.
            ValueError: If there is no image, or a PIL image that `Assessment` refuses too.
        """
        return self._post("/v1/score", self._form(images, self._score_fields(attributes, distribution, scale)))

    def describe(
        self,
        images: Image | Sequence[Image],
        attributes: Sequence[str] | None = None,
        distribution: bool = False,
        *,
        samples: int = 1,
    ) -> dict[str, Any]:
        """Scores images like `score` and has the model describe each in words.

        A model that reasons writes a critique first; of several `samples` the scores are combined.
        """
        fields = self._describe_fields(attributes, distribution, samples)
        return self._post("/v1/describe", self._form(images, fields))

    def rank(
        self,
        images: Sequence[Image],
        attribute: str | None = None,
        *,
        describe: bool = False,
        scale: str | None = None,
        compare: bool = False,
    ) -> dict[str, Any]:
        """Ranks 2 to 64 images, and tells how likely each beats each other one.

        Args:
            images: The images.
            attribute: Name of the score; None = the first of the model.
            describe: Whether the model says something about each image.
            scale: Data set on whose scale scores are; None = on the declared one.
            compare: Whether it is asked about each image and the one behind it, both at once, with reasons where it was
                taught some.

        Raises:
            ServerError: If the server refuses; `no_comparison` if the model was not taught to compare.
        """
        fields = self._rank_fields(attribute, scale, describe=describe, compare=compare)
        return self._post("/v1/rank", self._form(images, fields))

    def reward(
        self, images: Sequence[Image], attribute: str | None = None, *, scale: str = "unit", batch: int = 32
    ) -> list[float | None]:
        """Returns one number per image, None where the model gives none.

        Args:
            images: Any number of images.
            attribute: Name of the score; None = the first of the model.
            scale: "unit" (0..1) or "native"; of a model with a reference also "percentile" (0..100) or "reference"
                (0..1, 0.5 at the median of its photos); of one that was trained on several data sets also the name of
                one, for the scale of that.
            batch: Most images per request; fewer are sent if the limits of the server ask for it.

        Raises:
            ValueError: If an image takes more bytes than the server accepts.
        """
        if self._limits is None:
            self._limits = self.models()[0]["limits"]
        rewards: list[float | None] = []
        for body in self._reward_bodies(images, batch, self._limits, attribute=attribute, scale=scale):
            rewards += self._post("/v1/reward", body)["rewards"]
        return rewards

    def models(self) -> list[dict[str, Any]]:
        """Returns the model, its scale and its limits."""
        return self._ask("GET", "/v1/models")["data"]

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._ask("POST", path, **body)

    def _ask(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        attempt = 0
        while True:
            response = self._http.request(method, path, **body)
            pause = self._pause(response, attempt)
            if pause is None:
                return self._read(response)
            time.sleep(pause)
            attempt += 1


class AsyncClient(_Common):
    """`Client` for programs that run an event loop: the same methods, to be awaited.

    Args:
        url: Address of the server.
        api_key: Key, if the server asks for one.
        timeout: Seconds for each step of a request.
        retries: How often a busy server (503) is asked again.
        transport: Transport of httpx to use instead of the network.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        api_key: str | None = None,
        timeout: float = 120.0,
        retries: int = 5,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        super().__init__(retries)
        self._http = httpx.AsyncClient(**self._options(url, api_key, timeout), transport=transport)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def score(
        self,
        images: Image | Sequence[Image],
        attributes: Sequence[str] | None = None,
        distribution: bool = False,
        *,
        scale: str | None = None,
    ) -> dict[str, Any]:
        """See `Client.score`."""
        return await self._post("/v1/score", self._form(images, self._score_fields(attributes, distribution, scale)))

    async def describe(
        self,
        images: Image | Sequence[Image],
        attributes: Sequence[str] | None = None,
        distribution: bool = False,
        *,
        samples: int = 1,
    ) -> dict[str, Any]:
        """See `Client.describe`."""
        fields = self._describe_fields(attributes, distribution, samples)
        return await self._post("/v1/describe", self._form(images, fields))

    async def rank(
        self,
        images: Sequence[Image],
        attribute: str | None = None,
        *,
        describe: bool = False,
        scale: str | None = None,
        compare: bool = False,
    ) -> dict[str, Any]:
        """See `Client.rank`."""
        fields = self._rank_fields(attribute, scale, describe=describe, compare=compare)
        return await self._post("/v1/rank", self._form(images, fields))

    async def reward(
        self, images: Sequence[Image], attribute: str | None = None, *, scale: str = "unit", batch: int = 32
    ) -> list[float | None]:
        """See `Client.reward`."""
        if self._limits is None:
            self._limits = (await self.models())[0]["limits"]
        rewards: list[float | None] = []
        for body in self._reward_bodies(images, batch, self._limits, attribute=attribute, scale=scale):
            rewards += (await self._post("/v1/reward", body))["rewards"]
        return rewards

    async def models(self) -> list[dict[str, Any]]:
        """See `Client.models`."""
        return (await self._ask("GET", "/v1/models"))["data"]

    async def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return await self._ask("POST", path, **body)

    async def _ask(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        attempt = 0
        while True:
            response = await self._http.request(method, path, **body)
            pause = self._pause(response, attempt)
            if pause is None:
                return self._read(response)
            await asyncio.sleep(pause)
            attempt += 1


def _several(images: Image | Sequence[Image]) -> Iterable[Image]:
    return images if isinstance(images, list | tuple) else [images]


def _file(image: Image, index: int) -> tuple[str, bytes]:
    """Returns the name and the bytes to send."""
    if isinstance(image, bytes | bytearray):
        return f"image {index}", bytes(image)
    if isinstance(image, str | os.PathLike):
        return Path(image).name, Path(image).read_bytes()
    if hasattr(image, "save"):
        file = io.BytesIO()
        open_image(image).save(file, "PNG")
        return f"image {index}", file.getvalue()
    raise TypeError(f"expected a path, the bytes of a file or a PIL image, got {type(image).__name__}")
