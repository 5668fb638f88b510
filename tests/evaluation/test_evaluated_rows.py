"""Rows of human and predicted scores, made from records and scores."""

import pytest
from evaluations import LEVELS, SPACE

from roc.data.records import Record
from roc.evaluation.evaluated_rows import EvaluatedRow, distributions, evaluated_rows
from roc.scoring.results import Assessed, Score


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


def test_a_distribution_needs_a_histogram_of_as_many_levels():
    row = EvaluatedRow("x7", {"overall": 2.0}, {"overall": 2.0}, p_n=[0.5, 0.5], h_n=[0.2, 0.3, 0.5])
    with pytest.raises(ValueError, match="row x7: 2 predicted levels and 3 histogram bins"):
        distributions([row], "overall")
