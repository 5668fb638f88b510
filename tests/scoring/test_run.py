"""Scoring runs as Python calls them, and those that an earlier version began or finished."""

import json
import logging
import shutil
from pathlib import Path

import pytest

from roc.checkpoint.fingerprint import weights_sample_fingerprint
from roc.data.rows import Faults, read_rows
from roc.scoring.options import ScoreOptions
from roc.scoring.run import score_paths, score_to_file

# What roc 0.1.0 wrote for three images, the weights and the folder left open.
OLD_JOURNAL = (
    '{"settings": {"weights": "WEIGHTS", "dtype": "float32", "attributes": ["overall", "light"], "distribution": false,'
    ' "describe": false}, "about": {"roc": "0.1.0", "checkpoint": "/tmp/mine", "asked": "photos", "min_score": 1.0,'
    ' "max_score": 10.0, "calibrated": false}}\n'
    '{"image": "photos/00.png", "prediction": 3.5, "std": 1.25, "prediction.light": 3.25, "min_score": 1.0,'
    ' "max_score": 10.0, "calibrated": false}\n'
    '{"image": "photos/01.png", "error": "cut short or damaged"}\n'
    '{"image": "photos/02.png", "predic'
)
OLD_FACTS = """{
  "roc": "0.1.0",
  "checkpoint": "/tmp/mine",
  "asked": "photos",
  "min_score": 1.0,
  "max_score": 10.0,
  "calibrated": false,
  "settings": {
    "weights": "WEIGHTS",
    "dtype": "float32",
    "attributes": [
      "overall",
      "light"
    ],
    "distribution": false,
    "describe": false
  },
  "images": 3,
  "names": "b7fc556849e9f601",
  "outs": [
    "scores.csv"
  ],
  "failed": 1
}
"""
OLD_SCORES = """image,prediction,std,prediction.light,min_score,max_score,calibrated
photos/00.png,3.5,1.25,3.25,1.0,10.0,False
photos/02.png,7.5,1.5,7.25,1.0,10.0,False
"""


@pytest.fixture
def options(checkpoint, photos, tmp_path, monkeypatch):
    """Makes the options of a run over three photos in an empty folder."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for source in photos[:3]:
        Path("photos", source.name).write_bytes(source.read())

    def options(**changes):
        return ScoreOptions(**{"paths": ["photos"], "checkpoint": checkpoint, "workers": 0, **changes})

    return options


@pytest.fixture
def weights(assessment):
    return weights_sample_fingerprint(assessment.model)


def rows_of(path):
    faults = Faults(path)
    rows = [row for _, row in read_rows(Path(path), faults)]
    assert not faults
    return rows


def test_rows_without_a_file(options, expected):
    overall, rows = score_paths(options(attributes=["overall"]))
    rows = list(rows)
    assert overall == "overall" and [row["image"] for row in rows] == [f"photos/0{i}.png" for i in range(3)]
    assert rows[1]["prediction"] == pytest.approx(expected[1].scores["overall"].value, abs=1e-4)
    assert [path.name for path in Path().iterdir()] == ["photos"]


def test_a_run_is_watched_and_says_what_it_did(options):
    seen = []

    def watch(rows, total, done):
        seen.append((total, done))
        for row in rows:
            seen.append(row["image"])
            yield row

    outcome = score_to_file(options(out="scores.jsonl", top=1), watch)
    assert seen == [(3, 0), *(f"photos/0{i}.png" for i in range(3))]
    assert (outcome.scored, outcome.chosen, outcome.facts["images"], outcome.facts["failed"]) == (3, 1, 3, 0)
    assert outcome.seconds > 0 and len(rows_of("scores.selected.jsonl")) == 1
    again = score_to_file(options(out="scores.jsonl", at_least=1))
    assert (again.scored, again.chosen, again.facts) == (None, 3, outcome.facts)


def test_a_journal_of_an_earlier_version_goes_on(options, weights, expected, caplog):
    Path("scores.csv.part.jsonl").write_text(OLD_JOURNAL.replace("WEIGHTS", weights))
    with caplog.at_level(logging.INFO, "roc"):
        outcome = score_to_file(options(out="scores.csv"))
    assert "going on: 2 of 3 images are done" in caplog.messages and "torn end" in caplog.text
    assert (outcome.scored, outcome.facts["failed"]) == (1, 1)
    first, last = rows_of("scores.csv")
    assert (first["image"], first["prediction"], first["prediction.light"]) == ("photos/00.png", "3.5", "3.25")
    assert float(last["prediction"]) == pytest.approx(expected[2].scores["overall"].value, abs=1e-4)
    assert rows_of("scores.errors.csv") == [{"image": "photos/01.png", "reason": "cut short or damaged"}]


def test_a_run_finished_by_an_earlier_version_is_recognised(options, weights, expected):
    Path("scores.csv").write_text(OLD_SCORES)
    Path("scores.run.json").write_text(OLD_FACTS.replace("WEIGHTS", weights))
    outcome = score_to_file(options(out="scores.csv", top=1))
    assert outcome.scored is None and rows_of("scores.selected.csv")[0]["image"] == "photos/02.png"
    assert Path("scores.csv").read_text() == OLD_SCORES
    # What failed then is tried again when asked, what was scored then stays.
    outcome = score_to_file(options(out="scores.csv", retry_failed=True))
    assert (outcome.scored, outcome.facts["failed"]) == (1, 0)
    assert [row["image"] for row in rows_of("scores.csv")] == [f"photos/0{i}.png" for i in range(3)]
    # The row that is scored now names its scorer, an earlier one cannot.
    assert rows_of("scores.csv")[2] == rows_of("scores.selected.csv")[0] | {"scorer": None}
    facts = json.loads(Path("scores.run.json").read_text())
    assert set(json.loads(OLD_FACTS)) < set(facts) and facts["failed"] == 0


def test_scores_of_the_stand_in_say_so(options, checkpoint, tmp_path, caplog):
    shutil.copytree(checkpoint, "demo")
    config = json.loads(Path("demo/config.json").read_text())
    config["roc"]["dataset"] = "procedural demo scenes, a stand-in that says nothing about human taste"
    Path("demo/config.json").write_text(json.dumps(config))
    list(score_paths(options()).rows)
    assert "stand-in" not in caplog.text
    list(score_paths(options(checkpoint="demo")).rows)
    assert "says nothing about human taste; its scores of real photos mean nothing" in caplog.text
    caplog.clear()
    for name in ("manifest.json", "ratings.csv"):
        Path(name).touch()  # its own scenes
    list(score_paths(options(checkpoint="demo")).rows)
    assert "stand-in" not in caplog.text


@pytest.mark.parametrize(
    ("preset", "says"),
    [
        (
            "demo",
            "is a stand-in to try the software with, trained on my photos; its scores of real photos mean nothing",
        ),
        ("photos", "nothing pretrained behind it, trained on my photos: it has learnt to see from its training photos"),
    ],
)
def test_scores_of_a_small_model_trained_on_own_photos_say_so(options, checkpoint, caplog, preset, says):
    shutil.copytree(checkpoint, "mine")
    config = json.loads(Path("mine/config.json").read_text())
    config["roc"] |= {"dataset": "my photos", "tiny_model": preset}
    Path("mine/config.json").write_text(json.dumps(config))
    score_paths(options(checkpoint="mine"))
    assert says in caplog.text


def test_the_wrong_path_is_told_before_anything_is_loaded(options):
    with pytest.raises(ValueError, match="gone: no such file or folder"):
        score_to_file(options(paths=["gone"], checkpoint="nowhere/at-all", out="scores.csv"))
