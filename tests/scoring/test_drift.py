import pytest

from roc.model.calibration import Calibration, Intervals, quantiles_of
from roc.model.declaration import Declaration
from roc.score_space import ScoreSpace
from roc.scoring.drift import Drift, largest_difference

SCORES, STDS = [n / 10 for n in range(100)], [1 + n / 100 for n in range(100)]
PLAIN = Declaration(space=ScoreSpace(1, 10, 10), token_id=7)
INTERVALS = Intervals(
    level=0.9,
    half_widths={"overall": 1.0},
    rows={"overall": 100},
    scores={"overall": quantiles_of(SCORES)},
    stds={"overall": quantiles_of(STDS)},
)
CALIBRATED = Declaration(
    space=ScoreSpace(1, 10, 10), token_id=7, calibration=Calibration(data="ab", rows=100, intervals=INTERVALS)
)


@pytest.mark.parametrize(("sample", "distance"), [([1, 2, 3], 1 / 3), ([4, 5], 1), ([2, 2], 0.5), ([1.5, 2.5], 0.25)])
def test_the_largest_difference_of_two_shares(sample, distance):
    assert largest_difference((1, 2, 3), sample) == pytest.approx(distance)


def rows(count, shift=0.0, spread=1.0):
    return [{"prediction": SCORES[n] + shift, "std": STDS[n] * spread} for n in range(100 - count, 100, 1)]


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (rows(100), ""),
        (rows(100, shift=6), "scores of overall (median 11; 5 in the calibration"),
        (rows(100, spread=3), "unlike those of the calibration by their spreads of overall"),
        ([{"prediction": 99.0, "std": 1.5}] * 3, ""),  # too few to call anything unlike
        ([{"prediction": None, "std": None}, {"error": "unreadable"}], ""),
    ],
)
def test_photos_unlike_those_of_the_calibration_are_noticed(found, said):
    drift = Drift(CALIBRATED)
    for row in found:
        drift.add_row(row)
    notes = drift.notes()
    assert (said in notes[0]) if said else notes == []


def test_nothing_is_said_without_intervals():
    drift = Drift(PLAIN)
    drift.add_row({"prediction": 99.0, "std": 9.0})
    assert not drift and drift.notes() == []
