"""What gives a score away is found, what merely holds a number is not; the other filters say what is wrong."""

import pytest
from critiques import GOOD_TEXT

from roc.reasoning.filters import check_facts, check_form, check_leak, check_tone
from roc.reasoning.wording import DIMENSIONS
from roc.score_space import ScoreSpace

SPACE = ScoreSpace(1, 10)


@pytest.mark.parametrize(
    "text",
    [
        "A clear 7/10 for me.",
        "I would give it seven out of ten.",
        "Worth 4 out of the usual five.",
        "It is, out of a possible 10, near the top.",
        "It succeeds by about 80 %.",
        "Eighty, no, 75 percent of it works.",
        "A four-star picture.",
        "My rating would be a 6 at most.",
        "I rate this photo, all things considered, eight.",
        "A quality level of 3 at best.",
        "Around 6.52 in my book.",
        "Around 6,5 in my book.",
        "On the unit scale that is 0.61.",
        "This agrees with the score I was given.",
        "The hidden score is right.",
        "The provided aesthetic rating is fair.",
        "As requested, my text is balanced.",
        "I was told that viewers like it.",
        "The text justifies its rating.",
        "This is in line with ground truth.",
        "The mean opinion is clear.",
    ],
)
def test_a_leak_is_found(text):
    found = check_leak(f"The light is soft. {text} The colours agree.", 6.517, SPACE)
    assert found is not None and found.reason == "leak" and found.detail.split(" near ")[0] in text


def test_leaks_name_the_words():
    assert check_leak("A clear 7/10.", 2.0, SPACE).detail == "7/10"
    assert check_leak("My score: a seven.", 2.0, SPACE).detail == "seven near 'score'"


@pytest.mark.parametrize(
    "text",
    [
        "Two boats and three figures stand on the beach.",
        "The background is out of focus, and the dog runs out of the frame.",
        "Taken at 50 mm, the field is shallow.",
        "Light falls from one side; one point of light leads the eye.",
        "A third of the frame is sky.",
        "The musical score on the stand is sharp.",
        "The number 16 on the door is sharp.",
        "The photo deserves praise for its given simplicity.",
    ],
)
def test_other_numbers_are_no_leak(text):
    assert check_leak(text, 6.517, SPACE) is None


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
