"""Readers: bytes in, inputs of the model out; a bad file costs a reader at most."""

import asyncio
import io
import time

import pytest
import safetensors.torch
import torch
from PIL import Image
from serving import in_thread, photo
from test_modeling import picture

from roc.server import reader
from roc.server.children import receive, send
from roc.server.reader import Picture, Readers
from roc.server.worker import facts, make_scorers


@pytest.fixture(scope="module")
def known(assessment, checkpoint):
    return facts(assessment, checkpoint, make_scorers(assessment, None, 8))


def read_all(jobs, arguments, *, run=None, monkeypatch=None, count=1, seconds=10.0):
    """What became of each, and how many readers were started anew."""
    if run is not None:
        monkeypatch.setattr(reader, "run", run)
    restarts = []

    async def all_of_it():
        readers = Readers(arguments, in_thread, count, seconds, lambda: restarts.append(1))
        found = await asyncio.gather(*[readers.read(*job) for job in jobs])
        await readers.close()
        return found

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
        Picture(file.getvalue(), 60_000_000).open()
    assert time.monotonic() - start < 0.5


def odd(connection, slow):
    """A reader that ends, or takes its time, for some files."""
    with connection:
        send(connection, {"ready": True})
        while True:
            try:
                _, (data,) = receive(connection)
                if data == b"deadly":
                    return
                time.sleep(slow if data == b"slow" else 0)
                send(connection, {"length": 1}, [data.upper()])
            except (EOFError, BrokenPipeError):
                return


def test_a_file_that_ends_its_reader(monkeypatch):
    jobs = [("score", data) for data in (b"a", b"deadly", b"b", b"deadly", b"c")]
    found, restarts = read_all(jobs, (0.0,), run=odd, monkeypatch=monkeypatch, count=2)
    assert [one.inputs for one in found] == [b"A", None, b"B", None, b"C"]
    assert "ended the process" in found[1].fault and restarts == 2


def test_a_file_that_takes_too_long(monkeypatch):
    jobs = [("score", b"slow"), ("score", b"a")]
    found, restarts = read_all(jobs, (0.6,), run=odd, monkeypatch=monkeypatch, seconds=0.2)
    assert [one.inputs for one in found] == [None, b"A"]
    assert "longer than 0.2 s" in found[0].fault and restarts == 1


def test_readers_that_do_not_start(monkeypatch):
    found, _ = read_all([("score", b"a")], (), run=lambda connection: connection.close(), monkeypatch=monkeypatch)
    assert "could be started" in found[0].fault
