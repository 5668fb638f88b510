"""The rewards against the recorded vectors, and the rules for ties, flat pictures and answers that cannot be read."""

import math

import pytest

from roc.policy import rewards
from roc.policy.rewards import Moments


def columns(preds, mos):
    """Makes the columns of N pictures with K answers each."""
    values = [value for row in preds for value in row]
    targets = [score for row, score in zip(preds, mos, strict=True) for _ in row]
    pictures = [str(i) for i, row in enumerate(preds) for _ in row]
    return values, targets, pictures, [None] * len(values)


@pytest.mark.parametrize("name", ["aes.fidelity.coded", "aes.fidelity.coded0"])
def test_fidelity_as_coded(vectors, name):
    given = vectors[name]["inputs"]
    found = rewards.fidelity(
        given["o"], given["var_i"], Moments(given["mu"], given["var_j"]), given["gt"], smoothing=1e-6, floor=0
    )
    assert found == pytest.approx(vectors[name]["expected"], abs=1e-6)


@pytest.mark.parametrize("name", ["aes.fidelity.paper", "aes.fidelity.paper_tie"])
def test_fidelity_of_the_paper(vectors, name):
    given = vectors[name]["inputs"]
    found = rewards.fidelity(
        given["o"], given["var_i"], Moments(given["mu"], given["var_j"]), given["pc"], gamma=given["gamma"]
    )
    assert found == pytest.approx(vectors[name]["expected"], abs=1e-6)


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("aes.rank.tie_half", {}),
        ("aes.rank.paper2", {}),
        ("aes.rank.coded_tie1", rewards.PUBLISHED_RANK),
        ("aes.rank.zero_var", rewards.PUBLISHED_RANK),
    ],
)
def test_rank_reference(vectors, name, form):
    entry = vectors[name]
    found = rewards.rank_rewards(*columns(entry["inputs"]["preds"], entry["inputs"]["mos"]), **form)
    assert found == pytest.approx([value for row in entry["expected"] for value in row], abs=entry["tol"])


def test_a_small_gap_between_flat_pictures_is_no_certain_loss(vectors):
    """Published, 0.01 is ten standard deviations; with the floor it is a third of one."""
    given = vectors["aes.rank.zero_var"]["inputs"]
    found = rewards.rank_rewards(*columns(given["preds"], given["mos"]))
    loses = 0.5 * math.erfc(0.01 / math.sqrt(2 * 0.02**2) / math.sqrt(2))
    assert found == pytest.approx([math.sqrt(loses)] * 8)
    assert found[0] > 0.55


def test_the_rank_does_not_change_with_a_shift_of_all_scores_or_a_monotone_map_of_the_targets(vectors):
    given = vectors["aes.rank.coded_tie1"]["inputs"]
    found = rewards.rank_rewards(*columns(given["preds"], given["mos"]))
    shifted = [[value + 0.1 for value in row] for row in given["preds"]]
    assert rewards.rank_rewards(*columns(shifted, [7, 2, 7])) == pytest.approx(found, abs=1e-9)


def test_pictures_are_ranked_within_their_data_set_only():
    values, targets, pictures = [0.9, 0.8, 0.1, 0.2], [0.9, 0.9, 0.1, 0.1], ["a", "a", "b", "b"]
    assert rewards.rank_rewards(values, targets, pictures, ["ava"] * 4)[0] > 0.99
    assert rewards.rank_rewards(values, targets, pictures, ["ava", "ava", "para", "para"]) == [0.0] * 4


def test_an_answer_that_cannot_be_read_gets_nothing_and_is_compared_with_nothing():
    read = ([0.6, 0.7, 0.5, 0.3], [0.8, 0.8, 0.2, 0.2], ["a", "a", "b", "b"], [None] * 4)
    with_unread = tuple(
        [*column[:2], extra, *column[2:]] for column, extra in zip(read, (None, 0.8, "a", None), strict=True)
    )
    expected = rewards.rank_rewards(*read)
    assert rewards.rank_rewards(*with_unread) == [*expected[:2], 0.0, *expected[2:]]
    assert rewards.error_rewards([None, 0.5], [0.5, 0.5]) == [0.0, pytest.approx(1.00001)]
    assert rewards.binary_rewards([None], [0.5]) == [0.0]
    assert rewards.format_rewards([None, 0.5]) == [0.0, 1.0]


def test_a_picture_of_which_no_answer_can_be_read_is_compared_with_nothing():
    values, targets, pictures = [0.6, None, None, 0.2], [0.8, 0.8, 0.5, 0.1], ["a", "a", "b", "c"]
    found = rewards.rank_rewards(values, targets, pictures, [None] * 4)
    without = rewards.rank_rewards([0.6, 0.2], [0.8, 0.1], ["a", "c"], [None] * 2)
    assert found == [without[0], 0.0, 0.0, without[1]]


def test_what_nobody_rated_has_no_reward_but_that_of_the_format():
    values, targets, pictures = [0.6, 0.4, 0.2], [None, 0.5, 0.1], ["a", "b", "c"]
    assert rewards.rank_rewards(values, targets, pictures, [None] * 3)[0] is None
    assert rewards.error_rewards(values, targets)[0] is None
    assert rewards.binary_rewards(values, targets)[0] is None
    # and it changes nothing for the others
    assert rewards.rank_rewards(values, targets, pictures, [None] * 3)[1:] == rewards.rank_rewards(
        values[1:], targets[1:], pictures[1:], [None] * 2
    )


@pytest.mark.parametrize("name", ["aes.abs.hit", "aes.abs.far", "aes.abs.scaled"])
def test_error_reference(vectors, name):
    given = vectors[name]["inputs"]
    found = rewards.error_rewards([given["o"]], [given["s"]], sigma=given["sigma"], offset=given["eps"])
    assert found == [pytest.approx(vectors[name]["expected"], rel=1e-6)]


@pytest.mark.parametrize("name", ["aes.binary", "aes.binary.edges"])
def test_binary_reference(vectors, name):
    values, targets = zip(*vectors[name]["inputs"]["pairs"], strict=True)
    assert rewards.binary_rewards(values, targets) == vectors[name]["expected"]


def test_format_reference(vectors):
    entry = vectors["aes.format"]
    assert rewards.published_format_rewards(entry["inputs"]["texts"]) == entry["expected"]
