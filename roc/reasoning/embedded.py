"""An author that needs no model: it knows how the demo's scenes were made."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from roc.data.images import ImageError, open_image
from roc.demo.attributes import THIRDS
from roc.demo.dataset import scene_of
from roc.demo.scenes import KnownScene
from roc.demo.things import BYSTANDERS, KINDS, PLACES
from roc.reasoning.sentences import Sentence, SentenceAuthor

HIGH, LOW = 0.62, 0.38
"""Latents above and below count as a strength and a weakness."""


@dataclass(frozen=True)
class Seen:
    """What is known of a picture: the scene, and the mean brightness of its pixels in 0..1."""

    scene: KnownScene
    brightness: float

    @classmethod
    def of(cls, path: str) -> Seen:
        """Looks at a picture of the demo's data set.

        Raises:
            ValueError: If it is no such picture.
            ImageError: If it cannot be opened.
        """
        scene = scene_of(path)
        return cls(scene, float(np.asarray(open_image(path).convert("L")).mean()) / 255)


_PLACE_WORDS = {"sea": "sea", "hills": "hills", "town": "town", "woods": "woods", "table": "table top"}


def _high(name: str) -> Callable[[Seen], bool]:
    return lambda seen: seen.scene.latents[name] > HIGH


def _fair(name: str) -> Callable[[Seen], bool]:
    return lambda seen: LOW <= seen.scene.latents[name] <= HIGH


def _low(name: str) -> Callable[[Seen], bool]:
    return lambda seen: seen.scene.latents[name] < LOW


def _near_third(seen: Seen) -> bool:
    return min(abs(seen.scene.facts["subject_x"] - third) for third in THIRDS) < 0.06


def _in_the_middle(seen: Seen) -> bool:
    return not _near_third(seen) and THIRDS[0] < seen.scene.facts["subject_x"] < THIRDS[1]


def _at_the_edge(seen: Seen) -> bool:
    return not _near_third(seen) and not _in_the_middle(seen)


def _level(seen: Seen) -> bool:
    return abs(seen.scene.facts["roll"]) < 4


SENTENCES: dict[str, tuple[Sentence[Seen], ...]] = {
    "light and shadow": (
        Sentence(
            "Light and shadow model the {kind} from one side and lift it out of its surroundings.", _high("light")
        ),
        Sentence("The light favours the {kind}, and soft shadow on its far side gives it form.", _high("light")),
        Sentence("The light on the {kind} is plain, with little shadow to give it form.", _fair("light")),
        Sentence("Light and shadow on the {kind} are even, neither a help nor a hindrance.", _fair("light")),
        Sentence("The {kind} lies in flat shadow, darker than the light around it.", _low("light")),
        Sentence("The light misses the {kind}, which sinks into shadow.", _low("light")),
    ),
    "mood and narrative": (
        Sentence("The mood is calm and the story clear: a sharp {kind} before a soft {place}.", _high("focus")),
        Sentence(
            "Focus on the {kind} carries the narrative, while the {place} behind it stays a mood.", _high("focus")
        ),
        Sentence("The mood is undecided, as {kind} and {place} are about equally soft.", _fair("focus")),
        Sentence("The story stays vague: neither the {kind} nor the {place} is really sharp.", _fair("focus")),
        Sentence("The narrative is lost, because the {kind} is blurred before a sharp {place}.", _low("focus")),
        Sentence("The mood suffers from a {kind} that is out of focus.", _low("focus")),
    ),
    "composition": (
        Sentence(
            "The composition is settled: the {kind} stands near a third and the horizon is level.",
            lambda seen: _near_third(seen) and _level(seen),
        ),
        Sentence(
            "The composition places the {kind} near a third, but the horizon tilts.",
            lambda seen: _near_third(seen) and not _level(seen),
        ),
        Sentence(
            "The composition is static, with the {kind} in the middle of a level frame.",
            lambda seen: _in_the_middle(seen) and _level(seen),
        ),
        Sentence(
            "The composition is awkward: the {kind} sits in the middle and the horizon tilts.",
            lambda seen: _in_the_middle(seen) and not _level(seen),
        ),
        Sentence(
            "The composition pushes the {kind} towards the edge, though the horizon is level.",
            lambda seen: _at_the_edge(seen) and _level(seen),
        ),
        Sentence(
            "The composition falls apart: the {kind} is pushed to the edge and the horizon tilts.",
            lambda seen: _at_the_edge(seen) and not _level(seen),
        ),
    ),
    "colour": (
        Sentence("The colour of the {kind} complements what surrounds it.", _high("colour")),
        Sentence("Colour sets the {kind} off well, its hue opposite to that of the {place}.", _high("colour")),
        Sentence("The colours of {kind} and {place} go together passably.", _fair("colour")),
        Sentence("Colour does its duty without a harmony of its own.", _fair("colour")),
        Sentence("The colour of the {kind} clashes with what surrounds it.", _low("colour")),
        Sentence("The colours of {kind} and {place} jar, too far apart to be related.", _low("colour")),
    ),
    "exposure": (
        Sentence("The exposure is on the bright side.", lambda seen: seen.brightness > 0.55),
        Sentence("The exposure keeps to the middle tones.", lambda seen: 0.4 <= seen.brightness <= 0.55),
        Sentence("The exposure is on the dark side.", lambda seen: seen.brightness < 0.4),
    ),
}
"""Dimension -> its sentences; at least one of them holds for every scene."""

_THINGS = {
    *(kind for kinds in KINDS.values() for kind in kinds),
    *(kind for two in BYSTANDERS.values() for kind in two),
}


class SceneAuthor(SentenceAuthor[Seen]):
    """An `Author` for pictures that `roc.demo.dataset` wrote."""

    name = "embedded"
    sentences = SENTENCES

    def look(self, path: str) -> Seen:
        """Looks at a picture.

        Raises:
            ImageError: If it cannot be opened.
            ValueError: If it is no scene of the demo.
        """
        try:
            return Seen.of(path)
        except ImageError:
            raise
        except ValueError as error:
            raise ValueError(
                f"{error}; the embedded author knows the demo's pictures alone. For other photos give --writer "
                "chat:MODEL, transformers:PATH or measured"
            ) from error

    def names(self, seen: Seen) -> Mapping[str, str]:
        """Names the thing and the place of a scene."""
        return {"kind": seen.scene.kind, "place": _PLACE_WORDS[seen.scene.place]}

    def unsupported(self, critique: str, seen: Seen) -> list[str]:
        """Lists the known sentences that do not hold, and the things a critique names that are not there."""
        claims = super().unsupported(critique, seen)
        there = {seen.scene.kind, seen.scene.bystander}
        words = re.findall(r"[a-z]+", critique.lower())
        claims += [f"a {thing}" for thing in dict.fromkeys(words) if thing in _THINGS - there]
        claims += [f"the {place}" for place in PLACES if place in words and place != seen.scene.place]
        return claims
