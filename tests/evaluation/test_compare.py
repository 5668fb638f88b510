"""Two evaluations side by side: paired differences on the same rows, and folders of other rows refused."""

import dataclasses
import json

import numpy as np
import pytest
from evaluations import make_metrics, make_rows

from roc.evaluation import metrics
from roc.evaluation.compare import main
from roc.evaluation.evaluate import evaluate_predictions, write_evaluation


def folder(tmp_path, name, rows, **changes):
    write_evaluation(tmp_path / name, rows, make_metrics(rows, n_resamples=0) | changes)
    return str(tmp_path / name)


def worse(rows, noise=0.5):
    generator = np.random.default_rng(1)
    return [
        dataclasses.replace(
            row,
            predictions={
                name: None if value is None else value + noise * generator.normal()
                for name, value in row.predictions.items()
            },
        )
        for row in rows
    ]


def test_comparison_of_two_models(tmp_path, capsys):
    rows = make_rows(40)
    others = worse(rows)
    others[0] = dataclasses.replace(others[0], predictions={"overall": None, "light": 2.0})
    # The order of the rows does not matter.
    a, b = folder(tmp_path, "a", rows), folder(tmp_path, "b", others[::-1])
    words = [a, b, "--out", str(tmp_path / "c.json"), "--out", str(tmp_path / "c.html"), "--n-resamples", "50"]
    assert main([*words, "--threshold", "2.5"]) == 0
    found = json.loads((tmp_path / "c.json").read_text())
    assert (found["n"], found["unscored_a"], found["unscored_b"]) == (35, 4, 5)

    pairs = [
        (row.predictions["overall"], other.predictions["overall"], row.scores["overall"])
        for row, other in zip(rows, others, strict=True)
        if None not in (row.predictions["overall"], other.predictions["overall"])
    ]
    first, second, human = map(list, zip(*pairs, strict=True))
    mae = found["metrics"]["mae"]
    assert mae["difference"] == pytest.approx(metrics.mae(first, human) - metrics.mae(second, human), abs=1e-8)
    assert mae["low"] < mae["difference"] < mae["high"] < 0 and mae["a_better"] == 1
    assert {
        "srcc",
        "accuracy",
        "mae_unit",
        "unscored_share",
        "emd",
        "wasserstein",
        "votes_coverage_80",
        "light/plcc",
    } <= set(found["metrics"])
    printed = capsys.readouterr().out
    assert "35 rows that both scored; 4 have no score from A, 5 none from B" in printed
    assert "light: SRCC" in printed
    page = (tmp_path / "c.html").read_text()
    assert "<svg" in page and "not clear" in page and "script" not in page


def test_a_model_against_itself_is_a_tie(tmp_path, capsys):
    a = folder(tmp_path, "a", make_rows())
    assert main([a, a, "--n_resamples", "20", "--out", str(tmp_path / "c.html")]) == 0
    assert all(line.endswith(("50.0%", "inf")) for line in capsys.readouterr().out.splitlines() if " [" in line)
    assert "not clear" not in (tmp_path / "c.html").read_text()


def test_folders_of_other_rows_are_refused_and_the_rows_named(tmp_path, capsys):
    rows = make_rows()
    moved = [
        dataclasses.replace(row, scores=row.scores | {"light": 1.0}) if row.id == "photo5" else row for row in rows
    ]
    a = folder(tmp_path, "a", rows)
    for other, said in (
        (folder(tmp_path, "fewer", rows[:-2]), "2 rows are in {a} only: photo22, photo23"),
        (folder(tmp_path, "moved", moved), "1 rows have another human score of light: photo5"),
        (folder(tmp_path, "scale", rows, max_score=5.0), "the scales differ: 1..4 in {a}, 1..5"),
    ):
        assert main([a, other]) == 2
        error = capsys.readouterr().err
        assert "these are not two evaluations of the same rows" in error and said.format(a=a) in error
        assert "Evaluate both models on the same file" in error


def test_what_is_no_evaluation_is_refused(tmp_path, capsys):
    a = folder(tmp_path, "a", make_rows())
    (tmp_path / "empty").mkdir()
    assert main([a, str(tmp_path / "empty")]) == 2
    assert "holds no metrics.json and no predictions.csv" in capsys.readouterr().err
    (tmp_path / "a" / "metrics.json").write_text("[]")
    assert main([a, a]) == 2
    assert "is no metrics file of roc" in capsys.readouterr().err
    assert main([a, a, "--out", "c.pdf"]) == 2
    assert "ends in .html or .json" in capsys.readouterr().err


def test_rows_without_a_scale_or_too_few_are_compared_as_far_as_they_go(tmp_path, capsys):
    rows = make_rows(4)[:2]
    for name in ("a", "b"):
        write_evaluation(tmp_path / name, rows, evaluate_predictions(rows, space=None))
    assert main([str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    assert "SRCC                -        -        -" in capsys.readouterr().out


def test_what_has_no_number_or_no_spread_says_why(tmp_path, capsys):
    rows = make_rows(12)
    flat = [
        dataclasses.replace(row, predictions={"overall": 2.0, "light": 2.0}, p_n=[0, 1, 0, 0], std=0.0) for row in rows
    ]
    a, b = folder(tmp_path, "a", rows), folder(tmp_path, "b", flat)
    out = tmp_path / "c.json", tmp_path / "c.html"
    assert main([a, b, "--n_resamples", "10", *(word for path in out for word in ("--out", str(path)))]) == 0
    why = "B: all predictions are equal, so there is no correlation"
    assert json.loads(out[0].read_text())["notes"]["light/srcc"] == why
    assert why in capsys.readouterr().out and why in out[1].read_text()
    assert json.loads(out[0].read_text())["notes"]["kl"].startswith("B: infinite: ")


def test_the_resamples_that_were_drawn_and_the_threshold_are_named(tmp_path, monkeypatch, capsys):
    a = folder(tmp_path, "a", make_rows(12))
    monkeypatch.setattr("roc.evaluation.bootstrap._MOST_ROWS_DRAWN", 0)
    out = tmp_path / "c.json", tmp_path / "c.html"
    words = [a, a, "--n_resamples", "101", "--threshold", "2.5"]
    assert main([*words, *(word for path in out for word in ("--out", str(path)))]) == 0
    found = json.loads(out[0].read_text())
    assert (found["n_resamples"], found["threshold"]) == (100, 2.5)
    assert "100 resamples" in out[1].read_text() and "threshold of the accuracy 2.5" in out[1].read_text()
    assert "threshold of the accuracy 2.5" in capsys.readouterr().out


def test_numbers_that_cannot_be_are_refused(tmp_path, capsys):
    a = folder(tmp_path, "a", make_rows(4))
    for words, said in ((["--seed", "-1"], "--seed is -1"), (["--threshold", "nan"], "--threshold is nan")):
        assert main([a, a, *words]) == 2
        assert said in capsys.readouterr().err
