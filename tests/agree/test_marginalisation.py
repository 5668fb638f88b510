"""Marginalisation, Cohen's d: the recorded numbers, and values on resampled rows that are those of copied rows."""

import numpy as np
import pytest

from roc.agree.attributes import ATTRIBUTES
from roc.agree.marginalisation import (
    cohen_d,
    dominant,
    frequencies,
    gradient_marginalisation,
    marginalisation,
    resampled_cohen,
)


@pytest.mark.parametrize("name", ["a", "ties"])
def test_reference(vectors, name):
    entry = vectors[f"agree.marginalisation.{name}"]
    weights = dict(zip(ATTRIBUTES, np.array(entry["inputs"]["alpha"]).T, strict=True))
    expected, tol = entry["expected"], entry["tol"]
    leading = dominant(dict(reversed(weights.items())))
    assert leading.tolist() == expected["dominant"]
    assert frequencies(leading) == pytest.approx(np.array(expected["freq"]), abs=tol)
    assert marginalisation(weights, frequencies(leading)) == pytest.approx(np.array(expected["M"]), abs=tol)


@pytest.mark.parametrize("name", ["a", "b"])
def test_cohen_reference(vectors, name):
    entry = vectors[f"agree.cohen.{name}"]
    assert cohen_d(**{"hard": entry["inputs"]["hard"], "others": entry["inputs"]["normal"]}) == pytest.approx(
        entry["expected"], abs=entry["tol"] * 10
    )


def test_cohen_of_groups_that_are_too_small_or_do_not_vary():
    assert cohen_d([1.0], [1.0, 2.0]) is None and cohen_d([], []) is None
    assert cohen_d([3.0, 3.0], [3.0, 3.0]) is None


def test_resampled_cohen_is_that_of_copied_rows():
    generator = np.random.default_rng(0)
    values, group = generator.normal(size=12), np.arange(12) < 5
    counts = generator.multinomial(12, [1 / 12] * 12, size=6).astype(float)
    for row, found in zip(counts, resampled_cohen(values, group)(counts), strict=True):
        copied, member = np.repeat(values, row.astype(int)), np.repeat(group, row.astype(int))
        assert found == pytest.approx(cohen_d(copied[member], copied[~member]), abs=1e-9)


def test_the_second_reading_is_high_where_the_step_of_all_does_not_help():
    found = gradient_marginalisation([0, 1, 2, 3], [1.0, 0.25, -0.5, np.nan, 0.0])
    assert found[:3].tolist() == [0.0, 0.75, 1.0] and np.isnan(found[3])
