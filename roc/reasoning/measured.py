"""An author that needs no model and says of any photo what can be measured of its pixels.

It speaks of brightness, tonal range, colourfulness, warmth, sharpness, and where the detail lies; never of what is on
the photo. So its critiques are as true as such measures are, brightness being that of the mean, and poorer than a
person's: a first corpus where no vision-language model is at hand. The measures are taken of the photo made to fit
256 x 256 pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np

from roc.data.images import open_image
from roc.reasoning.sentences import Sentence, SentenceAuthor

SIDE = 256
"""Longest side in pixels that measures are taken at."""
CELLS = 8
"""Cells along each side, for the share of the frame that is plain."""
_LUMA = (0.299, 0.587, 0.114)
_PLAIN = 0.02
"""Mean gradient of luma, per pixel, below which a cell shows no detail."""
_BURNT, _BLOCKED = 0.98, 0.02
"""Luma beyond which nothing is told apart."""
_LOST_SHARE = 0.01
"""Share of such pixels above which a critique speaks of them."""


@dataclass(frozen=True)
class Measures:
    """What is measured of a photo with R, G, B in 0..1 and luma Y of Rec. 601.

    Attributes:
        brightness: Mean of Y.
        range: 95% quantile of Y minus its 5% quantile.
        burnt: Share of pixels with Y above 0.98.
        blocked: Share of pixels with Y below 0.02.
        colourfulness: `hypot(sd(rg), sd(yb)) + 0.3 hypot(mean(rg), mean(yb))` with `rg = R - G` and
            `yb = (R + G) / 2 - B` (Hasler and Suesstrunk, 2003).
        warmth: Mean of `R - B`, -1..1.
        sharpness: 99% quantile of the gradient of Y, per pixel.
        centred: Mean gradient in the middle half of width and height over that of the frame; 1 for a flat photo.
        plain: Share of 8 x 8 cells without detail.
    """

    brightness: float
    range: float
    burnt: float
    blocked: float
    colourfulness: float
    warmth: float
    sharpness: float
    centred: float
    plain: float

    @classmethod
    def of(cls, path: str) -> Measures:
        """Measures a photo.

        Raises:
            ImageError: If it cannot be opened.
        """
        picture = open_image(path)
        picture.thumbnail((SIDE, SIDE))
        pixels = np.asarray(picture, dtype=np.float64) / 255
        red, green, blue = np.moveaxis(pixels, -1, 0)
        luma = pixels @ _LUMA
        dark, bright = np.quantile(luma, [0.05, 0.95])
        rg, yb = red - green, (red + green) / 2 - blue
        return cls(
            brightness=float(luma.mean()),
            range=float(bright - dark),
            burnt=float((luma > _BURNT).mean()),
            blocked=float((luma < _BLOCKED).mean()),
            colourfulness=float(np.hypot(rg.std(), yb.std()) + 0.3 * np.hypot(rg.mean(), yb.mean())),
            warmth=float((red - blue).mean()),
            **_detail(luma),
        )


def _detail(luma: np.ndarray) -> dict[str, float]:
    if min(luma.shape) < 2:  # no gradient
        return {"sharpness": 0.0, "centred": 1.0, "plain": 1.0}
    gradient = np.hypot(*np.gradient(luma))
    (top, height), (left, width) = ((side // 4, side - side // 4) for side in luma.shape)
    mean = gradient.mean()
    cells = [
        cell.mean()
        for row in np.array_split(gradient, min(CELLS, len(gradient)), axis=0)
        for cell in np.array_split(row, min(CELLS, row.shape[1]), axis=1)
    ]
    return {
        "sharpness": float(np.quantile(gradient, 0.99)),
        "centred": float(gradient[top:height, left:width].mean() / mean) if mean else 1.0,
        "plain": float(np.mean(np.array(cells) < _PLAIN)),
    }


def _band(name: str, low: float, high: float) -> dict[str, Callable[[Measures], bool]]:
    """Divides a measure into three: below `low`, from there to `high`, and above."""
    return {
        "low": lambda seen: getattr(seen, name) < low,
        "fair": lambda seen: low <= getattr(seen, name) <= high,
        "high": lambda seen: getattr(seen, name) > high,
    }


def _both(one: Callable[[Measures], bool], other: Callable[[Measures], bool]) -> Callable[[Measures], bool]:
    return lambda seen: one(seen) and other(seen)


# Near the thirds of amateur photos; the warmth beyond which a cast is seen.
_RANGE = _band("range", 0.55, 0.72)
_WARMTH = _band("warmth", -0.02, 0.10)
_SHARPNESS = _band("sharpness", 0.20, 0.28)
_CENTRED = _band("centred", 1.05, 1.40)
_PLAINNESS = _band("plain", 0.25, 0.50)
_COLOUR = _band("colourfulness", 0.09, 0.17)
_BRIGHTNESS = _band("brightness", 0.35, 0.55)

_MOODS = {"low": "cool, with blue before red", "fair": "neutral, neither warm nor cool", "high": "warm"}
_STORIES = {"low": "told softly", "fair": "told without much bite", "high": "told in crisp detail"}
_PLACES = {
    "low": "gives its border as much detail as its middle",
    "fair": "has somewhat more detail in the middle",
    "high": "gathers its detail in the middle",
}
_ROOM = {
    "low": "and fills nearly the whole frame",
    "fair": "and leaves some of the frame plain",
    "high": "and leaves much of the frame plain",
}
_COLOURS = {
    "low": ("The colours are muted.", "The palette stays close to grey."),
    "fair": ("The colours are moderate.", "The palette is neither rich nor poor in colour."),
    "high": ("The colours are vivid.", "The palette is rich in colour."),
}
_LIGHT = {
    "low": ("The light is flat, with hardly a shadow to give form.", "Light and shadow lie close together."),
    "fair": ("Light and shadow are moderate.", "The light has some shadow beside it."),
    "high": ("Light and shadow stand far apart.", "The light is set against deep shadow."),
}
_EXPOSURES = {
    "low": "The exposure is on the dark side",
    "fair": "The exposure keeps to the middle tones",
    "high": "The exposure is on the bright side",
}
_LOST: dict[str, Callable[[Measures], bool]] = {
    "and nothing is lost at either end": lambda seen: max(seen.burnt, seen.blocked) <= _LOST_SHARE,
    "and bright areas are burnt out": lambda seen: seen.blocked <= _LOST_SHARE < seen.burnt,
    "and dark areas are blocked": lambda seen: seen.burnt <= _LOST_SHARE < seen.blocked,
    "and both ends are lost, bright areas and dark ones": lambda seen: min(seen.burnt, seen.blocked) > _LOST_SHARE,
}

SENTENCES: dict[str, tuple[Sentence[Measures], ...]] = {
    "light and shadow": tuple(Sentence(words, _RANGE[band]) for band, some in _LIGHT.items() for words in some),
    "mood and narrative": tuple(
        Sentence(
            f"The mood is {_MOODS[mood]}, and the story is {_STORIES[story]}.", _both(_WARMTH[mood], _SHARPNESS[story])
        )
        for mood, story in product(_MOODS, _STORIES)
    ),
    "composition": tuple(
        Sentence(f"The composition {_PLACES[place]} {_ROOM[room]}.", _both(_CENTRED[place], _PLAINNESS[room]))
        for place, room in product(_PLACES, _ROOM)
    ),
    "colour": tuple(Sentence(words, _COLOUR[band]) for band, some in _COLOURS.items() for words in some),
    "exposure": tuple(
        Sentence(f"{_EXPOSURES[band]}, {lost}.", _both(_BRIGHTNESS[band], holds))
        for band, (lost, holds) in product(_EXPOSURES, _LOST.items())
    ),
}
"""Dimension -> its sentences; exactly one meaning of each holds for a photo."""


class MeasuringAuthor(SentenceAuthor[Measures]):
    """An `Author` for any photo."""

    name = "measured"
    sentences = SENTENCES

    def look(self, path: str) -> Measures:
        """Measures a photo.

        Raises:
            ImageError: If it cannot be opened.
        """
        return Measures.of(path)
