"""The perceptual hash of a picture, and the pairs whose hashes are near; whole files are compared in test_leaks.py."""

import numpy as np
import pytest
from PIL import Image

from roc.data.lookalikes import MAX_COARSE, MAX_FINE, hash_image, near_pairs, signs_of
from roc.demo.scenes import render_scene


@pytest.fixture(scope="module")
def scenes():
    return [render_scene(index, seed=5, size=128).image for index in range(1)]


def test_near_pairs_are_all_pairs_within_both_limits():
    rng = np.random.default_rng(0)
    left = rng.random((300, 16, 16)) < 0.5
    left[:, 0, 0] = False
    right = left[rng.permutation(300)]
    right ^= rng.random(right.shape) < rng.uniform(0, 0.3, (300, 1, 1))
    right[:, 0, 0] = False
    differ = left[:, None] ^ right[None]
    near = (differ[..., :8, :8].sum((2, 3)) <= MAX_COARSE) & (differ.sum((2, 3)) <= MAX_FINE)
    assert 20 < near.sum() < 280
    assert sorted(near_pairs(left, right)) == list(zip(*map(list, np.nonzero(near)), strict=True))


def test_signs_do_not_depend_on_brightness_and_a_plain_picture_has_none(scenes):
    assert len(signs_of(scenes[0])) == 64
    darker = scenes[0].point(lambda value: value // 2)
    differ = int(signs_of(scenes[0]), 16) ^ int(signs_of(darker), 16)
    assert differ.bit_count() < 10
    assert signs_of(Image.new("RGB", (50, 50), "red")) is None


def test_a_hash_is_what_json_holds(scenes, tmp_path):
    scenes[0].save(tmp_path / "a.png")
    digest, signs = hash_image(str(tmp_path / "a.png"))
    assert len(digest) == 64 and signs == signs_of(scenes[0])
