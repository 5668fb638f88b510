"""Relative ranking consistency against the recorded vectors and by hand."""

import pytest

from roc.policy import groups
from roc.policy.groups import Comparison
from roc.policy.rewards import Moments


@pytest.mark.parametrize("name", ["red.rrc.hard", "red.rrc.weighted_tie"])
def test_consistency_reference(vectors, name):
    given = vectors[name]["inputs"]
    weights = given.get("w", [1.0] * len(given["y"]))
    comparisons = [
        Comparison(Moments(mean, 0.0), sign, weight)
        for mean, sign, weight in zip(given["mu_others"], given["y"], weights, strict=True)
    ]
    found = groups.consistency(given["o"], comparisons, tie=given["tie"])
    assert found == pytest.approx(vectors[name]["expected"], abs=1e-6)


def test_soft_consistency_reference(vectors):
    given = vectors["red.rrc.fidelity"]["inputs"]
    other = Comparison(Moments(given["mu"], given["var_j"]), given["y"])
    found = groups.soft_consistency(given["o"], given["var_i"], [other])
    assert found == pytest.approx(vectors["red.rrc.fidelity"]["expected"], abs=1e-6)


def test_rewards_of_a_group_by_hand():
    """The source beats the bad edit and loses to the good one; the two good edits are too near each other to tell."""
    pictures = ["source", "good", "better", "bad"]
    deltas = [0.0, 2.0, 2.3, -0.5]
    values = [0.5, 0.6, 0.4, 0.45]
    found = groups.relative_rewards(values, deltas, ["g"] * 4, pictures)
    assert found == [
        pytest.approx((1 + 0 + 0.5) / 2.5),  # right to good, wrong to better, right to bad of weight 0.5
        pytest.approx(1.0),  # to source and bad
        pytest.approx(0.0),  # wrong to both
        pytest.approx((0.5 + 1 + 0) / 2.5),
    ]
    soft = groups.relative_rewards(values, deltas, ["g"] * 4, pictures, form="soft")
    assert soft[1] > 0.99 > 0.2 > soft[2]


def test_groups_do_not_mix_and_what_cannot_be_read_counts_for_nobody():
    pictures = ["a", "b", "c", "d", "e"]
    values = [0.5, 0.6, None, 0.9, 0.5]
    found = groups.relative_rewards(values, [0, 1, -1, 0, None], ["g", "g", "g", "h", None], pictures)
    assert found == [1.0, 1.0, 0.0, None, None]


def test_targets_are_the_means_of_the_others_and_the_differences():
    values = [0.5, 0.6, 0.7, 0.7, None, None]
    deltas = [0, 0, 2, 2, 1, 1]
    pictures = ["s", "s", "e", "e", "f", "f"]
    found = groups.relative_targets(values, deltas, ["g"] * 6, pictures)
    # the source: 0.7 - 0.2; e: 0.55 + 0.2; f: mean of 0.55 + 0.1 and 0.7 - 0.1
    assert found == pytest.approx([0.5, 0.5, 0.75, 0.75, 0.625, 0.625])
    assert groups.relative_targets([0.5], [0], ["g"], ["s"]) == [None]
