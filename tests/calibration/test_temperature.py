"""Temperatures of two levels, where a logit is the logarithm of a ratio."""

import numpy as np
import pytest

from roc.calibration.temperature import fit_temperature, log_loss, shared_vote, tempered

LEVELS = np.array([1.0, 2.0, 3.0])


def test_a_temperature_divides_logits():
    # ln 4 / 2 = ln 2
    assert tempered(np.array([[0.8, 0.2]]), 2.0)[0] == pytest.approx([2 / 3, 1 / 3])
    assert log_loss(np.array([[0.8, 0.2]]), np.array([[0.0, 1.0]]), 2.0) == pytest.approx(np.log(3))


def test_the_best_temperature_is_found():
    shares = np.array([[0.8, 0.2], [1 / 17, 16 / 17]])  # ratios 4 and 1/16, of the votes 2 and 1/4
    votes = np.array([[2 / 3, 1 / 3], [0.2, 0.8]])
    found = fit_temperature(shares, votes)
    assert found.temperature == pytest.approx(2, rel=1e-4) and found.after < found.before
    entropy = -(votes * np.log(votes)).sum(axis=1).mean()
    assert found.after == pytest.approx(entropy)


@pytest.mark.parametrize(("vote", "what"), [((0.5, 0.5), "flatter"), ((1.0, 0.0), "sharper")])
def test_no_temperature_where_there_is_no_best_one(vote, what):
    with pytest.raises(ValueError, match=f"1 ratings ask for ever {what} distributions"):
        fit_temperature(np.array([[0.8, 0.2]]), np.array([vote]))


@pytest.mark.parametrize(
    ("rating", "shares"), [(2.25, (0, 0.75, 0.25)), (1, (1, 0, 0)), (3, (0, 0, 1)), (0, (1, 0, 0)), (9, (0, 0, 1))]
)
def test_a_rating_is_a_vote_shared_by_its_neighbours(rating, shares):
    assert shared_vote(rating, LEVELS) == pytest.approx(shares)
