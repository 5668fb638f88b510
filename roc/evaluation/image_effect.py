"""How far scores depend on the image: each picture is scored, then another picture of its size, then a black one.

A model can learn the average rating and answer with that, or read the size of an image and nothing else; its errors may
look fair. Such a model gives the same score to whatever is shown in place of the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from roc.data.images import ImageError, open_image
from roc.evaluation.bootstrap import Array

BLIND = 0.001
"""Share of the range: a model whose scores move by less than this, on average, does not look at the picture. Rounding
in half precision moves the scores of a model that does by more."""

SAMPLE = 32
"""Number of pictures that are tried; each is scored three times."""

_SIDE = 512
"""Longest side in pixels that a picture is tried with, so that the sample fits in memory."""


@dataclass(frozen=True)
class ImageEffect:
    """How far scores move, on average and on the native scale, when something else is shown in place of the picture.

    Attributes:
        n: Number of pictures.
        spread: Standard deviation of their scores.
        swapped: Mean absolute change when another of the pictures, brought to the same size, is shown; None for one
            picture.
        black: Mean absolute change when a black picture of the same size is shown.
    """

    n: int
    spread: float
    swapped: float | None
    black: float

    def is_blind(self, width: float) -> bool:
        """True if the scores do not depend on the image, for a range of this width."""
        return max(self.swapped or 0.0, self.black) < BLIND * width

    def to_metrics(self) -> dict[str, float | int | None]:
        """The keys of an evaluation: `image_n, image_spread, image_swapped, image_black`."""
        return {
            "image_n": self.n,
            "image_spread": self.spread,
            "image_swapped": self.swapped,
            "image_black": self.black,
        }


def image_effect(score: Callable[[Sequence[Image.Image]], Array], pictures: Sequence[Image.Image]) -> ImageEffect:
    """Measures how far scores depend on the image.

    Args:
        score: Gives the (n,) scores of n pictures.
        pictures: RGB pictures, at least one.
    """
    pictures = list(pictures)
    n = len(pictures)
    own = np.asarray(score(pictures), dtype=np.float64)
    swapped = None
    if n > 1:
        others = [pictures[(i + n // 2) % n].resize(picture.size) for i, picture in enumerate(pictures)]
        swapped = float(np.abs(np.asarray(score(others), dtype=np.float64) - own).mean())
    blank = [Image.new("RGB", picture.size) for picture in pictures]
    black = float(np.abs(np.asarray(score(blank), dtype=np.float64) - own).mean())
    return ImageEffect(n, float(own.std()), swapped, black)


def sample_pictures(paths: Sequence[str]) -> list[Image.Image]:
    """Opens up to `SAMPLE` of the images, evenly spread over the list, and makes large ones smaller.

    Images that cannot be read are left out.
    """
    distinct = list(dict.fromkeys(paths))
    count = min(SAMPLE, len(distinct))
    pictures = []
    for path in (distinct[i * len(distinct) // count] for i in range(count)):
        try:
            picture = open_image(path)
        except ImageError:
            continue
        picture.thumbnail((_SIDE, _SIDE))
        pictures.append(picture)
    return pictures


def effect_text(effect: Mapping[str, Any], width: float | None = None) -> str:
    """Writes the figures of an evaluation in one sentence.

    Args:
        effect: Holds the keys of `ImageEffect.to_metrics`.
        width: Width of the range, for a percentage; None where it is not known.
    """

    def moved(value: float) -> str:
        return f"{value:.3g}" + ("" if width is None else f" ({value / width:.2%} of the range)")

    swapped = effect["image_swapped"]
    ways = [f"{moved(swapped)} when pictures are swapped"] if swapped is not None else []
    ways.append(f"{moved(effect['image_black'])} when all is black")
    many = "picture" if effect["image_n"] == 1 else "pictures"
    spread = f"standard deviation of their scores {effect['image_spread']:.3g}"
    return f"scores move by {', by '.join(ways)} ({effect['image_n']} {many}, {spread})"
