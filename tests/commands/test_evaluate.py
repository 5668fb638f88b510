"""`roc evaluate` as a user types it: predictions or a checkpoint in, a table and a folder out."""

import json
import sys

import pytest
from evaluations import make_metrics, make_rows

from roc.commands.evaluate import main
from roc.evaluation.predictions import read_predictions, write_predictions


@pytest.fixture
def predictions(tmp_path):
    rows = make_rows()
    return write_predictions(tmp_path / "p.csv", rows, ("overall", "light"), calibrated=True)


def test_the_command_evaluates_predictions_alone(tmp_path, predictions, capsys):
    out = tmp_path / "out"
    words = ["--predictions", str(predictions), "--min-score=1", "--max_score", "4", "--threshold", "2.5"]
    assert main([*words, "--n-resamples", "20", "--test_set", "aadb_agree", "--out", str(out), "--no_report"]) == 0
    found = json.loads((out / "metrics.json").read_text())
    expected = make_metrics(make_rows(), threshold=2.5, calibrated=True)
    assert found.pop("test_set") == "aadb_agree"
    assert found.pop("command").startswith("roc evaluate --predictions ")
    assert set(found) == set(expected)
    assert found["srcc"] == pytest.approx(expected["srcc"])
    assert found["light/mae_low"] == pytest.approx(expected["light/mae_low"])
    assert sorted(path.name for path in out.iterdir()) == ["metrics.json", "predictions.csv"]
    assert (out / "predictions.csv").read_bytes() == predictions.read_bytes()
    printed = capsys.readouterr()
    assert "SRCC" in printed.out and str(out) in printed.out and printed.err == ""


def test_a_test_set_brings_its_scale(tmp_path, predictions, capsys):
    words = ["--predictions", str(predictions), "--out", str(tmp_path / "out"), "--no_report"]
    assert main([*words, "--test_set", "ava", "--n_resamples", "0"]) == 0
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["max_score"] == 10
    assert main([*words, "--test_set", "aadb"]) == 2
    assert "outside the range 0..1" in capsys.readouterr().err


def test_without_a_scale_the_command_says_what_is_missing(tmp_path, predictions, capsys):
    words = ["--predictions", str(predictions), "--out", str(tmp_path / "out"), "--no_report", "--n_resamples", "0"]
    assert main(words) == 0
    assert "no errors on the unit scale" in capsys.readouterr().err
    assert "mae_unit" not in json.loads((tmp_path / "out" / "metrics.json").read_text())


def test_an_older_report_is_not_taken_for_the_new_one(tmp_path, predictions, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "report.html").write_text("old")
    assert main(["--predictions", str(predictions), "--out", str(out), "--no_report", "--n_resamples", "0"]) == 0
    assert "report.html is of an earlier evaluation" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--out", "x"], "give either --predictions FILE, or --checkpoint"),
        (["--predictions", "p.csv", "--checkpoint", "c", "--data_path", "d", "--out", "x"], "give either"),
        (["--checkpoint", "c", "--out", "x"], "--checkpoint and --data_path go together"),
        (["--predictions", "p.csv", "--min_score", "1", "--out", "x"], "go together; give both ends"),
        (
            ["--predictions", "p.csv", "--split", "test", "--out", "x"],
            "--split has no meaning for a file of predictions",
        ),
        (
            ["--checkpoint", "c", "--data_path", "d", "--map_range", "--out", "x"],
            "--map_range needs the scale of the ratings; give its ends, --min_score and --max_score",
        ),
        (
            ["--predictions", "p.csv", "--map_range", "--min_score", "1", "--max_score", "5", "--out", "x"],
            "--map_range has no meaning for a file of predictions",
        ),
        (
            ["--predictions", "p.csv", "--n_resamples", "-5", "--out", "x"],
            "--n_resamples: n_resamples is '-5', expected a whole",
        ),
        (
            ["--predictions", "p.csv", "--seed", "-1", "--out", "x"],
            "--seed: seed is '-1', expected a whole number at least 0",
        ),
        (
            ["--predictions", "p.csv", "--threshold", "nan", "--out", "x"],
            "--threshold: threshold is 'nan', expected a number",
        ),
        (["--predictions", "p.csv", "--test_set", "aabb", "--out", "x"], "no test set 'aabb'; did you mean aadb?"),
        (["--predictions", "nowhere.csv", "--out", "x"], "nowhere.csv: no such file"),
        (["--predictions", "p.csv", "--out", "model"], "is the folder of a model (config.json)"),
    ],
)
def test_words_that_do_not_go_together_are_refused(tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    assert main([*words, "--no_report"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("roc evaluate: ") and said in error
    assert not (tmp_path / "x").exists()


def test_without_matplotlib_the_command_says_how_to_get_it_before_any_work(tmp_path, monkeypatch, predictions, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert main(["--predictions", str(predictions), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "pip install 'roc-mllm[train]'" in error and "--no_report" in error
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """An untrained tiny model of overall and light on 1..10, and six rated pictures, four of them test rows."""
    from heads import build, picture

    from roc.checkpoint.folder import save

    folder = tmp_path_factory.mktemp("checkpoint")
    model, processor, _ = build("llava")
    save(model, processor, folder / "model")
    lines = ["image,score,light,split,dataset,h_1,h_2"]
    for n in range(6):
        picture(n).save(folder / f"{n}.png")
        lines.append(f"{n}.png,{n + 2},{n + 1},{'test' if n < 4 else 'train'},{'AVA' if n % 2 else 'PARA'},0.5,0.5")
    (folder / "ratings.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_the_command_evaluates_a_checkpoint_on_its_test_rows(checkpoint, tmp_path, capsys):
    from roc.scoring.assessment import Assessment

    words = [
        "--checkpoint",
        str(checkpoint / "model"),
        "--data_path",
        str(checkpoint / "ratings.csv"),
        "--device",
        "cpu",
    ]
    words += ["--no_report", "--n_resamples", "0"]
    assert main([*words, "--out", str(tmp_path / "test")]) == 0
    found = json.loads((tmp_path / "test" / "metrics.json").read_text())
    assert (found["n"], found["split"], found["min_score"], found["max_score"]) == (4, "test", 1, 10)
    assert (found["attributes"], found["subsets"], found["calibrated"]) == (
        ["overall", "light"],
        ["PARA", "AVA"],
        False,
    )
    rows = read_predictions(tmp_path / "test" / "predictions.csv").rows
    assert [row.id for row in rows] == ["0.png", "1.png", "2.png", "3.png"]
    assessed = Assessment(checkpoint / "model", device="cpu").score([checkpoint / row.id for row in rows])
    for row, one in zip(rows, assessed, strict=True):
        assert row.predictions["light"] == pytest.approx(one.scores["light"].value, abs=1e-5)
        assert row.p_n == pytest.approx(one.scores["overall"].distribution, abs=1e-6)
    # Two bins of votes beside ten levels: scores are compared, distributions are not, and it is said.
    assert "4 histograms have another number of levels than the checkpoint, 10" in capsys.readouterr().err
    assert "emd" not in found

    assert main([*words, "--split", "all", "--out", str(tmp_path / "all")]) == 0
    assert json.loads((tmp_path / "all" / "metrics.json").read_text())["n"] == 6
    assert main([*words, "--split", "val", "--out", str(tmp_path / "val")]) == 2
    assert "no record belongs to the split 'val'" in capsys.readouterr().err


def stars(checkpoint, tmp_path):
    """Ratings of 12 pictures with 2 to 5 stars, as the words that name them."""
    lines = ["image,score"]
    for n in range(12):
        (tmp_path / f"{n}.png").write_bytes((checkpoint / f"{n % 6}.png").read_bytes())
        lines.append(f"{n}.png,{2 + n % 4}")
    (tmp_path / "stars.csv").write_text("\n".join(lines) + "\n")
    return ["--data_path", str(tmp_path / "stars.csv"), "--device", "cpu", "--no_report", "--n_resamples", "0"]


def test_stars_against_another_range_are_refused_before_weights_are_read_or_mapped(
    checkpoint, tmp_path, monkeypatch, capsys
):
    words = ["--checkpoint", str(checkpoint / "model"), *stars(checkpoint, tmp_path), "--out", str(tmp_path / "out")]
    with monkeypatch.context() as patched:
        patched.setattr("roc.evaluation.scored_records.Assessment", lambda *_, **__: pytest.fail("read the weights"))
        assert main(words) == 2
        error = capsys.readouterr().err
        assert "the ratings lie on 2..5" in error and "scores on 1..10" in error and "--map_range" in error
        assert main([*words, "--min_score", "1", "--max_score", "5"]) == 2
        error = capsys.readouterr().err
        assert "the ratings are on 1..5" in error and "scores on 1..10" in error and "Add --map_range" in error
    assert not (tmp_path / "out").exists()

    assert main([*words, "--min_score", "1", "--max_score", "5", "--map_range"]) == 0
    assert "human scores were mapped from 1..5 onto 1..10" in " ".join(capsys.readouterr().out.split())
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert (found["mapped_from"], found["min_score"], found["max_score"]) == ([1, 5], 1, 10)
    assert found["score_range"] == [1 + 9 / 4, 10]
    # A user who says that the ratings are on the checkpoint's own range is believed.
    assert main([*words, "--min_score", "1", "--max_score", "10"]) == 0
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["score_range"] == [2, 5]


def test_a_faulty_data_file_is_refused_before_weights_are_read(checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("roc.evaluation.scored_records.Assessment", lambda *_, **__: pytest.fail("read the weights"))
    (tmp_path / "bad.csv").write_text("image,score\nnowhere.png,5\n")
    words = ["--checkpoint", str(checkpoint / "model"), "--data_path", str(tmp_path / "bad.csv")]
    assert main([*words, "--out", str(tmp_path / "out"), "--no_report"]) == 2
    assert "bad.csv:2" in capsys.readouterr().err


def test_a_checkpoint_that_does_not_look_or_is_a_stand_in_is_said_to_be(checkpoint, tmp_path, capsys):
    from dataclasses import replace

    import torch
    from heads import build

    from roc.checkpoint.folder import save
    from roc.model.declaration import declare

    model, processor, _ = build("llava")
    declare(model, replace(model.declaration, dataset="drawn scenes, a stand-in"))
    with torch.no_grad():
        for parameter in model.model.multi_modal_projector.parameters():
            parameter.zero_()
    save(model, processor, tmp_path / "model")
    words = ["--checkpoint", str(tmp_path / "model"), "--data_path", str(checkpoint / "ratings.csv"), "--no_report"]
    assert main([*words, "--out", str(tmp_path / "out"), "--device", "cpu", "--n_resamples", "0"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "caution: the scores do not depend on the image: they move by 0.00% of the range" in printed
    assert "caution: the checkpoint is a stand-in to try the software with, trained on drawn scenes" in printed
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert (found["image_n"], found["stand_in"]) == (4, True) and found["image_black"] < 1e-4
    assert any("do not depend" in caveat for caveat in found["caveats"])


def test_an_adapter_that_changes_nothing_is_said(checkpoint, tmp_path, capsys):
    from roc.checkpoint.folder import load, save
    from roc.model.adapters import add_lora

    model, processor = load(checkpoint / "model")
    save(add_lora(model, rank=4), processor, tmp_path / "adapter")
    words = ["--checkpoint", str(tmp_path / "adapter"), "--data_path", str(checkpoint / "ratings.csv"), "--no_report"]
    assert main([*words, "--out", str(tmp_path / "out"), "--device", "cpu", "--n_resamples", "0"]) == 0
    assert "caution: the adapter changes nothing" in capsys.readouterr().out


def test_a_checkpoint_that_looks_gets_a_figure(checkpoint, tmp_path, capsys):
    words = ["--checkpoint", str(checkpoint / "model"), "--data_path", str(checkpoint / "ratings.csv"), "--no_report"]
    assert main([*words, "--out", str(tmp_path / "out"), "--device", "cpu", "--n_resamples", "0"]) == 0
    printed = capsys.readouterr().out
    assert "does it look at the picture: scores move by " in printed and "do not depend" not in printed
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["image_swapped"] > 0.01
