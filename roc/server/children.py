"""Processes of the server, and the pipes to them.

A message is a header, as JSON, and parts, as bytes. Nothing that comes out of a pipe is pickled, so a process that was
taken over by a picture it decoded has no say in the one that asked it.
"""

from __future__ import annotations

import atexit
import json
import multiprocessing
import signal
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any, Protocol

Target = Callable[..., None]
"""What runs in a child: takes the child's end of the pipe, and what else it was given."""


class Running(Protocol):
    """What was started: a process, or whatever takes its place in a test."""

    pid: int | None

    def is_alive(self) -> bool: ...
    def kill(self) -> None: ...
    def join(self, timeout: float | None = None) -> None: ...


Starter = Callable[[Target, Sequence[Any]], Running]


def in_process(target: Target, arguments: Sequence[Any]) -> Running:
    """A new process, there in milliseconds.

    It is forked from one that has imported torch and done nothing else, least of all with a GPU: what CUDA asks for.
    Where the system has no such thing, it is started from nothing.
    """
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    context.set_forkserver_preload(["roc.server.reader", "roc.server.worker", "roc.scoring.batches"])
    process = context.Process(target=_run, args=(target, *arguments), daemon=True)
    process.start()
    return process


def _run(target: Target, *arguments: Any) -> None:
    # Ctrl-C and systemd's SIGTERM go to all processes of a group. What was accepted is finished first; the end of the
    # pipe, or SIGKILL, ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    target(*arguments)


class Child:
    """A process and this end of the pipe to it.

    Args:
        target: runs there.
        arguments: it is given, after its end of the pipe.
        starter: `in_process`, or a test's own.
    """

    def __init__(self, target: Target, arguments: Sequence[Any], starter: Starter) -> None:
        self._connection, theirs = multiprocessing.Pipe()
        try:
            self._running = starter(target, (theirs, *arguments))
        except BaseException:
            self._connection.close()
            theirs.close()
            raise
        # Where nobody closes it, or Python would wait for it at its own end for ever: it does not mind SIGTERM.
        atexit.register(self._running.kill)
        # Where it is a process it has a copy; with this one open, its end would never be noticed.
        if self._running.pid is not None:
            theirs.close()

    @property
    def pid(self) -> int | None:
        """Of the process."""
        return self._running.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._running.is_alive()

    def send(self, header: dict[str, Any], parts: Sequence[bytes] = ()) -> None:
        """Sends a message.

        Raises:
            OSError: where it has ended.
        """
        send(self._connection, header, parts)

    def receive(self, seconds: float | None = None) -> tuple[dict[str, Any], list[bytes]]:
        """The next message.

        Args:
            seconds: to wait for it; None = for ever.

        Raises:
            EOFError: where it has ended.
            TimeoutError: where not all of it came in time.
            Exception: of many kinds, where what came is no message.
        """
        return receive(self._connection, seconds)

    def kill(self) -> None:
        """Ends it at once; whoever waits in `receive` gets an EOFError."""
        self._running.kill()

    def close(self, seconds: float = 0.0) -> None:
        """Ends it by closing the pipe, and by force where it is not gone after some seconds."""
        self._connection.close()
        self._running.join(seconds)
        if self._running.is_alive():
            self._running.kill()
            self._running.join(5)
        atexit.unregister(self._running.kill)


def send(connection: Connection, header: dict[str, Any], parts: Sequence[bytes] = ()) -> None:
    """Sends a message to the other end."""
    connection.send_bytes(json.dumps({**header, "parts": len(parts)}).encode())
    for part in parts:
        connection.send_bytes(part)


def receive(connection: Connection, seconds: float | None = None) -> tuple[dict[str, Any], list[bytes]]:
    """The next message from the other end.

    Args:
        connection: this end.
        seconds: to wait for it; None = for ever.

    Raises:
        EOFError: there is no other end any more.
        TimeoutError: not all of it came in time.
    """
    end = None if seconds is None else time.monotonic() + seconds

    def piece() -> bytes:
        if end is not None and not connection.poll(max(0.0, end - time.monotonic())):
            raise TimeoutError
        return connection.recv_bytes()

    try:
        header = json.loads(piece())
        return header, [piece() for _ in range(header.pop("parts"))]
    except TimeoutError:
        raise
    except OSError as error:
        raise EOFError(str(error)) from error
