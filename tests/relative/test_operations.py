"""Edits without a model: each keeps the size, changes the picture more with more strength, and is undone where it says
so."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from roc.relative.operations import OPERATIONS, distance_to_thirds, subject_of


def scene(size=(120, 80), subject=(0.3, 0.4)):
    """A picture with some texture, without black and white, and with something bright in it."""
    rows, columns = np.mgrid[0 : size[1], 0 : size[0]]
    texture = np.random.default_rng(0).integers(-9, 10, rows.shape)
    pixels = np.stack([90 + 50 * columns / size[0], 100 + 40 * rows / size[1], 120 + texture], axis=2)
    picture = Image.fromarray(pixels.astype(np.uint8))
    across, down = subject[0] * size[0], subject[1] * size[1]
    ImageDraw.Draw(picture).rectangle((across - 6, down - 6, across + 6, down + 6), (200, 150, 90))
    return picture


def difference(one, other):
    return float(np.abs(np.asarray(one, dtype=float) - np.asarray(other, dtype=float)).mean())


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_edit_grows_with_its_strength_and_keeps_the_size(name):
    operation, picture = OPERATIONS[name], scene()
    before = picture.tobytes()
    sizes = [difference(picture, operation.apply(picture, strength, 3)) for strength in (0.25, 0.9)]
    edited = operation.apply(picture, 0.9, 3)
    assert (edited.size, edited.mode) == (picture.size, "RGB") and picture.tobytes() == before
    assert edited.tobytes() == operation.apply(picture, 0.9, 3).tobytes()
    assert 0.2 < sizes[0] < sizes[1]
    if operation.both_ways:
        assert difference(operation.apply(picture, -0.9, 3), edited) > 0.5 and operation.less
    else:
        assert not operation.less


@pytest.mark.parametrize("name", [name for name, one in OPERATIONS.items() if one.undone and name != "tilt"])
def test_the_inverse_undoes_an_edit(name):
    operation, picture = OPERATIONS[name], scene()
    edited = operation.apply(picture, 0.4, 0)
    again = operation.apply(edited, operation.inverse(0.4), 0)
    assert difference(again, picture) < 1.0 < difference(edited, picture)


def test_a_tilted_horizon_becomes_straight_again():
    tilt, picture = OPERATIONS["tilt"], Image.new("RGB", (120, 80), "white")
    picture.paste((40, 40, 40), (0, 40, 120, 80))

    def slope(picture):
        heights = (np.asarray(picture.convert("L")) > 128).sum(axis=0)
        return int(heights[-1]) - int(heights[0])

    edited = tilt.apply(picture, 0.5, 0)
    assert slope(edited) > 5 and abs(slope(tilt.apply(edited, tilt.inverse(0.5), 0))) <= 1


def test_the_known_effect_counts_from_the_level_on():
    exposure, picture = OPERATIONS["exposure"], scene()
    assert exposure.effect(picture, 0.5) == exposure.effect(picture, -0.5) == -1.75
    assert exposure.effect(picture, -0.6, level=0.6) == pytest.approx(2.1)
    assert exposure.effect(picture, -1.0, level=0.6) == pytest.approx(0.7)
    assert exposure.effect(picture, 1.0, level=0.6) == pytest.approx(-1.4)  # a level of 1 is the worst
    assert OPERATIONS["blur"].inverse(0.5) is None


def test_a_crop_brings_the_subject_to_a_third_or_to_the_edge():
    framing, picture = OPERATIONS["framing"], scene((240, 160), (0.5, 0.5))
    before = subject_of(picture)
    assert before == pytest.approx((0.5, 0.5), abs=0.06)
    assert distance_to_thirds(subject_of(framing.apply(picture, -1.0, 0))) < distance_to_thirds(before) - 0.05
    assert framing.effect(picture, -1.0) > 0.5 and framing.effect(picture, 1.0) < -0.5
    assert subject_of(Image.new("RGB", (50, 40), "grey")) is not None


def test_a_tilt_leaves_no_empty_corner():
    white = Image.new("RGB", (90, 160), "white")
    for strength in (1.0, -0.5):
        assert np.asarray(OPERATIONS["tilt"].apply(white, strength, 0)).min() > 240
