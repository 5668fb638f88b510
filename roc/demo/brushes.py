"""What the scenes are painted with: pixel coordinates, colours of equal luma, noise, soft edges and blur."""

from __future__ import annotations

import functools

import numpy as np
from PIL import Image, ImageFilter

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


@functools.lru_cache(maxsize=4)
def grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the pixel centres (x, y), each (size, size) float32 in [0, 1]; y points down."""
    line = (np.arange(size, dtype=np.float32) + 0.5) / size
    x, y = np.meshgrid(line, line)
    return x, y


def tint(hue: float, chroma: float) -> np.ndarray:
    """Returns RGB multipliers (3,) that give a grey this hue (degrees) and chroma and keep its luma."""
    wave = np.cos(np.deg2rad(hue - np.array([0.0, 120.0, 240.0], dtype=np.float32)))
    return (1 + chroma * (wave - LUMA @ wave)).astype(np.float32)


def noise(rng: np.random.Generator, size: int, cells: tuple[int, int]) -> np.ndarray:
    """Draws smooth noise (size, size), standard normal at its knots; `cells` counts them as (columns, rows)."""
    knots = rng.standard_normal((cells[1] + 1, cells[0] + 1), dtype=np.float32)
    return np.asarray(Image.fromarray(knots).resize((size, size), Image.Resampling.BICUBIC))


def line_noise(rng: np.random.Generator, at: np.ndarray, knots: int) -> np.ndarray:
    """Draws one-dimensional noise and reads it at `at` (any shape, values from -0.25 to 1.25)."""
    return np.interp(at, np.linspace(-0.25, 1.25, knots), rng.standard_normal(knots)).astype(np.float32)


def soft_step(distance: np.ndarray, steepness: float) -> np.ndarray:
    """Rises from 0 to 1 around distance 0, over a width of 1 / steepness.

    Args:
        distance: Of any shape, in fractions of the side.
        steepness: The side in pixels makes an edge one pixel wide.
    """
    return np.clip(distance * steepness + 0.5, 0, 1)


def blur(layer: np.ndarray, sigma: float) -> np.ndarray:
    """Blurs (size, size, 3 or 4) float32 in [0, 1] with a Gaussian; `sigma` in pixels."""
    if sigma < 0.2:
        return layer
    image = Image.fromarray((np.clip(layer, 0, 1) * 255 + 0.5).astype(np.uint8))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(sigma)), dtype=np.float32) / 255
