"""Messages through pipes, and what happens when the other end is gone."""

import multiprocessing
import os
import signal
import time

import pytest
from serving import in_thread

from roc.server import children
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


def test_nothing_is_unpickled():
    """A process that was taken over sends what it likes; only JSON is read."""
    ours, theirs = multiprocessing.Pipe()
    theirs.send(EOFError)
    with pytest.raises(ValueError):
        receive(ours)


def by_fork(target, arguments):
    process = multiprocessing.get_context("fork").Process(target=children._run, args=(target, *arguments), daemon=True)
    process.start()
    return process


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="a process in milliseconds")
def test_a_process_that_is_killed():
    child = Child(echo, ("hello",), by_fork)
    child.send({})
    header, _ = child.receive(60)
    assert header["pid"] == child.pid != os.getpid()
    # It leaves signals that are meant for a whole group to its parent.
    os.kill(child.pid, signal.SIGTERM)
    os.kill(child.pid, signal.SIGINT)
    child.send({})
    assert child.receive(10)
    child.kill()
    with pytest.raises(EOFError):
        child.receive(10)
    start = time.monotonic()
    child.close(5)
    assert time.monotonic() - start < 5
