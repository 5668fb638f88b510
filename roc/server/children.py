"""Child processes of the server and the pipes to them.

A message is a header in JSON followed by parts in bytes. Nothing that comes out of a pipe is unpickled, so a process
that was taken over by an image it decoded cannot run code in its parent.
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
"""Function that runs in a child process; its first argument is the child's end of the pipe."""


class Running(Protocol):
    """A started process, or what takes its place in a test."""

    pid: int | None
    exitcode: int | None

    def is_alive(self) -> bool: ...
    def kill(self) -> None: ...
    def join(self, timeout: float | None = None) -> None: ...


KILLED = (-9, 255)
"""Exit status after SIGKILL; and the one that multiprocessing makes up if the fork server was killed, which knew it."""

Starter = Callable[[Target, Sequence[Any]], Running]


def in_process(target: Target, arguments: Sequence[Any]) -> Running:
    """Starts a process, within milliseconds.

    It is forked from a server process that has imported torch and never touched a GPU, as CUDA requires. Systems
    without a fork server spawn a new interpreter.
    """
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    context.set_forkserver_preload(["roc.server.decoding", "roc.server.worker", "roc.scoring.batches"])
    process = context.Process(target=_run, args=(target, *arguments), daemon=True)
    process.start()
    return process


def _run(target: Target, *arguments: Any) -> None:
    # Ctrl-C and systemd's SIGTERM reach every process of the group, but accepted requests are to be finished. The end
    # of the pipe, or SIGKILL, ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    target(*arguments)


class Child:
    """A child process and this end of the pipe to it.

    Args:
        target: Function that runs there.
        arguments: Its arguments after the child's end of the pipe.
        starter: `in_process`, or one of a test.

    Raises:
        OSError: If no process can be started; other errors are possible.
    """

    def __init__(self, target: Target, arguments: Sequence[Any], starter: Starter) -> None:
        self._connection, theirs = multiprocessing.Pipe()
        try:
            self._running = starter(target, (theirs, *arguments))
        except BaseException:
            self._connection.close()
            theirs.close()
            raise
        # Python would wait at its exit for a child that nobody closed, and the child ignores SIGTERM.
        atexit.register(self._running.kill)
        # A process has its own copy. While this one stays open, the end of the child would go unnoticed.
        if self._running.pid is not None:
            theirs.close()

    @property
    def pid(self) -> int | None:
        """Process id; None if a test runs it in a thread."""
        return self._running.pid

    @property
    def alive(self) -> bool:
        """Whether it waits for a message: its end of the pipe is open and it has sent nothing.

        Its status would not do: with the fork server, multiprocessing takes all its children for dead.
        """
        try:
            return not self._connection.poll()
        except OSError:
            return False

    def send(self, header: dict[str, Any], parts: Sequence[bytes] = ()) -> None:
        """Sends a message.

        Raises:
            OSError: If the child has ended.
        """
        send(self._connection, header, parts)

    def receive(self, seconds: float | None = None) -> tuple[dict[str, Any], list[bytes]]:
        """Waits for the next message; returns its header and parts.

        Args:
            seconds: Longest wait; None = no limit.

        Raises:
            EOFError: If the child has ended.
            TimeoutError: If the message is not complete in time.
            Exception: Of many kinds, if what came is no valid message.
        """
        return receive(self._connection, seconds)

    def was_killed(self) -> bool:
        """Tells, once `receive` or `send` has failed, whether something outside ended the child, not its own doing."""
        self._running.join(5)
        return self._running.exitcode in KILLED

    def kill(self) -> None:
        """Kills the child; whoever waits in `receive` gets an EOFError."""
        self._running.kill()

    def close(self, seconds: float = 0.0) -> None:
        """Ends the child by closing the pipe; kills it if it is still there after `seconds`."""
        self._connection.close()
        self._running.join(seconds)
        if self._running.is_alive():
            self._running.kill()
            self._running.join(5)
        atexit.unregister(self._running.kill)


def send(connection: Connection, header: dict[str, Any], parts: Sequence[bytes] = ()) -> None:
    """Sends a message to the other end of a pipe."""
    connection.send_bytes(json.dumps({**header, "parts": len(parts)}).encode())
    for part in parts:
        connection.send_bytes(part)


def receive(connection: Connection, seconds: float | None = None) -> tuple[dict[str, Any], list[bytes]]:
    """Waits for the next message from the other end of a pipe; returns its header and parts.

    Args:
        connection: This end.
        seconds: Longest wait; None = no limit.

    Raises:
        EOFError: If the other end is closed.
        TimeoutError: If the message is not complete in time.
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
