"""The score scale: its levels, its two mappings to 0..1, and what it refuses."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from roc.score_space import ScoreSpace, parse_ranges, range_faults, range_in, range_words, ranges_text


def test_levels_are_evenly_spaced_and_include_both_ends():
    assert ScoreSpace().levels == (1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
    assert ScoreSpace(0, 1, num_levels=5).levels == (0, 0.25, 0.5, 0.75, 1)
    assert ScoreSpace(-1, 1, num_levels=2).levels == (-1, 1)
    # -2 + (-0.9 - -2) rounds to -0.8999999999999999.
    assert ScoreSpace(-2, -0.9, num_levels=12).levels[-1] == -0.9


def test_range_width_and_midpoint():
    space = ScoreSpace(1, 5)
    assert (space.range, space.width, space.midpoint) == ((1.0, 5.0), 4.0, 3.0)
    assert space.unit_width == 4.0
    assert ScoreSpace(1, 5, mode="max").unit_width == 5.0


@pytest.mark.parametrize("name", ["space.minmax.ava", "space.max.para", "space.minmax.para"])
def test_to_unit_reference(vectors, name):
    entry = vectors[name]
    given = entry["inputs"]
    space = ScoreSpace(given["lo"], given["hi"], mode=given["mode"])
    assert space.to_unit(given["s"]) == pytest.approx(entry["expected"], abs=entry["tol"])
    assert space.from_unit(entry["expected"]) == pytest.approx(given["s"], abs=entry["tol"])


def test_from_unit_reference(vectors):
    entry = vectors["space.inverse.roc"]
    given = entry["inputs"]
    space = ScoreSpace(given["lo"], given["hi"], mode=given["mode"])
    assert space.from_unit(given["u"]) == pytest.approx(entry["expected"], abs=entry["tol"])


@pytest.mark.parametrize("name", ["roc.target_mean.readme", "roc.target_mean.b"])
def test_mean_of_a_vote_histogram_over_the_levels_reference(vectors, name):
    entry = vectors[name]
    mean = sum(vote * level for vote, level in zip(entry["inputs"]["target"], ScoreSpace().levels, strict=True))
    assert mean == pytest.approx(entry["expected"], abs=entry["tol"])


@pytest.mark.parametrize("mode", ["minmax", "max"])
def test_mappings_work_on_arrays_and_tensors(mode):
    space = ScoreSpace(1, 5, mode=mode)
    expected = [space.to_unit(score) for score in (1.0, 2.0, 5.0)]
    assert space.to_unit(np.array([1.0, 2.0, 5.0])).tolist() == expected
    assert space.to_unit(torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64)).tolist() == expected
    assert space.from_unit(space.to_unit(torch.tensor([1.0, 2.0, 5.0]))).tolist() == pytest.approx([1, 2, 5])


def test_check_returns_the_score_unchanged_within_the_tolerance():
    space = ScoreSpace(1, 10)
    assert space.check(7) == 7.0
    assert space.check(np.float32(2.5)) == 2.5
    assert space.check(10 + 9e-7) == 10 + 9e-7
    assert space.check(1 - 9e-7) == 1 - 9e-7


@pytest.mark.parametrize("score", [10 + 2e-6, 1 - 2e-6, 0, -1, math.nan, math.inf, -math.inf, None, "7", True, [7]])
def test_check_refuses_and_names_the_score(score):
    with pytest.raises(ValueError, match="gt_score is"):
        ScoreSpace(1, 10).check(score, "gt_score")


def test_check_says_what_came_what_was_expected_and_what_to_do():
    with pytest.raises(ValueError, match=r"score is 12, outside the range 1\.\.10; correct the score, or declare"):
        ScoreSpace(1, 10).check(12)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"min_score": 5, "max_score": 5}, "is empty"),
        ({"min_score": 5, "max_score": 1}, "is empty"),
        ({"max_score": math.inf}, "max_score is inf"),
        ({"min_score": math.nan}, "min_score is nan"),
        ({"max_score": "ten"}, "max_score is 'ten'"),
        ({"num_levels": 1}, "at least 2 levels"),
        ({"num_levels": 10.0}, "whole number"),
        ({"mode": "max-min"}, "expected one of minmax, max"),
        ({"min_score": -2, "max_score": 0, "mode": "max"}, "divides by max_score"),
    ],
)
def test_impossible_spaces_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        ScoreSpace(**values)


def test_dict_round_trip_and_use_as_key():
    space = ScoreSpace(1, 5, num_levels=20, mode="max")
    assert space.to_dict() == {"min_score": 1.0, "max_score": 5.0, "num_levels": 20, "mode": "max"}
    assert ScoreSpace.from_dict(space.to_dict()) == space
    assert ScoreSpace.from_dict({**space.to_dict(), "token": "[SCORE]", "attributes": ["overall"]}) == space
    assert len({space, ScoreSpace(1.0, 5, 20, "max")}) == 1


def test_from_dict_never_guesses_a_range():
    with pytest.raises(ValueError, match="needs max_score, num_levels; found only: min_score"):
        ScoreSpace.from_dict({"min_score": 0})


def test_needs_neither_torch_nor_numpy():
    code = "import sys, roc.score_space; sys.exit(any(name in sys.modules for name in ('torch', 'numpy')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


MIXED = ScoreSpace(0, 1, 5, attribute_ranges={"light": (-1, 1), "overall": (0, 1), "delta": [-10, 10]})


def test_attributes_may_be_on_ranges_of_their_own():
    assert MIXED.attribute_ranges == {"light": (-1.0, 1.0), "delta": (-10.0, 10.0)}  # overall's is the common one
    assert MIXED.of("light").levels == (-1, -0.5, 0, 0.5, 1) and MIXED.of("light") == ScoreSpace(-1, 1, 5)
    assert MIXED.of("overall") == MIXED.of("anything") == ScoreSpace(0, 1, 5)
    assert ScoreSpace.from_dict(MIXED.to_dict()) == MIXED and "attribute_ranges" not in ScoreSpace().to_dict()
    assert range_in(MIXED.ranges, "delta") == (-10, 10) and range_in(ScoreSpace().ranges, "delta") == (1, 10)
    assert ranges_text(MIXED.ranges, ("overall", "delta", "x")) == "overall, x on 0..1, delta on -10..10"


def test_the_range_of_the_first_attribute_is_the_common_one():
    led = MIXED.led_by(("delta", "light", "overall"))
    assert led.range == (-10, 10) and led.attribute_ranges == {"light": (-1, 1), "overall": (0, 1)}
    assert ScoreSpace(0, 1).led_by(("delta",)) == ScoreSpace(0, 1)
    with pytest.raises(ValueError, match="a range for light, but the attributes are overall, delta"):
        MIXED.led_by(("overall", "delta"))


def test_ranges_are_written_as_words():
    assert parse_ranges(["delta=-10:10 rule of thirds = -1:1e0", "x=.5:1."]) == {
        "delta": (-10, 10),
        "rule of thirds": (-1, 1),
        "x": (0.5, 1),
    }
    assert parse_ranges(range_words(MIXED.attribute_ranges)) == MIXED.attribute_ranges
    assert range_faults(["delta=-10:10"], ("overall", "delta")) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["delta"], "'delta' is no range of an attribute; expected NAME=LOWEST:HIGHEST"),
        (["a=0:1 b=3"], "'b=3' is no range"),
        (["a=1:1"], "range of 'a' is 1:1; expected the lowest score first"),
        (["a=0:1", "a=0:2"], "'a' is given two ranges"),
        (["light=0:1"], "names light, but attributes is overall; add it there"),
    ],
)
def test_ranges_that_cannot_be_meant_are_refused(words, message):
    ((name, text),) = range_faults(words, ("overall",))
    assert name == "attribute_ranges" and message in text


def test_a_range_of_an_attribute_is_checked_as_the_common_one():
    with pytest.raises(ValueError, match=r"range of 'a': the score range 2\.\.1 is empty"):
        ScoreSpace(attribute_ranges={"a": (2, 1)})
    with pytest.raises(ValueError, match="range of 'a' is 3; expected its lowest and its highest"):
        ScoreSpace(attribute_ranges={"a": 3})
