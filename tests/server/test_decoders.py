"""Decoding processes: image files in, model inputs out; a bad file can only crash the process that decodes it."""

import asyncio
import contextlib
import os
import signal
import time

import pytest
import safetensors.torch
import torch
from heads import picture
from serving import by_fork, in_thread, photo, wait_for

from roc.server import decoders
from roc.server.children import Child, receive, send
from roc.server.decoders import Decoders
from roc.server.errors import Refusal
from roc.server.turns import NOBODY, Whose
from roc.server.worker import facts, make_scorers


@pytest.fixture(scope="module")
def known(assessment, checkpoint):
    return facts(assessment, checkpoint, make_scorers(assessment, None, 8))


async def decoded(pool, data, mode="score", whose=NOBODY):
    async with pool.decode(mode, data, whose=whose) as found:
        return found


def read_all(jobs, arguments, *, run=None, monkeypatch=None, count=1, seconds=10.0):
    """Decodes images; returns what became of each, and how many processes were replaced."""
    if run is not None:
        monkeypatch.setattr(decoders, "run", run)
    restarts = []

    async def all_of_it():
        pool = Decoders(arguments, in_thread, count, seconds, lambda: restarts.append(1))
        try:
            return await asyncio.gather(*[decoded(pool, job[1], job[0]) for job in jobs])
        finally:
            await pool.close()

    return asyncio.run(all_of_it()), len(restarts)


def test_inputs_are_those_of_the_collator(assessment, checkpoint, known):
    content = photo(3, (50, 20))
    (scored, described, bad), restarts = read_all(
        [("score", content), ("describe", content), ("score", b"GIF89a")], (checkpoint, known, 10**6, None)
    )
    expected = assessment.collator.scoring_batch([picture(3, (50, 20))], len(assessment.attributes))
    inputs = safetensors.torch.load(scored.inputs)
    assert inputs.keys() == {name for name, value in expected.items() if torch.is_tensor(value)}
    assert all(torch.equal(inputs[name], expected[name]) for name in inputs)
    assert scored.length == expected["input_ids"].shape[1] > described.length
    assert bad.inputs is None and bad.fault and restarts == 0


def test_pixels(checkpoint, known):
    (found,), _ = read_all([("score", photo(0, (50, 20)))], (checkpoint, known, 999, None))
    assert found.inputs is None and "50 x 20" in found.fault


ODD = {
    b"garbage": b"\xff{",
    b"short": b'{"length": 1, "parts": 1}',
    b"odd": b'{"length": 1, "parts": []}',
    b"list": b"[1]",
}


def odd(connection, slow):
    """A decoder that ends, or is slow, for some files."""
    with connection:
        send(connection, {"ready": True})
        while True:
            try:
                _, (data,) = receive(connection)
                if data == b"deadly":
                    return
                if data in ODD:
                    connection.send_bytes(ODD[data])
                    continue
                time.sleep(slow if data == b"slow" else 0)
                send(connection, {"length": 1}, [data.upper()])
            except (EOFError, BrokenPipeError):
                return


def test_a_file_that_crashes_its_decoder(monkeypatch):
    jobs = [("score", data) for data in (b"a", b"deadly", b"b", b"deadly", b"c")]
    found, restarts = read_all(jobs, (0.0,), run=odd, monkeypatch=monkeypatch, count=2)
    assert [one.inputs for one in found] == [b"A", None, b"B", None, b"C"]
    # Each goes to two processes, so that one killed for another reason costs no image its score.
    assert "crashed the process" in found[1].fault and restarts == 4


@pytest.mark.parametrize("odd_one", ODD)
def test_a_decoder_that_sends_nonsense(monkeypatch, odd_one):
    jobs = [("score", data) for data in (b"a", odd_one, b"b")]
    found, _ = read_all(jobs, (0.0,), run=odd, monkeypatch=monkeypatch, seconds=0.2)
    assert [one.inputs for one in found] == [b"A", None, b"B"] and found[1].fault


def two_slow_files(connection, seconds):
    """A decoder that takes its time for each file of a message."""
    with connection:
        send(connection, {"ready": True})
        with contextlib.suppress(EOFError, BrokenPipeError):
            while True:
                _, files = receive(connection)
                time.sleep(seconds * len(files))
                send(connection, {"length": 1}, [b"".join(files)])


def test_two_files_go_together_and_have_twice_the_time(monkeypatch):
    monkeypatch.setattr(decoders, "run", two_slow_files)

    async def scenario(pool):
        async with pool.decode("compare", b"a", b"b") as found:
            return found

    assert during((0.3,), scenario, seconds=0.4).inputs == b"ab"


def during(arguments, scenario, *, starter=in_thread, count=1, seconds=10.0):
    async def all_of_it():
        pool = Decoders(arguments, starter, count, seconds)
        try:
            return await asyncio.wait_for(scenario(pool), 30)
        finally:
            await pool.close()

    return asyncio.run(all_of_it())


@pytest.mark.skipif(by_fork is None, reason="a process in milliseconds")
def test_decoders_that_were_killed_while_they_had_nothing_to_do(monkeypatch):
    monkeypatch.setattr(decoders, "run", odd)
    pids = []

    def starter(target, arguments):
        process = by_fork(target, arguments)
        pids.append(process.pid)
        return process

    async def scenario(pool):
        assert (await decoded(pool, b"a")).inputs == b"A"
        os.kill(pids[-1], signal.SIGKILL)
        await asyncio.sleep(0.1)
        assert (await decoded(pool, b"b")).inputs == b"B"
        # Now one that dies while an image is being sent to it.
        monkeypatch.setattr(Child, "alive", True)
        os.kill(pids[-1], signal.SIGKILL)
        return (await decoded(pool, b"c")).inputs

    assert during((0.0,), scenario, starter=starter) == b"C" and len(pids) == 3


def test_a_decoder_that_cannot_be_started_for_a_while(monkeypatch):
    """Out of file handles or memory: requests are refused at once, and served again as soon as one starts."""
    monkeypatch.setattr(decoders, "run", odd)
    monkeypatch.setattr(decoders, "PAUSE", 0.02)
    faults = []

    def starter(target, arguments):
        if faults:
            raise faults[0]
        return in_thread(target, arguments)

    async def scenario(pool):
        assert (await decoded(pool, b"a")).inputs == b"A" and pool.ready
        for fault in (OSError(24, "Too many open files"), EOFError(), RuntimeError("can't start new thread")):
            faults[:] = [fault]
            with pytest.raises(Refusal) as error:
                await decoded(pool, b"deadly")
            assert (error.value.status, error.value.code) == (503, "no_reader") and error.value.retry_after
            assert not pool.ready
            with pytest.raises(Refusal):
                await decoded(pool, b"b")
            faults.clear()
            while not pool.ready:
                await asyncio.sleep(0.01)
            assert (await decoded(pool, b"c")).inputs == b"C"

    during((0.0,), scenario, starter=starter)


def test_an_error_in_the_thread_of_a_decoder(monkeypatch):
    monkeypatch.setattr(decoders, "run", odd)

    async def scenario(pool):
        with monkeypatch.context() as patch:
            patch.setattr(pool, "_ask", None)
            with pytest.raises(Refusal):
                await decoded(pool, b"a")
        return (await decoded(pool, b"b")).inputs

    assert during((0.0,), scenario) == b"B"


def test_one_decoder_is_enough(monkeypatch):
    """A process that cannot be started takes no images from one that runs."""
    monkeypatch.setattr(decoders, "run", odd)
    started = []

    def starter(target, arguments):
        started.append(1)
        if len(started) > 1:
            raise OSError(12, "Cannot allocate memory")
        return in_thread(target, arguments)

    async def scenario(pool):
        await asyncio.to_thread(wait_for, lambda: len(started) == 2)
        return [(await decoded(pool, b"a")).inputs for _ in range(20)]

    assert during((0.0,), scenario, starter=starter, count=2) == [b"A"] * 20


def test_a_file_that_takes_too_long(monkeypatch):
    jobs = [("score", b"slow"), ("score", b"a")]
    found, restarts = read_all(jobs, (0.6,), run=odd, monkeypatch=monkeypatch, seconds=0.2)
    assert [one.inputs for one in found] == [None, b"A"]
    assert "longer than 0.2 s" in found[0].fault and restarts == 1


def test_decoders_that_do_not_start(monkeypatch):
    with pytest.raises(Refusal, match="could be started"):
        read_all([("score", b"a")], (), run=lambda connection: connection.close(), monkeypatch=monkeypatch)


def test_how_many_pixels_were_decoded(checkpoint, known):
    cut = photo(0, (60, 50))
    contents = [photo(0, (40, 30)), cut[: len(cut) - 30], b"no image", photo(0, (500, 10))]
    found, _ = read_all([("score", data) for data in contents], (checkpoint, known, 3000, None))
    assert [one.pixels for one in found] == [1200, 3000, 0, 0]
    assert found[0].inputs and not any(one.inputs for one in found[1:])


processes = pytest.mark.skipif(by_fork is None, reason="processes in milliseconds")


def deadly(connection, path):
    """A decoder: `kill` is SIGKILL as from outside, `crash` a crash; both only as often as the file says."""
    with connection:
        send(connection, {"ready": True})
        while True:
            try:
                _, (data,) = receive(connection)
            except EOFError:
                return
            what, _, times = data.decode().partition(" ")
            if what in ("kill", "crash"):
                with open(path, "a") as file:
                    file.write("x")
                if os.path.getsize(path) <= int(times):
                    os.kill(os.getpid(), signal.SIGKILL) if what == "kill" else os._exit(3)
            if what == "slow":
                time.sleep(float(times))
            send(connection, {"length": 1}, [data.upper()])


@processes
@pytest.mark.parametrize(
    ("data", "outcome"),
    [
        (b"kill 1", b"KILL 1"),
        (b"kill 9", b"KILL 9"),
        (b"kill 10", "reader_lost"),
        (b"crash 1", b"CRASH 1"),
        (b"crash 2", "crashed the process"),
    ],
)
def test_a_picture_is_blamed_for_what_it_does_alone_and_not_for_kills(monkeypatch, tmp_path, data, outcome):
    monkeypatch.setattr(decoders, "run", deadly)

    async def scenario(pool):
        try:
            found = await decoded(pool, data)
            return found.inputs or found.fault
        except Refusal as refusal:
            assert refusal.status == 503 and refusal.retry_after
            return refusal.code
        finally:
            assert (await decoded(pool, b"a")).inputs == b"A"
            assert pool.turns.held == 0

    found = during((str(tmp_path / "times"),), scenario, starter=by_fork)
    assert outcome in found if isinstance(outcome, str) else found == outcome


@processes
def test_processes_that_are_killed_at_any_moment(monkeypatch, tmp_path):
    """Also while they start: every picture gets its inputs."""
    monkeypatch.setattr(decoders, "run", deadly)
    pids = []

    def starter(target, arguments):
        process = by_fork(target, arguments)
        pids.append(process.pid)
        return process

    async def scenario(pool):
        tasks = [asyncio.create_task(decoded(pool, b"slow 0.02")) for _ in range(60)]
        rounds = kills = 0
        while not all(task.done() for task in tasks):
            await asyncio.sleep(0.1)
            rounds += 1
            with contextlib.suppress(ProcessLookupError, IndexError):
                os.kill(pids[-1 - rounds % 2], signal.SIGKILL)
                kills += 1
        return kills, {task.result().inputs for task in tasks}

    kills, found = during((str(tmp_path / "times"),), scenario, starter=starter, count=2)
    assert kills > 2 and found == {b"SLOW 0.02"}


@processes
@pytest.mark.parametrize("clients", [True, False], ids=["clients", "requests_of_one_client"])
def test_slow_pictures_hold_up_only_their_own_senders(monkeypatch, tmp_path, clients):
    monkeypatch.setattr(decoders, "run", deadly)
    monkeypatch.setattr(decoders, "QUANTUM", 0.2)
    faults, waits, over = [], [], []

    async def hostile(pool, number):
        whose = Whose(f"hostile {number}" if clients else "all", number)
        while not over:
            faults.append((await decoded(pool, b"slow 30", whose=whose)).fault)

    async def scenario(pool):
        tasks = [asyncio.create_task(hostile(pool, number % 4)) for number in range(8)]
        await asyncio.sleep(0.5)
        for i in range(5):
            start = time.monotonic()
            assert (
                await decoded(pool, b"a", whose=Whose("honest" if clients else "all", f"honest {i}"))
            ).inputs == b"A"
            waits.append(time.monotonic() - start)
            await asyncio.sleep(0.2)
        over.append(1)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        while pool.turns.held:
            await asyncio.sleep(0.02)
        assert (await decoded(pool, b"a")).inputs == b"A"
        # The processes that were set aside have gone.
        while len(pool._lanes) > 2:
            await asyncio.sleep(0.02)

    during((str(tmp_path / "times"),), scenario, starter=by_fork, count=2, seconds=1.5)
    assert max(waits) < 2.5 and sorted(waits)[2] < 1.0, waits
    assert faults and all("longer than 1.5 s" in fault for fault in faults)


@processes
def test_a_slow_picture_is_left_alone_while_nobody_waits(monkeypatch, tmp_path):
    monkeypatch.setattr(decoders, "run", deadly)
    monkeypatch.setattr(decoders, "QUANTUM", 0.1)
    restarts = []

    async def scenario(pool):
        pool._on_restart = lambda: restarts.append(1)
        found = await asyncio.gather(*[decoded(pool, b"slow 0.5", whose=Whose("one", 1)) for _ in range(4)])
        assert {one.inputs for one in found} == {b"SLOW 0.5"} and len(pool._lanes) == 2
        # Set aside for somebody else, it is finished all the same.
        slow = [asyncio.create_task(decoded(pool, b"slow 0.8", whose=Whose("one", i))) for i in range(4)]
        await asyncio.sleep(0.05)
        assert (await decoded(pool, b"a", whose=Whose("other"))).inputs == b"A"
        assert {(await one).inputs for one in slow} == {b"SLOW 0.8"}

    during((str(tmp_path / "times"),), scenario, starter=by_fork, count=2)


@processes
def test_work_that_nobody_waits_for_is_ended(monkeypatch, tmp_path):
    monkeypatch.setattr(decoders, "run", deadly)

    async def scenario(pool):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await decoded(pool, b"slow 30")
        start = time.monotonic()
        assert (await decoded(pool, b"a")).inputs == b"A" and pool.turns.held == 0
        return time.monotonic() - start

    assert during((str(tmp_path / "times"),), scenario, starter=by_fork) < 2
