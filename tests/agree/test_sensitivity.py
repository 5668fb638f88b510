"""Measuring sensitivities: right numbers, nothing lost or done twice, no photo scored by a model that saw it."""

import json
import logging
import multiprocessing
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from heads import build, picture
from PIL import Image

from roc.agree.attributes import ATTRIBUTES
from roc.agree.batches import as_image, as_tensor
from roc.agree.config import SensitivityOptions
from roc.agree.folds import fold_numbers
from roc.agree.perturbations import both_ways
from roc.agree.sensitivity import measure
from roc.agree.table import SensitivityTable
from roc.agree.views import CHANGES
from roc.checkpoint.folder import save
from roc.data.digest import content_digest
from roc.data.reading import read_records
from roc.data.rows import write_rows
from roc.scoring.assessment import Assessment
from roc.settings import ConfigError

NUMBER = 8


def brightness_of(pictures):
    return [float(np.asarray(one).mean() / 255) for one in pictures]


def colour_of(pictures):
    return [float(np.asarray(one).std(axis=2).mean() / 255) for one in pictures]


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    """Photos in `photos`, rated in ratings.csv; a test set in no split."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for i in range(NUMBER):
        # Not so bright that a perturbation is cut off.
        picture(i, (24, 18)).point(lambda value: 60 + value // 3).save(f"photos/{i}.png")
    write_rows("ratings.csv", [{"image": f"{i}.png", "score": 1 + i} for i in range(NUMBER)])


def options(**changes):
    given = {"data_path": "ratings.csv", "image_folder": "photos", "checkpoint": ["f"], "out": "sens.parquet"}
    return SensitivityOptions(**{**given, "workers": 0, **changes})


def journal_rows():
    return [json.loads(line) for line in Path("sens.parquet.journal.jsonl").read_text().splitlines()[1:]]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    model, processor, _ = build("llava")
    save(model, processor, folder)
    return str(folder)


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_a_callable_is_measured(data):
    done = measure(options(), functions=[brightness_of])
    assert (done.photos, done.scored, done.failed, done.flat, done.seen) == (NUMBER, NUMBER, 0, 0, None)
    found = SensitivityTable.read("sens.parquet")
    means = [np.asarray(Image.open(f"photos/{i}.png")).mean() / 255 for i in range(NUMBER)]
    assert found.values["brightness"].tolist() == pytest.approx(means, abs=0.01)  # rounded to 8 bits
    assert found.values["blur"].max() < 0.05 and done.medians == found.facts["medians"]
    assert found.facts["settings"] == {"delta": 0.2, "side": 1024, "folds": 1, "seed": 0, "callable.1": "f"}
    assert found.facts["versions"].keys() >= {"roc", "torch"} and found.facts["photos"] == NUMBER


def test_photos_need_no_rating(data):
    write_rows("ratings.csv", [{"image": f"{i}.png"} for i in range(NUMBER)])
    assert measure(options(), functions=[brightness_of]).failed == 0
    write_rows("ratings.csv", [{"image": f"{i}.png", "score": i or None} for i in range(NUMBER)])
    assert measure(options(), functions=[brightness_of]).scored == 0
    assert len(SensitivityTable.read("sens.parquet").ids) == NUMBER


def test_what_leans_on_saturation_is_not_called_blur(data):
    for i in range(NUMBER):  # of one colour each, so that a blur changes nothing
        Image.new("RGB", (24, 18), (120 + i, 90, 60)).save(f"photos/{i}.png")
    measure(options(), functions=[colour_of])
    routing = SensitivityTable.read("sens.parquet").route(
        read_records("ratings.csv", "photos", space=None), calibrated=False
    )
    assert (routing.weights["saturation"] > 0.2).all() and (routing.weights["blur"] < 0.01).all()
    assert [name for name, _ in CHANGES] == [name for name in ATTRIBUTES for _ in range(2)]


def test_a_checkpoint_is_measured_as_its_assessment_scores(data, checkpoint, caplog):
    done = measure(options(checkpoint=[checkpoint], workers=1, delta=0.1, side=16, score="light"))
    assert done.failed == 0 and done.seen is None
    assert "does not say which photos it was trained on" in caplog.text
    found, assessment = SensitivityTable.read("sens.parquet"), Assessment(checkpoint, dtype="float32")
    for place in (0, NUMBER - 1):
        photo = Image.open(f"photos/{place}.png")
        photo.thumbnail((16, 16), Image.Resampling.LANCZOS)
        for name in ATTRIBUTES:
            images = [as_image(one[0]) for one in both_ways(as_tensor(photo), name, 0.1)]
            more, less = (one.scores["light"].value for one in assessment.score(images))
            assert found.values[name][place].item() == pytest.approx(abs(more - less) / 9 / 0.2, abs=1e-4)
    assert found.facts["settings"]["score.1"] == "light" and found.facts["settings"]["dtype.1"] == "float32"
    assert found.digests[0] != found.digests[1] and found.facts["checkpoints"] == [checkpoint]


def test_a_blind_scorer_is_counted(data):
    done = measure(options(), functions=[lambda pictures: [0.5] * len(pictures)])
    assert done.flat == NUMBER and SensitivityTable.read("sens.parquet").facts["flat"] == NUMBER


# --- killed -----------------------------------------------------------------------------------------------------------


def killed_after(photos):
    """Runs in a process of its own, which is killed from within after so many photos of this run."""

    def scorer(pictures):
        with open("calls.txt", "a") as calls:
            calls.write("x\n")
        seen.append(1)
        if len(seen) > photos:
            os.kill(os.getpid(), signal.SIGKILL)
        return brightness_of(pictures)

    seen = []
    process = multiprocessing.get_context("fork").Process(
        target=measure, args=(options(),), kwargs={"functions": [scorer]}
    )
    process.start()
    process.join()
    return process.exitcode


def test_killed_nothing_is_lost_or_twice(data):
    measure(options(out="whole.parquet"), functions=[brightness_of])
    assert [killed_after(photos) for photos in (0, 3, 2)] == [-signal.SIGKILL] * 3
    assert not Path("sens.parquet").exists() and len(journal_rows()) == 5
    torn = Path("sens.parquet.journal.jsonl")
    torn.write_bytes(torn.read_bytes() + b'{"id": "5.png", "fo')
    seen = []
    done = measure(
        options(), lambda rows, total, before: seen.append((total, before)) or rows, functions=[brightness_of]
    )
    assert done.scored == NUMBER - 5 and seen == [(NUMBER, 5)]
    assert len(Path("calls.txt").read_text().split()) == 5 + 3  # each kill costs the photo that was at work
    assert [row["id"] for row in journal_rows()] == [f"{i}.png" for i in range(NUMBER)]
    whole, found = (SensitivityTable.read(path) for path in ("whole.parquet", "sens.parquet"))
    assert whole.ids == found.ids and all(whole.values[name].equal(found.values[name]) for name in ATTRIBUTES)


def test_a_finished_table_is_kept_or_written_again(data, caplog):
    def never(pictures):
        raise AssertionError("scored again")

    measure(options(), functions=[brightness_of])
    before = Path("sens.parquet").read_bytes()
    assert measure(options(), functions=[never]).scored == 0
    assert Path("sens.parquet").read_bytes() == before and "was changed" not in caplog.text
    Path("sens.parquet").write_bytes(before[:100])
    measure(options(), functions=[never])
    assert (
        Path("sens.parquet").read_bytes() == before and "sens.parquet was changed since it was written" in caplog.text
    )


def test_replaced_and_added_photos_are_scored(data, caplog):
    measure(options(), functions=[brightness_of])
    before = SensitivityTable.read("sens.parquet")
    Image.new("RGB", (20, 20), (9, 90, 30)).save("photos/3.png")
    Image.new("RGB", (20, 20), (90, 9, 30)).save("photos/new.png")
    with open("ratings.csv", "a") as file:
        file.write("new.png,4\n")
    with caplog.at_level(logging.INFO, "roc"):
        assert measure(options(), functions=[brightness_of]).scored == 2
    assert "1 photos were replaced since" in caplog.text and f"going on: 7 of {NUMBER + 1}" in caplog.text
    after = SensitivityTable.read("sens.parquet")
    moved = [
        place for place in range(NUMBER) if after.values["brightness"][place] != before.values["brightness"][place]
    ]
    assert moved == [3] and after.ids == (*before.ids, "new.png")


def test_a_photo_that_is_replaced_while_it_is_scored_is_scored_again(data, caplog):
    calls = []

    def replacing(pictures):
        calls.append(1)
        if len(calls) == 1:
            Image.new("RGB", (20, 20), (9, 90, 30)).save("photos/0.png")
        return brightness_of(pictures)

    assert measure(options(), functions=[replacing]).scored == NUMBER + 1
    assert "1 photos were replaced meanwhile and are scored again (0.png)" in caplog.text
    found = SensitivityTable.read("sens.parquet").values["brightness"][0].item()
    assert found == pytest.approx((9 + 90 + 30) / 3 / 255, abs=0.01)


# --- faults -----------------------------------------------------------------------------------------------------------


def test_photos_that_cannot_be_scored_are_named_and_tried_again(data):
    whole = Path("photos/2.png").read_bytes()
    Path("photos/2.png").write_bytes(whole[:60])
    done = measure(options(), functions=[brightness_of])
    assert (done.failed, done.scored) == (1, NUMBER) and "2.png" not in SensitivityTable.read("sens.parquet").ids
    assert "2.png" in Path("sens.errors.csv").read_text() and SensitivityTable.read("sens.parquet").facts["failed"] == 1
    Path("photos/2.png").write_bytes(whole)
    assert measure(options(), functions=[brightness_of]).failed == 0
    assert not Path("sens.errors.csv").exists()
    calls = []

    def sometimes(pictures):
        calls.append(1)
        return [float("nan")] * 10 if len(calls) == 1 else brightness_of(pictures)

    assert measure(options(overwrite=True), functions=[sometimes]).failed == 1
    assert measure(options(retry_failed=True), functions=[sometimes]).failed == 0 and len(calls) == NUMBER + 1


def test_a_file_of_another_run_is_not_replaced(data):
    Path("sens.parquet").write_text("something else")
    with pytest.raises(ValueError, match="sens.parquet is there already, and sens.parquet.journal.jsonl"):
        measure(options(), functions=[brightness_of])
    measure(options(overwrite=True), functions=[brightness_of])
    with pytest.raises(ValueError, match="begun with other settings: delta was 0.2, is 0.1"):
        measure(options(delta=0.1), functions=[brightness_of])
    write_rows("ratings.csv", [{"image": "0.png", "score": 1}])
    with pytest.raises(ValueError, match="holds 7 photos that are not in the data file"):
        measure(options(), functions=[brightness_of])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"out": "sens.csv"}, "expected a name that ends in .parquet"),
        ({"checkpoint": ["a", "b"]}, "there are 2 checkpoints for 1 folds; give --folds 2 for two"),
        ({"folds": 2}, "there are 1 checkpoints for 2 folds; give one for each fold"),
        ({"folds": 2, "checkpoint": ["a", "./a"]}, "the same checkpoint is named for two folds"),
        ({"delta": 0.3}, "delta is 0.3"),
    ],
)
def test_options_that_cannot_be_used(data, changes, expected):
    with pytest.raises(ConfigError, match=expected):
        options(**changes)


# --- folds ------------------------------------------------------------------------------------------------------------


def test_each_fold_has_its_scorer(data):
    met = {1: [], 2: []}

    def scorer(number):
        def score(pictures):
            met[number].append(len(pictures))
            return [number * one for one in brightness_of(pictures)]

        return score

    folds = fold_numbers(read_records("ratings.csv", "photos", space=None), 2)
    given = options(folds=2, checkpoint=["one", "two"])
    measure(given, functions=[scorer(1), scorer(2)])
    assert [len(met[number]) for number in (1, 2)] == [folds.count(1), folds.count(2)]
    found = SensitivityTable.read("sens.parquet")
    means = [np.asarray(Image.open(f"photos/{i}.png")).mean() / 255 for i in range(NUMBER)]
    expected = [fold * mean for fold, mean in zip(folds, means, strict=True)]
    assert found.values["brightness"].tolist() == pytest.approx(expected, abs=0.02)


def test_checkpoints_of_different_ranges_are_refused(data, checkpoint):
    shutil.copytree(checkpoint, "other")
    config = json.loads(Path("other/config.json").read_text())
    config["roc"]["min_score"] = 0.0
    Path("other/config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"the checkpoints score on 0..10, 1..10; expected one range"):
        measure(options(folds=2, checkpoint=[checkpoint, "other"]))


def test_no_photo_is_scored_by_a_model_that_saw_it(data, checkpoint, caplog):
    folds = fold_numbers(read_records("ratings.csv", "photos", space=None), 2)
    for number in (1, 2):
        shutil.copytree(checkpoint, f"fold_{number}")
        rows = [{"image": f"{i}.png", "score": 1 + i} for i in range(NUMBER) if folds[i] != number]
        write_rows(f"train_{number}.csv", rows)
        run = {"settings": {"data_path": f"train_{number}.csv", "image_folder": "photos"}}
        run["data"] = [content_digest(Path(f"train_{number}.csv"))]
        Path(f"fold_{number}", "run.json").write_text(json.dumps(run))
    with pytest.raises(ValueError, match=rf"fold_2 was trained on {folds.count(1)} of the {folds.count(1)} photos"):
        measure(options(folds=2, checkpoint=["fold_2", "fold_1"]))
    with pytest.raises(ValueError, match="divide the photos by `roc agree folds`, or give --allow_seen"):
        measure(options(checkpoint=["fold_1"]))
    assert not Path("sens.parquet.journal.jsonl").exists()
    done = measure(options(folds=2, checkpoint=["fold_1", "fold_2"]))
    assert (done.scored, done.seen) == (NUMBER, 0) and SensitivityTable.read("sens.parquet").facts["seen"] == 0
    done = measure(options(checkpoint=["fold_1"], allow_seen=True, out="seen.parquet"))
    assert done.seen == folds.count(2) and "does not say" not in caplog.text
