"""Changes to training images that keep their scores valid, and padding that keeps their shape.

An aesthetic score survives a mirror and a slight shift, crop or tilt; it does not survive a change of exposure, colour
or sharpness, so none of those is here. The processor enlarges a crop again, which costs some sharpness that scored
images do not lose; a shift has no such side effect.
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
        crop: smallest share of the area that a random crop keeps, in (0, 1]; 1 = no crop. The aspect ratio stays.
        rotate: largest tilt to either side, in degrees; the corners are cropped away.
    """

    flip: float = 0.0
    shift: float = 0.0
    crop: float = 1.0
    rotate: float = 0.0

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """Returns a changed copy of `image`; always draws the same number of random numbers from `rng`."""
        flip, angle, area, left, top, right, down = rng.random(7)
        if self.shift:
            image = _shifted(image, (2 * right - 1) * self.shift, (2 * down - 1) * self.shift)
        if self.rotate:
            image = _rotated(image, (2 * angle - 1) * self.rotate)
        if self.crop < 1:
            side = math.sqrt(self.crop + area * (1 - self.crop))
            width, height = (max(1, round(side * length)) for length in image.size)
            x, y = round(left * (image.width - width)), round(top * (image.height - height))
            image = image.crop((x, y, x + width, y + height))
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


def _shifted(image: Image.Image, right: float, down: float) -> Image.Image:
    """Moves an image by shares of its width and height; the free strip is filled with the mirror image beside it."""
    x, y = round(right * image.width), round(down * image.height)
    pixels = np.pad(np.asarray(image), ((max(y, 0), max(-y, 0)), (max(x, 0), max(-x, 0)), (0, 0)), mode="symmetric")
    top, left = max(-y, 0), max(-x, 0)
    return Image.fromarray(pixels[top : top + image.height, left : left + image.width])


def _rotated(image: Image.Image, degrees: float) -> Image.Image:
    """Tilts an image, then crops it to the largest upright rectangle of the same aspect ratio without empty corners."""
    tilt = math.radians(abs(degrees))
    width, height = image.size
    ratio = max(width / height, height / width)
    shrink = 1 / (math.cos(tilt) + ratio * math.sin(tilt))
    turned = image.rotate(degrees, resample=Image.Resampling.BILINEAR)
    dx, dy = width * (1 - shrink) / 2, height * (1 - shrink) / 2
    return turned.crop((math.ceil(dx), math.ceil(dy), math.floor(width - dx), math.floor(height - dy)))
