"""Changes to training images that keep their scores valid; padding and scaling down, which keep their shape.

An aesthetic score survives a mirror and a slight shift; it does not survive a change of exposure, colour or sharpness,
so none of those is here. Nor are crops: the processor would enlarge one again, which costs some sharpness that scored
images do not lose.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Augmentation:
    """Random changes to a training image.

    Attributes:
        flip: probability of a mirror image, 0..1.
        shift: largest displacement, as a share of width and height, 0..0.5; beyond its edges the image goes on as its
            mirror image.
    """

    flip: float = 0.0
    shift: float = 0.0

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """Returns a changed copy of `image`; always draws the same number of random numbers from `rng`."""
        # Seven, though three are used: other draws would change what every seed has given so far.
        flip, *_, right, down = rng.random(7)
        if self.shift:
            image = _shifted(image, (2 * right - 1) * self.shift, (2 * down - 1) * self.shift)
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip < self.flip else image


def pad_to_square(image: Image.Image, colour: tuple[int, int, int]) -> Image.Image:
    """Puts an image in the middle of a square of its longer side, rounded to the upper left by half a pixel.

    Args:
        image: an RGB image.
        colour: RGB colour of the padding, 0..255; the published recipe takes the processor's mean.
    """
    side = max(image.size)
    if image.size == (side, side):
        return image
    square = Image.new("RGB", (side, side), colour)
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


def scaled_size(size: tuple[int, int], max_pixels: int, *, padded: bool = False) -> tuple[int, int]:
    """Computes the size of an image scaled down to at most `max_pixels` pixels, its shape kept, sides rounded down.

    Args:
        size: width and height; returned as they are where the image is small enough.
        max_pixels: largest width x height.
        padded: whether the limit is for the square that `pad_to_square` makes of the result.
    """
    width, height = size
    pixels = max(size) ** 2 if padded else width * height
    if pixels <= max_pixels:
        return size
    share = math.sqrt(max_pixels / pixels)
    return max(1, int(width * share)), max(1, int(height * share))


def _shifted(image: Image.Image, right: float, down: float) -> Image.Image:
    """Moves an image by shares of its width and height; the free strip is filled with the mirror image beside it."""
    x, y = round(right * image.width), round(down * image.height)
    pixels = np.pad(np.asarray(image), ((max(y, 0), max(-y, 0)), (max(x, 0), max(-x, 0)), (0, 0)), mode="symmetric")
    top, left = max(-y, 0), max(-x, 0)
    return Image.fromarray(pixels[top : top + image.height, left : left + image.width])
