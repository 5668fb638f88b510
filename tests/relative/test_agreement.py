"""The median of unanimous judges counts; agreement and the edit check by numbers that can be redone on paper."""

import pytest

from roc.relative.agreement import agreement, direction, edit_quality, fleiss_kappa, unbiased, verdict


def test_unanimous_judges_give_the_median():
    """The vectors red.judges.keep and .drop."""
    kept = verdict([0.8, 1.5, 0.4])
    assert (kept.unanimous, kept.direction, kept.delta) == (True, 1, 0.8)
    assert kept.spread == pytest.approx(0.5567764)
    dropped = verdict([0.8, -0.2, 0.4])
    assert (dropped.unanimous, dropped.direction, dropped.delta) == (False, 0, None)
    assert verdict([-1.0, -2.0])[:2] == (-1, -1.5) and verdict([-0.5]) == (-1, -0.5, None)


def test_no_change_has_no_direction():
    assert verdict([0.0, 0.0, 0.0]).direction == 0 and not verdict([1.0, 0.0]).unanimous
    assert [direction(value) for value in (2.0, -0.1, 0.0, 1e-12)] == [1, -1, 0, 0]


def test_a_liking_for_the_first_picture_cancels_out():
    assert unbiased(1.0 - 0.6, -1.0 - 0.6) == pytest.approx(1.0)


def test_agreement_before_filtering():
    judged = [
        {"a": 1.0, "b": 0.5, "c": 2.0},
        {"a": -1.0, "b": -0.5, "c": 0.5},
        {"a": -1.0, "b": -2.0, "c": -0.1},
        {"a": 0.0, "b": 0.0, "c": 0.0},
        {"a": 1.0},  # two judges did not answer
    ]
    found = agreement(judged)
    assert found.pairs == 4 and found.unanimous == 0.5
    assert found.pairwise == {("a", "b"): 1.0, ("a", "c"): 0.75, ("b", "c"): 0.75}
    # counts (worse, same, better): 003, 201, 300, 030. Observed (1 + 1/3 + 1 + 1)/4, chance (25 + 9 + 16)/144.
    assert found.kappa == pytest.approx((10 / 12 - 50 / 144) / (1 - 50 / 144))
    assert agreement([]) == (0, {}, None, None)


def test_kappa_of_the_usual_example():
    """Fleiss 1971, as textbooks redo it: ten items, fourteen judges, five categories."""
    counts = [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]  # fmt: skip
    assert fleiss_kappa(counts) == pytest.approx(0.2099, abs=1e-4)
    assert fleiss_kappa([[2, 0], [0, 2]]) == 1 and fleiss_kappa([[1, 1], [1, 1]]) == -1
    assert fleiss_kappa([[3, 0], [3, 0]]) is None and fleiss_kappa([[1, 0], [0, 1]]) is None
    with pytest.raises(ValueError, match="the same number for each"):
        fleiss_kappa([[2, 0], [1, 0]])


def test_the_edit_check_takes_the_lower_marks():
    assert edit_quality(8, 4.5, 9, 2) == pytest.approx(3.0) and edit_quality(10, 10, 10, 0) == 0
    with pytest.raises(ValueError, match="expected numbers in 0..10"):
        edit_quality(11, 5, 5, 5)
