"""The demo's scenes: same seed, same pixels; a worse fact lowers its attribute and nothing else."""

import random

import numpy as np
import pytest

from roc.demo.attributes import LATENTS
from roc.demo.scenes import render_scene

BEST = {"subject_x": 1 / 3, "roll": 0.0, "stops": 0.75, "hue_gap": 180.0, "focus": 1.0}


def pixels(index, seed=0, size=48, **facts):
    return np.asarray(render_scene(index, seed=seed, size=size, facts=facts).image).astype(int)


def test_same_seed_and_index_give_the_same_pixels_whatever_the_global_generators_do():
    first = pixels(7)
    state = np.random.get_state()[1].copy()
    random.seed(1)
    again = pixels(7)
    assert (first == again).all()
    assert (np.random.get_state()[1] == state).all()
    assert (pixels(8) != first).mean() > 0.5
    assert (pixels(7, seed=1) != first).mean() > 0.5


def test_a_scene_is_an_rgb_square_with_latents_between_0_and_1():
    for index in range(30):
        scene = render_scene(index, seed=3, size=64)
        assert scene.image.size == (64, 64) and scene.image.mode == "RGB"
        assert set(scene.latents) == set(LATENTS)
        assert all(0 <= value <= 1 for value in scene.latents.values())
        assert all(1 <= score <= 10 for score in scene.true_scores.values())
        assert scene.comment.endswith(".") and scene.comment[0].isupper()
        assert np.asarray(scene.image).std() > 10


@pytest.mark.parametrize(
    ("fact", "value", "attribute", "by"),
    [
        ("subject_x", 0.5, "composition", (1 / 6) / 0.17 / 2),
        ("roll", -6.5, "composition", 0.25),
        ("stops", -1.35, "light", 1.0),
        ("hue_gap", 110.0, "colour", 0.5),
        ("focus", 0.2, "focus", 0.8),
    ],
)
def test_a_worse_fact_lowers_its_attribute_and_the_overall_score_and_nothing_else(fact, value, attribute, by):
    best = render_scene(5, seed=0, size=48, facts=BEST)
    worse = render_scene(5, seed=0, size=48, facts=BEST | {fact: value})
    assert best.latents == pytest.approx(dict.fromkeys(LATENTS, 1.0))
    assert best.latents[attribute] - worse.latents[attribute] == pytest.approx(by)
    for other in set(LATENTS) - {attribute}:
        assert worse.latents[other] == best.latents[other]
    assert worse.quality < best.quality
    assert (worse.place, worse.kind) == (best.place, best.kind)
    assert (np.asarray(worse.image) != np.asarray(best.image)).any()


def test_faults_are_named():
    with pytest.raises(ValueError, match="size 16"):
        render_scene(0, seed=0, size=16)
    with pytest.raises(ValueError, match="sharpness"):
        render_scene(0, seed=0, size=48, facts={"sharpness": 1.0})
    with pytest.raises(ValueError, match="focus"):
        render_scene(0, seed=0, size=48, facts={"focus": 1.5})
