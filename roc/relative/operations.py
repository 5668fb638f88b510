"""Edits that need no model: twelve operations on a picture, each with a strength and a known effect on its quality.

An operation moves one property of a picture: its level is 0 in a photo as it was taken, and the farther it is from
there, the worse. Strengths add to the level. Where there is an inverse, it is the opposite strength: it undoes the
operation up to what was cut off at black and white, or at the edge. How many points of a scale of 0..10 full strength
costs is our own estimate; the direction is what is known.

All of them take and give an RGB picture, and keep its size.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Seed = int

_GAMMA = 2.2
_STOPS = 1.8
_CONTRAST = 2.5
_WARMTH = 1.0
_COLOUR = 4.0
_BLUR = 0.014
_SHARP_RADIUS, _SHARP_PERCENT = 0.003, 450
_NOISE = 0.2
_VIGNETTE = 0.8
_DEGREES = 12.0
_CROP, _EDGE = 0.5, 0.02
_BEST_JPEG, _WORST_JPEG = 35, 3
_GRID, _SUBJECT = 48, 0.25
_FARTHEST = math.hypot(1 / 3, 1 / 3)


@dataclass(frozen=True)
class Operation:
    """One kind of edit.

    Attributes:
        name: What it moves; also the category of its edits.
        both_ways: Whether strengths lie on -1..1; else on 0..1.
        undone: Whether the opposite strength is the inverse.
        points: What full strength costs on a scale of 0..10, by estimate.
        more: Instruction for a strength above 0.
        less: Instruction for one below 0; empty where there is none.
        apply: Takes picture, strength and seed; gives the edited picture.
    """

    name: str
    both_ways: bool
    undone: bool
    points: float
    more: str
    less: str
    apply: Callable[[Image.Image, float, Seed], Image.Image]

    def inverse(self, strength: float) -> float | None:
        """Gives the strength that undoes a strength; None where none does."""
        return -strength if self.undone else None

    def cost(self, level: float) -> float:
        """Gives the points that a level costs."""
        return self.points * min(1.0, abs(level))

    def effect(self, picture: Image.Image, strength: float, level: float = 0.0) -> float:
        """Tells by how many points a picture gets better; a negative number where it gets worse.

        Args:
            picture: The picture before; only the framing looks at it.
            strength: Of the edit.
            level: Where the picture stands already, as for a photo that was damaged by this operation.
        """
        if self.apply is framing:
            before, after = _framed(picture, strength)
            return self.points * (distance_to_thirds(before) - distance_to_thirds(after)) / _FARTHEST
        return self.cost(level) - self.cost(level + strength)


def exposure(picture: Image.Image, strength: float, seed: Seed = 0) -> Image.Image:
    """Makes a picture brighter, or darker for a negative strength, by up to 1.8 stops."""
    return _image(_display(_linear(picture) * 2 ** (_STOPS * strength)))


def contrast(picture: Image.Image, strength: float, seed: Seed = 0) -> Image.Image:
    """Moves tones away from mid-grey, or towards it, by a factor of up to 2.5."""
    return _image(0.5 + (_array(picture) - 0.5) * _CONTRAST**strength)


def white_balance(picture: Image.Image, strength: float, seed: Seed = 0) -> Image.Image:
    """Makes the light warmer, or colder, by up to one stop between red and blue."""
    gains = np.array([2 ** (_WARMTH * strength / 2), 1.0, 2 ** (-_WARMTH * strength / 2)], dtype=np.float32)
    return _image(_display(_linear(picture) * gains))


def saturation(picture: Image.Image, strength: float, seed: Seed = 0) -> Image.Image:
    """Moves colours away from grey, or towards it, by a factor of up to 4."""
    pixels = _array(picture)
    grey = pixels @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    return _image(grey[..., None] + (pixels - grey[..., None]) * _COLOUR**strength)


def blur(picture: Image.Image, strength: float, seed: Seed = 0) -> Image.Image:
    """Blurs a picture, with a Gaussian of up to 1.4% of the short side, at least 2 pixels."""
    return picture.filter(ImageFilter.GaussianBlur(strength * max(2.0, _BLUR * min(picture.size))))


def sharpening(picture: Image.Image, strength: float, seed: Seed = 0) -> Image.Image:
    """Sharpens a picture far too much: an unsharp mask of up to 450%."""
    radius = max(0.8, _SHARP_RADIUS * min(picture.size))
    return picture.filter(ImageFilter.UnsharpMask(radius, round(_SHARP_PERCENT * strength), 0))


def noise(picture: Image.Image, strength: float, seed: Seed = 0) -> Image.Image:
    """Adds grain, in brightness and in colour, with a standard deviation of up to a fifth of the whole range."""
    height, width = picture.height, picture.width
    random = np.random.default_rng(seed)
    grain = random.standard_normal((height, width, 1), dtype=np.float32)
    grain = 0.8 * grain + 0.6 * random.standard_normal((height, width, 3), dtype=np.float32)
    return _image(_array(picture) + _NOISE * strength * grain)


def vignette(picture: Image.Image, strength: float, seed: Seed = 0) -> Image.Image:
    """Darkens the corners, or brightens them for a negative strength."""
    height, width = picture.height, picture.width
    rows = (np.arange(height, dtype=np.float32) - (height - 1) / 2) / (height / 2)
    columns = (np.arange(width, dtype=np.float32) - (width - 1) / 2) / (width / 2)
    falloff = 1 - _VIGNETTE * abs(strength) * ((rows**2)[:, None] + (columns**2)[None, :]) / 2
    light = _linear(picture)
    return _image(_display(light * falloff[..., None] if strength > 0 else light / falloff[..., None]))


def tilt(picture: Image.Image, strength: float, seed: Seed = 0) -> Image.Image:
    """Turns a picture by up to 12 degrees, clockwise for a positive strength, and cuts off the empty corners."""
    angle = _DEGREES * strength
    turned = picture.rotate(-angle, Image.Resampling.BICUBIC)
    width, height = picture.size
    across, down = math.cos(math.radians(abs(angle))), math.sin(math.radians(abs(angle)))
    # The largest part of the same shape that lies inside the turned picture, less what the empty corners blend into.
    share = 1 / max(across + down * height / width, across + down * width / height) * (1 - 3 / min(width, height))
    return _part(turned, (width / 2, height / 2), share)


def framing(picture: Image.Image, strength: float, seed: Seed = 0) -> Image.Image:
    """Crops a picture by up to half of its sides: the subject comes away from the thirds, or nearer to one for a
    negative strength."""
    width, height = picture.size
    across, down = _window(picture, strength)
    return _part(picture, (across * width, down * height), 1 - _CROP * abs(strength))


def distance_to_thirds(place: tuple[float, float]) -> float:
    """Measures how far a place is from the nearest crossing of the lines of thirds, in sides of the picture."""
    across, down = (min(abs(at - 1 / 3), abs(at - 2 / 3)) for at in place)
    return math.hypot(across, down)


def _window(picture: Image.Image, strength: float) -> tuple[float, float]:
    """Places the crop: its centre, in sides of the picture. The subject is to be as near to a third, or as far from
    all, as a crop of this size can have it."""
    share, centre = 1 - _CROP * abs(strength), []
    sign = 1 if strength < 0 else -1
    for at in subject_of(picture):
        middles = np.linspace(share / 2, 1 - share / 2, 41)
        places = (at - middles) / share + 0.5
        off = np.minimum(np.abs(places - 1 / 3), np.abs(places - 2 / 3))
        off[(places < _EDGE) | (places > 1 - _EDGE)] = sign * math.inf  # cut away altogether
        centre.append(float(middles[int((sign * off).argmin())]))
    return centre[0], centre[1]


def _framed(picture: Image.Image, strength: float) -> tuple[tuple[float, float], tuple[float, float]]:
    """Tells where the subject is before and after a crop."""
    share, centre = 1 - _CROP * abs(strength), _window(picture, strength)
    before = subject_of(picture)
    across, down = ((at - middle) / share + 0.5 for at, middle in zip(before, centre, strict=True))
    return before, (across, down)


def compression(picture: Image.Image, strength: float, seed: Seed = 0) -> Image.Image:
    """Leaves the marks of a JPEG of quality 35 down to 3."""
    quality = round(_BEST_JPEG + (_WORST_JPEG - _BEST_JPEG) * strength)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    with Image.open(buffer) as written:
        return written.convert("RGB")


def clutter(picture: Image.Image, strength: float, seed: Seed = 0) -> Image.Image:
    """Pastes up to six loud things over a picture: balls, boards and poles in colours that do not belong there."""
    random = np.random.default_rng(seed)
    finer = 2  # drawn at twice the size, so that edges are smooth
    width, height = picture.width * finer, picture.height * finer
    side = min(width, height)
    layer = Image.new("RGBA", (width, height))
    draw = ImageDraw.Draw(layer)
    for _ in range(1 + round(5 * strength)):
        colour = tuple(int(value) for value in random.choice((30, 235), 3)) + (255,)
        size = side * float(random.uniform(0.08, 0.12 + 0.12 * strength))
        left, top = float(random.uniform(0, width - size)), float(random.uniform(0, height - size))
        kind = int(random.integers(3))
        if kind == 0:
            draw.ellipse((left, top, left + size, top + size), colour)
        elif kind == 1:
            draw.rectangle((left, top, left + 1.6 * size, top + 0.6 * size), colour, (20, 20, 20, 255), finer * 2)
        else:
            draw.rectangle((left, 0, left + size / 4, height), colour)
    layer = layer.resize(picture.size, Image.Resampling.BOX)
    pasted = picture.copy()
    pasted.paste(layer, (0, 0), layer)
    return pasted


def subject_of(picture: Image.Image) -> tuple[float, float]:
    """Guesses where the subject of a picture is: where it differs most from the rest in colour and detail.

    Returns:
        (across, down), each in 0..1.
    """
    small = picture.resize((_GRID, _GRID), Image.Resampling.BOX)
    around = small.filter(ImageFilter.BoxBlur(_GRID // 4))
    odd = np.linalg.norm(_array(small) - _array(around), axis=2)
    steps = (np.arange(_GRID, dtype=np.float32) + 0.5) / _GRID
    middle = (2 * steps - 1) ** 2
    odd *= 1 - 0.3 * (middle[:, None] + middle[None, :])  # few subjects stand in a corner
    odd = _array(_image(odd / (odd.max() + 1e-6)).filter(ImageFilter.BoxBlur(_GRID // 12)))
    row, column = np.unravel_index(int(odd.argmax()), odd.shape)
    near = np.hypot(steps[:, None] - steps[row], steps[None, :] - steps[column]) < _SUBJECT
    weight = np.where(near, odd**2, 0) + 1e-9 * near
    down, across = ((weight.sum(axis=axis) * steps).sum() / weight.sum() for axis in (1, 0))
    return float(across), float(down)


OPERATIONS: dict[str, Operation] = {
    one.name: one
    for one in (
        Operation("exposure", True, True, 3.5, "Make the photo brighter.", "Make the photo darker.", exposure),
        Operation("contrast", True, True, 2.5, "Raise the contrast.", "Flatten the contrast.", contrast),
        Operation("white_balance", True, True, 2.5, "Make the light warmer.", "Make the light colder.", white_balance),
        Operation("saturation", True, True, 2.5, "Make the colours stronger.", "Take colour out.", saturation),
        Operation("blur", False, False, 4.0, "Soften the whole photo.", "", blur),
        Operation("sharpening", False, False, 2.5, "Sharpen every edge.", "", sharpening),
        Operation("noise", False, False, 3.0, "Add film grain.", "", noise),
        Operation("vignette", True, True, 2.0, "Darken the corners.", "Brighten the corners.", vignette),
        Operation("tilt", True, True, 2.5, "Turn the photo clockwise.", "Turn the photo anticlockwise.", tilt),
        Operation(
            "framing",
            True,
            False,
            3.0,
            "Crop the photo so that the subject stands at the edge.",
            "Crop the photo so that the subject stands on a third.",
            framing,
        ),
        Operation("compression", False, False, 3.5, "Save the photo as a very small JPEG.", "", compression),
        Operation("clutter", False, False, 3.0, "Put some loud things into the scene.", "", clutter),
    )
}
"""Name -> operation."""


def _array(picture: Image.Image) -> np.ndarray:
    """Gives the pixels in 0..1, (H, W, 3) of float32."""
    return np.asarray(picture, dtype=np.float32) / 255


def _linear(picture: Image.Image) -> np.ndarray:
    """Gives the light of the pixels, near enough: display values to the power of 2.2."""
    table = ((np.arange(256, dtype=np.float32) / 255) ** _GAMMA).astype(np.float32)
    return table[np.asarray(picture)]


def _display(light: np.ndarray) -> np.ndarray:
    return np.clip(light, 0, 1) ** (1 / _GAMMA)


def _image(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8))


def _part(picture: Image.Image, centre: tuple[float, float], share: float) -> Image.Image:
    """Enlarges a part of the picture's own shape to its size; `centre` in pixels, `share` of its sides."""
    width, height = picture.size
    left, top = centre[0] - width * share / 2, centre[1] - height * share / 2
    box = (max(0.0, left), max(0.0, top), min(width, left + width * share), min(height, top + height * share))
    return picture.resize((width, height), Image.Resampling.LANCZOS, box)
