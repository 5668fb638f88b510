"""What intervals hold, counted by hand, from rows and from files."""

import pytest

from roc.data.rows import DataError
from roc.evaluation.caveats import find_caveats
from roc.evaluation.evaluate import evaluate
from roc.evaluation.evaluated_rows import EvaluatedRow
from roc.evaluation.intervals import interval_metrics, interval_parts
from roc.evaluation.options import EvaluateOptions
from roc.evaluation.predictions import read_predictions, write_predictions
from roc.evaluation.report import report_html
from roc.evaluation.summary import evaluate_predictions
from roc.evaluation.table import format_table
from roc.score_space import ScoreSpace


def row(number, rating, prediction, half):
    ends = {} if half is None else {"overall": (prediction - half, prediction + half)}
    return EvaluatedRow(str(number), {"overall": rating}, {"overall": prediction}, intervals=ends)


@pytest.fixture
def rows():
    """Nine rows: of the low third all ratings are inside, of the middle two, of the high one; one more has none."""
    errors = (0, 0.5, -1, 1, 1.5, 0.2, 3, -1, 2)
    return [row(n, 1 + n + error, 1.0 + n, 1.0) for n, error in enumerate(errors)] + [row(9, 3, 4.0, None)]


def test_ratings_inside_are_counted_in_all_and_by_thirds(rows):
    found = interval_metrics(rows, ("overall",), 0.9)
    assert (found["interval_level"], found["interval_n"], found["interval_width"]) == (0.9, 9, 2)
    assert found["interval_coverage"] == pytest.approx(6 / 9)
    assert found["interval_coverage_low"] < 6 / 9 < found["interval_coverage_high"]
    thirds = found["interval_thirds"]
    assert [(one["to"], one["n"], one["coverage"]) for one in thirds] == [
        (3, 3, 1), (6, 3, pytest.approx(2 / 3)), (9, 3, pytest.approx(1 / 3))
    ]  # fmt: skip
    # Clopper and Pearson: all of 3 inside, lower end 0.025^(1/3)
    assert thirds[0]["low"] == pytest.approx(0.025 ** (1 / 3)) and thirds[0]["high"] == 1
    (part,) = interval_parts({"attributes": ["overall"], **found})
    assert part.text.startswith("0.667 [") and part.text.endswith("] of 9") and len(part.thirds) == 3
    assert interval_metrics([row(1, 3, 4.0, None)], ("overall",), 0.9) == {}
    assert "interval_thirds" not in interval_metrics(rows[:8], ("overall",), 0.9)


def test_a_file_of_predictions_brings_its_intervals(tmp_path, rows):
    path = write_predictions(tmp_path / "p.csv", rows, ("overall",), coverage=0.9)
    read = read_predictions(path)
    assert read.coverage == 0.9 and [one.intervals for one in read.rows] == [one.intervals for one in rows]
    options = EvaluateOptions(predictions=str(path), out=str(tmp_path / "out"), n_resamples=0, report=False)
    metrics = evaluate(options).metrics
    assert metrics["interval_coverage"] == pytest.approx(6 / 9)
    table = format_table(metrics)
    assert "intervals at 0.9 hold 0.667" in table and "by thirds of the predicted score: low (to 3) 1.000" in table
    page = report_html(rows, metrics, {}, {})
    assert "<h2>Intervals</h2>" in page and "model 7.00 (6.00 to 8.00)" in page


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("score,prediction,low,high\n1,1,2,1\n", "low and high are no interval"),
        ("score,prediction,low,high\n1,1,2,\n", "low and high are no interval"),
        ("score,prediction,low,high,coverage\n1,1,1,2,90\n", "coverage is 90; expected one share"),
        ("score,prediction,low,high,coverage\n1,1,1,2,0.9\n1,1,1,2,0.8\n", "coverage is 0.8; expected one share"),
    ],
)
def test_intervals_that_are_none_are_faults(tmp_path, text, said):
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(DataError, match=said):
        read_predictions(tmp_path / "p.csv")


def test_rows_that_were_calibrated_on_say_nothing(rows):
    metrics = evaluate_predictions(rows, space=ScoreSpace(1, 12, 2), attributes=("overall",), n_resamples=0)
    found = set(find_caveats({**metrics, "interval_overlap": 4})) - set(find_caveats(metrics))
    assert len(found) == 1 and "about 4 of them" in found.pop()
