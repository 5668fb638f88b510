"""Records scored with a checkpoint: each image is scored once, and all that cannot be read are reported together."""

import os
from pathlib import Path

import pytest
from heads import build, picture

from roc.checkpoint.folder import save
from roc.data.reading import read_records
from roc.data.rows import DataError
from roc.evaluation.evaluate import evaluate
from roc.evaluation.evaluated_rows import evaluated_rows
from roc.evaluation.image_effect import SAMPLE
from roc.evaluation.options import EvaluateOptions
from roc.evaluation.report import WORST, write_report
from roc.evaluation.scored_records import load_assessment, score_records

COUNT = 24


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint") / "model"
    model, processor, _ = build("llava")
    save(model, processor, folder)
    return str(folder)


@pytest.fixture
def photos(tmp_path):
    """Rated images of several shapes, one of them in two rows."""
    lines = ["id,image,score"]
    for n in range(COUNT):
        picture(n, (40 + 8 * (n % 3), 30)).save(tmp_path / f"{n}.png")
        lines.append(f"{n},{n}.png,{1 + n % 10}")
    lines.append("again,0.png,5")
    (tmp_path / "ratings.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """Counts how often each image is opened, in worker processes too."""
    log = tmp_path / "opened.txt"
    log.touch()
    original = Path.open

    def counting(path, *args, **options):
        if path.suffix == ".png":
            with open(log, "a") as lines:  # one short write, so that processes do not mix their lines
                lines.write(f"{path.name} {os.getpid()}\n")
        return original(path, *args, **options)

    monkeypatch.setattr(Path, "open", counting)
    return lambda: [line.split() for line in log.read_text().splitlines()]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_evaluation_opens_each_image_once(checkpoint, photos, opened, monkeypatch, workers):
    monkeypatch.setattr("roc.evaluation.scored_records.sample_pictures", lambda paths: [])
    options = EvaluateOptions(
        checkpoint=checkpoint,
        data_path=photos / "ratings.csv",
        out=photos / "out",
        report=False,
        n_resamples=0,
        device="cpu",
        workers=workers,
    )
    found = evaluate(options)
    assert found.metrics["n"] == len(found.rows) == COUNT + 1
    assert sorted(name for name, _ in opened()) == sorted(f"{n}.png" for n in range(COUNT))
    assert (str(os.getpid()) in {process for _, process in opened()}) is (workers == 0)


def test_the_report_opens_the_worst_images_only(checkpoint, photos, opened):
    pytest.importorskip("matplotlib")
    options = EvaluateOptions(
        checkpoint=checkpoint, data_path=photos / "ratings.csv", out=photos / "out", device="cpu", workers=0
    )
    found = evaluate(options)
    before = len(opened())
    write_report(photos / "out", found.rows, found.metrics)
    # Each image to score it, and again to see whether scores depend on it: a sample, here all of so few.
    assert before == 2 * COUNT and COUNT <= SAMPLE and len(opened()) - before == WORST


def test_scores_are_those_of_an_assessment(checkpoint, photos):
    assessment = load_assessment(checkpoint, "cpu")
    records = read_records(photos / "ratings.csv", space=assessment.model.score_space, check_images=False)
    found = score_records(assessment, checkpoint, records, photos / "ratings.csv", workers=0)
    rows = evaluated_rows(records, found)
    assessed = assessment.score([record.images[0] for record in records])
    assert [row.id for row in rows] == [record.id for record in records]
    for row, one in zip(rows, assessed, strict=True):
        expected = {name: score.value for name, score in one.scores.items()}
        assert row.predictions == pytest.approx(expected, abs=1e-5)
        assert row.p_n == pytest.approx(one.scores["overall"].distribution, abs=1e-5)
        assert row.std == pytest.approx(one.scores["overall"].std, abs=1e-5)


def test_images_that_cannot_be_read_are_reported_together_with_their_lines(checkpoint, photos):
    (photos / "0.png").write_bytes(b"no image")
    whole = (photos / "7.png").read_bytes()
    (photos / "7.png").write_bytes(whole[: len(whole) // 2])
    assessment = load_assessment(checkpoint, "cpu")
    records = read_records(photos / "ratings.csv", space=assessment.model.score_space, check_images=False)
    with pytest.raises(DataError) as caught:
        score_records(assessment, checkpoint, records, photos / "ratings.csv", workers=2)
    table, first, second = photos / "ratings.csv", photos / "0.png", photos / "7.png"
    expected = [
        f"{table}:2: {first}: not an image, or one whose beginning is damaged",
        f"{table}:9: {second}: cut short or damaged",
        f"{table}:26: {first}: not an image, or one whose beginning is damaged",
    ]
    assert all(map(str.startswith, caught.value.faults, expected)) and len(caught.value.faults) == 3
    # What reading with images checked says of the same file.
    with pytest.raises(DataError) as checked:
        read_records(table, space=assessment.model.score_space)
    assert checked.value.faults == caught.value.faults
