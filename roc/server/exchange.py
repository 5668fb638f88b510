"""One request below /v1, from its key to its answer."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect

from roc.server.answers import (
    Found,
    check_attributes,
    check_comparison,
    check_samples,
    check_scale,
    neighbours,
    put_comparisons,
)
from roc.server.bodies import Counted, drain
from roc.server.errors import Refusal, error_body
from roc.server.hosts import network_of
from roc.server.keys import Keys
from roc.server.options import Limits
from roc.server.personal import Personal, PersonalRequest, personal_limits
from roc.server.service import Service
from roc.server.uploads import Order, check_encoding, kind_of, read_json, unsupported

Read = Callable[[Headers, AsyncIterator[bytes], Limits], Awaitable[Order]]
Put = Callable[[dict[str, Any], Order, Found], dict[str, Any]]


class Exchange:
    """Answers the requests below /v1.

    Args:
        service: Scores the images.
        keys: Keys that open /v1; without any it is open to everybody.
    """

    def __init__(self, service: Service, keys: Keys) -> None:
        self._service = service
        self._keys = keys
        self._personal = Personal()

    def check(self, request: Request) -> dict[str, Any]:
        """Checks the key and that the model is loaded.

        Returns:
            What is known of the model.

        Raises:
            Refusal: With a wrong key, or while the model is loading.
        """
        if not self._keys.open(request.headers.get("authorization")):
            raise Refusal(
                401, "unauthorized", "no API key, or a wrong one; send the header `Authorization: Bearer KEY`"
            )
        return self._service.check_ready()

    async def score(self, request: Request, read: Read, mode: str, put: Put) -> JSONResponse:
        """Scores the images of a request.

        Args:
            request: Its body has not been read yet.
            read: Reads the body.
            mode: What the service does with images, unless the body asks for descriptions.
            put: Puts the results into the form of the answer.

        Raises:
            Refusal: If it cannot be answered.
        """

        async def work(facts: dict[str, Any], body: AsyncIterator[bytes]) -> dict[str, Any]:
            order = await read(request.headers, body, self._service.limits)
            for check in (check_attributes, check_samples, check_scale, check_comparison):
                check(order, facts)
            return await self._scored(facts, order, self._client(request), mode, put)

        return await self._answered(request, work)

    async def personalize(self, request: Request) -> JSONResponse:
        """Moves scores towards one's own ratings or pairs.

        Raises:
            Refusal: If it cannot be answered.
        """

        async def work(facts: dict[str, Any], body: AsyncIterator[bytes]) -> dict[str, Any]:
            if kind_of(request.headers) != "application/json":
                raise unsupported(request.headers, "application/json")
            asked, long = await read_json(PersonalRequest, body, personal_limits(self._service.limits))
            return await self._personal.answer(facts, self._service.checkpoint, asked, long)

        return await self._answered(request, work)

    async def _answered(
        self, request: Request, work: Callable[[dict[str, Any], AsyncIterator[bytes]], Awaitable[dict[str, Any]]]
    ) -> JSONResponse:
        """Checks the request and counts its body while `work` reads it; of a refused one the rest is read first."""
        chunks, bodies = request.stream(), self._service.bodies
        try:
            facts = self.check(request)
            check_encoding(request.headers)
            with Counted(bodies, self._client(request)) as counted:
                body = bodies.read(chunks, request.headers.get("content-length"), counted)
                return JSONResponse(await work(facts, body))
        except ClientDisconnect:
            return JSONResponse(error_body("client_closed_request", "the connection ended before the body did"), 400)
        except Refusal:
            with contextlib.suppress(ClientDisconnect):
                await drain(chunks, self._service.limits.bytes_per_request)
            raise

    async def _scored(self, facts: dict[str, Any], order: Order, client: str, mode: str, put: Put) -> dict[str, Any]:
        service, mode = self._service, "describe" if order.describe else mode
        until = service.due()
        with service.admit(len(order.images) * order.samples, client):
            found = await service.assess(order.images, mode, client, samples=order.samples, until=until)
            answer = put(facts, order, found)
            if order.compare:  # fewer pairs than images, which are done: the place in the queue is enough
                answer |= await self._compared(facts, order, answer["order"], client, until)
        return answer

    async def _compared(
        self, facts: dict[str, Any], order: Order, ranked: Sequence[int], client: str, until: float
    ) -> dict[str, Any]:
        pairs = [(order.images[worse], order.images[better]) for worse, better in neighbours(ranked)]
        return put_comparisons(facts, ranked, await self._service.compare(pairs, client, until=until))

    def _client(self, request: Request) -> str:
        """Tells clients apart by their keys or, where everybody may ask, by their addresses."""
        if self._keys:
            return self._keys.owner(request.headers.get("authorization"))
        return network_of(request.client.host if request.client else "")
