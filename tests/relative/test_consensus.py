"""Votes become a consensus by modified z-scores or Tukey's biweight, and anchors lie evenly over the scale."""

import math

import pytest

from roc.relative.consensus import biweight, choose_anchors, consensus, distances


def test_an_outlier_is_left_out():
    """The vector red.mad.outlier."""
    votes = [6.1, 6.3, 6.0, 6.2, 9.5]
    found = consensus(votes)
    assert found.value == pytest.approx(6.15) and found.keep == (True, True, True, True, False)
    assert found.mad == pytest.approx(0.1) and distances(votes) == pytest.approx([-0.6745, 0.6745, -1.349, 0, 22.2585])
    assert found.spread == pytest.approx(math.sqrt((0.05**2 + 0.15**2) * 2 / 3))


def test_without_any_spread_only_equal_votes_count():
    """The vector red.mad.zero."""
    found = consensus([5.0, 5.0, 5.0, 7.0])
    assert (found.value, found.keep, found.mad, found.spread) == (5.0, (True, True, True, False), 0, 0)
    assert distances([5.0, 5.0, 4.0]) == [0, 0, -math.inf]
    assert consensus([5.0, 5.0, 5.0, 7.0], "biweight").value == 5.0


@pytest.mark.parametrize(
    ("votes", "expected"), [([6.1, 6.3, 6.0, 6.2, 9.5], 6.15706499), ([4.0, 5.0, 6.0], 5.0)], ids="ab"
)
def test_biweight(votes, expected):
    """The vectors red.biweight.a and .b."""
    assert biweight(votes) == pytest.approx(expected, abs=1e-6)
    assert consensus(votes, "biweight").value == biweight(votes)


def test_the_cut_off_decides_which_votes_count():
    votes = [4.0, 5.0, 6.0, 9.3]  # MAD 1, median 5.5: the last one is 2.56 out
    assert [consensus(votes, cutoff=cutoff).keep[-1] for cutoff in (2.5, 3.0, 3.5)] == [False, True, True]


def test_too_few_votes_make_no_consensus():
    assert consensus([5.0, 5.1]).value is None and consensus([5.0, 5.1], fewest=2).value == pytest.approx(5.05)
    assert consensus([5.0, 5.0, 9.0]).value is None
    for votes in ([], [5.0, math.nan]):
        with pytest.raises(ValueError, match="expected one finite number or more"):
            consensus(votes)


def test_anchors_come_in_equal_numbers_from_every_part_of_the_scale():
    scores = {f"{tenth}.{number}": tenth + number / 100 for tenth in range(10) for number in range(50)}
    chosen = choose_anchors(scores, 200)
    parts = [int(scores[name]) for name in chosen]
    assert len(chosen) == 200 and {parts.count(tenth) for tenth in range(10)} == {20}
    assert chosen == choose_anchors(scores, 200) != choose_anchors(scores, 200, seed=1)
    assert chosen == sorted(chosen, key=list(scores).index)


def test_a_part_without_enough_photos_is_made_up_for():
    scores = {"lowest": 0.0, "best": 10.0} | {f"middle {number}": 5.0 for number in range(9)}
    chosen = choose_anchors(scores, 5)
    assert len(chosen) == 5 and {"lowest", "best"} <= set(chosen)
    assert choose_anchors(scores, 99) == list(scores) and choose_anchors({}, 5) == []
    assert len(choose_anchors({f"{tenth}": tenth for tenth in range(10)}, 4)) == 4
