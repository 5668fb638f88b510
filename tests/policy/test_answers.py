"""Rewards by their names, redone on paper, in both forms."""

import math

import pytest

from roc.policy.answers import Answer, Answers, rewards_of


def answer(picture, value, target=None, *, text="", group=None, delta=None):
    return Answer(value, text, "good" if value is not None else "no_score", picture, target, None, group, delta)


def test_the_published_form_has_its_ties_its_smoothing_its_rounding_and_its_rule_for_the_form():
    """Two pictures that people and head find equal: p is 1/2, ours wants 1/2, the published code 1."""
    texts = ["<think>a</think><answer>[SCORE]</answer>", "<think>a</think> <answer>no number</answer>", "[SCORE]"]
    rows = [answer("a", 0.5, 0.6, text=texts[0]), answer("b", 0.5, 0.6, text=texts[0])]
    rows += [answer("c", None, text=texts[1]), answer("d", None, text=texts[2])]
    names = ["rank", "error", "format"]
    ours, published = (rewards_of(Answers(rows), names, published=form) for form in (False, True))
    assert ours["rank"][:2] == pytest.approx([1.0, 1.0])  # sqrt(1/4) twice
    assert published["rank"][:2] == [0.7081] * 2  # sqrt(1/2 + 1e-6) + sqrt(1e-6), four decimals
    assert ours["error"][0] == pytest.approx(math.exp(-0.5) + 1e-5, abs=1e-12) and published["error"][0] == 0.6065
    assert ours["rank"][2:] == published["error"][2:] == [None, None]
    assert ours["format"] == [1, 1, 0, 0] and published["format"] == [1, 1, 1, 0]


def test_the_binary_reward_has_its_two_steps_in_both_forms():
    rows = [answer(str(i), value, 0.5) for i, value in enumerate((0.55, 0.42, 0.65, None))]
    for published in (False, True):
        assert rewards_of(Answers(rows), ["binary"], published=published) == {"binary": [1.0, 0.5, 0.0, 0.0]}


def test_the_soft_relative_reward_knows_how_sure_a_comparison_is():
    """Two scores 0.02 apart, each of deviation 0.02 at least: the edit wins with Phi(1 / sqrt 2)."""
    rows = [answer("source", 0.5, group="g", delta=0.0), answer("edit", 0.52, group="g", delta=2.0), answer("x", 0.9)]
    found = rewards_of(Answers(rows), ["relative", "relative_soft"])
    wins = 0.5 * (1 + math.erf(0.5))
    assert found["relative"] == [1.0, 1.0, None]
    assert found["relative_soft"] == [pytest.approx(math.sqrt(wins)), pytest.approx(math.sqrt(wins)), None]
