"""`roc personalize` from a file of ratings to scores; and all that it refuses."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from roc import load
from roc.checkpoint.export import merge
from roc.checkpoint.head_file import read_declaration, read_head
from roc.cli import main
from roc.scoring.assessment import Assessment


def general_scores(checkpoint, photos):
    found = Assessment(checkpoint, device="cpu").score(sorted(photos.iterdir()), ["overall"])
    return [float(one.scores["overall"]) for one in found]


def personalize(checkpoint, data, out, *words):
    where = ["--checkpoint", str(checkpoint), "--data_path", str(data), "--out", str(out)]
    return main(["personalize", *where, "--device", "cpu", "--workers", "0", *words])


@pytest.fixture(scope="module")
def head(checkpoint, stars, tmp_path_factory):
    out = tmp_path_factory.mktemp("head") / "mine.json"
    assert personalize(checkpoint, stars, out) == 0
    return out


def test_a_head_that_helps_scores_like_any_checkpoint(head, checkpoint, photos, taste, tmp_path, capsys):
    personal, general = (Assessment(path, device="cpu") for path in (head, checkpoint))
    assert personal.attributes == ("overall",) and general.attributes == ("overall", "light")
    files = sorted(photos.iterdir())
    mine, theirs = ([one.scores["overall"] for one in model.score(files)] for model in (personal, general))
    wanted = [taste[file.name] for file in files]
    assert spearmanr([float(one) for one in mine], wanted).statistic > 0.6
    assert abs(spearmanr([float(one) for one in theirs], wanted).statistic) < 0.5
    assert mine[0].range == theirs[0].range and not mine[0].calibrated
    described = personal.describe(files[:2])
    assert set(described[0].scores) == {"overall"}

    out = tmp_path / "scores.csv"
    assert main(["score", str(photos), "--checkpoint", str(head), "--out", str(out), "--device", "cpu"]) == 0
    rows = out.read_text().splitlines()
    column = rows[0].split(",").index("prediction")
    assert float(rows[1].split(",")[column]) == pytest.approx(float(mine[0]), abs=1e-4)


def test_what_it_declares(head, checkpoint):
    declared = read_declaration(head)
    assert declared.personal.photos == 40 and declared.personal.pairs == 0 and declared.personal.low > 0
    assert declared.answer.endswith("[SCORE]") and declared.question == read_declaration(checkpoint).question
    model, _ = load(head)
    assert model.declaration == declared
    _, rows = read_head(head)
    assert torch.equal(rows, model.score_head.weight.detach())


def test_a_calibration_and_a_reference_of_a_head_are_taken_back(head, photos, stars, tmp_path):
    """Both stand in the head's own file, which is what it was when they are gone; the checkpoint is not touched."""
    mine = shutil.copy(head, head.parent / "calibrated.json")
    before = json.loads(head.read_text())
    quick = ["--device", "cpu", "--workers", "0"]
    assert main(["reference", str(mine), str(photos), *quick]) == 0
    rated = ["--data_path", str(stars), "--map_range", "--min_score", "1", "--max_score", "5"]
    assert main(["calibrate", "--checkpoint", str(mine), *rated, *quick]) == 0
    (score,) = Assessment(mine, device="cpu").score(sorted(photos.iterdir())[0])
    assert score.scores["overall"].low is not None and score.scores["overall"].percentile is not None
    assert main(["calibrate", "--checkpoint", str(mine), "--remove"]) == 0
    assert main(["reference", str(mine), "--remove"]) == 0
    assert json.loads(mine.read_text()) == before and Assessment(mine, device="cpu").score(sorted(photos.iterdir())[0])


def test_a_zero_direction_is_the_general_score(head, checkpoint, photos, tmp_path):
    content = json.loads(head.read_text())
    content["direction"] = [0.0] * len(content["direction"])
    plain = tmp_path / "plain.json"
    plain.write_text(json.dumps(content))
    files = sorted(photos.iterdir())[:3]
    both = [Assessment(path, device="cpu").score(files, ["overall"]) for path in (plain, checkpoint)]
    assert [float(one.scores["overall"]) for one in both[0]] == [float(one.scores["overall"]) for one in both[1]]


def test_it_is_merged_into_a_full_checkpoint(head, photos, tmp_path):
    merge(head, tmp_path / "merged")
    files = sorted(photos.iterdir())[:3]
    both = [Assessment(path, device="cpu").score(files) for path in (head, tmp_path / "merged")]
    assert [float(one.scores["overall"]) for one in both[0]] == [float(one.scores["overall"]) for one in both[1]]
    assert "moved towards the taste of one person" in (tmp_path / "merged" / "README.md").read_text()


def test_it_finds_a_checkpoint_that_moved_with_it_and_refuses_another(head, checkpoint, tmp_path):
    shutil.copytree(checkpoint, tmp_path / "all" / "llava")
    content = json.loads(head.read_text())
    content["base"]["name_or_path"] = "/nowhere/all/llava"
    moved = tmp_path / "all" / "mine.json"
    moved.write_text(json.dumps(content))
    assert load(moved)[0].declaration.personal is not None
    content["base"]["head"] = "0" * 16
    moved.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="fitted on another checkpoint .*the score head"):
        load(moved)
    content["base"]["name_or_path"] = "/nowhere/else"
    moved.write_text(json.dumps(content))
    with pytest.raises(FileNotFoundError, match=r"mine\.json is not there: There is no folder /nowhere/else"):
        load(moved)


def test_what_is_no_head_or_cannot_be_trained_on(head, tmp_path, capsys):
    other = tmp_path / "other.json"
    other.write_text('{"a": 1}')
    with pytest.raises(ValueError, match="is not a personal head"):
        load(other)
    words = ["--model_name_or_path", str(head), "--data_path", str(other), "--output_dir", str(tmp_path / "out")]
    assert main(["finetune", *words]) == 2
    assert "is a personal head; `roc export" in capsys.readouterr().err
    assert personalize(head, other, tmp_path / "again.json") == 2
    assert "this is a personal head already" in capsys.readouterr().err


def write(photos, name, rows, header="image,score"):
    file = photos.parent / name
    file.write_text("\n".join([header, *rows]))
    return file


@pytest.mark.parametrize(
    ("count", "rating", "message"),
    [
        (9, lambda index: index, "holds 9 ratings; expected at least 10"),
        (40, lambda index: 4, "all 40 ratings of .* are 4, so they say nothing"),
    ],
)
def test_too_few_or_equal_stars(checkpoint, photos, tmp_path, capsys, count, rating, message):
    data = write(photos, "bad.csv", [f"{photos.name}/{index:02}.png,{rating(index)}" for index in range(count)])
    assert personalize(checkpoint, data, tmp_path / "mine.json") == 2
    assert_found(message, capsys.readouterr().err)


def assert_found(pattern, text):
    assert re.search(pattern, text), text


def test_photos_that_are_not_there_or_cannot_be_read(checkpoint, photos, tmp_path, capsys):
    (photos.parent / "broken.png").write_bytes(b"no picture")
    good = [f"{photos.name}/{index:02}.png,{index}" for index in range(12)]
    data = write(photos, "gone.csv", [*good, "gone.png,3"])
    assert personalize(checkpoint, data, tmp_path / "mine.json") == 2
    assert_found("gone.csv:14: .*gone.png", capsys.readouterr().err)
    data = write(photos, "broken.csv", [*good, "broken.png,3"])
    assert personalize(checkpoint, data, tmp_path / "mine.json") == 2
    assert_found("broken.csv:14: .*broken.png", capsys.readouterr().err)


def test_random_ratings_are_refused_with_the_numbers(checkpoint, photos, tmp_path, capsys):
    draw = np.random.default_rng(4)
    rows = [f"{photos.name}/{index:02}.png,{draw.integers(1, 6)}" for index in range(30)]
    out = tmp_path / "new folder" / "mine.json"
    assert personalize(checkpoint, write(photos, "random.csv", rows), out) == 1
    said = capsys.readouterr().out
    assert_found(r"30 ratings of 30 photos", said)
    assert "difference" in said and "Not written" in said and not out.parent.exists()


@pytest.mark.slow
def test_pairs_of_somebody_who_likes_what_the_checkpoint_does_not(checkpoint, photos, tmp_path, capsys):
    draw, rows, scores = np.random.default_rng(2), [], general_scores(checkpoint, photos)
    for _ in range(40):
        a, b = draw.choice(len(scores), 2, replace=False)
        preferred = "a" if scores[a] < scores[b] else "b"
        rows.append(f"{photos.name}/{a:02}.png,{photos.name}/{b:02}.png,{preferred}")
    out = tmp_path / "mine.json"
    data = write(photos, "pairs.csv", rows, "image_a,image_b,preferred")
    assert personalize(checkpoint, data, out) == 0
    assert "40 pairs of" in capsys.readouterr().out
    assert read_declaration(out).personal.pairs == 40
    assert (
        personalize(checkpoint, write(photos, "few.csv", rows[:9], "image_a,image_b,preferred"), tmp_path / "b.json")
        == 2
    )
    assert "holds 9 pairs" in capsys.readouterr().err
    assert personalize(checkpoint, data, out) == 2
    assert "is there already" in capsys.readouterr().err


def test_an_out_that_is_no_json_file(capsys):
    assert personalize("somewhere", "stars.csv", "mine") == 2
    assert "expected a file that ends in .json" in capsys.readouterr().err


def test_only_a_head_is_replaced_and_bad_ratings_are_told_before_weights_are_loaded(head, checkpoint, tmp_path, capsys):
    ratings = tmp_path / "stars.json"
    ratings.write_text('[{"image": "a.png", "score": 3}]')
    assert personalize(checkpoint, ratings, ratings, "--overwrite") == 2
    assert "is no personal head, so it stays" in capsys.readouterr().err
    assert ratings.read_text() == '[{"image": "a.png", "score": 3}]'

    without_weights = tmp_path / "config alone"
    without_weights.mkdir()
    shutil.copy(checkpoint / "config.json", without_weights)
    older = shutil.copy(head, tmp_path / "older.json")
    assert personalize(without_weights, tmp_path / "gone.csv", older, "--overwrite") == 2
    assert "gone.csv: no such file" in capsys.readouterr().err
    assert personalize(without_weights, tmp_path / "gone.csv", ratings / "mine.json") == 2
    assert "stars.json is a file; name another --out" in capsys.readouterr().err
    (tmp_path / "pairs.csv").write_text("one,other,better\na.png,b.png,a\n")
    assert personalize(without_weights, tmp_path / "pairs.csv", tmp_path / "mine.json") == 2
    assert "A file of pairs has the columns image_a, image_b and preferred." in capsys.readouterr().err
