"""An author that needs no model: it knows how the demo's scenes were made.

A critique is one sentence for each dimension, chosen among those that hold for the scene, and a judgement in the tone
of the score. The tone is judged by the words of the judgement, the facts by looking up every known sentence and every
thing that is named. So the filters are real, but know these sentences alone: texts of other authors pass its judge of
facts wherever they speak of something else.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from roc.data.images import ImageError, open_image
from roc.demo.attributes import THIRDS
from roc.demo.dataset import scene_of
from roc.demo.scenes import KnownScene
from roc.demo.things import BYSTANDERS, KINDS, PLACES
from roc.endpoints.chat import Reply
from roc.reasoning.authors import Request
from roc.reasoning.tiers import TIERS

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


@dataclass(frozen=True)
class Sentence:
    """A sentence of a critique, with `{kind}` and `{place}` to be filled in, and when it is true."""

    words: str
    holds: Callable[[Seen], bool]

    def about(self, scene: KnownScene) -> str:
        """The sentence with the names of a scene."""
        return self.words.format(kind=scene.kind, place=_PLACE_WORDS[scene.place])

    @property
    def pattern(self) -> re.Pattern[str]:
        """Finds the sentence in a text, whatever it names."""
        words = re.escape(self.words).replace(r"\{kind\}", r"[a-z]+").replace(r"\{place\}", r"[a-z ]+")
        return re.compile(words, re.IGNORECASE)


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


SENTENCES: dict[str, tuple[Sentence, ...]] = {
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

JUDGEMENTS = {
    "good": (
        "Taken together it is a strong picture that rewards a long look.",
        "All in all the photo succeeds, and beautifully so.",
        "On balance this is an excellent piece of work.",
    ),
    "fair": (
        "Taken together it is a decent picture that does not stay in mind.",
        "All in all the photo is middling, with as much to keep as to mend.",
        "On balance this is adequate work and unremarkable.",
    ),
    "bad": (
        "Taken together it is a weak picture that does not hold the eye.",
        "All in all the photo fails, and asks to be taken again.",
        "On balance this is a poor piece of work.",
    ),
}
"""Tier -> the sentences that close a critique."""

_TONE_WORDS = {
    "good": r"strong|excellent|succeeds|beautiful(?:ly)?|striking|outstanding|compelling|impressive|superb",
    "fair": r"decent|middling|adequate|unremarkable|passable|acceptable|average|ordinary|mixed",
    "bad": r"weak|poor|fails|failed|disappointing|unsuccessful|dull|careless|flawed",
}
_THINGS = {
    *(kind for kinds in KINDS.values() for kind in kinds),
    *(kind for two in BYSTANDERS.values() for kind in two),
}


class SceneAuthor:
    """An `Author` for pictures that `roc.demo.dataset` wrote; the same request gets the same words."""

    name = "embedded"
    at_once = 1

    def ask(self, request: Request) -> Reply:
        """Answers a request.

        Raises:
            ValueError: If the picture is no scene of the demo.
        """
        if request.kind == "tone":
            return Reply(_tone(request.critique))
        seen = self._look(request.photo.path)
        if request.kind == "facts":
            claims = unsupported(request.critique, seen)
            return Reply("\n".join(f"- {claim}" for claim in claims) or "NONE")
        name = f"{request.photo.id}\0{request.attempt}"
        rng = random.Random(hashlib.sha256(name.encode()).digest())
        words = [
            rng.choice([one for one in sentences if one.holds(seen)]).about(seen.scene)
            for sentences in SENTENCES.values()
        ]
        return Reply(" ".join([*words, rng.choice(JUDGEMENTS[request.photo.tier])]))

    @staticmethod
    def _look(path: str) -> Seen:
        try:
            return Seen.of(path)
        except ImageError:
            raise
        except ValueError as error:
            raise ValueError(
                f"{error}; the embedded author knows the demo's pictures alone. For other photos give --writer "
                "chat:MODEL or transformers:PATH"
            ) from error


def unsupported(critique: str, seen: Seen) -> list[str]:
    """Lists the known sentences of a critique that do not hold, and the things it names that are not there."""
    claims = []
    for sentences in SENTENCES.values():
        for one in sentences:
            claims += [found[0] for found in one.pattern.finditer(critique) if not one.holds(seen)]
    there = {seen.scene.kind, seen.scene.bystander}
    words = re.findall(r"[a-z]+", critique.lower())
    claims += [f"a {thing}" for thing in dict.fromkeys(words) if thing in _THINGS - there]
    claims += [f"the {place}" for place in PLACES if place in words and place != seen.scene.place]
    return claims


def _tone(critique: str) -> str:
    """Names the tier of the last sentence, or of the whole text where that does not tell; else it says "unclear"."""
    sentences = [one for one in re.split(r"(?<=[.!?])\s+", critique.strip()) if one]
    for text in (sentences[-1] if sentences else "", critique):
        counts = {tier: len(re.findall(rf"\b(?:{_TONE_WORDS[tier]})\b", text, re.IGNORECASE)) for tier in TIERS}
        best = max(counts.values())
        named = [tier for tier in TIERS if counts[tier] == best]
        if best and len(named) == 1:
            return named[0]
    return "unclear"
