"""Images prepared ahead in worker processes, whatever becomes of those."""

import os
import random
import signal
import threading
import time
import warnings

import pytest
import torch
from heads import picture

import roc.scoring.sources
from roc.model.float32_tower import picture_dtype
from roc.scoring import readers
from roc.scoring.prepare import Preparation, prepare
from roc.scoring.sources import Source


@pytest.fixture
def opening(monkeypatch):
    """Has something done in a worker before a picture is opened: a function of its path."""

    def opening(act):
        opened = roc.scoring.sources.open_image
        monkeypatch.setattr(roc.scoring.sources, "open_image", lambda path: act(path) or opened(path))

    return opening


def end_by(how, *names):
    def act(path):
        if path.endswith(names):
            os.kill(os.getpid(), how)

    return act


@pytest.mark.parametrize("how", [signal.SIGSEGV, signal.SIGKILL])
def test_a_picture_that_ends_its_reader_is_found(rows_of, photos, opening, how):
    opening(end_by(how, "05.png", "06.png"))
    rows, _ = rows_of(photos, workers=2)
    assert [row["image"] for row in rows if "error" in row] == ["05.png", "06.png"]
    assert f"ended the process that read it (by {how.name}), and again alone" in rows[5]["error"]
    assert [row["image"] for row in rows] == [source.name for source in photos]


def test_a_reader_that_ends_costs_its_pictures_a_second_try(rows_of, photos, opening, tmp_path):
    def once(path):
        mark = tmp_path / os.path.basename(path)
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    opening(once)
    rows, _ = rows_of(photos[:6], workers=2)
    assert all("prediction" in row for row in rows) and len(list(tmp_path.iterdir())) == 6


def test_a_picture_that_takes_too_long_is_an_error_and_the_run_goes_on(assessment, checkpoint, photos, opening):
    opening(lambda path: time.sleep(60) if path.endswith("02.png") else None)
    dataset = Preparation(photos[:6], checkpoint, assessment.collator, picture_dtype(assessment.model), 2)
    for workers in (1, 0):
        start = time.monotonic()
        found = list(prepare(dataset, workers, image_seconds=0.5))
        assert time.monotonic() - start < 10
        assert [one.index for one in found if one.fault] == [2] and len(found) == 6
        assert "longer than 0.5 seconds" in found[2].fault
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL


def test_readers_that_end_at_their_start_are_no_endless_loop(assessment, checkpoint, photos, monkeypatch):
    monkeypatch.setattr(readers, "_end_with_parent", lambda parent: os._exit(3))
    dataset = Preparation(photos, checkpoint, assessment.collator, picture_dtype(assessment.model), 2)
    with pytest.raises(RuntimeError, match=r"in a row ended at their start \(exit status 3\)"):
        list(prepare(dataset, 2))


def test_an_error_that_is_no_fault_of_a_picture_is_raised(assessment, checkpoint, photos, tmp_path):
    dataset = Preparation(photos, tmp_path, assessment.collator, picture_dtype(assessment.model), 2)
    dataset._collator = None  # it has to be loaded from a folder without a checkpoint
    with pytest.raises((OSError, ValueError)):
        list(prepare(dataset, 2))


def killed_while_reading(assessment, checkpoint, photos, kills, seed, count):
    """Kills random readers while they work; gives what was prepared and the number of kills."""
    sources = [photos[i % len(photos)] for i in range(count)]
    dataset = Preparation(sources, checkpoint, assessment.collator, picture_dtype(assessment.model), 2)
    rng, hits, over = random.Random(seed), 0, threading.Event()
    with readers.Readers(dataset, 3, 60) as pool:

        def kill():
            nonlocal hits
            while hits < kills and not over.wait(rng.uniform(0.05, 0.25)):
                process = rng.choice(pool._workers).process
                if process.is_alive():
                    os.kill(process.pid, signal.SIGKILL)
                    hits += 1

        killer = threading.Thread(target=kill)
        killer.start()
        found = list(pool.read())
        over.set()
        killer.join()
    return sources, found, hits


def check_all_read(sources, found):
    assert [one.index for one in found] == list(range(len(sources)))
    assert [one.fault for one in found if one.fault is not None] == []


def test_readers_killed_at_random_lose_nothing(assessment, checkpoint, photos):
    sources, found, hits = killed_while_reading(assessment, checkpoint, photos, 4, 0, 600)
    assert hits >= 2
    check_all_read(sources, found)


@pytest.mark.slow
def test_thirty_readers_killed_at_random_lose_nothing(assessment, checkpoint, photos):
    for seed in range(2):
        sources, found, hits = killed_while_reading(assessment, checkpoint, photos, 30, seed, 3000)
        assert hits >= 20
        check_all_read(sources, found)


@pytest.mark.slow
def test_workers_that_inherit_nothing(rows_of, photos, expected, monkeypatch):
    """As on a Mac: they are started anew, load the processor from the checkpoint and send bytes."""
    context = torch.multiprocessing.get_context("spawn")
    monkeypatch.setattr(readers.multiprocessing, "get_context", lambda: context)
    rows, _ = rows_of(photos, workers=1)
    assert rows[-1]["prediction"] == pytest.approx(expected[-1].scores["overall"].value, abs=1e-4)


def test_warnings_of_pillow_are_not_passed_on(rows_of, tmp_path):
    picture(0).save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x0f\x01\x02\0\xff\xff\0\0\xff\xff\0\0")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        rows, _ = rows_of([Source("a.jpg", str(tmp_path / "a.jpg"))])
    assert "prediction" in rows[0]
    assert [str(warning.message) for warning in caught if "PIL" in warning.filename] == []


def test_more_workers_than_cores_are_told_in_one_line(rows_of, photos, monkeypatch, caplog):
    monkeypatch.setattr("roc.scoring.local.usable_cores", lambda: 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows_of(photos[:2], workers=2)
    assert caplog.messages == ["2 workers share 1 CPU cores; fewer may be faster"]
