"""What happens to every request: security headers, CORS, counting and timing."""

from __future__ import annotations

import contextlib
import time

from fastapi.responses import JSONResponse, Response
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from roc.server.bodies import drain
from roc.server.counters import Counters
from roc.server.errors import error_body
from roc.server.hosts import Hosts

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
"""Security headers of every answer."""


DRAIN_BYTES = 2**26
"""Bytes that are read of a request which is refused for its host."""


class Cors(CORSMiddleware):
    """Starlette's CORS middleware, with refusals in the form of all other errors."""

    def preflight_response(self, request_headers: Headers) -> Response:
        """Answers a preflight request."""
        response = super().preflight_response(request_headers)
        if response.status_code < 400:
            return response
        kept = {name: value for name, value in response.headers.items() if not name.startswith("content-")}
        message = f"{bytes(response.body).decode()}; --cors_origin of `roc serve` allows other sites"
        return JSONResponse(error_body("cors_refused", message), response.status_code, kept)


class Around:
    """Counts and times every request, refuses names of other machines, and adds the headers of every answer.

    Args:
        app: The ASGI application inside.
        counters: Where requests are counted.
        hosts: The names under which the server may be asked.
    """

    def __init__(self, app: ASGIApp, counters: Counters, hosts: Hosts) -> None:
        self.app = app
        self.counters = counters
        self.hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                present = {name.lower() for name, _ in message["headers"]}
                added = {**HEADERS, **({} if b"cache-control" in present else {"Cache-Control": "no-store"})}
                message["headers"] = [
                    *message["headers"],
                    *((name.lower().encode(), value.encode()) for name, value in added.items()),
                ]
            await send(message)

        try:
            host = Headers(scope=scope).get("host")
            if self.hosts.allow(host, (scope.get("server") or [None])[0]):
                await self.app(scope, receive, send_with_headers)
            else:
                with contextlib.suppress(ClientDisconnect):
                    await drain(Request(scope, receive).stream(), DRAIN_BYTES)
                await _wrong_host(host)(scope, receive, send_with_headers)
        finally:
            # The route and never the path as it came: anybody could make up any number of paths.
            route = getattr(scope.get("route"), "path", "other")
            self.counters.requests.labels(route, str(status)).inc()
            self.counters.seconds.labels(route).observe(time.perf_counter() - began)


def _wrong_host(host: str | None) -> JSONResponse:
    shown = repr((host or "")[:80])
    message = (
        f"the request is for the host {shown}; without API keys only names and addresses of this machine are answered; "
        f"use http://localhost, or start the server with --allowed_host and that name"
    )
    return JSONResponse(error_body("unknown_host", message), 421)
