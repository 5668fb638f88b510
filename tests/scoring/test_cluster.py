"""`roc score --engine ray`: the same rows from actors, even if some of them end on the way."""

import builtins
import importlib.util
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from heads import build, picture

from roc.checkpoint.folder import save
from roc.commands import score
from roc.data.rows import Faults, read_rows
from roc.scoring import cluster
from roc.scoring.assessment import Assessment
from roc.scoring.batches import Scorer, Wanted
from roc.scoring.cluster import ActorError, Cluster, PreparingActor, ScoringActor
from roc.scoring.identity import short_identity
from roc.scoring.local import score_images
from roc.scoring.prepare import Preparation
from roc.scoring.sources import Source, find_sources

with_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray: pip install 'roc-mllm[ray]'")
COUNT = 300


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "mine"
    model, processor, _ = build("llava")
    save(model, processor, folder)
    return str(folder)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for i in range(COUNT):
        picture(i).save(folder / f"{i:03d}.png")
    return folder


@pytest.fixture(scope="module")
def assessment(checkpoint):
    return Assessment(checkpoint)


@pytest.fixture(scope="module")
def expected(assessment, checkpoint, photos):
    """Rows of the local engine."""
    sources = find_sources([photos]).sources
    return list(score_images(Scorer(assessment, Wanted(assessment.attributes)), sources, checkpoint, workers=0))


# --- the actors, without Ray -----------------------------------------------------------------------------------------


def actors(assessment, checkpoint, identity=None):
    wanted = Wanted(assessment.attributes)
    places = assessment.places(wanted.attributes)
    preparing = PreparingActor(
        Preparation([], checkpoint, assessment.collator, assessment.model.dtype, places, stamped=True)
    )
    preparing = pickle.loads(pickle.dumps(preparing))  # as on another machine
    return preparing, ScoringActor(checkpoint, "cpu", "float32", wanted, 4, identity or short_identity(assessment))


def test_the_actors_give_the_rows_of_the_local_engine(assessment, checkpoint, photos, expected, tmp_path):
    preparing, scoring = actors(assessment, checkpoint)
    sources = find_sources([photos]).sources[:6]
    given = [*((10 + i, source) for i, source in enumerate(sources)), (3, Source("gone.png", "gone.png"))]
    found = dict(pickle.loads(data) for data in scoring(preparing(cluster._pickled(given)))["data"].to_pylist())
    assert found.pop(3) == {"error": "no such file"}
    assert sorted(found) == list(range(10, 16))
    for i, row in found.items():
        known = expected[i - 10]
        assert list(row) == list(known)[1:]
        assert row["prediction"] == pytest.approx(known["prediction"], abs=1e-4)


def test_an_actor_that_cannot_work_says_why(assessment, checkpoint, photos, tmp_path):
    preparing, scoring = actors(assessment, checkpoint, identity="others")
    prepared = preparing(cluster._pickled([(0, find_sources([photos]).sources[0])]))
    (stop,) = (pickle.loads(data) for data in scoring(prepared)["data"].to_pylist())
    assert isinstance(stop, ActorError) and "other weights" in stop.reason and not stop.memory
    preparing.preparation.pretrained, preparing.preparation._collator = tmp_path, None
    stopped = preparing(cluster._pickled([(0, find_sources([photos]).sources[0])]))
    _, scoring = actors(assessment, checkpoint)
    (stop,) = (pickle.loads(data) for data in scoring(stopped)["data"].to_pylist())
    assert isinstance(stop, ActorError) and str(tmp_path) in stop.reason


def settled(resources, **asked):
    found = Cluster(**asked)
    found._settle(resources)
    return found._device, found._scorers, found._workers


def test_actors_fit_the_cluster():
    assert settled({"CPU": 16.0}) == ("cpu", 8, 8)
    assert settled({"CPU": 2.0}) == ("cpu", 1, 1)
    assert settled({"CPU": 256.0, "GPU": 8.0}) == ("cuda", 8, 128)
    assert settled({"CPU": 32.0, "GPU": 8.0}) == ("cuda", 8, 24)
    assert settled({"CPU": 32.0, "GPU": 8.0}, scorers=2, workers=3) == ("cuda", 2, 3)
    assert settled({"CPU": 8.0, "GPU": 1.0}, device="cpu") == ("cpu", 4, 4)
    for resources, asked, message in (
        ({"CPU": 1.0}, {}, "need a CPU each, the cluster has 1"),
        ({"CPU": 8.0, "GPU": 1.0}, {"scorers": 2}, "need a GPU each, the cluster has 1"),
        ({"CPU": 8.0}, {"device": "cuda"}, "need a GPU each, the cluster has 0"),
    ):
        with pytest.raises(ValueError, match=message):
            settled(resources, **asked)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--actors", "2", "--out", "a.csv"], "actors needs --engine ray"),
        (["--ray-address", "auto", "--out", "a.csv"], "ray_address needs --engine ray"),
        (["--engine", "ray"], "engine ray needs --out"),
        (["--engine", "ray", "--out", "a.csv", "--actors", "0"], "actors is '0', expected a whole number at least 1"),
        (["--engine", "ray", "--out", "a.csv", "--workers", "0"], "expected 1 or more with --engine ray"),
        (["--engine", "ray", "--out", "a.csv", "--device", "mps"], "expected cuda or cpu"),
    ],
)
def test_refuses(words, message, photos, checkpoint, capsys):
    assert score.main([str(photos), "--checkpoint", checkpoint, *words]) == 2
    assert message in capsys.readouterr().err


def test_without_ray_it_says_what_to_install(photos, checkpoint, tmp_path, monkeypatch, capsys):
    imported = builtins.__import__

    def without(name, *rest):
        if name.partition(".")[0] == "ray":
            raise ImportError(f"No module named {name!r}")
        return imported(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    words = [str(photos), "--checkpoint", checkpoint, "--out", str(tmp_path / "a.csv"), "--engine", "ray"]
    assert score.main(words) == 2
    assert "pip install 'roc-mllm[ray]'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


# --- with Ray --------------------------------------------------------------------------------------------------------


def processes():
    """(process, parent, command line) of all that are alive."""
    for folder in Path("/proc").iterdir():
        try:
            words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
        except (OSError, ValueError):
            continue
        if folder.name.isdigit() and state != "Z":
            yield int(folder.name), int(parent), words


def below(pid):
    """Command line of each process that this one has started, by process."""
    found, everything = {}, list(processes())
    parents = {pid}
    while parents:
        children = {process: words for process, parent, words in everything if parent in parents}
        found |= children
        parents = set(children)
    return found


def none_left(pids, seconds=30):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not pids & {process for process, _, _ in processes()}:
            return True
        time.sleep(0.1)
    return False


def close_to(row, known):
    return row["image"] == known["image"] and row["prediction"] == pytest.approx(known["prediction"], abs=1e-4)


@with_ray
@pytest.mark.slow
def test_a_killed_actor_loses_nothing(checkpoint, photos, expected, tmp_path, monkeypatch):
    """Also: a picture that ends every process that reads it is found, and what cannot be read has its reason."""
    deadly, gone = tmp_path / "deadly.png", tmp_path / "gone.png"
    (tmp_path / "code").mkdir()
    # Actors are new processes; a patch has to be loaded in each of them.
    (tmp_path / "code/sitecustomize.py").write_text(
        "import os, threading, PIL.Image\n"
        "opened = PIL.Image.open\n"
        "def deadly(file, *rest, **settings):\n"
        "    if 'deadly' in str(getattr(file, 'name', file)):\n"
        "        os.kill(os.getpid(), 9)\n"
        "    return opened(file, *rest, **settings)\n"
        "PIL.Image.open = deadly\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "code"), prepend=os.pathsep)
    picture(0).save(deadly)
    sources = find_sources([photos]).sources
    sources[50:50] = [Source("deadly.png", str(deadly)), Source("gone.png", str(gone))]
    assessment = Assessment(checkpoint, device="cpu")
    scorer = Scorer(assessment, Wanted(assessment.attributes))
    rows, killed = [], 0
    with Cluster(scorers=2, workers=1) as engine:
        engine.start()
        started = below(os.getpid())
        for row in engine.score_images(scorer, sources, checkpoint, batch_size=1):
            rows.append(row)
            started |= below(os.getpid())
            if len(rows) in (1, 60):
                scorers = [pid for pid, words in below(os.getpid()).items() if "ScoringActor" in words]
                assert len(scorers) >= 2 - killed  # the first may not be back yet
                os.kill(scorers[0], signal.SIGKILL)
                killed += 1
    assert killed == 2
    place = {source.name: i for i, source in enumerate(sources)}
    rows.sort(key=lambda row: place[row["image"]])
    assert [row["image"] for row in rows] == [source.name for source in sources]
    assert rows.pop(50)["error"] == "reading it ended the process that read it"
    assert rows.pop(50)["error"] == "no such file"
    assert all(close_to(row, known) for row, known in zip(rows, expected, strict=True))
    assert none_left({pid for pid, words in started.items() if "ray" in words})


def start(photos, checkpoint, out, *words):
    command = [sys.executable, "-m", "roc.cli", "score", str(photos), "--checkpoint", checkpoint, "--out", str(out)]
    command += ["--engine", "ray", "--actors", "2", "--workers", "1", "--batch_size", "1", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def lines_of(journal):
    try:
        return journal.read_bytes().count(b"\n")
    except OSError:
        return 0


def rows_of(path):
    faults = Faults(path)
    rows = [row for _, row in read_rows(Path(path), faults)]
    assert not faults
    return rows


@with_ray
@pytest.mark.slow
def test_stopped_and_killed_it_goes_on_and_leaves_no_process(photos, checkpoint, expected, tmp_path):
    out, journal = tmp_path / "scores.csv", tmp_path / "scores.csv.part.jsonl"
    done = 0
    for number, status in ((signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)):
        process = start(photos, checkpoint, out)
        while lines_of(journal) <= done + 1 and process.poll() is None:
            time.sleep(0.01)
        assert process.poll() is None, process.communicate()
        started = set(below(process.pid))
        assert len(started) > 4
        (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
        process.communicate()
        assert process.returncode == status
        # Ray's own helpers take about a minute to see that they are alone.
        assert none_left(started, 150)
        assert done < lines_of(journal) < COUNT + 1
        done = lines_of(journal) - 1
    # The local engine goes on with what the other has begun.
    status = score.main([str(photos), "--checkpoint", checkpoint, "--out", str(out), "--workers", "0"])
    assert status == 0
    rows = rows_of(out)
    assert len(rows) == COUNT
    for row, known in zip(rows, expected, strict=True):
        assert row["image"] == known["image"]
        assert float(row["prediction"]) == pytest.approx(known["prediction"], abs=1e-4)
    assert json.loads((tmp_path / "scores.run.json").read_text())["failed"] == 0
