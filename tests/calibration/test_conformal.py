"""Half widths by the rule of n + 1, on numbers that one can count."""

import pytest

from roc.calibration.conformal import fewest_rows, half_width, likely_coverage, rank_for, widths_of_thirds


@pytest.mark.parametrize(
    ("rows", "level", "rank"), [(9, 0.9, 9), (8, 0.9, 9), (19, 0.9, 18), (99, 0.7, 70), (1, 0.5, 1)]
)
def test_the_rank_is_exact(rows, level, rank):
    assert rank_for(rows, level) == rank  # in floating point, 100 * 0.7 is 70.00000000000001 elsewhere


def test_the_fewest_ratings_of_a_level():
    assert [fewest_rows(level) for level in (0.5, 0.8, 0.9, 0.95, 0.99)] == [1, 4, 9, 19, 99]
    assert half_width([3, 1, 2, 5, 4, 9, 8, 7, 6], 0.9) == 9
    with pytest.raises(ValueError, match="8 ratings are too few for intervals at 0.9; it takes 9 or more"):
        half_width([1.0] * 8, 0.9)


@pytest.mark.parametrize(("level", "held"), [(0.5, 5), (0.8, 8), (0.81, 9)])
def test_intervals_hold_their_level_of_what_they_have_not_seen(level, held):
    """Ten distances, each held out once: those of rank 1 to k = ceil(10 * level) lie within the others' width."""
    distances = [0.1, 5.0, 0.7, 0.3, 2.0, 0.2, 1.1, 0.9, 3.0, 0.4]
    inside = [
        distance <= half_width(distances[:place] + distances[place + 1 :], level)
        for place, distance in enumerate(distances)
    ]
    assert sum(inside) == held


def test_each_third_has_a_width_of_its_own():
    """Ratings of low scores are near, of high ones far: one width holds all of the former and too few of the latter."""
    scores = [1, 2, 3, 4, 5, 6, 7, 8, 9]
    distances = [0.1, 0.2, 0.3, 1.1, 1.2, 1.3, 2.1, 2.2, 2.3]
    assert widths_of_thirds(scores, distances, 0.5) == ((4, 7), (0.2, 1.2, 2.2))
    assert half_width(distances, 0.5) == 1.2
    with pytest.raises(ValueError, match="a third of the scores has 3 ratings, and intervals at 0.9 take 9"):
        widths_of_thirds(scores, distances, 0.9)
    with pytest.raises(ValueError, match="has 0 ratings"):
        widths_of_thirds([5.0] * 9, distances, 0.5)  # one score for all is one third only


def test_how_far_one_calibration_may_be_off():
    assert likely_coverage(1, 0.5) == pytest.approx((0.05, 0.95))  # Beta(1, 1) is uniform
    low, high = likely_coverage(999, 0.9)
    assert 0.88 < low < 0.9 < high < 0.92
