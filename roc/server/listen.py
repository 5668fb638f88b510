"""The HTTP server: a socket that listens at once, uvicorn, and an end after a signal or a model that does not load."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import socket
from http import HTTPStatus
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from roc.server.app import create_app
from roc.server.errors import error_body, unavailable
from roc.server.hosts import Hosts
from roc.server.keys import Keys
from roc.server.middleware import HEADERS
from roc.server.options import Limits, ServeOptions
from roc.server.service import Service

logger = logging.getLogger(__name__)

REFUSED_SECONDS = 1.0
"""How long a connection beyond the limit stays open, so that its sender gets to see why it was refused."""

M_MMAP_THRESHOLD = -3
"""Number of that option of the C library's allocator."""

LARGE_BLOCK = 256 * 1024
"""Bytes above which a block of memory is one of its own, which goes back to the system when it is freed."""

SPARE_HANDLES = 256
"""Files and pipes that the server opens beside its connections."""


def listen(host: str, port: int) -> socket.socket:
    """Opens a listening socket, so that a port which is taken is reported before a model is loaded for nothing.

    Raises:
        OSError: If the port is taken or the address is not one of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(512)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise OSError(f"cannot listen at {host}:{port}: {error.strerror or error}") from error
    return listener


def serve(options: ServeOptions, listener: socket.socket, keys: Keys | None = None) -> None:
    """Answers requests until a signal stops it.

    Args:
        options: Model, limits and who may ask; host and port are those of the listener.
        listener: A listening socket.
        keys: Keys that open /v1; None = open to everybody.

    Raises:
        ValueError: If the model cannot be loaded.
    """
    service = Service(options)
    _allow_handles(options.max_connections)
    _give_memory_back()

    def stop(reason: str) -> None:
        server.should_exit = True

    hosts = Hosts((options.host, *options.allowed_host)) if options.allowed_host or not keys else None
    app = create_app(service, keys=keys, cors_origins=options.cors_origin, hosts=hosts, on_failure=stop)
    server = make_server(app, options, log_requests=options.log_requests)
    host, port = listener.getsockname()[:2]
    logger.info("Listening at http://%s:%d; the model is being loaded.", f"[{host}]" if ":" in host else host, port)
    # When it is done, uvicorn raises the signal that stopped it once more; by then nobody has to be stopped.
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        server.run(sockets=[listener])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if service.failure is not None:
        raise ValueError(service.failure)


def make_server(app: Any, limits: Limits, *, log_requests: bool = False) -> uvicorn.Server:
    """Builds the HTTP server of an ASGI application.

    Args:
        app: The application.
        limits: What requests may cost.
        log_requests: Whether to log a line for each.
    """
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=_protocol(limits.idle_seconds, limits.max_connections),
            ws="none",
            log_config=None,
            access_log=log_requests,
            server_header=False,
            # Nothing here depends on the client's address, so headers of proxies are not trusted.
            proxy_headers=False,
            timeout_graceful_shutdown=int(limits.timeout + limits.body_seconds) + 1,
        )
    )


def _protocol(seconds: float, most: int) -> type[H11Protocol]:
    """Builds uvicorn's HTTP protocol with a time limit for headers, a limit of connections, and errors in our form.

    Args:
        seconds: Limit from the first byte of a request, or the start of a connection, to the end of the headers.
        most: Most connections at once; a further one gets a 503 and is closed.
    """

    class Protocol(H11Protocol):
        _patience: asyncio.TimerHandle | None = None
        _too_many = False

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._patience = self.loop.call_later(seconds, self.transport.close)
            if len(self.connections) > most:
                self._too_many = True
                self.connections.discard(self)
                refusal = unavailable(f"{most} connections are open, which is the limit", code="busy")
                self._write(503, refusal.body, refusal.headers)
                # Closing a connection with unread bytes would lose the answer, so it stays open for a moment.
                self.loop.call_later(REFUSED_SECONDS, self.transport.close)

        def data_received(self, data: bytes) -> None:
            if self._too_many:
                self.transport.close()
                return
            super().data_received(data)
            if self.conn.their_state is not h11.IDLE:
                self._stop_patience()
            elif self._patience is None:
                self._patience = self.loop.call_later(seconds, self.transport.close)

        def _stop_patience(self) -> None:
            if self._patience is not None:
                self._patience.cancel()
                self._patience = None

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_patience()
            super().connection_lost(exc)

        def send_400_response(self, msg: str) -> None:
            self._write(400, error_body("bad_request", msg), {})
            self.transport.close()

        def _write(self, status: int, error: dict[str, Any], more: dict[str, str]) -> None:
            body = json.dumps(error).encode()
            headers = {**HEADERS, "Content-Type": "application/json", "Connection": "close", **more}
            headers["Content-Length"] = str(len(body))
            head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            self.transport.write(f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{head}\r\n".encode() + body)

    return Protocol


def _allow_handles(count: int) -> None:
    """Raises this process's limit of open files for so many connections, if allowed; 1024 is a common default."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = count + SPARE_HANDLES
        if soft != resource.RLIM_INFINITY and soft < wanted:
            allowed = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


def _give_memory_back() -> None:
    """Has the C library give the memory of large bodies back to the system; by itself it learns to keep some of it."""
    with contextlib.suppress(OSError, AttributeError):  # there is no such function outside of glibc
        import ctypes

        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK)
