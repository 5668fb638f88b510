"""What an evaluation computes from rows, what it writes, and that no half-written file stays behind."""

import csv
import errno
import json
import sys

import numpy as np
import pytest

from roc import evaluate, metrics
from roc.evaluate import EvaluatedRow, evaluate_predictions, format_table, plot_training, write_evaluation
from roc.score_space import ScoreSpace

SPACE = ScoreSpace(1, 4, num_levels=4)
LEVELS = np.array(SPACE.levels)


def make_rows(n=24, seed=0):
    """Rows with histograms, two attributes, two subsets and one unscored row in ten."""
    generator = np.random.default_rng(seed)
    rows = []
    for number in range(n):
        h = generator.dirichlet([1, 2, 2, 1])
        p = 0.7 * h + 0.3 * generator.dirichlet([1, 1, 1, 1])
        score, prediction = float(h @ LEVELS), float(p @ LEVELS)
        rows.append(
            EvaluatedRow(
                id=f"photo{number}",
                scores={"overall": score, "light": score + 0.1 * generator.normal()},
                predictions={"overall": None if number % 10 == 3 else prediction, "light": prediction},
                std=float(np.sqrt(p @ LEVELS**2 - prediction**2)),
                p_n=p.tolist(),
                h_n=h.tolist(),
                subset="day" if number % 2 else "night",
            )
        )
    return rows


def make_metrics(rows, **options):
    given = {"space": SPACE, "attributes": ("overall", "light"), "n_resamples": 20} | options
    return evaluate_predictions(rows, **given)


def test_keys_of_each_part_agree_with_the_metrics_themselves():
    rows = make_rows()
    baseline = np.mean([row.h_n for row in rows], axis=0)
    found = make_metrics(rows, threshold=2.5, baseline_histogram=baseline, calibrated=True)
    assert found["attributes"] == ["overall", "light"]
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
    assert found["notes"] == {}
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
    write_evaluation(tmp_path / "new" / "folder", rows, make_metrics(rows, calibrated=False), plots=False)
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
    write_evaluation(tmp_path, rows, evaluate_predictions(rows, space=None, calibrated=True), plots=False)
    assert (tmp_path / "predictions.csv").read_text() == 'id,score,prediction\n"a, b",1,\nc,,0.3\n'


def test_metrics_json_is_the_metrics(tmp_path):
    rows = make_rows()
    found = make_metrics(rows)
    paths = write_evaluation(tmp_path, rows, found, plots=False)
    assert json.loads((tmp_path / "metrics.json").read_text()) == found
    assert [path.name for path in paths] == ["metrics.json", "predictions.csv"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.json", "predictions.csv"]


def test_a_full_disk_leaves_the_old_file_and_no_half_one(tmp_path, monkeypatch):
    rows = make_rows()
    found = make_metrics(rows)
    write_evaluation(tmp_path, rows, found, plots=False)
    before = (tmp_path / "predictions.csv").read_bytes()

    def half_then_full(path, rows, metrics):
        path.write_text("id,score\nphoto0,")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(evaluate, "_write_predictions", half_then_full)
    with pytest.raises(OSError, match="No space left"):
        write_evaluation(tmp_path, rows, found, plots=False)
    assert (tmp_path / "predictions.csv").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.json", "predictions.csv"]


def test_plots_are_pngs_for_what_the_rows_hold(tmp_path):
    pytest.importorskip("matplotlib")
    rows = make_rows()
    paths = write_evaluation(tmp_path, rows, make_metrics(rows, calibrated=False))
    assert [path.name for path in paths[2:]] == ["scatter.png", "errors.png", "distribution.png", "spread.png"]
    for path in paths[2:]:
        assert path.read_bytes().startswith(b"\x89PNG")

    bare = [EvaluatedRow(str(n), {"overall": n / 7}, {"overall": 0.5}) for n in range(7)]
    paths = write_evaluation(tmp_path / "bare", bare, evaluate_predictions(bare, space=None, n_resamples=0))
    assert [path.name for path in paths[2:]] == ["scatter.png", "errors.png", "distribution.png"]
    unscored = [EvaluatedRow("a", {"overall": 1.0}, {"overall": None})]
    assert len(write_evaluation(tmp_path / "none", unscored, evaluate_predictions(unscored, space=None))) == 2


def test_spread_is_drawn_against_the_errors_where_there_are_no_votes(tmp_path):
    pytest.importorskip("matplotlib")
    rows = [EvaluatedRow(str(n), {"overall": n / 7}, {"overall": 0.5}, std=0.1 + n / 50) for n in range(12)]
    paths = evaluate.write_plots(tmp_path / "plots", rows, evaluate_predictions(rows, space=None, n_resamples=0))
    assert paths[-1].name == "spread.png"


def test_numbers_are_kept_when_matplotlib_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    rows = make_rows()
    with pytest.raises(ImportError, match=r"pip install 'roc-mllm\[train\]'"):
        write_evaluation(tmp_path, rows, make_metrics(rows))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.json", "predictions.csv"]


def test_training_curves(tmp_path):
    pytest.importorskip("matplotlib")
    history = [{"step": step, "loss": 5 / step, "l1_loss": 2 / step, "learning_rate": 1e-4} for step in range(1, 40)]
    history += [{"step": 20, "eval_srcc": 0.5, "eval_plcc": None, "eval_mae": 0.4}, {"step": 40, "eval_srcc": 0.6}]
    history += [{"step": 40, "train_loss": 1.0, "train_runtime": 3.0, "loss": float("nan")}]
    path = plot_training(history, tmp_path / "training.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [file.name for file in tmp_path.iterdir()] == ["training.png"]
    assert plot_training([{"step": 1, "train_loss": 1.0, "epoch": 0.5}], tmp_path / "empty.png") is None
    assert not (tmp_path / "empty.png").exists()


def test_table_shows_each_metric_with_its_interval():
    rows = make_rows()
    found = make_metrics(rows, threshold=2.5, calibrated=False)
    table = format_table(found)
    lines = table.splitlines()
    assert lines[0] == "overall: 21 rows, 3 unscored and left out, scores on 1..4"
    expected = f"{found['srcc']:.3f}   [{found['srcc_low']:.3f}, {found['srcc_high']:.3f}]"
    assert next(line for line in lines if line.startswith("  SRCC")).split(maxsplit=1)[1] == expected
    for name in ("PLCC mapped", "KRCC", "MAE", "RMSE on 0..1", "accuracy", "EMD", "light", "subset night"):
        assert any(line.startswith(f"  {name} ") for line in lines), name
    assert "uncalibrated" in lines[-1]
    assert max(map(len, lines)) <= 100


def test_table_gives_reasons_instead_of_numbers_it_does_not_have():
    rows = [EvaluatedRow(str(n), {"overall": n}, {"overall": n}) for n in range(2)]
    table = format_table(evaluate_predictions(rows, space=None))
    assert "SRCC                 -" in table
    assert "note: * (6 metrics): 2 rows with a prediction, fewer than 3" in table
    without_intervals = format_table(make_metrics(make_rows(), n_resamples=0))
    assert "95%" not in without_intervals
    assert "[" not in without_intervals
