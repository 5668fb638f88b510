"""Prompts tell what they should and no more; answers of authors are read, or not at all."""

from roc.reasoning.wording import (
    DIMENSIONS,
    facts_prompt,
    question,
    read_claims,
    read_tone,
    tone_prompt,
    writing_prompt,
)


def test_the_score_is_told_to_the_writer_alone():
    prompt = writing_prompt(6.517, (1, 10), "fair")
    assert "6.52 on a scale from 1 to 10" in prompt and "The tone is balanced" in prompt
    assert all(name in prompt for name in DIMENSIONS)
    assert not any("6.5" in other for other in (tone_prompt("text"), facts_prompt("text"), question((1, 10))))


def test_a_tone_is_one_word_of_three():
    assert read_tone("Fair.") == "fair" and read_tone("Verdict: **good**") == "good"
    assert read_tone("") is None and read_tone("between fair and good") is None and read_tone("goodness") is None


def test_claims_are_a_list_or_none():
    assert read_claims("NONE") == [] == read_claims("**None.**\n")
    assert read_claims("- a dog\n\n* a red car") == ["a dog", "a red car"]
    assert read_claims("") is None and read_claims("There is a dog.") is None and read_claims("Well:\n- a dog") is None
