"""Cosines and conflict ratios give the recorded numbers; a gradient without a direction has no cosine."""

import numpy as np
import pytest

from roc.agree.conflicts import conflict_ratio, cosines, running_mean


@pytest.mark.parametrize("name", ["a", "orth"])
def test_reference(vectors, name):
    entry = vectors[f"agree.cos.{name}"]
    found = cosines(np.array(entry["inputs"]["G"]))
    assert found == pytest.approx(np.array(entry["expected"]["cos"]), abs=entry["tol"])
    assert conflict_ratio(found) == pytest.approx(entry["expected"]["conflict_ratio"], abs=entry["tol"])


def test_a_gradient_of_zero_is_left_out():
    found = cosines(np.array([[1.0, 0.0], [0.0, 1e-9], [-1.0, 0.0]]))
    assert np.isnan(found[1]).all() and np.isnan(found[:, 1]).all() and found[0, 2] == pytest.approx(-1)
    assert conflict_ratio(found) == 1.0
    assert np.isnan(conflict_ratio(cosines(np.zeros((3, 2)))))


def test_a_tolerance_spares_cosines_near_zero():
    found = cosines(np.array([[1.0, 0.0], [-0.005, 1.0]]))
    assert conflict_ratio(found) == 1.0 and conflict_ratio(found, tolerance=0.01) == 0.0


def test_the_running_mean_begins_at_the_first_value():
    assert running_mean(np.array([1.0, 0.0, 0.0]), decay=0.5) == pytest.approx([1, 0.5, 0.25])
