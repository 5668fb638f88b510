"""Overall quality, by arithmetic that can be redone on paper."""

import pytest

from roc.demo.attributes import LATENTS, claims, comment, latents_of, overall_quality, remarks


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


def test_a_comment_claims_what_is_true_of_its_scene():
    """Composition .5 is fair, light .9 good, colour 0 bad; the subject in the middle and the horizon level."""
    facts = {"subject_x": 0.5, "roll": 0.0, "stops": 0.54, "hue_gap": 40.0, "focus": 0.7}
    latents = latents_of(facts)
    true = remarks(latents, facts)
    assert true == {
        "composition": "the framing is fair",
        "light": "the light is soft",
        "colour": "the colours clash",
        "focus": "the subject is sharp",
    }
    written = comment(latents, facts)
    assert written == "The light is soft and the subject is sharp, but the colours clash."
    assert claims(written) == [
        ("light", "good", true["light"]),
        ("focus", "good", true["focus"]),
        ("colour", "bad", true["colour"]),
    ]
    assert claims("A quiet sea.") == []
    askew = {**facts, "roll": 13.0}
    assert remarks(latents_of(askew), askew)["composition"] == "the horizon tilts"
    edge = {**facts, "subject_x": 2 / 3 + 0.17, "roll": 0.1}
    assert remarks({**latents, "composition": 0.1}, edge)["composition"] == "the subject is pushed to the edge"
