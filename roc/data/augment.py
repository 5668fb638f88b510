"""Changes to a training picture that keep what it is worth, and the padding that keeps its shape.

An aesthetic score survives a mirror and a slight shift, crop or tilt; it does not survive a change of exposure, colour
or sharpness, so none of those is here. A crop is enlarged again by the processor and thereby loses some sharpness,
which pictures that are scored do not; a shift has no such side effect.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Augmentation:
    """What may happen to a training picture.

    Attributes:
        flip: probability of a mirror image, 0..1.
        shift: largest displacement, as a share of width and height, 0..0.5; the picture goes on as its mirror
            image beyond its edges.
        crop: smallest share of the area a random crop keeps, in (0, 1]; 1 = no crop. The aspect ratio stays.
        rotate: largest tilt to either side, in degrees; the corners are cropped away.
    """

    flip: float = 0.0
    shift: float = 0.0
    crop: float = 1.0
    rotate: float = 0.0

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """A changed copy of `image`; every draw comes from `rng`, the same number of draws whatever they decide."""
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
    """`image` in the middle of a square of its longer side; where it cannot stand exactly, half a pixel up and left.

    Args:
        image: RGB.
        colour: of the padding, 0..255 per channel; the published recipe takes the processor's mean.
    """
    side = max(image.size)
    if image.size == (side, side):
        return image
    square = Image.new("RGB", (side, side), colour)
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


def _shifted(image: Image.Image, right: float, down: float) -> Image.Image:
    """Moved by shares of the width and height; what comes in at one side is the mirror image of what stood there."""
    x, y = round(right * image.width), round(down * image.height)
    pixels = np.pad(np.asarray(image), ((max(y, 0), max(-y, 0)), (max(x, 0), max(-x, 0)), (0, 0)), mode="symmetric")
    top, left = max(-y, 0), max(-x, 0)
    return Image.fromarray(pixels[top : top + image.height, left : left + image.width])


def _rotated(image: Image.Image, degrees: float) -> Image.Image:
    """Tilted, then cropped to the largest upright rectangle of the same aspect ratio that holds no empty corner."""
    tilt = math.radians(abs(degrees))
    width, height = image.size
    ratio = max(width / height, height / width)
    shrink = 1 / (math.cos(tilt) + ratio * math.sin(tilt))
    turned = image.rotate(degrees, resample=Image.Resampling.BILINEAR)
    dx, dy = width * (1 - shrink) / 2, height * (1 - shrink) / 2
    return turned.crop((math.ceil(dx), math.ceil(dy), math.floor(width - dx), math.floor(height - dy)))
