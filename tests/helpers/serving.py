"""Servers for tests: the real application behind real sockets, with threads in place of its processes."""

import asyncio
import contextlib
import io
import multiprocessing
import struct
import threading
import time
import zlib
from types import SimpleNamespace

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("prometheus_client")
pytest.importorskip("multipart")
httpx = pytest.importorskip("httpx")

from heads import build, picture  # noqa: E402

from roc.checkpoint.folder import save  # noqa: E402
from roc.server import children  # noqa: E402
from roc.server.app import create_app  # noqa: E402
from roc.server.keys import Keys  # noqa: E402
from roc.server.listen import listen, make_server  # noqa: E402
from roc.server.options import Limits, ServeOptions  # noqa: E402
from roc.server.service import Service  # noqa: E402


class InThread(threading.Thread):
    """A thread in place of a process."""

    pid = None
    exitcode = None

    def kill(self):
        pass


def in_thread(target, arguments):
    thread = InThread(target=target, args=tuple(arguments), daemon=True)
    thread.start()
    return thread


def by_fork(target, arguments):
    process = multiprocessing.get_context("fork").Process(target=children._run, args=(target, *arguments), daemon=True)
    process.start()
    return process


if "fork" not in multiprocessing.get_all_start_methods():
    by_fork = None


def tiny_checkpoint(folder, family="llava"):
    model, processor, _ = build(family)
    save(model, processor, folder)
    return str(folder)


def photo(index=0, size=(40, 30), format="PNG"):
    """The bytes of an image file."""
    file = io.BytesIO()
    picture(index, size).save(file, format)
    return file.getvalue()


@contextlib.contextmanager
def running(checkpoint, *, keys=(), cors_origins=(), limits=None, **settings):
    """Runs a server; gives its url, its service, its application and an httpx client."""
    settings = {"device": "cpu", "readers": 1, **settings, **(limits or Limits()).to_dict()}
    service = Service(ServeOptions(checkpoint=checkpoint, **settings), in_thread)
    failures = []
    app = create_app(service, keys=Keys(keys), cors_origins=cors_origins, on_failure=failures.append)
    server = make_server(app, service.limits)
    with listen("127.0.0.1", 0) as listener:
        url = "http://{}:{}".format(*listener.getsockname())
        loops = []

        def serve():
            async def all_of_it():
                loops.append(asyncio.get_running_loop())
                await server.serve(sockets=[listener])

            asyncio.run(all_of_it())

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with httpx.Client(base_url=url, timeout=30) as client:
            wait_for(lambda: service.ready or failures)
            try:
                yield SimpleNamespace(url=url, service=service, http=client, failures=failures, app=app, loops=loops)
            finally:
                server.should_exit = True
                thread.join(30)
    assert not thread.is_alive(), "the server did not stop"


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def files(*contents, names=None):
    """Multipart files for httpx."""
    names = names or [f"{i}.png" for i in range(len(contents))]
    return [("files", (name, content)) for name, content in zip(names, contents, strict=True)]


def png(width, height, data=b"", more=b""):
    """Builds a PNG file whose header claims a size."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + more + chunk(b"IDAT", data) + chunk(b"IEND", b"")
