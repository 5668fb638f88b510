"""Each filter says what is wrong; tests/model/test_stated_score.py has what gives a score away."""

from critiques import GOOD_TEXT

from roc.reasoning.filters import Rejection, check_facts, check_form, check_leak, check_tone
from roc.reasoning.wording import DIMENSIONS
from roc.score_space import ScoreSpace

SPACE = ScoreSpace(1, 10)


def test_a_leak_is_rejected_with_the_words_at_fault():
    assert check_leak("A clear 7/10.", 2.0, SPACE) == Rejection("leak", "7/10")
    assert check_leak(GOOD_TEXT, 2.0, SPACE) is None


def test_the_form():
    assert check_form(GOOD_TEXT) is None
    assert check_form(GOOD_TEXT, cut=True).detail.startswith("cut")
    assert check_form("Nice light.").detail == "2 words, expected at least 25"
    assert check_form(GOOD_TEXT.replace("exposure", "picture")).detail == "says nothing of exposure"
    assert check_form(GOOD_TEXT + " <answer>").detail == "holds <answer>, which belongs to the answer"
    assert check_form(GOOD_TEXT + " [SCORE]").reason == "form"
    assert check_form(" ".join(["word"] * 30), aspects=()) is None
    assert check_form(" ".join(["word"] * 30)).detail == f"says nothing of {', '.join(DIMENSIONS)}"


def test_tone_and_facts():
    assert check_tone("bad", 0.2) is None and check_tone("fair", 0.38) is None
    assert check_tone("good", 0.2).detail == "reads as good, the score is bad"
    assert check_facts([]) is None and check_facts(["a dog", "a car"]).detail == "a dog; a car"
