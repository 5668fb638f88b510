import pytest

from roc.calibration.affine import Line, fit_line, moved_space, with_lines
from roc.model.calibration import Calibration
from roc.model.declaration import Declaration
from roc.score_space import ScoreSpace

SOME = Calibration(data="abc", rows=3)


@pytest.mark.parametrize(
    ("scores", "ratings", "expected"),
    [([0.2, 0.4, 0.6, 0.8], [0.35, 0.45, 0.5, 0.7], (0.225, 0.55)), ([1, 2, 4], [3, 5, 9], (1, 2))],
)
def test_a_line_is_the_least_squares_fit(scores, ratings, expected):
    assert fit_line(scores, ratings) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("scores", "ratings", "message"),
    [
        ([1.0], [2.0], "two photos or more"),
        ([1.0, 2.0], [2.0], "two photos or more"),
        ([3.0, 3.0, 3.0], [1.0, 2.0, 3.0], "are equal"),
        ([1.0, 2.0, 3.0], [3.0, 2.0, 1.0], "do not rise"),
    ],
)
def test_no_line_that_would_mean_nothing(scores, ratings, message):
    with pytest.raises(ValueError, match=message):
        fit_line(scores, ratings)


def test_ranges_follow_the_lines():
    space = ScoreSpace(0, 1, 5, attribute_ranges={"delta": (-10, 10)})
    moved = moved_space(space, ("overall", "light", "delta"), {"overall": Line(1, 4), "delta": Line(0, 0.1)})
    assert moved.range == (1, 5) and moved.of("light").range == (0, 1) and moved.of("delta").range == (-1, 1)
    # The mean of the levels moves as the levels do: 1 + 4 * (0.25 * 0.4 + 1 * 0.6).
    shares = (0, 0.4, 0, 0, 0.6)
    assert sum(p * level for p, level in zip(shares, moved.levels, strict=True)) == pytest.approx(1 + 4 * 0.7)


def test_lines_are_declared_and_undone():
    plain = Declaration(space=ScoreSpace(1, 10, 10), token_id=7, attributes=("overall", "light"))
    lines = {"overall": Line(0.5, 0.4)}
    moved = with_lines(plain, lines, SOME, ratings={"overall": (1, 5)}, unit="stars")
    assert moved.space.range == pytest.approx((0.9, 4.5)) and moved.space.of("light").range == (1, 10)
    assert moved.rating_space.range == (1, 5) and moved.rating_space.of("light").range == (1, 10)
    section = moved.to_dict()
    assert section["format"] == 4 and Declaration.from_dict(section) == moved
    assert moved.uncalibrated() == plain and plain.uncalibrated() is plain
    with pytest.raises(ValueError, match="already"):
        with_lines(moved, lines, SOME, ratings={})
    with pytest.raises(ValueError, match="lines are for colour"):
        with_lines(plain, {"colour": Line(0, 1)}, SOME, ratings={})
