"""An answer with a critique is taken apart, or told by its kind; none is guessed."""

import pytest

from roc.model.reasoned import (
    GOOD,
    WRONG,
    count_kinds,
    read_answer,
    reasoned_answer,
    reasons,
    take_apart,
    told_answers,
    told_kinds,
)


def test_the_taught_answer_is_good():
    answer = read_answer(reasoned_answer("Soft light."))
    assert (answer.critique, answer.kind, answer.good) == ("Soft light.", GOOD, True)
    assert read_answer(" <think>a\nb</think>\n<answer> [SCORE] </answer>\n").critique == "a\nb"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("<think>a</think><answer>[SCORE]", "no_answer"),
        ("a plain text", "no_answer"),
        ("", "no_answer"),
        ("<think>a</think><answer>[SCORE]</answer><answer>[SCORE]</answer>", "two_answers"),
        ("<think>a</think><answer>[SCORE][SCORE]</answer>", "two_answers"),
        ("<think>a</think><answer>[SCORE]</answer></answer>", "two_answers"),
        ("<think>[SCORE]</think><answer>[SCORE]</answer>", "score_outside"),
        ("<think>a</think><answer></answer>[SCORE]", "score_outside"),
        ("<think>a</think>[SCORE]</answer>", "score_outside"),
        ("<think>a</think><answer>0.6</answer>", "no_score"),
        ("<think> \n</think><answer>[SCORE]</answer>", "no_critique"),
        ("<answer>[SCORE]</answer>", "no_critique"),
        ("so <think>a</think><answer>[SCORE]</answer>", "malformed"),
        ("<think>a</think><answer>[SCORE]</answer> and more", "malformed"),
        ("<think>a</think><answer>about [SCORE]</answer>", "malformed"),
        ("<answer>[SCORE]</answer><think>a</think>", "malformed"),
        ("<think>a<think>b</think><answer>[SCORE]</answer>", "malformed"),
    ],
)
def test_any_other_form_is_told_by_its_kind(text, kind):
    assert read_answer(text).kind == kind
    assert kind in WRONG and not reasons(text)


def test_a_cut_answer_is_one_without_its_end():
    assert read_answer("<think>a", cut=True).kind == "cut"
    assert read_answer("<think>a</think><answer>[SCORE]", cut=True).kind == "cut"
    assert read_answer(reasoned_answer("a"), cut=True).good
    assert read_answer(reasoned_answer("a") + " and so on", cut=True).kind == "malformed"


def test_a_declared_token_counts_in_its_place():
    assert read_answer("<think>a</think><answer><|s|></answer>", token="<|s|>").good
    assert read_answer("<think>a</think><answer>[SCORE]</answer>", token="<|s|>").kind == "no_score"


def test_answers_with_numbers_are_taken_apart():
    assert take_apart("<think>a</think> <answer>0.6</answer>") == ("a", "0.6")
    assert take_apart("<think>a</think><answer>1</answer> and more") is None


def test_kinds_are_counted_and_told():
    counts = count_kinds(["cut", GOOD, "two_answers", GOOD, "cut"])
    assert list(counts.items()) == [(GOOD, 2), ("cut", 2), ("two_answers", 1)]
    assert told_kinds(counts) == "3 of 5 answers unreadable: 2 cut at the length, 1 two answers"
    assert told_kinds({GOOD: 4}) == "all 4 answers readable"
    anew = {"cut": 2, "two_answers": 1}
    assert told_kinds({GOOD: 4}, anew).endswith("readable; 3 written anew: 2 cut at the length, 1 two answers")


def test_answers_of_an_evaluation_are_told_also_where_no_first_kinds_were_noted():
    metrics = {"answers": {GOOD: 2}, "retried": 1, "retried_kinds": {"cut": 1}}
    assert told_answers(metrics) == "all 2 answers readable; 1 written anew: 1 cut at the length"
    earlier = {"reasoned/answers": {GOOD: 2}, "reasoned/retried": 1}
    assert told_answers(earlier, "reasoned/") == "all 2 answers readable; 1 written anew"
