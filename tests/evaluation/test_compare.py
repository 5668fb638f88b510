"""Two evaluations side by side: paired differences on the same rows, and folders of other rows refused."""

import dataclasses
import json

import numpy as np
import pytest
from evaluations import make_folder, make_rows
from heads import build, picture

from roc.calibration.affine import Line, with_lines
from roc.checkpoint.folder import save
from roc.commands.evaluate import main as evaluate
from roc.evaluation import metrics
from roc.evaluation.compare import compare, compare_evaluations, format_comparison
from roc.evaluation.folder import read_evaluation, write_evaluation
from roc.evaluation.options import CompareOptions
from roc.evaluation.summary import evaluate_predictions
from roc.model.calibration import Calibration
from roc.model.declaration import declare


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


def compared(a, b, *out, **options):
    return compare(CompareOptions(a=a, b=b, out=tuple(map(str, out)), **options))


def test_comparison_of_two_models(tmp_path):
    rows = make_rows(40)
    others = worse(rows)
    others[0] = dataclasses.replace(others[0], predictions={"overall": None, "light": 2.0})
    # The order of the rows does not matter.
    a, b = make_folder(tmp_path, "a", rows), make_folder(tmp_path, "b", others[::-1])
    printed = format_comparison(compared(a, b, tmp_path / "c.json", tmp_path / "c.html", n_resamples=50, threshold=2.5))
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
    assert "35 rows that both scored; 4 have no score from A, 5 none from B" in printed
    assert "light: SRCC" in printed
    page = (tmp_path / "c.html").read_text()
    assert "<svg" in page and "not clear" in page and "script" not in page


def test_answers_with_a_critique_are_told_by_kind(tmp_path):
    a, b = (read_evaluation(make_folder(tmp_path, name, make_rows())) for name in "ab")
    counted = {"answers": {"good": 38, "cut": 2}, "retried": 3, "retried_kinds": {"cut": 2, "no_answer": 1}}
    write_evaluation(b.folder, b.rows, b.metrics | counted)
    printed = format_comparison(compared(a.folder, b.folder, tmp_path / "c.json", tmp_path / "c.html", n_resamples=0))
    told = "2 of 40 answers unreadable: 2 cut at the length; 3 written anew: 2 cut at the length, 1 no </answer>"
    assert f"critiques of B: {told}" in printed and "critiques of A" not in printed
    assert json.loads((tmp_path / "c.json").read_text())["answers"] == {"B": told}
    assert told.replace("<", "&lt;").replace(">", "&gt;") in (tmp_path / "c.html").read_text()


def test_a_model_against_itself_is_a_tie(tmp_path):
    a = make_folder(tmp_path, "a", make_rows())
    table = format_comparison(compared(a, a, tmp_path / "c.html", n_resamples=20))
    assert " [" in table
    assert all(line.endswith(("50.0%", "inf")) for line in table.splitlines() if " [" in line)
    assert "not clear" not in (tmp_path / "c.html").read_text()


def test_caveats_of_either_model_are_repeated(tmp_path):
    rows = make_rows(40)
    a = make_folder(tmp_path, "a", rows, caveats=["few rows (24 of day)", "these are validation rows", "it is blind"])
    b = make_folder(tmp_path, "b", rows, caveats=["these are validation rows"])
    found = compared(a, b, tmp_path / "c.html", n_resamples=0)
    assert found["caveats"] == ["A and B: these are validation rows", "A: it is blind"]
    assert "\ncaution: A: it is blind\n" in format_comparison(found)
    assert "Caution: A: it is blind." in (tmp_path / "c.html").read_text()


def test_folders_of_other_rows_are_refused_and_the_rows_named(tmp_path):
    rows = make_rows()
    moved = [
        dataclasses.replace(row, scores=row.scores | {"light": 1.0}) if row.id == "photo5" else row for row in rows
    ]
    a = make_folder(tmp_path, "a", rows)
    for other, said in (
        (make_folder(tmp_path, "fewer", rows[:-2]), f"2 rows are in {a} only: photo22, photo23"),
        (make_folder(tmp_path, "moved", moved), "1 row has another human score of light: photo5"),
        (make_folder(tmp_path, "scale", rows, max_score=5.0), f"the scales differ: 1..4 in {a}, 1..5"),
    ):
        with pytest.raises(ValueError, match="these are not two evaluations of the same rows") as caught:
            compared(a, other)
        assert said in str(caught.value) and "Evaluate both models on the same file" in str(caught.value)


def test_rows_without_a_scale_or_too_few_are_compared_as_far_as_they_go(tmp_path):
    rows = make_rows(4)[:2]
    for name in ("a", "b"):
        write_evaluation(tmp_path / name, rows, evaluate_predictions(rows, space=None))
    found = compared(str(tmp_path / "a"), str(tmp_path / "b"))
    printed = format_comparison(found)
    assert printed.startswith("There are too few rows to compare.\nOnly 2 rows (below 30)")
    assert "  SRCC        -        -        -\n" in printed


def test_what_has_no_number_or_no_spread_says_why(tmp_path):
    rows = make_rows(12)
    flat = [
        dataclasses.replace(row, predictions={"overall": 2.0, "light": 2.0}, p_n=[0, 1, 0, 0], std=0.0) for row in rows
    ]
    a, b = make_folder(tmp_path, "a", rows), make_folder(tmp_path, "b", flat)
    out = tmp_path / "c.json", tmp_path / "c.html"
    found = compared(a, b, *out, n_resamples=10)
    why = "B: all predictions are equal, so there is no correlation"
    assert json.loads(out[0].read_text())["notes"]["light/srcc"] == why
    assert why in format_comparison(found) and why in out[1].read_text()
    assert json.loads(out[0].read_text())["notes"]["kl"].startswith("B: infinite: ")


def test_the_resamples_that_were_drawn_and_the_threshold_are_named(tmp_path, monkeypatch):
    a = make_folder(tmp_path, "a", make_rows(12))
    monkeypatch.setattr("roc.evaluation.bootstrap._MOST_ROWS_DRAWN", 0)
    out = tmp_path / "c.json", tmp_path / "c.html"
    printed = format_comparison(compared(a, a, *out, n_resamples=101, threshold=2.5))
    found = json.loads(out[0].read_text())
    assert (found["n_resamples"], found["threshold"]) == (100, 2.5)
    assert "100 resamples" in out[1].read_text() and "threshold of the accuracy 2.5" in out[1].read_text()
    assert "threshold of the accuracy 2.5" in printed


def test_a_checkpoint_is_compared_with_itself_after_a_line_has_moved_its_scores(tmp_path, capsys):
    """Its range moves with the line; people rate on the range that they rated on before."""
    model, processor, _ = build("llava")
    save(model, processor, tmp_path / "before")
    line = {"overall": Line(-4.0, 2.0)}
    own = Calibration(data="0" * 64, rows=9)
    declare(model, with_lines(model.declaration, line, own, ratings={"overall": model.declaration.space.range}))
    save(model, processor, tmp_path / "after")
    for n in range(6):
        picture(n).save(tmp_path / f"{n}.png")
    levels = range(1, 11)
    rows = [(f"{n}.png", 2 + n, *(int(level == 2 + n) for level in levels)) for n in range(6)]
    header = ("image", "score", *(f"h_{level}" for level in levels))
    (tmp_path / "rated.csv").write_text("\n".join(",".join(map(str, row)) for row in (header, *rows)))
    for name in ("before", "after"):
        words = ["--checkpoint", str(tmp_path / name), "--data_path", str(tmp_path / "rated.csv"), "--no_report"]
        assert evaluate([*words, "--out", str(tmp_path / f"of_{name}"), "--workers", "0", "--n_resamples", "0"]) == 0
    a, b = (read_evaluation(tmp_path / f"of_{name}") for name in ("after", "before"))
    assert a.metrics["rating_range"] == [1, 10] and "rating_range" not in b.metrics
    assert "emd" in b.metrics and "emd" not in a.metrics  # the levels of the scores are no longer those of the votes
    found = compare_evaluations(a, b, n_resamples=0)["metrics"]
    assert found["srcc"].difference == pytest.approx(0, abs=1e-6)  # a line keeps the order
    assert found["mae"].a == pytest.approx(a.metrics["mae"]) and found["mae_unit"].a == pytest.approx(
        found["mae"].a / 9
    )
