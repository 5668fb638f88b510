"""The table on the terminal."""

from evaluations import make_metrics, make_rows

from roc.evaluation.evaluated_rows import EvaluatedRow
from roc.evaluation.summary import evaluate_predictions
from roc.evaluation.table import format_table


def test_table_shows_each_metric_with_its_interval():
    rows = make_rows(40)
    found = make_metrics(rows, threshold=2.5, calibrated=False)
    table = format_table(found)
    lines = table.splitlines()
    assert lines[0] == "overall: 36 rows, 4 unscored and left out, scores on 1..4, threshold of the accuracy 2.5"
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
    assert "  subset indoor/day       4  ~1" in table
