"""What a scene is worth: its attributes as facts of the picture, its overall quality, and a comment in words.

Each attribute is a latent in [0, 1]:

* `composition`: half the place of the subject (1 when its centre stands on a vertical third of the frame, 0 when it is
  in the middle or pushed to the edge, 0.17 of the width away), half the horizon (1 level, 0 at 13 degrees of roll).
* `light`: the light on the subject against the light around it. 1: brighter than its surroundings by 0.75 stop and
  modelled from one side; 0: 1.35 stops darker and flat. The scene's own exposure is drawn independently.
* `colour`: the angle between the hue of the subject and the hue the surroundings share, on a circle of equal-luma hues.
  1 at 180 degrees (complementary), 0 at 40 (too far apart to be related, too near to complement). Either hue alone, and
  the saturation of both, are drawn independently.
* `focus`: who is sharp. 1: a sharp subject before a soft background; 0: the reverse; in between both are half soft. A
  common blur, the contrast of the textures and the grain are drawn independently.

Overall quality, in [0, 1], from the four latents a_i (`overall_quality`): a weak attribute caps the rest.

    soft minimum  m = -0.15 log(mean_i exp(-a_i / 0.15))
    product       g = (prod_i (0.1 + 0.9 a_i)) ** (1/4)
    pair terms    s = (light * colour + composition * focus) / 2
    quality       = 1 - (1 - x) ** 1.6,  x = (0.45 m + 0.35 g + 0.20 s - 0.035) / 0.965
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

ATTRIBUTES = ("overall", "composition", "light", "colour", "focus")
LATENTS = ATTRIBUTES[1:]

THIRDS = (1 / 3, 2 / 3)
WORST_OFFSET = 0.17
WORST_ROLL = 13.0
LIGHT_STOPS = (-1.35, 0.75)
HUE_GAP = (40.0, 180.0)
# Latents share a little of the photographer's skill, as the attributes of real photos do.
SHARED_SKILL = 0.15
# A latent above the first is praised in a comment, one below the second is blamed.
_GOOD, _BAD = 0.62, 0.38

PHRASES: dict[str, dict[str, tuple[str, ...]]] = {
    "composition": {
        "good": ("the subject sits on a third",),
        "fair": ("the framing is fair",),
        "bad": ("the horizon tilts", "the subject sits in the middle", "the subject is pushed to the edge"),
    },
    "light": {"good": ("the light is soft",), "fair": ("the light is plain",), "bad": ("the subject is too dark",)},
    "colour": {
        "good": ("the colours agree",),
        "fair": ("the colours are plain",),
        "bad": ("the colours clash",),
    },
    "focus": {
        "good": ("the subject is sharp",),
        "fair": ("the focus is fair",),
        "bad": ("the subject is blurred",),
    },
}
"""Attribute -> verdict -> what a comment may say of it."""


def overall_quality(latents: Mapping[str, float]) -> float:
    """Computes overall quality in [0, 1] from the four latents by the formula at the head of this file."""
    a = np.array([latents[name] for name in LATENTS], dtype=np.float64)
    soft_minimum = -0.15 * math.log(np.exp(-a / 0.15).mean())
    product = float(np.prod(0.1 + 0.9 * a)) ** 0.25
    pairs = (latents["light"] * latents["colour"] + latents["composition"] * latents["focus"]) / 2
    x = (0.45 * soft_minimum + 0.35 * product + 0.20 * pairs - 0.035) / 0.965
    return 1 - (1 - min(max(x, 0.0), 1.0)) ** 1.6


def to_score(latent: float) -> float:
    """Maps a latent or quality in [0, 1] to the noise-free score, 1.8 to 9.2 on the range 1..10."""
    return 1.8 + 7.4 * latent


def latents_of(facts: Mapping[str, float]) -> dict[str, float]:
    """Computes the four latents, each in [0, 1], from the facts of a scene (`Scene.facts`)."""
    place, level = _place_and_level(facts)
    return {
        "composition": (place + level) / 2,
        "light": (facts["stops"] - LIGHT_STOPS[0]) / (LIGHT_STOPS[1] - LIGHT_STOPS[0]),
        "colour": (facts["hue_gap"] - HUE_GAP[0]) / (HUE_GAP[1] - HUE_GAP[0]),
        "focus": facts["focus"],
    }


def _place_and_level(facts: Mapping[str, float]) -> tuple[float, float]:
    """Computes the two halves of composition, the subject's place and the level horizon, each in [0, 1]."""
    offset = min(abs(facts["subject_x"] - third) for third in THIRDS)
    return max(0.0, 1 - offset / WORST_OFFSET), max(0.0, 1 - abs(facts["roll"]) / WORST_ROLL)


def draw_facts(rng: np.random.Generator) -> dict[str, float]:
    """Draws facts whose latents are close to uniform on [0, 1], slightly correlated through `SHARED_SKILL`."""
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


def remarks(latents: Mapping[str, float], facts: Mapping[str, float]) -> dict[str, str]:
    """Says of each attribute what is true of a scene.

    Args:
        latents: The four attributes in [0, 1].
        facts: As in `Scene.facts`; they say which half of composition is the weak one.

    Returns:
        Attribute -> one of the phrases of `PHRASES`.
    """
    found = {}
    for name in LATENTS:
        verdict = "good" if latents[name] > _GOOD else "bad" if latents[name] < _BAD else "fair"
        choices = PHRASES[name][verdict]
        found[name] = choices[0]
        if name == "composition" and verdict == "bad":
            place, level = _place_and_level(facts)
            in_the_middle = THIRDS[0] < facts["subject_x"] < THIRDS[1]
            found[name] = choices[0 if level < place else 1 if in_the_middle else 2]
    return found


def claims(text: str) -> list[tuple[str, str, str]]:
    """Finds the phrases of `PHRASES` in a comment, whoever wrote it.

    Returns:
        `(attribute, verdict, phrase)` in the order of the text; verdicts are "good", "fair" and "bad".
    """
    text = text.lower()
    places = {
        phrase: (name, verdict, phrase)
        for name, verdicts in PHRASES.items()
        for verdict, phrases in verdicts.items()
        for phrase in phrases
    }
    found = [(text.find(phrase), claim) for phrase, claim in places.items() if phrase in text]
    return [claim for _, claim in sorted(found)]


def comment(latents: Mapping[str, float], facts: Mapping[str, float]) -> str:
    """Writes a short remark: the best that can be said, then the worst.

    Args:
        latents, facts: As for `remarks`.

    Returns:
        For instance "The subject sits on a third and the light is soft, but the colours clash."
    """
    true = remarks(latents, facts)
    ordered = sorted(LATENTS, key=lambda name: -latents[name])
    good = [true[name] for name in ordered if latents[name] > _GOOD][:2]
    bad = [true[name] for name in reversed(ordered) if latents[name] < _BAD][:2]
    fair = [true[name] for name in ordered if _BAD <= latents[name] <= _GOOD][:2]
    if good and bad:
        text = f"{' and '.join(good)}, but {' and '.join(bad[: 3 - len(good)])}"
    else:
        text = " and ".join((good or bad)[:2] or fair)
        if fair and (good or bad):
            text += f"; {fair[-1]}"
    return text[0].upper() + text[1:] + "."
