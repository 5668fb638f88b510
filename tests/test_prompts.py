"""The questions and answers as text: order of attributes, one [SCORE] per clause, no stray marks."""

import pytest

from roc import prompts


def test_default_question_is_the_published_wording_and_first_of_the_pool():
    assert prompts.QUESTIONS[0] == "Could you evaluate the aesthetics of this image?"
    assert len(set(prompts.QUESTIONS)) == len(prompts.QUESTIONS) >= 3


def test_question_lists_the_attributes_in_order():
    assert prompts.question(["overall", "light"]) == "Could you evaluate the aesthetics and light of this image?"
    assert prompts.question(["overall", "depth_of_field", "light"], wording=2) == (
        "Please assess the aesthetics, depth of field and light of this image."
    )


def test_answer_for_one_score():
    assert prompts.answer() == "The aesthetic rate of the image is [SCORE]."


def test_answer_has_one_clause_and_one_score_per_attribute():
    text = prompts.answer(("overall", "composition", "depth_of_field"))
    assert text == (
        "The aesthetic rate of the image is [SCORE], the composition rate of the image is [SCORE], "
        "the depth of field rate of the image is [SCORE]."
    )


def test_comment_follows_the_sentence_and_a_blank_one_is_left_out():
    assert prompts.answer(comment=" Lovely light. ") == "The aesthetic rate of the image is [SCORE]. Lovely light."
    assert prompts.answer(comment="  ") == prompts.answer()


@pytest.mark.parametrize("comment", ["a [SCORE] here", "look: <|image|>"])
def test_marks_in_a_comment_are_refused(comment):
    with pytest.raises(ValueError, match="comment .* contains"):
        prompts.answer(comment=comment)


@pytest.mark.parametrize("ask", [prompts.question, prompts.answer])
def test_bad_attributes_are_refused(ask):
    with pytest.raises(ValueError, match="at least one name"):
        ask([])
    with pytest.raises(TypeError, match="expected a sequence of names, got the text 'overall'"):
        ask("overall")
    with pytest.raises(ValueError, match="attribute name .* contains"):
        ask(["overall", "[SCORE]"])
