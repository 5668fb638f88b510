"""Augmentation changes the frame of a picture, never its light, colour or sharpness; padding keeps its shape."""

import numpy as np
import pytest
from PIL import Image

from roc.data.augment import Augmentation, pad_to_square, scaled_size


def gradient(width=40, height=30):
    x = np.linspace(0, 255, width, dtype=np.uint8)
    return Image.fromarray(np.repeat(np.repeat(x[None, :, None], height, 0), 3, 2))


def rng(seed=0):
    return np.random.default_rng(seed)


def test_nothing_asked_for_changes_nothing():
    image = gradient()
    assert np.array_equal(np.asarray(Augmentation()(image, rng())), np.asarray(image))


def test_flip_is_a_mirror():
    image = gradient()
    assert np.array_equal(np.asarray(Augmentation(flip=1)(image, rng())), np.asarray(image)[:, ::-1])


def test_shift_moves_the_picture_and_mirrors_its_edge():
    numbers = np.arange(10, dtype=np.uint8)[None, :, None].repeat(10, 0).repeat(3, 2)
    for seed in range(20):
        row = np.asarray(Augmentation(shift=0.3)(Image.fromarray(numbers), rng(seed)))[0, :, 0].tolist()
        x = round((2 * rng(seed).random(7)[5] - 1) * 3)
        mirrored = [*range(2, -1, -1), *range(10), *range(9, 6, -1)]
        assert row == mirrored[3 - x : 13 - x]


def test_the_same_draw_gives_the_same_picture():
    change = Augmentation(flip=0.5, shift=0.2)
    one, same, other = (np.asarray(change(gradient(), rng(seed))) for seed in (4, 4, 6))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize(("size", "corner"), [((4, 2), (0, 1)), ((2, 5), (1, 0)), ((3, 3), (0, 0))])
def test_padding_puts_the_picture_in_the_middle(size, corner):
    square = pad_to_square(Image.new("RGB", size, "white"), (122, 116, 104))
    assert square.size == (max(size),) * 2
    pixels = np.asarray(square)
    x, y = corner
    assert (pixels[y : y + size[1], x : x + size[0]] == 255).all()
    if size[0] != size[1]:
        assert tuple(pixels[0, 0] if corner != (0, 0) else pixels[-1, -1]) == (122, 116, 104)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("size", [(2000, 60), (60, 2000), (640, 480), (7, 5), (1, 200)])
def test_scaling_down_keeps_the_shape_and_the_limit(size, padded):
    for limit in (256, 1000, 61_000, 10**8):
        width, height = scaled_size(size, limit, padded=padded)
        pixels = max(width, height) ** 2 if padded else width * height
        if (max(size) ** 2 if padded else size[0] * size[1]) <= limit:
            assert (width, height) == size
            continue
        assert pixels <= limit
        bigger = (width + 1, height + 1)
        assert (max(bigger) ** 2 if padded else bigger[0] * bigger[1]) > limit * 0.999
        assert abs(width - size[0] * height / size[1]) <= max(size) / min(size) + 1
