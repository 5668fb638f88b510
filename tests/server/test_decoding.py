"""Decoding processes: image files in, model inputs out; a bad file can only crash the process that decodes it."""

import asyncio
import io
import os
import signal
import time

import pytest
import safetensors.torch
import torch
from heads import picture
from PIL import Image
from serving import by_fork, in_thread, photo, wait_for

from roc.server import decoding
from roc.server.children import Child, receive, send
from roc.server.decoding import Decoders, EncodedImage
from roc.server.errors import Refusal
from roc.server.worker import facts, make_scorers


@pytest.fixture(scope="module")
def known(assessment, checkpoint):
    return facts(assessment, checkpoint, make_scorers(assessment, None, 8))


def read_all(jobs, arguments, *, run=None, monkeypatch=None, count=1, seconds=10.0):
    """Decodes images; returns what became of each, and how many processes were replaced."""
    if run is not None:
        monkeypatch.setattr(decoding, "run", run)
    restarts = []

    async def all_of_it():
        decoders = Decoders(arguments, in_thread, count, seconds, lambda: restarts.append(1))
        try:
            return await asyncio.gather(*[decoders.decode(*job) for job in jobs])
        finally:
            await decoders.close()

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


def test_a_bomb_is_refused_by_its_header():
    file = io.BytesIO()
    Image.new("1", (12_000, 12_000)).save(file, "PNG")
    assert len(file.getvalue()) < 100_000
    start = time.monotonic()
    with pytest.raises(ValueError, match="12000 x 12000"):
        EncodedImage(file.getvalue(), 60_000_000).open()
    assert time.monotonic() - start < 0.5


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


def during(arguments, scenario, *, starter=in_thread, count=1):
    async def all_of_it():
        decoders = Decoders(arguments, starter, count, 10.0)
        try:
            return await asyncio.wait_for(scenario(decoders), 20)
        finally:
            await decoders.close()

    return asyncio.run(all_of_it())


@pytest.mark.skipif(by_fork is None, reason="a process in milliseconds")
def test_decoders_that_were_killed_while_they_had_nothing_to_do(monkeypatch):
    monkeypatch.setattr(decoding, "run", odd)
    pids = []

    def starter(target, arguments):
        process = by_fork(target, arguments)
        pids.append(process.pid)
        return process

    async def scenario(decoders):
        assert (await decoders.decode("score", b"a")).inputs == b"A"
        os.kill(pids[-1], signal.SIGKILL)
        await asyncio.sleep(0.1)
        assert (await decoders.decode("score", b"b")).inputs == b"B"
        # Now one that dies while an image is being sent to it.
        monkeypatch.setattr(Child, "alive", True)
        os.kill(pids[-1], signal.SIGKILL)
        return (await decoders.decode("score", b"c")).inputs

    assert during((0.0,), scenario, starter=starter) == b"C" and len(pids) == 3


def test_a_decoder_that_cannot_be_started_for_a_while(monkeypatch):
    """Out of file handles or memory: requests are refused at once, and served again as soon as one starts."""
    monkeypatch.setattr(decoding, "run", odd)
    monkeypatch.setattr(decoding, "PAUSE", 0.02)
    faults = []

    def starter(target, arguments):
        if faults:
            raise faults[0]
        return in_thread(target, arguments)

    async def scenario(decoders):
        assert (await decoders.decode("score", b"a")).inputs == b"A" and decoders.ready
        for fault in (OSError(24, "Too many open files"), EOFError(), RuntimeError("can't start new thread")):
            faults[:] = [fault]
            with pytest.raises(Refusal) as error:
                await decoders.decode("score", b"deadly")
            assert (error.value.status, error.value.code) == (503, "no_reader") and error.value.retry_after
            assert not decoders.ready
            with pytest.raises(Refusal):
                await decoders.decode("score", b"b")
            faults.clear()
            while not decoders.ready:
                await asyncio.sleep(0.01)
            assert (await decoders.decode("score", b"c")).inputs == b"C"

    during((0.0,), scenario, starter=starter)


def test_an_error_in_the_thread_of_a_decoder(monkeypatch):
    monkeypatch.setattr(decoding, "run", odd)

    async def scenario(decoders):
        with monkeypatch.context() as patch:
            patch.setattr(decoders, "_ask", None)
            with pytest.raises(Refusal):
                await decoders.decode("score", b"a")
        return (await decoders.decode("score", b"b")).inputs

    assert during((0.0,), scenario) == b"B"


def test_one_decoder_is_enough(monkeypatch):
    """A process that cannot be started takes no images from one that runs."""
    monkeypatch.setattr(decoding, "run", odd)
    started = []

    def starter(target, arguments):
        started.append(1)
        if len(started) > 1:
            raise OSError(12, "Cannot allocate memory")
        return in_thread(target, arguments)

    async def scenario(decoders):
        await asyncio.to_thread(wait_for, lambda: len(started) == 2)
        return [(await decoders.decode("score", b"a")).inputs for _ in range(20)]

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
