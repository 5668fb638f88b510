"""Options of the server: their bounds, and limits that contradict each other."""

import math

import pytest

from roc.server.options import Limits, ServeOptions


@pytest.mark.parametrize(
    "wrong",
    [{"images": 0}, {"timeout": -1}, {"queue": 10}, {"bytes_in_house": 10}, {"pixels_per_request": 10}]
    + [{name: value} for name in ("idle_seconds", "timeout") for value in (math.nan, math.inf)],
    ids=str,
)
def test_limits_that_make_no_sense(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is "):
        Limits(**wrong)


def test_limits_are_checked_beside_the_other_options():
    with pytest.raises(ValueError, match="queue is 10, expected at least images, which is 64"):
        ServeOptions(checkpoint="x", queue=10)
    assert ServeOptions(checkpoint="x", cors_origin=("https://photos.example", "*")).images == 64
