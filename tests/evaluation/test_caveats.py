"""Caveats: each is said where it holds, and nothing is said of a sound evaluation."""

import numpy as np
import pytest
from evaluations import make_rows

from roc.evaluation.caveats import find_caveats
from roc.evaluation.evaluated_rows import EvaluatedRow
from roc.evaluation.report import report_html
from roc.evaluation.summary import evaluate_predictions
from roc.evaluation.table import format_table
from roc.score_space import ScoreSpace

SPACE = ScoreSpace(1, 10)


def metrics_of(predictions, scores, space=SPACE, **known):
    rows = [
        EvaluatedRow(str(n), {"overall": float(score)}, {"overall": float(prediction)})
        for n, (prediction, score) in enumerate(zip(predictions, scores, strict=True))
    ]
    metrics = evaluate_predictions(rows, space=space, n_resamples=20) | known
    return metrics | {"caveats": find_caveats(metrics)}


SCORES = np.linspace(2, 9, 40)
EFFECT = {"image_n": 32, "image_spread": 1.0, "image_swapped": 1.1, "image_black": 2.0}


def test_a_sound_evaluation_has_none():
    metrics = metrics_of(SCORES + 0.5, SCORES, split="test", **EFFECT)
    assert metrics["caveats"] == []
    table = format_table(metrics)
    assert "caution" not in table and "  human scores 2 to 9, predictions 2.5 to 9.5" in table
    assert "does it look at the picture: scores move by 1.1 (12.22% of the range) when pictures are" in table


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ({"split": "val"}, "these are validation rows"),
        ({"mapped_from": [1, 5]}, "human scores were mapped from 1..5 onto 1..10"),
        (EFFECT | {"image_swapped": 0.008, "image_black": 0.002}, "do not depend on the image: they move by 0.09%"),
        (EFFECT | {"image_swapped": None, "image_black": 0.0}, "do not depend on the image: they move by 0.00%"),
        ({"untrained": True} | EFFECT | {"image_swapped": 0.0, "image_black": 0.0}, "the score head is untrained"),
        ({"idle_adapter": True}, "the adapter changes nothing"),
        ({"stand_in": True, "trained_on": "drawn scenes"}, "is a stand-in to try the software with, trained on drawn"),
    ],
)
def test_what_is_known_of_rows_and_checkpoint_is_said_in_table_and_report(known, said):
    metrics = metrics_of(SCORES + 0.5, SCORES, **known)
    (caveat,) = metrics["caveats"]
    assert said in caveat
    assert said in " ".join(format_table(metrics).split())
    assert said in report_html([], metrics, {}, {})


def test_human_scores_in_the_lower_half_are_said():
    (caveat,) = metrics_of(SCORES / 2, SCORES / 2)["caveats"]
    assert caveat.startswith("all human scores (1..4.5) lie in the lower half of 1..10; if they were given on another")
    assert metrics_of(SCORES / 2, SCORES / 2, None)["caveats"] == []


def test_few_rows_are_said_and_get_no_decimals():
    metrics = metrics_of([3, 4.2, 4, 8], [2, 3, 5, 9])
    assert "few rows (4 rows; below 30)" in metrics["caveats"][0]
    table, page = format_table(metrics), report_html([], metrics, {}, {})
    assert metrics["srcc"] == pytest.approx(0.8)
    assert "SRCC              ~0.8   [" in table and "~0.8" in page
    assert f"{metrics['plcc']:.3f}" not in table and f"{metrics['plcc']:.3f}" not in page
    assert metrics_of(SCORES[:30], SCORES[:30])["caveats"] == []


def test_few_rows_of_a_subset_or_another_score_are_named():
    rows = make_rows(60)
    rows += [EvaluatedRow("x", {"overall": 2.0}, {"overall": 2.5}, subset="dusk")]
    found = evaluate_predictions(rows, space=ScoreSpace(1, 4), attributes=("overall", "light"), n_resamples=0)
    assert found["caveats"] == [
        "few rows (24 of subset day, 1 of subset dusk; below 30): numbers are rounded to one digit "
        "and marked ~, and other photos may give quite different ones"
    ]


@pytest.mark.parametrize("space", [SPACE, None])
def test_predictions_that_hardly_vary(space):
    metrics = metrics_of(3.03 + 1e-3 * SCORES, SCORES, space)
    assert metrics["srcc"] == 1
    assert metrics["caveats"] == [
        "predictions hardly vary: their standard deviation is 0.0021, that of people's scores 2.1; whatever the "
        "correlation, every photo gets about the same score"
    ]
    # People hardly differ either: nothing to reproach the model with.
    assert metrics_of(6 + 0.01 * SCORES, 6 + 0.01 * SCORES, space)["caveats"] == []


def test_predictions_on_another_scale():
    (caveat,) = metrics_of(10 * SCORES, SCORES, None)["caveats"]
    assert caveat == "predictions lie on 20..90 and human scores on 2..9: MAE and RMSE compare two scales"
