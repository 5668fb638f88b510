"""Procedural photo-like scenes with known attributes.

A stand-in for rated photos, so that training, evaluation and scoring can be shown from a fresh clone with nothing
downloaded. It says NOTHING about human taste: what is "good" here is a handful of formulas (roc/demo/attributes.py).

A scene is one subject (house, boat, figure, balloon, tree, tent, cup, vase) and a plainer, smaller bystander (bush,
rock, ball, box) in one place (sea, hills, town, woods, table), drawn with numpy and Pillow. Everything follows from
`(seed, index)`; no global random state is read or changed.

The bystander belongs to the background's plane and is lit and coloured the other way round (bright where the subject is
dark, complementary where the subject's hue jars), and the camera brings exposure, contrast and detail of the whole
picture to targets of its own. So statistics of the whole picture say little; one has to see which is the subject.

Everything but the four attributes is nuisance: place, kind, size, mirror, time of day, hues, saturation, horizon
height, clouds, sun, points of light, exposure, contrast, vignette, tint, grain.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from roc.demo.attributes import (
    HUE_GAP,
    LATENTS,
    LIGHT_STOPS,
    comment,
    draw_facts,
    latents_of,
    overall_quality,
    to_score,
)
from roc.demo.background import draw_background
from roc.demo.brushes import LUMA, blur, grid, noise, tint
from roc.demo.things import BYSTANDERS, KINDS, PLACES, draw_thing

# Blur (standard deviation) of the layer that is out of focus, as a fraction of the picture's side.
DEFOCUS = 0.036
# Height of the bystander relative to the subject.
BYSTANDER_SIZE = (0.6, 0.85)
# Centre of the hue family of each mood, degrees on the circle of `roc.demo.brushes.tint`.
MOODS = {"blue": 225.0, "green": 120.0, "gold": 30.0}


@dataclass(frozen=True)
class Scene:
    """One rendered scene and everything the generator knows about it.

    Attributes:
        image: RGB picture, `size` x `size`.
        latents: The four attributes, each in [0, 1].
        facts: What was drawn: `subject_x` (fraction of the width), `roll` (degrees), `stops`, `hue_gap` (degrees),
            `focus` (0..1).
        place: One of `roc.demo.things.PLACES`.
        kind: The subject.
        index: Number of the scene.
        seed: Seed of the collection it belongs to.
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
        """The scene in one or two short sentences."""
        return comment(self.latents, self.facts)


@dataclass(frozen=True)
class KnownScene:
    """What the generator knows of a scene without drawing it: `latents`, `facts`, `place` and `kind` as in `Scene`.

    Attributes:
        bystander: The thing beside the subject.
    """

    latents: dict[str, float]
    facts: dict[str, float]
    place: str
    kind: str
    bystander: str


@dataclass(frozen=True)
class _Thing:
    """A subject or bystander and where it stands: centre and height as fractions of the side, hue in degrees."""

    kind: str
    height: float
    hue: float
    chroma: float
    centre: tuple[float, float] = (0.5, 0.5)


@dataclass(frozen=True)
class _Layout:
    """What is drawn at random before anything is painted.

    Attributes:
        place: One of `PLACES`.
        horizon: Height of the horizon from the top, fraction of the side.
        below: How far below the horizon the subject stands.
        hue: The surroundings' hue in degrees.
        mirror: Whether things are mirrored left to right.
        sun_side: 1 or -1, the side the light comes from.
        texture: Strength of the texture on things.
        blur: Blur common to the whole picture, fraction of the side.
        subject: Not placed yet.
        bystander: Not placed yet.
    """

    place: str
    horizon: float
    below: float
    hue: float
    mirror: bool
    sun_side: int
    texture: float
    blur: float
    subject: _Thing
    bystander: _Thing


def render_scene(index: int, *, seed: int, size: int, facts: Mapping[str, float] | None = None) -> Scene:
    """Draws scene `index` of the collection `seed`.

    Args:
        index: Number of the scene, 0 or more.
        seed: Seed of the collection, 0 or more.
        size: Side in pixels, 32 or more; 64 to 96 is what the demo is made for.
        facts: Facts to set instead of those drawn (keys as in `Scene.facts`); all else stays as it was.

    Returns:
        The scene. Same arguments, same pixels.

    Raises:
        ValueError: For an unknown or out-of-range fact, or a size below 32.
    """
    if size < 32:
        raise ValueError(f"size {size} is too small to see a subject in; use 32 or more (64 to 96 is usual)")
    drawn = _checked_facts(draw_facts(np.random.default_rng([seed, index, 1])), facts or {})
    latents = latents_of(drawn)
    rng = np.random.default_rng([seed, index, 2])
    layout = _draw_layout(rng, drawn["hue_gap"])
    picture, smooth = draw_background(rng, layout.place, size, layout.horizon, layout.hue, drawn["roll"])
    subject, bystander = _placed(rng, layout, drawn)
    relief = 1 + layout.texture * (
        noise(rng, size, (size // 3, size // 3)) + 0.6 * noise(rng, size, (size // 6, size // 3))
    )
    relief = np.clip(relief, 0.4, 1.7)

    def lit(thing: _Thing, stops: float, relief: np.ndarray, modelling: float) -> np.ndarray:
        bare = draw_thing(
            thing.kind, size, thing.centre, thing.height, drawn["roll"], layout.mirror, tint(thing.hue, thing.chroma)
        )
        side = np.clip((grid(size)[0] - thing.centre[0]) / (0.45 * thing.height), -1, 1) * layout.sun_side
        layer = _lit(bare, smooth, thing.centre, thing.height, stops)
        layer[..., :3] *= (relief * (1 + modelling * side))[..., None]
        return layer

    # The bystander is as well lit as the subject is badly: the sum of both says little.
    other = lit(bystander, sum(LIGHT_STOPS) - drawn["stops"], relief.T, 0.4 - 0.34 * latents["light"])
    picture = _shadowed(picture, bystander.centre, bystander.height, layout.sun_side)
    picture = picture * (1 - other[..., 3:]) + other[..., :3]
    layer = lit(subject, drawn["stops"], relief, 0.06 + 0.34 * latents["light"])
    if subject.kind != "balloon":
        picture = _shadowed(picture, subject.centre, subject.height, layout.sun_side)

    soft = blur(picture, size * (layout.blur + DEFOCUS * drawn["focus"]))
    layer = blur(layer, size * (layout.blur + DEFOCUS * (1 - drawn["focus"])))
    image = _develop(rng, soft * (1 - layer[..., 3:]) + layer[..., :3])
    return Scene(image, latents, drawn, layout.place, subject.kind, index, seed)


def known_scene(index: int, *, seed: int) -> KnownScene:
    """Tells what `render_scene` draws with the same arguments, without drawing."""
    facts = draw_facts(np.random.default_rng([seed, index, 1]))
    layout = _draw_layout(np.random.default_rng([seed, index, 2]), facts["hue_gap"])
    return KnownScene(latents_of(facts), facts, layout.place, layout.subject.kind, layout.bystander.kind)


def _checked_facts(drawn: dict[str, float], given: Mapping[str, float]) -> dict[str, float]:
    """Puts the given facts in place of the drawn ones.

    Raises:
        ValueError: For an unknown fact, or one that leads outside the picture or the range of its attribute.
    """
    unknown = set(given) - set(drawn)
    if unknown:
        raise ValueError(f"unknown facts {sorted(unknown)}; known are {sorted(drawn)}")
    facts = drawn | {name: float(value) for name, value in given.items()}
    latents = latents_of(facts)
    outside = [name for name in LATENTS if not -1e-9 <= latents[name] <= 1 + 1e-9]
    if outside or not 0 <= facts["subject_x"] <= 1:
        raise ValueError(f"facts {facts} lead outside [0, 1] for {outside or 'subject_x'}; bring them inside")
    return facts


def _draw_layout(rng: np.random.Generator, hue_gap: float) -> _Layout:
    """Draws the layout; the order of the draws decides every scene, so it must not change."""
    place = PLACES[rng.integers(len(PLACES))]
    kind = KINDS[place][rng.integers(len(KINDS[place]))]
    horizon, height = rng.uniform(0.45, 0.66), rng.uniform(0.36, 0.52)
    background_hue = list(MOODS.values())[rng.integers(len(MOODS))] + rng.uniform(-12, 12)
    hue = background_hue + hue_gap * (1 if rng.random() < 0.5 else -1)
    chroma = rng.uniform(0.42, 0.66)
    mirror, sun_side = rng.random() < 0.5, 1 if rng.random() < 0.5 else -1
    texture = rng.uniform(0.1, 0.18)
    below = rng.uniform(0.1, 0.24)
    common_blur = rng.uniform(0.0, 0.013)
    other_kind = BYSTANDERS[place][rng.integers(2)]
    other_height = height * rng.uniform(*BYSTANDER_SIZE)
    # As well coloured as the subject is badly.
    other_hue = background_hue + (sum(HUE_GAP) - hue_gap) * (1 if rng.random() < 0.5 else -1)
    other_chroma = rng.uniform(0.42, 0.66)
    return _Layout(
        place=place,
        horizon=horizon,
        below=below,
        hue=background_hue,
        mirror=mirror,
        sun_side=sun_side,
        texture=texture,
        blur=common_blur,
        subject=_Thing(kind, height, hue, chroma),
        bystander=_Thing(other_kind, other_height, other_hue, other_chroma),
    )


def _placed(rng: np.random.Generator, layout: _Layout, facts: Mapping[str, float]) -> tuple[_Thing, _Thing]:
    """Places subject and bystander, each at its x of the frame whatever the roll is; only the height follows that."""
    subject, bystander, horizon = layout.subject, layout.bystander, layout.horizon
    slope = math.tan(math.radians(facts["roll"]))
    if subject.kind == "balloon":
        middle = horizon - rng.uniform(0.02, 0.16)
    else:
        middle = horizon + layout.below - subject.height / 2
    x, other_x = facts["subject_x"], _beside(rng, facts["subject_x"])
    other_y = horizon + 0.6 * layout.below - bystander.height / 2 + (other_x - 0.5) * slope
    return (
        replace(subject, centre=(x, middle + (x - 0.5) * slope)),
        replace(bystander, centre=(other_x, other_y)),
    )


def _beside(rng: np.random.Generator, subject_x: float) -> float:
    """Draws the bystander's place, as a fraction of the width: anywhere that leaves the subject free."""
    room = [(0.06, subject_x - 0.3), (subject_x + 0.3, 0.94)]
    widths = [max(0.0, right - left) for left, right in room]
    left, right = room[int(rng.random() * sum(widths) >= widths[0])]
    return float(rng.uniform(left, right))


def _lit(bare: np.ndarray, smooth: np.ndarray, centre: tuple[float, float], height: float, stops: float) -> np.ndarray:
    """Lights `bare` (size, size, 4) to the luma of its surroundings in `smooth` (size, size) times 2 ** stops."""
    x, y = grid(len(smooth))
    around = np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (0.7 * height) ** 2)
    surroundings = float((smooth * around).sum() / around.sum())
    # `bare` has the middle tone 0.5.
    gain = 2 * min(max(surroundings, 0.34), 0.6) * 2**stops
    return bare * np.array([gain, gain, gain, 1], dtype=np.float32)


def _shadowed(picture: np.ndarray, centre: tuple[float, float], height: float, sun_side: int) -> np.ndarray:
    """Adds to `picture` (size, size, 3) the soft shadow of a thing that stands on the ground."""
    x, y = grid(len(picture))
    along, down = (x - centre[0] + 0.1 * sun_side) / (0.6 * height), (y - centre[1] - height / 2) / 0.035
    return picture * (1 - 0.5 * np.exp(-(along**2 + down**2)))[..., None]


def _develop(rng: np.random.Generator, picture: np.ndarray) -> Image.Image:
    """Turns (size, size, 3) float32 into an RGB image as a camera does.

    Automatic exposure, contrast and sharpening bring mean, spread and detail of the picture to targets that are drawn
    here, so that statistics of the whole picture say little about any attribute.
    """
    size = len(picture)
    x, y = grid(size)
    picture = picture * tint(rng.uniform(0, 360), rng.uniform(0.0, 0.04))
    vignette = rng.uniform(0.0, 0.6)
    exposure, contrast, detail = rng.uniform(0.36, 0.56), rng.uniform(0.11, 0.18), rng.uniform(0.009, 0.022)
    clarity = rng.uniform(0.02, 0.042)
    picture = picture * (1 - vignette * ((x - 0.5) ** 2 + (y - 0.5) ** 2))[..., None]
    picture = np.clip(picture, 0, 1.2) ** rng.uniform(0.7, 1.5)
    luma = picture @ LUMA
    picture = exposure + (picture - luma.mean()) * (contrast / max(float(luma.std()), 0.02))
    finer, coarser = blur(picture, size * 0.012), blur(picture, size * 0.035)
    picture = coarser + _rescaled(picture - finer, detail) + _rescaled(finer - coarser, clarity)
    picture = picture + 0.022 * rng.random() ** 2 * rng.standard_normal((size, size, 1), dtype=np.float32)
    return Image.fromarray((np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8))


def _rescaled(band: np.ndarray, spread: float) -> np.ndarray:
    """Scales a band of detail (size, size, 3) to a standard deviation of luma, within what looks natural."""
    return band * min(max(spread / (float((band @ LUMA).std()) + 1e-6), 0.4), 2.5)
