import pytest

from roc.model.declaration import Declaration
from roc.model.reference import Reference
from roc.score_space import ScoreSpace

MINE = Reference(name="mine", data="ab", photos=5, quantiles={"overall": (1, 2, 4, 6, 9)})  # quartiles 2, 4, 6


@pytest.mark.parametrize(("value", "percentile"), [(0, 0), (2, 25), (3, 37.5), (4, 50), (10, 100)])
def test_percentiles(value, percentile):
    assert MINE.percentile("overall", value) == percentile


def test_rewards_are_bounded_and_keep_the_order():
    # 2 ln 3 / 4 a point: odds of 3 two points above the median, of 9 four above
    assert [MINE.reward("overall", value) for value in (4, 6, 2, 8)] == pytest.approx([0.5, 0.75, 0.25, 0.9])
    beyond = [MINE.reward("overall", value) for value in (-50, -9, 0, 15, 40)]
    assert beyond == sorted(set(beyond)) and 0 < beyond[0] and beyond[-1] < 1
    assert MINE.reward("light", 4) is None and MINE.percentile("light", 4) is None


def test_it_is_a_part_of_the_declaration():
    plain = Declaration(space=ScoreSpace(1, 10, 10), token_id=7)
    section = Declaration(space=ScoreSpace(1, 10, 10), token_id=7, reference=MINE).to_dict()
    assert section["format"] == 1 and Declaration.from_dict(section).reference == MINE
    assert Declaration.from_dict(section).uncalibrated() == plain and "reference" not in plain.to_dict()


@pytest.mark.parametrize(
    ("quantiles", "said"),
    [((3, 1, 2), "no list of ascending"), ((1,), "no list of ascending"), ((1, 5, 5, 5, 9), "one and the same score")],
)
def test_a_reference_that_is_no_scale_is_refused(quantiles, said):
    with pytest.raises(ValueError, match=said):
        Reference(name="mine", data="ab", photos=5, quantiles={"overall": quantiles})
