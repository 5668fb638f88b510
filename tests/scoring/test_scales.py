"""Scores of several data sets: the same score on the scale of one of them."""

import pytest

from roc.model.scales import DataScale
from roc.scoring.results import Assessed, Score
from roc.scoring.scales import on_scale

SHARED = Score(
    value=2.5, std=0.5, distribution=(0, 0.5, 0.5, 0, 0), levels=(1, 2, 3, 4, 5), range=(1, 5), calibrated=True
)


def test_a_score_on_a_linked_scale():
    """The link goes from 0 over 20 at the middle to 100; the shared levels 2 and 3 come to lie on 10 and 20."""
    scale = DataScale("KonIQ", (0, 100), {"overall": (0.0, 20.0, 100.0)})
    found = on_scale(Assessed({"overall": SHARED, "light": None}, path="a.jpg"), scale)
    score = found.scores["overall"]
    assert score.value == pytest.approx(15.0) and score.range == (0.0, 100.0)
    assert score.levels == (0.0, 25.0, 50.0, 75.0, 100.0)
    # 10 is two fifths of the way from 0 to 25, 20 four fifths.
    assert score.distribution == pytest.approx((0.5 * 0.6 + 0.5 * 0.2, 0.5 * 0.4 + 0.5 * 0.8, 0, 0, 0))
    assert score.std == pytest.approx((0.4 * 0.6) ** 0.5 * 25)
    assert found.scores["light"] is None and found.path == "a.jpg"


def test_without_a_link_range_goes_onto_range():
    score = on_scale(Assessed({"overall": SHARED}), DataScale("PARA", (0, 8))).scores["overall"]
    assert score.value == pytest.approx(3.0) and score.std == pytest.approx(1.0)
    assert score.distribution == pytest.approx(SHARED.distribution)
