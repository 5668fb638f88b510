"""Messages through pipes, also when the other end is gone."""

import multiprocessing
import os
import signal
import time

import pytest
from serving import by_fork, in_thread, wait_for

from roc.server.children import Child, receive, send


def echo(connection, word):
    with connection:
        while True:
            try:
                header, parts = receive(connection)
            except EOFError:
                return
            if header.get("stop"):
                return
            send(connection, {"word": word, "pid": os.getpid(), **header}, parts[::-1])


def test_header_and_parts():
    child = Child(echo, ("hello",), in_thread)
    child.send({"n": [1, None]}, [b"", b"x" * 3_000_000])
    header, parts = child.receive(10)
    assert header == {"word": "hello", "pid": os.getpid(), "n": [1, None]} and parts == [b"x" * 3_000_000, b""]
    with pytest.raises(TimeoutError):
        child.receive(0.01)
    child.send({"stop": True})
    with pytest.raises(EOFError):
        child.receive(10)
    child.close(5)


def test_parts_that_never_come():
    def run(connection):
        connection.send_bytes(b'{"parts": 2}')
        connection.send_bytes(b"one")
        receive(connection)

    child = Child(run, (), in_thread)
    with pytest.raises(TimeoutError):
        child.receive(0.1)
    child.send({})
    child.close(5)


def test_one_that_does_not_start_leaves_no_pipe_open():
    ends = []

    def starter(target, arguments):
        ends.append(arguments[0])
        raise OSError(24, "Too many open files")

    with pytest.raises(OSError, match="Too many"):
        Child(echo, ("hello",), starter)
    assert ends[0].closed


def test_nothing_is_unpickled():
    """A process that was taken over may send anything; only JSON is read."""
    ours, theirs = multiprocessing.Pipe()
    theirs.send(EOFError)
    with pytest.raises(ValueError):
        receive(ours)


@pytest.mark.skipif(by_fork is None, reason="a process in milliseconds")
def test_a_process_that_is_killed():
    child = Child(echo, ("hello",), by_fork)
    child.send({})
    header, _ = child.receive(60)
    assert header["pid"] == child.pid != os.getpid() and child.alive
    # It ignores signals that are sent to the whole process group.
    os.kill(child.pid, signal.SIGTERM)
    os.kill(child.pid, signal.SIGINT)
    child.send({})
    assert child.receive(10)
    child.kill()
    with pytest.raises(EOFError):
        child.receive(10)
    wait_for(lambda: not child.alive, 5)
    start = time.monotonic()
    child.close(5)
    assert time.monotonic() - start < 5
