"""The common-error set: the recorded sets, ties, and comparisons that are paired."""

import numpy as np
import pytest

from roc.agree.common_errors import bands, common_errors, compared, estimates_of, with_intervals


@pytest.mark.parametrize("name", ["a", "b"])
def test_reference(vectors, name):
    entry = vectors[f"agree.hardset.{name}"]
    assert common_errors(entry["inputs"]["errors"], entry["inputs"]["q"]).tolist() == entry["expected"]


def test_the_share_is_rounded_down_and_ties_are_in():
    assert len(common_errors([np.arange(2345)], 0.25)) == 586  # the published set
    assert common_errors([[0.5, 0.9, 0.5, 0.1]], 0.5).tolist() == [0, 1, 2]
    assert common_errors([[3.0, 1.0, 2.0]], 0.1).tolist() == [0]


@pytest.mark.parametrize("errors", [[], [[np.nan, 1.0]], [1.0, 2.0]])
def test_errors_that_cannot_be_used(errors):
    with pytest.raises(ValueError, match="expected \\(scorers, photos\\)"):
        common_errors(errors)
    with pytest.raises(ValueError, match="share is 0"):
        common_errors([[1.0]], 0)


def test_estimates_and_differences():
    generator = np.random.default_rng(1)
    scores = generator.uniform(1, 9, 60)
    good, bad = scores + 0.2 * generator.normal(size=60), scores + 2 * generator.normal(size=60)
    found = with_intervals(estimates_of(good, scores), 50, 0)
    assert list(found) == ["srcc", "plcc", "mae", "rmse"]
    assert found["mae"]["low"] < found["mae"]["value"] == pytest.approx(np.abs(good - scores).mean())
    change = compared(good, bad, scores, n_resamples=50, seed=0)["mae"]
    assert change.high < 0 and change.difference == pytest.approx(change.a - change.b)
    assert with_intervals(estimates_of(good[:2], scores[:2]), 50, 0)["srcc"] == {
        "value": None,
        "low": None,
        "high": None,
    }


def test_bands():
    found = bands([1.0, 5.0, 9.0], 5.0)
    assert found["low"].tolist() == [True, True, False] and found["high"].tolist() == [False, False, True]
