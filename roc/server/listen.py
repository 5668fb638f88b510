"""The command `roc serve`: scores for other programs over HTTP, and a page for people.

roc serve --checkpoint checkpoints/mine
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import math
import os
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import fields
from http import HTTPStatus
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from roc.server.app import HEADERS, create_app
from roc.server.errors import error_body, unavailable
from roc.server.keys import Keys, find_keys
from roc.server.limits import Limits
from roc.server.service import Service, Settings

logger = logging.getLogger(__name__)

REFUSED_SECONDS = 1.0
"""How long a connection that is one too many stays open, so that its sender gets to see why."""

SPARE_HANDLES = 256
"""Files and pipes that the server opens beside its connections."""

DESCRIPTION = """Answers requests for scores over HTTP, and shows a page at / to drop photos on:

  POST /v1/score /v1/describe /v1/rank /v1/reward     GET /v1/models /healthz /readyz /metrics /openapi.json

The server listens at once; /readyz answers 200 when the model is loaded. SIGTERM and Ctrl-C stop it after what it has
accepted. API keys are read from --api_key_file, one a line, and from the variable ROC_API_KEYS, separated by commas;
without any, everybody who reaches the port may ask. docs/server.md shows clients, systemd, a proxy and scaling out."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `roc serve`.

    Args:
        argv: words after `roc serve`; None takes those of the process.

    Returns:
        Exit status: 0 stopped, 2 bad input or a model that cannot be loaded (the reason is on stderr).
    """
    words = list(sys.argv[1:] if argv is None else argv)
    given = _parser().parse_args([_with_underscores(word) for word in words])
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    # Of the processes that are started from here. In tokenizers, threads of Rust do not survive a fork.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        keys = find_keys(given.api_key_file, os.environ)
        settings = _settings(given)
        listener = listen(given.host, given.port)
    except (ValueError, OSError) as error:
        print(f"roc serve: {error}", file=sys.stderr)
        return 2
    with listener:
        return serve(settings, listener, keys, cors_origins=given.cors_origin, log_requests=given.log_requests)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="roc serve",
        description=DESCRIPTION,
        epilog="example: roc serve --checkpoint checkpoints/mine --port 8000",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--checkpoint", required=True, help="folder or hub id of a model that carries the score head")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (127.0.0.1: this machine alone)")
    parser.add_argument("--port", type=int, default=8000, help="port, 0 = any free one (8000)")
    parser.add_argument("--api_key_file", help="file of keys, one a line; see above")
    parser.add_argument(
        "--cors_origin", action="append", default=[], metavar="URL", help="a site whose pages may ask too (none)"
    )
    parser.add_argument("--device", help="cuda, mps, cpu (the first there is)")
    parser.add_argument(
        "--dtype", help="float32, bfloat16, float16, float8 (bfloat16 on a GPU that has it, else float32)"
    )
    parser.add_argument("--batch_size", type=int, help="images per forward pass (found while scoring)")
    parser.add_argument("--batch_wait_ms", type=float, default=5.0, help="that an image waits for others (5)")
    parser.add_argument("--readers", type=int, help="processes that decode and resize (as many as fit the machine)")
    parser.add_argument("--threads", type=int, help="of PyTorch in the model's process (its own choice)")
    parser.add_argument("--max_new_tokens", type=int, default=512, help="longest answer of /v1/describe (512)")
    for one in fields(Limits):
        kind = type(one.default)
        parser.add_argument(
            f"--{one.name}",
            type=kind,
            default=one.default,
            help=f"{one.metadata['help']} ({one.default:g})"
            if kind is float
            else f"{one.metadata['help']} ({one.default})",
        )
    parser.add_argument("--log_requests", action="store_true", help="a line for each request")
    return parser


def _with_underscores(word: str) -> str:
    name, equals, value = word.partition("=")
    return f"--{name[2:].replace('-', '_')}{equals}{value}" if name.startswith("--") else word


def _settings(given: argparse.Namespace) -> Settings:
    for name, least in (("batch_size", 1), ("readers", 1), ("threads", 1), ("max_new_tokens", 1), ("batch_wait_ms", 0)):
        value = getattr(given, name)
        if value is not None and not least <= value < math.inf:
            raise ValueError(f"--{name} is {value}; expected {least} or more")
    if not 0 <= given.port <= 65535:
        raise ValueError(f"--port is {given.port}; expected 0 to 65535")
    for origin in given.cors_origin:
        if origin != "*" and not origin.startswith(("http://", "https://")):
            raise ValueError(f"--cors_origin is {origin}; expected an origin such as https://photos.example")
    checkpoint = os.path.abspath(given.checkpoint) if os.path.isdir(given.checkpoint) else given.checkpoint
    names = ("device", "dtype", "batch_size", "batch_wait_ms", "readers", "threads", "max_new_tokens")
    limits = Limits(**{one.name: getattr(given, one.name) for one in fields(Limits)})
    return Settings(checkpoint, **{name: getattr(given, name) for name in names}, limits=limits)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens, before a model is loaded for nothing.

    Raises:
        OSError: where the port is taken or the address is not this machine's.
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


def serve(
    settings: Settings,
    listener: socket.socket,
    keys: Keys | None = None,
    *,
    cors_origins: Sequence[str] = (),
    log_requests: bool = False,
) -> int:
    """Answers requests until a signal stops it.

    Args:
        settings: of the service.
        listener: a socket that listens.
        keys: that open /v1.
        cors_origins: pages elsewhere that may ask from a browser.
        log_requests: a line for each.

    Returns:
        0, or 2 where the model cannot be loaded.
    """
    service = Service(settings)
    _allow_handles(settings.limits.max_connections)

    def stop(reason: str) -> None:
        print(f"roc serve: {reason}", file=sys.stderr)
        server.should_exit = True

    app = create_app(service, keys=keys, cors_origins=cors_origins, on_failure=stop)
    server = make_server(app, settings.limits, log_requests=log_requests)
    host, port = listener.getsockname()[:2]
    logger.info("Listening at http://%s:%d; the model is being loaded.", f"[{host}]" if ":" in host else host, port)
    # uvicorn raises the signal that stopped it once more when all is done; by then nobody has to be stopped.
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        server.run(sockets=[listener])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0 if service.failure is None else 2


def make_server(app: Any, limits: Limits, *, log_requests: bool = False) -> uvicorn.Server:
    """The HTTP server of an application.

    Args:
        app: of ASGI.
        limits: what a request may cost.
        log_requests: a line for each.
    """
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=_protocol(limits.idle_seconds, limits.max_connections),
            ws="none",
            log_config=None,
            access_log=log_requests,
            server_header=False,
            # A proxy's word on who asks is not needed here, and not believed.
            proxy_headers=False,
            timeout_graceful_shutdown=int(limits.timeout + limits.body_seconds) + 1,
        )
    )


def _protocol(seconds: float, most: int) -> type[H11Protocol]:
    """uvicorn's, with an end to headers that never end, and its own refusals in the form of all others.

    Args:
        seconds: from the first byte of a request, or from the beginning of a connection, to the end of its headers.
        most: connections; a further one is told so and closed.
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
                refusal = unavailable(f"{most} connections are open, and no more may be", code="busy")
                self._write(503, refusal.body, refusal.headers)
                # A connection that is closed with bytes unread loses the answer: they are waited for, not for long.
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
    """Has the system allow this process so many open connections, where it may: 1024 files are a common limit."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = count + SPARE_HANDLES
        if soft != resource.RLIM_INFINITY and soft < wanted:
            allowed = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
