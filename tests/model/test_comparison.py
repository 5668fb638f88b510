"""The question about two pictures in a declaration."""

import pytest

from roc.model.comparison import Comparison
from roc.model.declaration import Declaration, declaration_of
from roc.score_space import ScoreSpace

COMPARISON = Comparison(question="How much better is the second?", answer="By [SCORE].", reasoning="Think first.")


def test_a_declaration_carries_it():
    declared = Declaration(space=ScoreSpace(0, 10), token_id=7, comparison=COMPARISON)
    section = declared.to_dict()
    assert section["format"] == 1 and section["comparison"]["high"] == 10
    config = type("Config", (), {"roc": section, "model_type": "llava"})()
    assert declaration_of(config) == declared == Declaration.from_dict(section)
    assert "comparison" not in Declaration(space=ScoreSpace(0, 10), token_id=7).to_dict()


def test_a_change_lies_where_its_score_does():
    scores = ScoreSpace(1, 5, 9)
    assert [COMPARISON.as_score(delta, scores) for delta in (-10, 0, 5)] == [1, 3, 4]
    assert COMPARISON.space(5).levels == (-10, -5, 0, 5, 10)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"answer": "no place"}, r"expected one \[SCORE\]"),
        ({"question": " "}, "expected text"),
        ({"reasoning": COMPARISON.question}, "expected another question"),
        ({"low": -5}, r"-5\.\.10"),
        ({"answer": None}, "expected text"),
    ],
)
def test_what_cannot_be_is_refused(values, told):
    with pytest.raises(ValueError, match=told):
        Comparison.from_dict({**COMPARISON.to_dict(), **values})
