"""The other end of `roc serve`, for Python programs: `Client`, and `AsyncClient` with the same methods to be awaited.

    from roc.server.client import Client

    with Client("http://127.0.0.1:8000") as client:
        client.score(["a.jpg", "b.jpg"])["results"][0]["scores"]["overall"]["value"]

Answers are what the server sent, as docs/server.md shows it. A server that is busy or loading (503) is asked again, at
the pace it asks for.
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
"""A path, the bytes of a file, or a PIL image (as `Assessment` sees it, without loss: sent as PNG)."""

LONGEST_PAUSE = 30.0


class ServerError(RuntimeError):
    """An answer that is an error.

    Attributes:
        status: of HTTP.
        code: one word.
        message: what came, what was expected, what to do.
        details: more about single images.
    """

    def __init__(self, status: int, code: str, message: str, details: Sequence[dict[str, Any]] = ()) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.details = list(details)


class _Common:
    """What both clients share: how requests are made and answers are read."""

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
    def _score_fields(attributes: Sequence[str] | None, distribution: bool) -> dict[str, str | None]:
        names = None if attributes is None else ",".join([attributes] if isinstance(attributes, str) else attributes)
        return {"attributes": names, "distribution": "true" if distribution else None}

    @staticmethod
    def _reward_bodies(
        images: Iterable[Image], batch: int, limits: dict[str, int], **rest: str | None
    ) -> Iterator[dict[str, Any]]:
        """Bodies that the server takes, each made when it is its turn."""
        most = limits["bytes_per_request"] - len(json.dumps({"images": [], **rest}))
        data: list[str] = []
        size = 0
        for index, image in enumerate(images):
            name, content = _file(image, index)
            if len(content) > limits["bytes_per_image"]:
                raise ValueError(
                    f"{name} takes {len(content)} bytes to send; the server takes {limits['bytes_per_image']}; make it "
                    "smaller, or start the server with a larger --bytes_per_image"
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
        """Seconds until the next try; None = none is due."""
        if response.status_code != 503 or attempt >= self._retries:
            return None
        told = response.headers.get("retry-after", "")
        return min(LONGEST_PAUSE, float(told) if told.isdigit() else 2.0**attempt)

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
    """Asks a server.

    Args:
        url: where it listens, e.g. `http://127.0.0.1:8000`.
        api_key: where it asks for one.
        timeout: seconds for each step of a request.
        retries: how often a busy server (503) is asked again.
        transport: of httpx, to be put in its place.
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
        self, images: Image | Sequence[Image], attributes: Sequence[str] | None = None, distribution: bool = False
    ) -> dict[str, Any]:
        """Scores of one or several images.

        Args:
            images: paths, bytes of files, or PIL images.
            attributes: which scores; None = all.
            distribution: also the probability of each level.

        Raises:
            ServerError: where the server refuses; one unreadable image among others stands in the answer.
            ValueError: for no image at all, or a PIL image that `Assessment` refuses too.
        """
        return self._post("/v1/score", self._form(images, self._score_fields(attributes, distribution)))

    def describe(
        self, images: Image | Sequence[Image], attributes: Sequence[str] | None = None, distribution: bool = False
    ) -> dict[str, Any]:
        """`score` with the model's words."""
        return self._post("/v1/describe", self._form(images, self._score_fields(attributes, distribution)))

    def rank(self, images: Sequence[Image], attribute: str | None = None) -> dict[str, Any]:
        """Order of 2 to 64 images, and how surely each beats each other one."""
        return self._post("/v1/rank", self._form(images, {"attribute": attribute}))

    def reward(
        self, images: Sequence[Image], attribute: str | None = None, *, scale: str = "unit", batch: int = 32
    ) -> list[float | None]:
        """One number per image, None where there is none.

        Args:
            images: any number.
            attribute: None = the first of the model.
            scale: "unit" (0..1) or "native".
            batch: images per request; fewer go where the server takes fewer, or fewer bytes.

        Raises:
            ValueError: for an image that takes more bytes than the server takes.
        """
        if self._limits is None:
            self._limits = self.models()[0]["limits"]
        rewards: list[float | None] = []
        for body in self._reward_bodies(images, batch, self._limits, attribute=attribute, scale=scale):
            rewards += self._post("/v1/reward", body)["rewards"]
        return rewards

    def models(self) -> list[dict[str, Any]]:
        """The model, its scale and its limits."""
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
        url: where it listens.
        api_key: where it asks for one.
        timeout: seconds for each step of a request.
        retries: how often a busy server (503) is asked again.
        transport: of httpx, to be put in its place.
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
        self, images: Image | Sequence[Image], attributes: Sequence[str] | None = None, distribution: bool = False
    ) -> dict[str, Any]:
        """As `Client.score`."""
        return await self._post("/v1/score", self._form(images, self._score_fields(attributes, distribution)))

    async def describe(
        self, images: Image | Sequence[Image], attributes: Sequence[str] | None = None, distribution: bool = False
    ) -> dict[str, Any]:
        """As `Client.describe`."""
        return await self._post("/v1/describe", self._form(images, self._score_fields(attributes, distribution)))

    async def rank(self, images: Sequence[Image], attribute: str | None = None) -> dict[str, Any]:
        """As `Client.rank`."""
        return await self._post("/v1/rank", self._form(images, {"attribute": attribute}))

    async def reward(
        self, images: Sequence[Image], attribute: str | None = None, *, scale: str = "unit", batch: int = 32
    ) -> list[float | None]:
        """As `Client.reward`."""
        if self._limits is None:
            self._limits = (await self.models())[0]["limits"]
        rewards: list[float | None] = []
        for body in self._reward_bodies(images, batch, self._limits, attribute=attribute, scale=scale):
            rewards += (await self._post("/v1/reward", body))["rewards"]
        return rewards

    async def models(self) -> list[dict[str, Any]]:
        """As `Client.models`."""
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
    """Name and bytes of a file."""
    if isinstance(image, bytes | bytearray):
        return f"image {index}", bytes(image)
    if isinstance(image, str | os.PathLike):
        return Path(image).name, Path(image).read_bytes()
    if hasattr(image, "save"):
        file = io.BytesIO()
        open_image(image).save(file, "PNG")
        return f"image {index}", file.getvalue()
    raise TypeError(f"expected a path, the bytes of a file or a PIL image, got {type(image).__name__}")
