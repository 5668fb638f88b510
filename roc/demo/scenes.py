"""Procedural photo-like scenes with known attributes, and a simulated panel that rates them.

A stand-in for rated photos, so that training, evaluation and scoring can be shown from a fresh clone with nothing
downloaded. It says NOTHING about human taste: what is "good" here is a handful of formulas, written down below.

A scene is one subject (house, boat, figure, balloon, tree, tent, cup, vase) and a plainer, smaller bystander (bush,
rock, ball, box) in one place (sea, hills, town, woods, table), drawn with numpy and Pillow. Everything follows from
`(seed, index)`; no global random state is read or changed.

What each attribute means in pixels; each is a latent in [0, 1]:

* `composition`: half the place of the subject (1 when its centre stands on a vertical third of the frame, 0 when it is
  in the middle or pushed to the edge, 0.17 of the width away), half the horizon (1 level, 0 at 13 degrees of roll).
* `light`: the light on the subject against the light around it. 1: brighter than its surroundings by 0.75 stop and
  modelled from one side; 0: 1.35 stops darker and flat. The scene's own exposure is drawn independently.
* `colour`: the angle between the hue of the subject and the hue the surroundings share, on a circle of equal-luma hues.
  1 at 180 degrees (complementary), 0 at 40 (too far apart to be related, too near to complement). Either hue alone, and
  the saturation of both, are drawn independently.
* `focus`: who is sharp. 1: a sharp subject before a soft background; 0: the reverse; in between both are half soft. A
  common blur, the contrast of the textures and the grain are drawn independently.

The bystander belongs to the background's plane and is lit and coloured the other way round (bright where the subject is
dark, complementary where the subject's hue jars), and the camera brings exposure, contrast and detail of the whole
picture to targets of its own. So statistics of the whole picture say little; one has to see which is the subject.

Everything else is nuisance: place, kind, size, mirror, time of day, hues, saturation, horizon height, clouds, sun,
points of light, exposure, contrast, vignette, tint, grain.

Overall quality, in [0, 1], from the four latents a_i (`overall_quality`): a weak attribute caps the rest.

    soft minimum  m = -0.15 log(mean_i exp(-a_i / 0.15))
    product       g = (prod_i (0.1 + 0.9 a_i)) ** (1/4)
    pair terms    s = (light * colour + composition * focus) / 2
    quality       = 1 - (1 - x) ** 1.6,  x = (0.45 m + 0.35 g + 0.20 s - 0.035) / 0.965

Rater model (`RaterPanel`): a panel of 60. Rater r has a bias, a scale, a noise level and a taste of its own (weights on
the latents that sum to zero). A scene is voted on by 24 to 40 of them, drawn without replacement. With the scene's
ambiguity k, a vote is

    round(clip(5.5 + scale_r (Q - 5.5) + bias_r + taste_r . (a - 1/2) + k noise_r e,  1, 10)),   Q = 1.8 + 7.4 quality

and the residuals about their mean are widened until the standard deviation of the integer votes is at least 1. The
attributes are voted on in the same way (without taste), on the same 1..10 range.
"""

from __future__ import annotations

import csv
import functools
import json
import logging
import math
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from roc.evaluation.metrics import srcc

logger = logging.getLogger(__name__)

ATTRIBUTES = ("overall", "composition", "light", "colour", "focus")
LATENTS = ATTRIBUTES[1:]
SPLITS = ("train", "val", "test")
NUM_LEVELS = 10
# Raised whenever a scene or a vote would come out differently, so that a data set of an older kind is not reused.
VERSION = 1

THIRDS = (1 / 3, 2 / 3)
WORST_OFFSET = 0.17
WORST_ROLL = 13.0
LIGHT_STOPS = (-1.35, 0.75)
HUE_GAP = (40.0, 180.0)
# Blur (standard deviation) of the layer that is out of focus, as a fraction of the picture's side.
DEFOCUS = 0.036
# Height of the bystander relative to the subject.
BYSTANDER_SIZE = (0.6, 0.85)
# Latents share a little of the photographer's skill, as the attributes of real photos do.
SHARED_SKILL = 0.15

PLACES = ("sea", "hills", "town", "woods", "table")
KINDS = {
    "sea": ("boat", "balloon", "figure"),
    "hills": ("house", "tree", "figure", "balloon", "tent"),
    "town": ("figure", "balloon", "house"),
    "woods": ("tent", "figure", "house"),
    "table": ("cup", "vase"),
}
# Centre of the hue family of each mood, degrees on the circle of `_tint`.
MOODS = {"blue": 225.0, "green": 120.0, "gold": 30.0}
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


@dataclass(frozen=True)
class Scene:
    """One rendered scene and everything the generator knows about it.

    Attributes:
        image: RGB picture, `size` x `size`.
        latents: the four attributes, each in [0, 1].
        facts: what was drawn, in pixels' terms: `subject_x` (fraction of the width), `roll` (degrees), `stops`,
            `hue_gap` (degrees), `focus`.
        place: one of `PLACES`.
        kind: the subject.
        index: number of the scene.
        seed: seed of the collection it belongs to.
    """

    image: Image.Image
    latents: dict[str, float]
    facts: dict[str, float]
    place: str
    kind: str
    index: int
    seed: int

    @property
    def quality(self) -> float:
        """Noise-free overall quality in [0, 1]."""
        return overall_quality(self.latents)

    @property
    def true_scores(self) -> dict[str, float]:
        """Noise-free scores of all `ATTRIBUTES` on the range 1..10."""
        return {"overall": to_score(self.quality)} | {name: to_score(self.latents[name]) for name in LATENTS}

    @property
    def comment(self) -> str:
        """One or two short sentences in words, from the latents alone."""
        return comment(self.latents, self.facts)


# --- The facts of a scene and what they are worth -------------------------------------------------------------------


def overall_quality(latents: Mapping[str, float]) -> float:
    """Overall quality in [0, 1] from the four latents: soft minimum, product and pair terms (see the file's head)."""
    a = np.array([latents[name] for name in LATENTS], dtype=np.float64)
    soft_minimum = -0.15 * math.log(np.exp(-a / 0.15).mean())
    product = float(np.prod(0.1 + 0.9 * a)) ** 0.25
    pairs = (latents["light"] * latents["colour"] + latents["composition"] * latents["focus"]) / 2
    x = (0.45 * soft_minimum + 0.35 * product + 0.20 * pairs - 0.035) / 0.965
    return 1 - (1 - min(max(x, 0.0), 1.0)) ** 1.6


def to_score(latent: float) -> float:
    """Latent or quality in [0, 1] -> noise-free score, 1.8 to 9.2 on the range 1..10."""
    return 1.8 + 7.4 * latent


def latents_of(facts: Mapping[str, float]) -> dict[str, float]:
    """What the facts of a scene (`Scene.facts`) are worth: the four latents, each in [0, 1]."""
    place, level = _place_and_level(facts)
    return {
        "composition": (place + level) / 2,
        "light": (facts["stops"] - LIGHT_STOPS[0]) / (LIGHT_STOPS[1] - LIGHT_STOPS[0]),
        "colour": (facts["hue_gap"] - HUE_GAP[0]) / (HUE_GAP[1] - HUE_GAP[0]),
        "focus": facts["focus"],
    }


def _place_and_level(facts: Mapping[str, float]) -> tuple[float, float]:
    """The two halves of composition, each in [0, 1]."""
    offset = min(abs(facts["subject_x"] - third) for third in THIRDS)
    return max(0.0, 1 - offset / WORST_OFFSET), max(0.0, 1 - abs(facts["roll"]) / WORST_ROLL)


def _draw_facts(rng: np.random.Generator) -> dict[str, float]:
    """Facts with latents close to uniform on [0, 1], slightly correlated through `SHARED_SKILL`."""
    skill = rng.standard_normal()
    own = rng.standard_normal(len(LATENTS))
    z = math.sqrt(SHARED_SKILL) * skill + math.sqrt(1 - SHARED_SKILL) * own
    composition, light, colour, focus = (0.5 * (1 + math.erf(value / math.sqrt(2))) for value in z)
    place, level = np.clip(composition + rng.uniform(-0.2, 0.2) * np.array([1, -1]), 0, 1)
    third, side, turn = rng.random(3)
    offset = (1 - place) * WORST_OFFSET * (1 if side < 0.5 else -1)
    return {
        "subject_x": float(THIRDS[int(third < 0.5)] + offset),
        "roll": float((1 - level) * WORST_ROLL * (1 if turn < 0.5 else -1)),
        "stops": LIGHT_STOPS[0] + light * (LIGHT_STOPS[1] - LIGHT_STOPS[0]),
        "hue_gap": HUE_GAP[0] + colour * (HUE_GAP[1] - HUE_GAP[0]),
        "focus": focus,
    }


def comment(latents: Mapping[str, float], facts: Mapping[str, float]) -> str:
    """A short remark: the best that can be said, then the worst.

    Args:
        latents: the four attributes in [0, 1].
        facts: as in `Scene.facts`; says which half of composition is the weak one.

    Returns:
        For instance "The subject sits on a third and the light is soft, but the colours clash."
    """
    place, level = _place_and_level(facts)
    if level < place:
        bad_composition = "the horizon tilts"
    elif THIRDS[0] < facts["subject_x"] < THIRDS[1]:
        bad_composition = "the subject sits in the middle"
    else:
        bad_composition = "the subject is pushed to the edge"
    words = {
        "composition": ("the subject sits on a third", "the framing is fair", bad_composition),
        "light": ("the light is soft", "the light is plain", "the subject is too dark"),
        "colour": ("the colours agree", "the colours are plain", "the colours clash"),
        "focus": ("the subject is sharp", "the focus is fair", "the subject is blurred"),
    }
    ordered = sorted(LATENTS, key=lambda name: -latents[name])
    good = [words[name][0] for name in ordered if latents[name] > 0.62][:2]
    bad = [words[name][2] for name in reversed(ordered) if latents[name] < 0.38][:2]
    fair = [words[name][1] for name in ordered if 0.38 <= latents[name] <= 0.62][:2]
    if good and bad:
        text = f"{' and '.join(good)}, but {' and '.join(bad[: 3 - len(good)])}"
    else:
        text = " and ".join((good or bad)[:2] or fair)
        if fair and (good or bad):
            text += f"; {fair[-1]}"
    return text[0].upper() + text[1:] + "."


# --- Drawing --------------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=4)
def _grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixel centres (x, y), each (size, size) float32 in [0, 1]; y points down."""
    line = (np.arange(size, dtype=np.float32) + 0.5) / size
    x, y = np.meshgrid(line, line)
    return x, y


def _tint(hue: float, chroma: float) -> np.ndarray:
    """RGB multipliers (3,) of a grey: a colour of that hue (degrees) and chroma whose luma is the grey's."""
    wave = np.cos(np.deg2rad(hue - np.array([0.0, 120.0, 240.0], dtype=np.float32)))
    return (1 + chroma * (wave - LUMA @ wave)).astype(np.float32)


def _noise(rng: np.random.Generator, size: int, cells: tuple[int, int]) -> np.ndarray:
    """Smooth noise (size, size), standard normal at its knots; `cells` are the knots across (columns, rows)."""
    knots = rng.standard_normal((cells[1] + 1, cells[0] + 1), dtype=np.float32)
    return np.asarray(Image.fromarray(knots).resize((size, size), Image.Resampling.BICUBIC))


def _line_noise(rng: np.random.Generator, at: np.ndarray, knots: int) -> np.ndarray:
    """One-dimensional noise read at `at` (any shape, values from -0.25 to 1.25)."""
    return np.interp(at, np.linspace(-0.25, 1.25, knots), rng.standard_normal(knots)).astype(np.float32)


def _soft_step(distance: np.ndarray, steepness: float) -> np.ndarray:
    """0 -> 1 across zero, over 1 / steepness; `distance` in fractions of the side (steepness = size: one pixel)."""
    return np.clip(distance * steepness + 0.5, 0, 1)


def _skyline(rng: np.random.Generator, place: str, u: np.ndarray) -> np.ndarray:
    """Height of the far shapes above the horizon at each position `u`, as a fraction of the side."""
    if place == "sea":
        return 0.015 + 0.02 * np.clip(_line_noise(rng, u, 7), 0, 2)
    if place == "hills":
        return 0.09 + 0.045 * _line_noise(rng, u, 6) + 0.008 * _line_noise(rng, u, 40)
    if place == "town":
        edges = np.sort(rng.uniform(-0.25, 1.25, 15))
        return rng.uniform(0.06, 0.3, 16).astype(np.float32)[np.searchsorted(edges, u)]
    if place == "woods":
        return 0.26 + 0.05 * _line_noise(rng, u, 12) + 0.025 * _line_noise(rng, u, 60)
    return np.zeros_like(u)


def _ground_texture(rng: np.random.Generator, place: str, size: int, depth: np.ndarray) -> np.ndarray:
    """Texture of the ground (size, size), about unit strength; `depth` is the distance below the horizon."""
    lines = _line_noise(rng, np.log(np.maximum(depth, 0.004) / 0.004) / 6, 46)
    grain = _noise(rng, size, (size // 2, size // 3)) + 0.7 * _noise(rng, size, (14, 14))
    lines = rng.uniform(0.0, 1.2) * lines
    if place == "sea":
        return 0.8 * lines * (1 + 0.5 * _noise(rng, size, (12, 20))) + 0.35 * grain
    if place == "table":
        return 0.9 * lines + 0.25 * grain
    return 0.4 * lines + 0.8 * grain


def _background(
    rng: np.random.Generator, place: str, size: int, horizon: float, hue: float, roll: float
) -> tuple[np.ndarray, np.ndarray]:
    """The surroundings without the subject.

    Returns:
        Picture (size, size, 3) float32 around [0, 1], sharp everywhere; and its luma without fine texture (size, size).
    """
    x, y = _grid(size)
    cos, sin = math.cos(math.radians(roll)), math.sin(math.radians(roll))
    u = 0.5 + (x - 0.5) * cos + (y - 0.5) * sin
    v = 0.5 + (y - 0.5) * cos - (x - 0.5) * sin
    chroma = rng.uniform(0.2, 0.44)
    contrast = rng.uniform(0.01, 0.045)
    sky_luma, ground_luma, far_luma = rng.uniform(0.5, 0.82), rng.uniform(0.3, 0.6), rng.uniform(0.22, 0.5)
    sun_u, sun_v, sun_size = rng.uniform(-0.1, 1.1), horizon - rng.uniform(0.08, 0.45), rng.uniform(0.02, 0.05)

    height = _skyline(rng, place, u)
    above = horizon - v
    # Mist: lines of the place may be soft although they are in focus.
    ground = _soft_step(-above, 1 / rng.uniform(0.01, 0.07))
    far = _soft_step(height - above, 1 / rng.uniform(0.01, 0.04)) * (1 - ground)

    sun_far = np.hypot(u - sun_u, v - sun_v)
    sky = sky_luma + 0.22 * (0.5 - above / max(horizon, 0.2)) + rng.uniform(0.0, 0.3) * np.exp(-sun_far / 0.16)
    clouds = _noise(rng, size, (4, 9)) + 0.5 * _noise(rng, size, (9, 22))
    sky = sky + rng.uniform(0.02, 0.06) * clouds
    if place != "table" and rng.random() < 0.4:
        sky = sky + 0.35 * _soft_step(sun_size - sun_far, size)
    if place == "table":
        sky = sky - 0.15 + contrast * 0.5 * _noise(rng, size, (size // 3, size // 3))

    far_shade = far_luma + contrast * (_noise(rng, size, (size // 2, size // 3)) + 0.5 * _line_noise(rng, u, 70))
    if place == "woods":
        far_shade = far_shade + 0.1 * np.sign(_line_noise(rng, u, 48)) - 0.04
    if place == "town":
        far_shade = far_shade + 0.05 * np.sign(np.sin(u * 150)) * np.sign(np.sin(v * 130))
    floor = ground_luma + 0.12 * (v - horizon) + contrast * _ground_texture(rng, place, size, v - horizon)

    smooth = sky * (1 - far - ground) + far_luma * far + ground_luma * ground
    shades = ((sky, 1 - far - ground, 0.55), (far_shade, far, 0.85), (floor, ground, 1.0))
    picture = np.zeros((size, size, 3), dtype=np.float32)
    for shade, mask, strength in shades:
        layer = np.clip(shade, 0.06, 1.1) * mask
        picture += layer[..., None] * _tint(hue + rng.uniform(-8, 8), chroma * strength)
    picture += _lights(rng, place, size, u, above)[..., None] * _tint(hue, 0.5 * chroma)
    return picture, smooth


def _lights(rng: np.random.Generator, place: str, size: int, u: np.ndarray, above: np.ndarray) -> np.ndarray:
    """Small points of light (size, size): lamps, glints, gaps in leaves; out of focus they open into discs."""
    count = int(rng.integers(3, 12))
    at_u, at_above, strength = rng.random(count), rng.uniform(0.02, 0.34, count), rng.uniform(0.4, 1.0, count)
    if place == "sea":
        at_above = -at_above
    radius = rng.uniform(0.008, 0.02)
    lights = np.zeros((size, size), dtype=np.float32)
    for i in range(count):
        lights = np.maximum(
            lights, 0.8 * strength[i] * _soft_step(radius - np.hypot(u - at_u[i], above - at_above[i]), size)
        )
    return lights


# Each part of a subject: (shape, points, tone, share of the subject's chroma). Points are (x, y), y up from the foot,
# in units of the subject's height; an ellipse is given by two corners. Neutral parts are kept small, so that the
# subject has one hue.
_PARTS: dict[str, tuple[tuple[str, tuple[tuple[float, float], ...], float, float], ...]] = {
    "house": (
        ("polygon", ((-0.5, 0), (0.5, 0), (0.5, 0.58), (-0.5, 0.58)), 1.0, 1.0),
        ("polygon", ((-0.6, 0.56), (0.6, 0.56), (0.32, 1.0), (-0.32, 1.0)), 0.72, 1.0),
        ("polygon", ((0.2, 0.9), (0.32, 0.9), (0.32, 1.12), (0.2, 1.12)), 0.8, 0.8),
        ("polygon", ((-0.1, 0), (0.1, 0), (0.1, 0.36), (-0.1, 0.36)), 0.5, 0.6),
        ("polygon", ((-0.4, 0.24), (-0.2, 0.24), (-0.2, 0.44), (-0.4, 0.44)), 1.35, 0.3),
        ("polygon", ((0.2, 0.24), (0.4, 0.24), (0.4, 0.44), (0.2, 0.44)), 1.35, 0.3),
    ),
    "boat": (
        ("polygon", ((-0.03, 0.2), (0.03, 0.2), (0.03, 1.05), (-0.03, 1.05)), 0.6, 0.4),
        ("polygon", ((0.05, 0.28), (0.5, 0.28), (0.05, 1.0)), 1.1, 1.0),
        ("polygon", ((-0.06, 0.28), (-0.38, 0.28), (-0.06, 0.9)), 0.9, 1.0),
        ("polygon", ((-0.6, 0.22), (0.62, 0.22), (0.42, 0), (-0.42, 0)), 0.85, 1.0),
        ("polygon", ((-0.6, 0.22), (0.62, 0.22), (0.6, 0.17), (-0.57, 0.17)), 1.3, 0.4),
    ),
    "figure": (
        ("polygon", ((-0.15, 0), (-0.03, 0), (0.0, 0.4), (-0.2, 0.4)), 0.6, 0.7),
        ("polygon", ((0.05, 0), (0.17, 0), (0.2, 0.4), (0.0, 0.4)), 0.65, 0.7),
        ("polygon", ((-0.26, 0.26), (0.26, 0.26), (0.2, 0.8), (0.1, 0.86), (-0.1, 0.86), (-0.2, 0.8)), 1.0, 1.0),
        ("polygon", ((-0.2, 0.8), (-0.34, 0.42), (-0.24, 0.38), (-0.1, 0.72)), 0.88, 1.0),
        ("polygon", ((0.2, 0.8), (0.34, 0.42), (0.24, 0.38), (0.1, 0.72)), 0.88, 1.0),
        ("ellipse", ((-0.11, 0.82), (0.11, 1.06)), 1.15, 0.5),
        ("polygon", ((-0.16, 0.98), (0.16, 0.98), (0.09, 1.1), (-0.09, 1.1)), 0.8, 1.0),
    ),
    "balloon": (
        ("polygon", ((-0.2, 0.36), (0.2, 0.36), (0.07, 0.12), (-0.07, 0.12)), 0.85, 1.0),
        ("ellipse", ((-0.42, 0.24), (0.42, 1.06)), 1.0, 1.0),
        ("ellipse", ((-0.2, 0.24), (0.2, 1.06)), 1.25, 0.8),
        ("polygon", ((-0.09, 0), (0.09, 0), (0.09, 0.11), (-0.09, 0.11)), 0.55, 0.5),
    ),
    "tree": (
        ("polygon", ((-0.06, 0), (0.06, 0), (0.04, 0.45), (-0.04, 0.45)), 0.5, 0.5),
        ("ellipse", ((-0.46, 0.3), (0.06, 0.78)), 0.88, 1.0),
        ("ellipse", ((-0.06, 0.32), (0.46, 0.8)), 0.95, 1.0),
        ("ellipse", ((-0.32, 0.48), (0.32, 1.08)), 1.08, 1.0),
    ),
    "tent": (
        ("polygon", ((-0.75, 0), (0.75, 0), (0.1, 0.9), (-0.1, 0.9)), 1.0, 1.0),
        ("polygon", ((-0.28, 0), (0.24, 0), (-0.02, 0.66)), 0.5, 0.8),
        ("polygon", ((0.24, 0), (0.75, 0), (0.1, 0.9), (-0.02, 0.66)), 0.82, 1.0),
    ),
    "cup": (
        ("ellipse", ((0.3, 0.25), (0.75, 0.78)), 0.9, 1.0),
        ("ellipse", ((0.4, 0.36), (0.64, 0.67)), 0.5, 0.5),
        ("polygon", ((-0.45, 0.9), (0.45, 0.9), (0.38, 0.08), (0.28, 0), (-0.28, 0), (-0.38, 0.08)), 1.0, 1.0),
        ("ellipse", ((-0.45, 0.8), (0.45, 1.0)), 1.25, 0.7),
        ("ellipse", ((-0.37, 0.83), (0.37, 0.97)), 0.5, 0.6),
    ),
    "vase": (
        ("polygon", ((-0.03, 0.4), (0.0, 0.4), (-0.2, 0.85), (-0.24, 0.85)), 0.55, 0.7),
        ("polygon", ((0.0, 0.4), (0.03, 0.4), (0.24, 0.82), (0.2, 0.82)), 0.55, 0.7),
        ("polygon", ((-0.02, 0.4), (0.02, 0.4), (0.02, 0.95), (-0.02, 0.95)), 0.6, 0.7),
        ("ellipse", ((-0.4, 0.7), (-0.12, 0.98)), 1.15, 1.0),
        ("ellipse", ((0.1, 0.66), (0.38, 0.94)), 1.1, 1.0),
        ("ellipse", ((-0.15, 0.8), (0.15, 1.1)), 1.3, 1.0),
        ("ellipse", ((-0.06, 0.89), (0.06, 1.01)), 0.7, 0.5),
        ("polygon", ((-0.1, 0.52), (0.1, 0.52), (0.27, 0.3), (0.16, 0), (-0.16, 0), (-0.27, 0.3)), 0.95, 1.0),
        ("polygon", ((-0.14, 0.56), (0.14, 0.56), (0.12, 0.48), (-0.12, 0.48)), 1.2, 0.7),
    ),
}
# The bystander: plainer and smaller than any subject.
_PARTS |= {
    "bush": (
        ("ellipse", ((-0.75, -0.1), (0.1, 0.75)), 0.9, 1.0),
        ("ellipse", ((-0.1, -0.1), (0.75, 0.7)), 1.0, 1.0),
        ("ellipse", ((-0.4, 0.0), (0.42, 1.0)), 1.08, 1.0),
    ),
    "rock": (
        ("polygon", ((-0.8, 0), (0.8, 0), (0.66, 0.5), (0.2, 0.95), (-0.3, 0.85), (-0.72, 0.4)), 1.0, 1.0),
        ("polygon", ((0.8, 0), (0.66, 0.5), (0.2, 0.95), (0.1, 0.5), (0.3, 0)), 0.8, 1.0),
    ),
    "ball": (("ellipse", ((-0.52, 0), (0.52, 1.0)), 1.0, 1.0),),
    "box": (
        ("polygon", ((-0.7, 0), (0.35, 0), (0.35, 0.8), (-0.7, 0.8)), 1.0, 1.0),
        ("polygon", ((0.35, 0), (0.7, 0.14), (0.7, 0.94), (0.35, 0.8)), 0.75, 1.0),
        ("polygon", ((-0.7, 0.8), (0.35, 0.8), (0.7, 0.94), (-0.35, 0.94)), 1.2, 1.0),
    ),
}
BYSTANDERS = {
    "sea": ("rock", "ball"),
    "hills": ("bush", "rock"),
    "town": ("box", "bush"),
    "woods": ("bush", "rock"),
    "table": ("ball", "box"),
}
_OVERSAMPLE = 3


def _drawn_thing(
    kind: str, size: int, centre: tuple[float, float], height: float, roll: float, mirror: bool, tint: np.ndarray
) -> np.ndarray:
    """One thing, unlit: (size, size, 4) float32, colour times coverage and coverage, middle tone 0.5.

    Args:
        kind: a key of the parts table.
        size: side in pixels.
        centre: where the middle of the subject stands, fractions of the side, y down.
        height: fraction of the side.
        roll: degrees, the camera's.
        mirror: left-right.
        tint: (3,) from `_tint`.
    """
    wide = size * _OVERSAMPLE
    canvas = Image.new("RGBA", (wide, wide))
    draw = ImageDraw.Draw(canvas)
    cos, sin = math.cos(math.radians(roll)), math.sin(math.radians(roll))
    for shape, points, tone, share in _PARTS[kind]:
        if shape == "ellipse":
            (x0, y0), (x1, y1) = points
            turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
            outline = np.stack([(x0 + x1 + (x1 - x0) * np.cos(turn)) / 2, (y0 + y1 + (y1 - y0) * np.sin(turn)) / 2], 1)
        else:
            outline = np.array(points)
        across = outline[:, 0] * height * (-1 if mirror else 1)
        down = (0.5 - outline[:, 1]) * height
        px = (centre[0] + across * cos - down * sin) * wide
        py = (centre[1] + across * sin + down * cos) * wide
        colour = np.clip(0.5 * tone * (1 + share * (tint - 1)), 0, 1) * 255
        draw.polygon(list(zip(px.tolist(), py.tolist(), strict=True)), fill=(*colour.astype(int).tolist(), 255))
    layer = np.array(canvas.reduce(_OVERSAMPLE), dtype=np.float32) / 255
    layer[..., :3] *= layer[..., 3:]
    return layer


def _blur(layer: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of (size, size, 3 or 4) float32 in [0, 1]; `sigma` in pixels."""
    if sigma < 0.2:
        return layer
    image = Image.fromarray((np.clip(layer, 0, 1) * 255 + 0.5).astype(np.uint8))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(sigma)), dtype=np.float32) / 255


def render_scene(index: int, *, seed: int, size: int, facts: Mapping[str, float] | None = None) -> Scene:
    """Draws scene `index` of the collection `seed`.

    Args:
        index: number of the scene, 0 or more.
        seed: seed of the collection, 0 or more.
        size: side in pixels, 32 or more; 64 to 96 is what the demo is made for.
        facts: facts to set instead of those drawn (keys as in `Scene.facts`); all else stays as it was.

    Returns:
        The scene. Same arguments, same pixels.

    Raises:
        ValueError: unknown or out-of-range fact, or a size below 32.
    """
    if size < 32:
        raise ValueError(f"size {size} is too small to see a subject in; use 32 or more (64 to 96 is usual)")
    drawn = _draw_facts(np.random.default_rng([seed, index, 1]))
    unknown = set(facts or {}) - set(drawn)
    if unknown:
        raise ValueError(f"unknown facts {sorted(unknown)}; known are {sorted(drawn)}")
    drawn |= {name: float(value) for name, value in (facts or {}).items()}
    latents = latents_of(drawn)
    outside = [name for name in LATENTS if not -1e-9 <= latents[name] <= 1 + 1e-9]
    if outside or not 0 <= drawn["subject_x"] <= 1:
        raise ValueError(f"facts {drawn} lead outside [0, 1] for {outside or 'subject_x'}; bring them inside")

    rng = np.random.default_rng([seed, index, 2])
    place = PLACES[rng.integers(len(PLACES))]
    kind = KINDS[place][rng.integers(len(KINDS[place]))]
    horizon, height = rng.uniform(0.45, 0.66), rng.uniform(0.36, 0.52)
    background_hue = list(MOODS.values())[rng.integers(len(MOODS))] + rng.uniform(-12, 12)
    hue = background_hue + drawn["hue_gap"] * (1 if rng.random() < 0.5 else -1)
    chroma = rng.uniform(0.42, 0.66)
    mirror, sun_side = rng.random() < 0.5, 1 if rng.random() < 0.5 else -1
    texture = rng.uniform(0.1, 0.18)
    below = rng.uniform(0.1, 0.24)
    common_blur = rng.uniform(0.0, 0.013)

    other_kind = BYSTANDERS[place][rng.integers(2)]
    other_height = height * rng.uniform(*BYSTANDER_SIZE)
    # The bystander is as well lit and as well coloured as the subject is badly: the sum of both says little.
    other_hue = background_hue + (sum(HUE_GAP) - drawn["hue_gap"]) * (1 if rng.random() < 0.5 else -1)
    other_chroma = rng.uniform(0.42, 0.66)

    picture, smooth = _background(rng, place, size, horizon, background_hue, drawn["roll"])
    x, y = _grid(size)
    # A thing stands at its x of the frame whatever the roll is; only its height follows the horizon.
    slope = math.tan(math.radians(drawn["roll"]))
    middle = horizon + below - height / 2 if kind != "balloon" else horizon - rng.uniform(0.02, 0.16)
    centre = (drawn["subject_x"], middle + (drawn["subject_x"] - 0.5) * slope)
    other_x = _beside(rng, drawn["subject_x"])
    other_centre = (other_x, horizon + 0.6 * below - other_height / 2 + (other_x - 0.5) * slope)

    bare = _drawn_thing(
        other_kind, size, other_centre, other_height, drawn["roll"], mirror, _tint(other_hue, other_chroma)
    )
    relief = 1 + texture * (_noise(rng, size, (size // 3, size // 3)) + 0.6 * _noise(rng, size, (size // 6, size // 3)))
    relief = np.clip(relief, 0.4, 1.7)
    other_side = np.clip((x - other_centre[0]) / (0.45 * other_height), -1, 1) * sun_side
    other = _lit(bare, smooth, other_centre, other_height, sum(LIGHT_STOPS) - drawn["stops"])
    other[..., :3] *= (relief.T * (1 + (0.4 - 0.34 * latents["light"]) * other_side))[..., None]
    picture = _shadowed(picture, other_centre, other_height, sun_side)
    picture = picture * (1 - other[..., 3:]) + other[..., :3]

    bare = _drawn_thing(kind, size, centre, height, drawn["roll"], mirror, _tint(hue, chroma))
    side = np.clip((x - centre[0]) / (0.45 * height), -1, 1) * sun_side
    subject = _lit(bare, smooth, centre, height, drawn["stops"])
    subject[..., :3] *= (relief * (1 + (0.06 + 0.34 * latents["light"]) * side))[..., None]
    if kind != "balloon":
        picture = _shadowed(picture, centre, height, sun_side)

    soft = _blur(picture, size * (common_blur + DEFOCUS * drawn["focus"]))
    subject = _blur(subject, size * (common_blur + DEFOCUS * (1 - drawn["focus"])))
    image = _develop(rng, soft * (1 - subject[..., 3:]) + subject[..., :3])
    return Scene(image, latents, drawn, place, kind, index, seed)


def _beside(rng: np.random.Generator, subject_x: float) -> float:
    """A place for the bystander, as a fraction of the width: anywhere that leaves the subject free."""
    room = [(0.06, subject_x - 0.3), (subject_x + 0.3, 0.94)]
    widths = [max(0.0, right - left) for left, right in room]
    left, right = room[int(rng.random() * sum(widths) >= widths[0])]
    return float(rng.uniform(left, right))


def _lit(bare: np.ndarray, smooth: np.ndarray, centre: tuple[float, float], height: float, stops: float) -> np.ndarray:
    """`bare` (size, size, 4) with the luma of its surroundings (from `smooth`, (size, size)) times 2 ** stops."""
    x, y = _grid(len(smooth))
    around = np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (0.7 * height) ** 2)
    surroundings = float((smooth * around).sum() / around.sum())
    # `bare` has the middle tone 0.5.
    gain = 2 * min(max(surroundings, 0.34), 0.6) * 2**stops
    return bare * np.array([gain, gain, gain, 1], dtype=np.float32)


def _shadowed(picture: np.ndarray, centre: tuple[float, float], height: float, sun_side: int) -> np.ndarray:
    """`picture` (size, size, 3) with the soft shadow of a thing that stands on the ground."""
    x, y = _grid(len(picture))
    along, down = (x - centre[0] + 0.1 * sun_side) / (0.6 * height), (y - centre[1] - height / 2) / 0.035
    return picture * (1 - 0.5 * np.exp(-(along**2 + down**2)))[..., None]


def _develop(rng: np.random.Generator, picture: np.ndarray) -> Image.Image:
    """The camera's own part: (size, size, 3) float32 -> RGB image.

    Automatic exposure, contrast and sharpening bring mean, spread and detail of the picture to targets that are drawn
    here, so that statistics of the whole picture say little about any attribute.
    """
    size = len(picture)
    x, y = _grid(size)
    picture = picture * _tint(rng.uniform(0, 360), rng.uniform(0.0, 0.04))
    vignette = rng.uniform(0.0, 0.6)
    exposure, contrast, detail = rng.uniform(0.36, 0.56), rng.uniform(0.11, 0.18), rng.uniform(0.009, 0.022)
    clarity = rng.uniform(0.02, 0.042)
    picture = picture * (1 - vignette * ((x - 0.5) ** 2 + (y - 0.5) ** 2))[..., None]
    picture = np.clip(picture, 0, 1.2) ** rng.uniform(0.7, 1.5)
    luma = picture @ LUMA
    picture = exposure + (picture - luma.mean()) * (contrast / max(float(luma.std()), 0.02))
    finer, coarser = _blur(picture, size * 0.012), _blur(picture, size * 0.035)
    picture = coarser + _rescaled(picture - finer, detail) + _rescaled(finer - coarser, clarity)
    picture = picture + 0.022 * rng.random() ** 2 * rng.standard_normal((size, size, 1), dtype=np.float32)
    return Image.fromarray((np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8))


def _rescaled(band: np.ndarray, spread: float) -> np.ndarray:
    """A band of detail (size, size, 3) brought to that standard deviation of luma, within what looks natural."""
    return band * min(max(spread / (float((band @ LUMA).std()) + 1e-6), 0.4), 2.5)


# --- Raters ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ratings:
    """What the panel said about one scene.

    Attributes:
        votes: for each of `ATTRIBUTES` the integer votes, (n_votes,) int64 in 1..10, same raters in the same order.
        raters: (n_votes,) numbers of the raters in the panel.
    """

    votes: dict[str, np.ndarray]
    raters: np.ndarray

    @property
    def n_votes(self) -> int:
        """Number of raters who voted."""
        return len(self.raters)

    @property
    def means(self) -> dict[str, float]:
        """Mean vote of each attribute."""
        return {name: float(votes.mean()) for name, votes in self.votes.items()}

    @property
    def std(self) -> float:
        """Standard deviation of the overall votes (divided by n, as the histogram's own is)."""
        return float(self.votes["overall"].std())

    @property
    def histogram(self) -> tuple[float, ...]:
        """Shares of the overall votes 1..10; they sum to 1."""
        counts = np.bincount(self.votes["overall"], minlength=NUM_LEVELS + 1)[1:]
        return tuple((counts / counts.sum()).tolist())


class RaterPanel:
    """A fixed panel of simulated raters, each with a bias, a scale, a noise level and a taste (see the file's head).

    Args:
        size: number of raters.
        min_votes: fewest votes on a scene.
        max_votes: most votes on a scene, at most `size`.
        seed: decides who the raters are.

    Raises:
        ValueError: fewer than 20 votes, or more votes than raters.
    """

    def __init__(self, size: int = 60, min_votes: int = 24, max_votes: int = 40, seed: int = 0) -> None:
        if not 20 <= min_votes <= max_votes <= size:
            raise ValueError(f"need 20 <= min_votes <= max_votes <= size, got {min_votes}, {max_votes}, {size}")
        rng = np.random.default_rng([seed, 3])
        self.size, self.min_votes, self.max_votes, self.seed = size, min_votes, max_votes, seed
        self.bias = rng.normal(0, 0.5, size)
        self.scale = np.exp(rng.normal(0, 0.12, size))
        self.noise = rng.uniform(0.7, 1.2, size)
        taste = rng.normal(0, 0.8, (size, len(LATENTS)))
        self.taste = taste - taste.mean(axis=1, keepdims=True)

    def rate(self, scene: Scene) -> Ratings:
        """Votes of 24 to 40 (by default) randomly chosen raters on `scene`; same scene, same votes."""
        rng = np.random.default_rng([self.seed, scene.seed, scene.index, 4])
        n_votes = int(rng.integers(self.min_votes, self.max_votes + 1))
        raters = rng.permutation(self.size)[:n_votes]
        ambiguity = rng.uniform(0.85, 1.3)
        taste = self.taste[raters] @ (np.array([scene.latents[name] for name in LATENTS]) - 0.5)
        votes = {}
        for name, score in scene.true_scores.items():
            opinion = 5.5 + self.scale[raters] * (score - 5.5) + self.bias[raters]
            opinion += ambiguity * self.noise[raters] * rng.standard_normal(n_votes)
            votes[name] = _to_votes(opinion + taste if name == "overall" else opinion)
        return Ratings(votes, raters)


def _to_votes(opinion: np.ndarray) -> np.ndarray:
    """Real-valued opinions -> integer votes 1..10 whose standard deviation is at least 1."""
    centre, width = opinion.mean(), 1.0
    while True:
        votes = np.rint(np.clip(centre + width * (opinion - centre), 1, NUM_LEVELS)).astype(np.int64)
        if votes.std() >= 1:
            return votes
        width *= 1.1


def rater_ceiling(votes: Sequence[np.ndarray], quality: Sequence[float], seed: int = 0) -> dict[str, float]:
    """How well the raters themselves know the score: what no model trained on their votes can be expected to pass.

    Args:
        votes: for each scene its votes, (n_votes,).
        quality: for each scene the noise-free score.
        seed: decides the halves.

    Returns:
        `srcc_quality`: SRCC of mean vote and noise-free score. `split_half`: SRCC between the mean votes of two random
        halves of the raters of each scene. `reliability`: the same for all raters, 2 r / (1 + r) (Spearman-Brown), 0
        where the halves do not agree at all.

    Raises:
        ValueError: fewer than 3 scenes, or as many votes as qualities are not given.
    """
    if len(votes) != len(quality) or len(votes) < 3:
        raise ValueError(f"need votes and quality of the same 3 or more scenes, got {len(votes)} and {len(quality)}")
    rng = np.random.default_rng(seed)
    halves = []
    for row in votes:
        mixed = rng.permutation(row)
        halves.append((mixed[: len(row) // 2].mean(), mixed[len(row) // 2 :].mean()))
    first, second = np.array(halves).T
    split_half = srcc(first, second)
    return {
        "srcc_quality": srcc(np.array([row.mean() for row in votes]), np.asarray(quality, dtype=np.float64)),
        "split_half": split_half,
        "reliability": 2 * split_half / (1 + split_half) if split_half > 0 else 0.0,
    }


# --- The data set on disk -------------------------------------------------------------------------------------------

RATINGS_FILE = "ratings.csv"
MANIFEST_FILE = "manifest.json"
# Scenes of a split are numbered from here, so that the test scenes do not change with the number of training scenes.
_FIRST_INDEX = {"train": 0, "val": 1_000_000, "test": 2_000_000}


def write_dataset(
    folder: str | Path, n_train: int, n_val: int, n_test: int, *, size: int, seed: int, workers: int = 1
) -> Path:
    """Writes rated scenes as PNG files and one `ratings.csv` that `roc.data.reading.read_records` reads.

    The header is `image, score, composition, light, colour, focus, std, n_votes, h_1..h_10, comment, split`: mean
    votes on 1..10, standard deviation and shares of the overall votes. `manifest.json` holds the parameters and, for
    the test scenes (all scenes where there are fewer than 3), `rater_ceiling` of each attribute.

    The folder appears whole or not at all. One that already holds exactly this is left as it is; one that holds other
    scenes is replaced; anything else there is never touched.

    Args:
        folder: where to write.
        n_train: number of training scenes.
        n_val: number of validation scenes.
        n_test: number of test scenes.
        size: side of the pictures in pixels.
        seed: seed of the scenes and of the panel.
        workers: processes to draw with; 1 draws in this one. The result is the same.

    Returns:
        Path of the CSV file.

    Raises:
        ValueError: a negative count, fewer than 3 scenes in all, or a folder with other content.
    """
    folder = Path(folder)
    counts = {"train": n_train, "val": n_val, "test": n_test}
    if min(counts.values()) < 0 or sum(counts.values()) < 3:
        raise ValueError(f"need 3 scenes or more and no negative count, got {counts}")
    parameters = {"version": VERSION, "counts": counts, "size": size, "seed": seed}
    if folder.exists() and any(folder.iterdir()):
        held = _read_manifest(folder)
        if held is None:
            raise ValueError(f"{folder} holds files that are no demo scenes; name a new or an empty folder")
        if held["parameters"] == parameters:
            return folder / RATINGS_FILE

    logger.info("Drawing %d demo scenes into %s ...", sum(counts.values()), folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        os.chmod(building, 0o755)
        (building / "images").mkdir()
        jobs = [(split, i) for split, count in counts.items() for i in range(count)]
        draw = functools.partial(_write_scene, building, size, seed)
        workers = min(workers, len(jobs) // 200)
        if workers > 1:
            with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
                drawn = list(pool.map(draw, jobs, chunksize=32))
        else:
            drawn = [draw(job) for job in jobs]
        _write_csv(building / RATINGS_FILE, [row for row, _, _ in drawn])
        judged = drawn[-n_test:] if n_test >= 3 else drawn
        ceiling = {
            name: rater_ceiling([votes[name] for _, votes, _ in judged], [true[name] for _, _, true in judged])
            for name in ATTRIBUTES
        }
        manifest = {"parameters": parameters, "rater_ceiling": ceiling}
        (building / MANIFEST_FILE).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        if folder.exists():
            # Two renames instead of a deletion first: a kill in between loses neither the old nor the new files.
            aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-old-", dir=folder.parent))
            folder.rename(aside / "old")
            building.rename(folder)
            shutil.rmtree(aside, ignore_errors=True)
        else:
            building.rename(folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return folder / RATINGS_FILE


def read_ceiling(folder: str | Path) -> dict[str, dict[str, float]]:
    """`rater_ceiling` of each attribute for the data set in `folder`, as `write_dataset` recorded it.

    Raises:
        ValueError: the folder holds no scenes written by `write_dataset`.
    """
    manifest = _read_manifest(Path(folder))
    if manifest is None:
        raise ValueError(f"{folder} holds no demo scenes ({MANIFEST_FILE} is missing); write them with write_dataset")
    return manifest["rater_ceiling"]


def _read_manifest(folder: Path) -> dict | None:
    """The manifest of a finished data set, None where there is none."""
    try:
        manifest = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    complete = isinstance(manifest, dict) and {"parameters", "rater_ceiling"} <= set(manifest)
    return manifest if complete and (folder / RATINGS_FILE).is_file() else None


def _write_scene(
    folder: Path, size: int, seed: int, job: tuple[str, int]
) -> tuple[dict[str, object], dict[str, np.ndarray], dict[str, float]]:
    """Draws, rates and saves one scene; gives its CSV row, its votes and its noise-free scores."""
    split, i = job
    scene = render_scene(_FIRST_INDEX[split] + i, seed=seed, size=size)
    ratings = _panel(seed).rate(scene)
    image = f"images/{split}_{i}.png"
    scene.image.save(folder / image, compress_level=1)
    means = {name: round(mean, 6) for name, mean in ratings.means.items()}
    row: dict[str, object] = {"image": image, "score": means.pop("overall"), **means}
    row |= {"std": round(ratings.std, 6), "n_votes": ratings.n_votes}
    row |= {f"h_{level}": f"{share:.10g}" for level, share in enumerate(ratings.histogram, start=1)}
    row |= {"comment": scene.comment, "split": split}
    return row, ratings.votes, scene.true_scores


@functools.lru_cache(maxsize=2)
def _panel(seed: int) -> RaterPanel:
    """The panel of a data set; made once per process."""
    return RaterPanel(seed=seed)


def _write_csv(path: Path, rows: list[dict[str, object]]) -> None:
    """One line per scene, header first."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
