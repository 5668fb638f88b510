"""Overall quality, by arithmetic that can be redone on paper."""

import pytest

from roc.demo.attributes import LATENTS, overall_quality


def test_overall_quality_by_hand():
    # All 1: soft minimum 1, product 1, pairs 1. All 0: soft minimum 0, product 0.1, pairs 0.
    assert overall_quality(dict.fromkeys(LATENTS, 1.0)) == pytest.approx(1.0)
    assert overall_quality(dict.fromkeys(LATENTS, 0.0)) == pytest.approx(0.0, abs=1e-12)
    # All 1/2: soft minimum 0.5, product 0.55, pairs 0.25 -> x = (0.225 + 0.1925 + 0.05 - 0.035) / 0.965.
    assert overall_quality(dict.fromkeys(LATENTS, 0.5)) == pytest.approx(1 - (1 - 0.4325 / 0.965) ** 1.6)


def test_a_weak_attribute_caps_the_rest():
    weak = {"composition": 1.0, "light": 0.0, "colour": 1.0, "focus": 1.0}
    middling = dict.fromkeys(LATENTS, 0.75)
    assert overall_quality(weak) < overall_quality(middling) - 0.2
