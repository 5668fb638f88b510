"""What gives a score away is found; what merely holds a number is not."""

import pytest

from roc.model.stated_score import plain_verdict, stated_score
from roc.score_space import ScoreSpace

SPACE = ScoreSpace(1, 10)


def around(text):
    """The text between sentences that state nothing, and at the end."""
    return f"The light is soft. {text} The colours agree.", f"The light is soft. {text}"


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
        "I'd give it a 7.",
        "I’d give this a weak 6, no more.",
        "It deserves an 8.",
        "The whole deserves eight.",
        "All told, a solid seven.",
        "A disappointing, muddled 3!",
        "To me it is 7 of 10.",
        "Seven of ten, as the horizon tilts.",
        "This is a 9.",
        "This is a 7.5.",
        "It is a 7-8.",
        "It is a seven or eight.",
        "It's a six and a half.",
        "The photo is nine.",
        "I rate it a one.",
        "I'd give it a one.",
        "It ends with a score of one.",
        "It is rated one.",
        "Rating: one.",
        "I would say seven.",
        "I give the picture six for its mood.",
        "Overall: 7.",
        "All in all, an 8.",
        "A 10 in my book.",
        "An 8 from me.",
        "I arrive at 6.5.",
        "I would settle on about 6.5.",
        "It gets 7.",
        "My verdict is seven.",
        "The answer is 7.",
        "I'd go with seven.",
        "I land on 7.",
        "I rank it 7.",
        "Somewhere between six and seven.",
        "It would get seven from me.",
        "Therefore, seven overall.",
        "It sits at a solid 7 on the scale.",
        "It is about 6.5 overall.",
        "It is a seven-point photo.",
    ],
)
def test_a_stated_score_is_found(text):
    for whole in around(text):
        found = stated_score(whole, 6.517, SPACE)
        assert found is not None and found.split(" near ")[0] in text


def test_the_words_at_fault_are_given():
    assert stated_score("A clear 7/10.", 2.0, SPACE) == "7/10"
    assert stated_score("My score, for all its light: a seven.", 2.0, SPACE) == "a seven"
    assert stated_score("My score: perhaps not yet seven times that.", 2.0, SPACE) == "seven near 'score'"
    assert stated_score("The light is soft. It succeeds: 7", 2.0, SPACE) == ": 7"


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
        "There is one subject, and 8 people watch it.",
        "The horizon lies at two thirds, by the rule of thirds.",
        "The composition is a strong one, and so is the colour.",
        "One wishes for a step or two to the left.",
        "A group of three, a pair of two, and a row of five.",
        "The post cuts the frame in two.",
        "A split into two, a crop by three.",
        "A 2.8 lens, a 16:9 frame, a 35 mm look, a 5° tilt and a 3/4 view.",
        "A six-pack stands on a two-tone table, and a seven-year-old looks on.",
        "A two to one ratio of sky to land.",
        "It was taken with a 50, or with an 85.",
        "The jersey shows a number 7.",
        "It is one of two that work, and this is one that stays.",
        "Two of ten windows are lit, 3 of 10 boats are blurred.",
        "1. The light is soft. 2. The shadow is deep.",
        "The scene deserves one more step to the right.",
        "I would give the two figures more room, and one could call the third a guest.",
        "The subject is lit from two sides, seven in the evening by the look of it.",
        "The colour grade is one of warm tones.",
        "The crop is a classic 3:2.",
        "The frame is close to 16:9.",
        "It was taken at f/1.4.",
        "The blur is that of f/5.6.",
        "The clock reads 12:05.",
        "It is cropped to a 1:1.",
        "We arrive at two boats in the end.",
        "It gets two figures into one frame.",
        "The answer is two steps to the left.",
        "I would go with three lights, and the walkers go for seven miles.",
        "It stands somewhere between 6 and 7 metres away.",
        "Three overall tones hold it, and a three-point lighting shapes the face.",
        "Two on the left scale the wall.",
    ],
)
def test_other_numbers_state_no_score(text):
    for whole in around(text):
        assert stated_score(whole, 6.517, SPACE) is None


def test_the_scale_says_what_may_be_a_score():
    assert stated_score("I'd give it a 62.", 61.7, ScoreSpace(0, 100)) == "a 62"
    assert stated_score("Taken with a 62.", 6.17, SPACE) is None


@pytest.mark.parametrize(
    "text",
    [
        "I'd give it a 7.",
        "I’d honestly give this photo a weak six, no more.",
        "A clear 7/10 for me.",
        "A 7/10 photo.",
        "I would give it 4/5.",
        "I would give it seven out of ten.",
        "It is 4 out of 5 stars.",
        "It deserves an 8.",
        "It gets 7.",
        "It is rated one.",
        "I rank it 7.",
        "I give it four stars.",
        "This earns a score of 7.",
        "My rating would be a 6 at most.",
        "Rating: one.",
        "Overall: 7.",
        "My verdict is seven.",
        "Around 6.52 in my book.",
    ],
)
def test_a_plain_verdict_is_one_by_both_rules(text):
    for whole in around(text):
        assert plain_verdict(whole, 6.517, SPACE) is not None
        assert stated_score(whole, 6.517, SPACE) is not None


@pytest.mark.parametrize(
    "text",
    [
        "The camera is level, and 3 trees stand.",
        "The background takes up two out of three parts.",
        "The subject fills 30% of the frame.",
        "Two stars glow in the night sky.",
        "The graded sky gives two tones.",
        "The known label of the bottle is sharp.",
        "The runner wears a red 7.",
        "As a result, two; more would be too many.",
        "It leans on a balanced three.",
        "The edge is 0.5 wide.",
        "Seven out of ten windows are lit.",
        "It was exposed for 1/100, or for 1/10.",
        "It takes 3/10 s.",
        "This gets the left two into the frame.",
        "A blur as at f/6.5.",
    ],
)
def test_numbers_of_ordinary_prose_are_no_plain_verdict(text):
    for whole in around(text):
        assert plain_verdict(whole, 6.517, SPACE) is None
        assert plain_verdict(whole, 0.5, ScoreSpace(0, 1)) is None


@pytest.mark.parametrize("text", ["The runner wears a red 7.", "The subject fills 30% of it.", "A solid three."])
def test_a_corpus_takes_no_number_that_may_be_a_rating(text):
    assert stated_score(text, 6.517, SPACE) is not None and plain_verdict(text, 6.517, SPACE) is None


def test_a_plain_verdict_lies_on_the_scale():
    assert plain_verdict("I'd give it a 62.", 6.17, SPACE) is None
    assert plain_verdict("I'd give it a 62.", 61.7, ScoreSpace(0, 100)) == "I'd give it a 62"
