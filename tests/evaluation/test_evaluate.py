"""What an evaluation computes from rows, what it writes, and what the command accepts."""

import csv
import json
import sys

import numpy as np
import pytest
from evaluations import LEVELS, SPACE, make_metrics, make_rows

from roc.data.records import Record
from roc.evaluation import metrics
from roc.evaluation.evaluate import evaluate_predictions, evaluated_rows, format_table, main, write_evaluation
from roc.evaluation.predictions import EvaluatedRow, read_predictions, write_predictions
from roc.scoring.results import Assessed, Score


def test_keys_of_each_part_agree_with_the_metrics_themselves():
    rows = make_rows()
    baseline = np.mean([row.h_n for row in rows], axis=0)
    found = make_metrics(rows, threshold=2.5, baseline_histogram=baseline, calibrated=True)
    assert found["attributes"] == ["overall", "light"]
    assert found["threshold"] == 2.5 and ", threshold of the accuracy 2.5" in format_table(found)
    assert (found["min_score"], found["max_score"], found["calibrated"]) == (1.0, 4.0, True)
    assert (found["n"], found["unscored"]) == (21, 3)

    def pairs(part, attribute):
        return [row.predictions[attribute] for row in part], [row.scores[attribute] for row in part]

    options = {"space": SPACE, "threshold": 2.5, "n_resamples": 20}
    night = [row for row in rows if row.subset == "night"]
    for prefix, part, attribute in (
        ("", rows, "overall"),
        ("light/", rows, "light"),
        ("subset/night/", night, "overall"),
    ):
        expected = metrics.summarize(*pairs(part, attribute), **options)
        assert not expected.pop("notes")
        assert {key: found[prefix + key] for key in expected} == expected

    scored = [row for row in rows if row.predictions["overall"] is not None]
    assert found["emd_n"] == 21
    assert found["emd"] == pytest.approx(metrics.emd([row.p_n for row in scored], [row.h_n for row in scored]))
    assert found["emd_baseline"] == pytest.approx(metrics.emd([baseline] * 21, [row.h_n for row in scored]))
    assert found["emd_ratio"] == pytest.approx(found["emd"] / found["emd_baseline"])
    assert "subset/day/emd_ratio" in found
    assert "light/emd" not in found
    assert found["wasserstein"] > 0 and found["kl"] > 0
    std, p = [row.std for row in scored], [row.predictions["overall"] for row in scored]
    assert found["coverage_80"] == metrics.coverage(p, std, [row.scores["overall"] for row in scored], 80)
    votes = [row.h_n for row in scored]
    assert found["votes_coverage_80"] == metrics.votes_coverage(p, std, votes, LEVELS, 80)
    assert found["subsets"] == ["night", "day"]
    assert list(found["notes"]) == ["coverage"] and "normal distribution" in found["notes"]["coverage"]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_rows_nobody_rated_are_left_out_of_that_attribute():
    rows = make_rows(12)
    rows[0] = EvaluatedRow("a", {"overall": 2.0}, {"overall": 2.0, "light": 2.0})
    rows[1] = EvaluatedRow("b", {"overall": 2.0, "light": None}, {"overall": 2.0, "light": 2.0})
    rows[2] = EvaluatedRow("c", {"overall": 2.0, "light": float("nan")}, {"overall": 2.0, "light": None})
    found = make_metrics(rows)
    assert (found["n"], found["unscored"]) == (11, 1)
    assert (found["light/n"], found["light/unscored"]) == (9, 0)
    assert found["emd_n"] == 8
    assert found["notes"]["emd"] == "over the 8 rows that have a histogram"
    assert found["notes"]["light/n"] == "3 rows without a human score are left out"
    assert "n" not in found["notes"]


def test_notes_carry_the_prefix_of_their_part():
    rows = [EvaluatedRow(str(n), {"overall": n}, {"overall": 5.0}, subset="small" if n < 2 else None) for n in range(6)]
    found = evaluate_predictions(rows, space=None, n_resamples=0)
    assert found["srcc"] == 0.0
    assert "equal" in found["notes"]["srcc"]
    assert found["subset/small/srcc"] is None
    assert "fewer than 3" in found["notes"]["subset/small/srcc"]
    assert not [key for key in found if key.endswith("_unit") or key == "min_score" or "emd" in key or "_low" in key]


def test_nothing_to_evaluate_and_mismatched_levels_are_refused():
    with pytest.raises(ValueError, match="no rows to evaluate"):
        evaluate_predictions([], space=SPACE)
    with pytest.raises(ValueError, match="no attribute"):
        evaluate_predictions(make_rows(3), space=SPACE, attributes=())
    row = EvaluatedRow("x7", {"overall": 2.0}, {"overall": 2.0}, p_n=[0.5, 0.5], h_n=[0.2, 0.3, 0.5])
    with pytest.raises(ValueError, match="row x7: 2 predicted levels and 3 histogram bins"):
        evaluate_predictions([row], space=SPACE)
    with pytest.raises(ValueError, match=r"baseline histogram has shape \(2,\)"):
        make_metrics(make_rows(), baseline_histogram=[0.5, 0.5])


def test_predictions_csv_tells_human_from_model(tmp_path):
    rows = make_rows(12)
    write_evaluation(tmp_path / "new" / "folder", rows, make_metrics(rows, calibrated=False))
    with open(tmp_path / "new" / "folder" / "predictions.csv", newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    human = ["score", "score.light", "h_1", "h_2", "h_3", "h_4"]
    model = ["prediction", "prediction.light", "std", "p_1", "p_2", "p_3", "p_4", "calibrated"]
    assert list(lines[0]) == ["id", "subset", *human, *model]
    assert [line["id"] for line in lines] == [row.id for row in rows]
    for line, row in zip(lines, rows, strict=True):
        assert float(line["score"]) == pytest.approx(row.scores["overall"], rel=1e-8)
        assert float(line["prediction.light"]) == pytest.approx(row.predictions["light"], rel=1e-8)
        assert [float(line[f"h_{n}"]) for n in range(1, 5)] == pytest.approx(list(row.h_n), rel=1e-8)
        assert line["calibrated"] == "no"
    assert lines[3]["prediction"] == ""


def test_predictions_csv_has_only_the_columns_there_is_something_for(tmp_path):
    rows = [EvaluatedRow("a, b", {"overall": 1.0}, {"overall": None}), EvaluatedRow("c", {}, {"overall": 0.1 + 0.2})]
    write_evaluation(tmp_path, rows, evaluate_predictions(rows, space=None, calibrated=True))
    assert (tmp_path / "predictions.csv").read_text() == 'id,score,prediction\n"a, b",1,\nc,,0.3\n'


def test_metrics_json_is_the_metrics(tmp_path):
    rows = make_rows()
    found = make_metrics(rows)
    paths = write_evaluation(tmp_path, rows, found)
    assert json.loads((tmp_path / "metrics.json").read_text()) == found
    assert [path.name for path in paths] == ["metrics.json", "predictions.csv"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.json", "predictions.csv"]


def test_table_shows_each_metric_with_its_interval():
    rows = make_rows()
    found = make_metrics(rows, threshold=2.5, calibrated=False)
    table = format_table(found)
    lines = table.splitlines()
    assert lines[0] == "overall: 21 rows, 3 unscored and left out, scores on 1..4, threshold of the accuracy 2.5"
    expected = f"{found['srcc']:.3f}   [{found['srcc_low']:.3f}, {found['srcc_high']:.3f}]"
    assert next(line for line in lines if line.startswith("  SRCC")).split(maxsplit=1)[1] == expected
    for name in ("PLCC mapped", "KRCC", "MAE", "RMSE on 0..1", "accuracy", "EMD", "light", "subset night"):
        assert any(line.startswith(f"  {name} ") for line in lines), name
    assert "uncalibrated" in lines[-2]
    assert max(map(len, lines)) <= 100


def test_table_gives_reasons_instead_of_numbers_it_does_not_have():
    rows = [EvaluatedRow(str(n), {"overall": n}, {"overall": n}) for n in range(2)]
    table = format_table(evaluate_predictions(rows, space=None))
    assert "SRCC                 -" in table
    assert "note: * (6 metrics): 2 rows with a prediction, fewer than 3" in table
    without_intervals = format_table(make_metrics(make_rows(), n_resamples=0))
    assert "95% interval" not in without_intervals
    assert "[" not in without_intervals


def test_a_subset_may_have_a_slash_in_its_name():
    rows = [EvaluatedRow(str(n), {"overall": n}, {"overall": n}, subset="indoor/day") for n in range(4)]
    table = format_table(evaluate_predictions(rows, space=None, n_resamples=0))
    assert "  subset indoor/day       4  1.000" in table


def test_rows_of_records_hold_both_sides():
    score = Score(2.5, 0.5, (0.25,) * 4, tuple(LEVELS), SPACE.range, calibrated=True)
    records = [
        Record("a", ("a.jpg",), {"overall": 2.0}, {"overall": (0.5, 0.5, 0, 0)}, dataset="AVA"),
        Record("b", ("b.jpg",), {"overall": 3.0}, {"overall": (0.5, 0.5)}, dataset="PARA"),
    ]
    rows = evaluated_rows(records, [Assessed({"overall": score}), Assessed({"overall": None})])
    assert rows[0] == EvaluatedRow(
        "a", {"overall": 2.0}, {"overall": 2.5}, 0.5, (0.25,) * 4, (0.5, 0.5, 0, 0), "AVA", "a.jpg"
    )
    assert (rows[1].predictions, rows[1].std, rows[1].subset) == ({"overall": None}, None, "PARA")
    other_levels = evaluated_rows(records[1:], [Assessed({"overall": score})])[0]
    assert (other_levels.h_n, other_levels.subset) == (None, None)


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
            "--split says nothing about a file of predictions",
        ),
        (
            ["--checkpoint", "c", "--data_path", "d", "--max_score", "1", "--min_score", "0", "--out", "x"],
            "own; leave it",
        ),
        (["--predictions", "p.csv", "--n_resamples", "-5", "--out", "x"], "--n_resamples is -5"),
        (["--predictions", "p.csv", "--seed", "-1", "--out", "x"], "--seed is -1; expected 0 or more"),
        (["--predictions", "p.csv", "--threshold", "nan", "--out", "x"], "--threshold is nan; expected a finite"),
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
