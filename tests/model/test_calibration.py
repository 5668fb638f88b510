import pytest

from roc.model.calibration import Calibration, Intervals, quantiles_of, share_below


def intervals(**fields):
    given = {"level": 0.8, "half_widths": {"overall": 1.5}, "rows": {"overall": 9}, "scores": {}, "stds": {}}
    return Intervals(**given | fields)


def test_an_interval_ends_where_ratings_end():
    assert intervals().around("overall", 5, 9.0, (1, 10)) == (3.5, 6.5)
    assert intervals().around("overall", 9, 9.0, (1, 10)) == (7.5, 10)
    assert intervals().around("overall", 12, 9.0, (1, 10)) == (10, 10)  # a score moved beyond the ratings
    assert intervals(scaled=True).around("overall", 5, 2.0, (1, 10)) == (2, 8)
    assert intervals().around("light", 5, 1.0, (1, 10)) is None


def test_each_third_may_have_a_width_of_its_own():
    found = intervals(thirds={"overall": ((3, 6), (1, 2, 3))})
    ends = [found.around("overall", value, 1.0, (-9, 99)) for value in (2.5, 3, 5, 6)]
    assert ends == [(1.5, 3.5), (1, 5), (3, 7), (3, 9)]
    section = Calibration(data="ab", rows=9, intervals=found).to_dict()
    assert Calibration.from_dict(section).intervals == found and section["intervals"]["thirds"]["overall"][1] == [
        1,
        2,
        3,
    ]
    assert "thirds" not in intervals().to_dict()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"level": 1}, "level of the intervals is 1; expected a share between 0 and 1"),
        ({"half_widths": {"overall": -1}}, "expected numbers from 0 on"),
        ({"half_widths": {"overall": float("nan")}}, "expected numbers from 0 on"),
        ({"scores": {"overall": [2, 1]}}, "scores of the intervals are no ascending quantiles"),
        ({"thirds": {"overall": ((3,), (1, 2, 3))}}, "expected two borders and three half widths"),
    ],
)
def test_intervals_that_cannot_be_are_refused(fields, said):
    with pytest.raises(ValueError, match=said):
        intervals(**fields)


@pytest.mark.parametrize(
    ("value", "side", "share"),
    [
        *((0, "middle", 0), (1, "middle", 0), (2, "middle", 0.25), (2.5, "middle", 0.375), (9, "middle", 1)),
        *((3, "left", 0.5), (3, "right", 0.75), (3, "middle", 0.625)),
    ],
)
def test_the_share_below_a_value(value, side, share):
    assert share_below([1, 2, 3, 3, 5], value, side) == share


def test_few_values_are_kept_and_many_are_thinned():
    assert quantiles_of([3, 1, 2]) == (1, 2, 3)
    many = quantiles_of(range(401))
    assert len(many) == 201 and many[:3] == (0, 2, 4) and many[-1] == 400
