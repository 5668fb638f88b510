"""The queue in front of the model, with a pretended worker."""

import asyncio
import contextlib
import threading
import time

import pytest
from serving import in_thread

from roc.server import batching
from roc.server.batching import Batching
from roc.server.children import receive, send
from roc.server.counters import Counters
from roc.server.errors import Refusal
from roc.server.turns import NOBODY, Whose


class Pretended:
    """A worker that answers each image with its bytes.

    `b"deadly"` ends it, `b"once"` too but only the first time, `b"slow"` takes 0.2 s.
    """

    def __init__(self, size=4, faults=0):
        self.size = size
        self.faults = faults
        self.started = 0
        self.batches = []
        self.go = threading.Event()
        self.go.set()

    def run(self, connection, settings):
        self.started += 1
        with connection:
            if self.started <= self.faults:
                send(connection, {"fault": "no such file"})
                return
            send(connection, {"facts": {"id": "pretended"}})
            with contextlib.suppress(EOFError):
                while True:
                    header, parts = receive(connection)
                    if header.get("stop"):
                        return
                    self.go.wait(10)
                    self.batches.append((header["mode"], [part.decode() for part in parts]))
                    if b"deadly" in parts or (b"once" in parts and self.started == 1):
                        return
                    time.sleep(0.2 if b"slow" in parts else 0)
                    rows = [(i, {"text": part.decode()}) for i, part in zip(header["indices"], parts, strict=True)]
                    send(connection, {**header, "rows": rows, "size": self.size})


@pytest.fixture
def pretend(monkeypatch):
    def made(**settings):
        worker = Pretended(**settings)
        monkeypatch.setattr(batching, "run", worker.run)
        return worker

    return made


def go(scenario, *, wait=0.01, batch_size=None, stuck=10.0):
    """Runs `await scenario(queue, log)`; the callbacks of the queue append to the log."""

    async def all_of_it():
        log = []
        queue = Batching(
            {"batch_size": batch_size},
            in_thread,
            Counters(),
            wait=wait,
            stuck=stuck,
            on_ready=lambda facts: log.append("ready"),
            on_failure=lambda reason: log.append(reason),
        )
        try:
            return await asyncio.wait_for(scenario(queue, log), 60)
        finally:
            await queue.close()

    return asyncio.run(all_of_it())


async def outcome(queue, data, mode="score", length=10, whose=NOBODY):
    try:
        row = await queue.score(mode, length, data.encode(), whose)
        return row["text"] if "text" in row else row["error"]
    except Refusal as refusal:
        return refusal.code


async def outcomes(queue, *data):
    return await asyncio.gather(*[outcome(queue, one) for one in data])


def test_images_that_come_together_go_together(pretend):
    worker = pretend()

    async def scenario(queue, log):
        return await outcomes(queue, *"abcdefg")

    assert go(scenario, wait=0.05) == list("abcdefg")
    assert worker.batches == [("score", list("abcd")), ("score", list("efg"))]


def test_a_lone_image_waits_no_longer_than_it_must(pretend):
    pretend()

    async def scenario(queue, log):
        while not queue.ready:
            await asyncio.sleep(0.01)
        start = time.monotonic()
        assert await outcome(queue, "a") == "a"
        return time.monotonic() - start

    assert 0.1 <= go(scenario, wait=0.1) < 0.5


def test_what_comes_while_the_model_is_busy_makes_the_next_batch_larger(pretend):
    worker = pretend(size=8)

    async def scenario(queue, log):
        worker.go.clear()
        first = asyncio.create_task(outcomes(queue, "a"))
        await asyncio.sleep(0.1)
        later = []
        for one in "bcdefg":
            later.append(asyncio.create_task(outcome(queue, one)))
            await asyncio.sleep(0.02)
        worker.go.set()
        return await first + await asyncio.gather(*later)

    assert go(scenario, batch_size=8) == list("abcdefg")
    assert worker.batches == [("score", ["a"]), ("score", list("bcdefg"))]


def test_modes_and_lengths_do_not_mix(pretend):
    worker = pretend(size=8)

    async def scenario(queue, log):
        jobs = [("a", "score", 10), ("b", "describe", 10), ("c", "score", 15), ("d", "score", 16)]
        return await asyncio.gather(*[outcome(queue, *job) for job in jobs])

    assert go(scenario) == list("abcd")
    assert worker.batches == [("score", ["a", "c"]), ("describe", ["b"]), ("score", ["d"])]


def test_a_worker_that_ends_costs_its_images_a_second_try(pretend):
    worker = pretend(size=2)

    async def scenario(queue, log):
        found = await outcomes(queue, "a", "b", "once", "c", "d", "e")
        assert log == ["ready", "ready"] and worker.started == 2
        assert 'process="worker"} 1.0' in queue._counters.text().decode()
        return found

    assert go(scenario, batch_size=2) == ["a", "b", "once", "c", "d", "e"]


def test_an_image_is_blamed_only_for_what_it_does_alone(pretend, monkeypatch):
    monkeypatch.setattr(batching, "LONGEST_PAUSE", 0.01)
    worker = pretend(size=4)

    async def scenario(queue, log):
        return await outcomes(queue, "a", "b", "deadly", "c", "d")

    found = go(scenario, batch_size=4)
    assert found[:2] + found[3:] == list("abcd") and "ended the model's process" in found[2]
    assert [parts for _, parts in worker.batches].count(["deadly"]) == 2 and worker.started == 4


def test_an_image_is_never_blamed_for_kills_from_outside(pretend, monkeypatch):
    monkeypatch.setattr(batching, "LONGEST_PAUSE", 0.01)
    monkeypatch.setattr(batching.Child, "was_killed", lambda child: True)
    worker = pretend(size=4)

    async def scenario(queue, log):
        return await outcomes(queue, "a", "deadly", "b"), await outcome(queue, "c")

    assert go(scenario, batch_size=4) == (["a", "worker_lost", "b"], "c") and worker.started == 6


@pytest.mark.parametrize("kills", [2, 3])
def test_a_worker_that_is_killed_while_it_loads(pretend, monkeypatch, kills):
    worker = pretend()
    monkeypatch.setattr(batching.Child, "was_killed", lambda child: True)
    run, started = worker.run, []

    def killed(connection, settings):
        started.append(1)
        connection.close() if len(started) <= kills else run(connection, settings)

    monkeypatch.setattr(batching, "run", killed)

    async def scenario(queue, log):
        while not log:
            await asyncio.sleep(0.01)
        return log[0], queue.ready

    found, ready = go(scenario)
    assert ready == (kills == 2) and len(started) == 3 and ("killed" in found) == (kills == 3)


def test_clients_take_turns_at_the_model(pretend):
    """One with many images does not hold up one with few, whether or not they fit into one batch."""
    worker = pretend(size=2)

    async def scenario(queue, log):
        while not queue.ready:
            await asyncio.sleep(0.01)
        worker.go.clear()
        many = [asyncio.create_task(outcome(queue, f"m{i}", whose=Whose("many", i // 10))) for i in range(20)]
        await asyncio.sleep(0.1)
        few = asyncio.create_task(outcome(queue, "few", whose=Whose("few")))
        long = asyncio.create_task(outcome(queue, "long", length=100, whose=Whose("long")))
        second = asyncio.create_task(outcome(queue, "second", whose=Whose("many", "second")))
        await asyncio.sleep(0.1)
        worker.go.set()
        await asyncio.gather(*many, few, long, second)
        return [name for _, parts in worker.batches for name in parts]

    order = go(scenario, batch_size=2)
    # Two batches of two are with the worker before the others come.
    assert max(order.index("few"), order.index("long")) <= 8 and order.index("second") <= 11


def test_a_worker_that_does_not_answer_is_ended(pretend, monkeypatch):
    pretend(size=1)
    killed = []

    async def scenario(queue, log):
        monkeypatch.setattr(batching.Child, "kill", lambda child: killed.append(child))
        await outcome(queue, "slow")

    go(scenario, stuck=0.05)
    assert len(killed) == 1


def test_one_that_never_loads_is_told_and_not_tried_again(pretend):
    worker = pretend(faults=9)

    async def scenario(queue, log):
        while not log:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        return log, queue.ready

    assert go(scenario) == (["no such file"], False)
    assert worker.started == 1


@pytest.mark.parametrize("fault", [OSError(24, "Too many open files"), EOFError()], ids=repr)
def test_a_worker_that_cannot_be_started_is_tried_again(pretend, monkeypatch, fault):
    worker = pretend(size=1)
    faults, child = [], batching.Child

    def start(*arguments):
        if faults:
            raise faults.pop()
        return child(*arguments)

    monkeypatch.setattr(batching, "Child", start)

    async def scenario(queue, log):
        assert await outcome(queue, "a") == "a"
        faults.append(fault)
        return await outcome(queue, "once")

    assert go(scenario) == "once" and not faults and worker.started == 2


def test_a_worker_that_says_what_it_should_not(pretend, monkeypatch):
    worker = pretend(size=1)
    sane, run = worker.run, []

    def odd(connection, settings):
        if run:
            return sane(connection, settings)
        run.append(1)
        send(connection, {"facts": {"id": "pretended"}})
        receive(connection)
        connection.send_bytes(b"\xff{")

    monkeypatch.setattr(batching, "run", odd)

    async def scenario(queue, log):
        return await outcome(queue, "a"), await outcome(queue, "b")

    assert go(scenario) == ("a", "b")


def test_an_image_that_nobody_waits_for_is_not_sent(pretend):
    worker = pretend(size=1)

    async def scenario(queue, log):
        worker.go.clear()
        tasks = [asyncio.create_task(outcome(queue, one)) for one in "abcd"]
        await asyncio.sleep(0.1)
        tasks[3].cancel()
        await asyncio.sleep(0.01)
        worker.go.set()
        return await asyncio.gather(*tasks[:3])

    assert go(scenario, batch_size=1) == list("abc")
    assert ("score", ["d"]) not in worker.batches
