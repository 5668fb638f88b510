"""metrics.json and predictions.csv of an evaluation."""

import csv
import json

import pytest
from evaluations import make_metrics, make_rows

from roc.evaluation.evaluated_rows import EvaluatedRow
from roc.evaluation.folder import write_evaluation
from roc.evaluation.summary import evaluate_predictions


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
