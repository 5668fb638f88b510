"""What a user gets back: a `Score` for each attribute, and `Assessed` for one image.

Numbers are on the native scale of the checkpoint, and every score carries that scale with it, so a 7.1 can be read
without asking where it came from. A score that the model did not give is None under its name, never a number.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Score:
    """One score with the distribution that it is the mean of.

    Attributes:
        value: the score on the native scale, between the two ends of `range`.
        std: standard deviation of `distribution` over `levels`, in native units.
        distribution: probability of each level, (N,), adds up to 1.
        levels: native value of each level, (N,), ascending.
        range: (lowest, highest) score of the native scale.
        calibrated: whether the distribution was taught from votes. Where it is False, only `value` means something:
            training on mean scores alone leaves `std` and the shape of `distribution` free.
    """

    value: float
    std: float
    distribution: tuple[float, ...]
    levels: tuple[float, ...]
    range: tuple[float, float]
    calibrated: bool

    def __post_init__(self) -> None:
        # numpy and torch scalars become plain floats, so that to_dict() can be written as JSON
        for name in ("value", "std"):
            object.__setattr__(self, name, float(getattr(self, name)))
        for name in ("distribution", "levels", "range"):
            object.__setattr__(self, name, tuple(float(number) for number in getattr(self, name)))
        object.__setattr__(self, "calibrated", bool(self.calibrated))
        if len(self.distribution) != len(self.levels):
            raise ValueError(
                f"a score needs one probability per level: got {len(self.distribution)} probabilities "
                f"and {len(self.levels)} levels"
            )

    def to_dict(self) -> dict[str, Any]:
        """The fields under their names, sequences as lists: ready for JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Assessed:
    """What was found for one image.

    Attributes:
        scores: attribute name -> `Score`, or None where the model did not give this score. The first attribute
            is "overall".
        text: the answer in words, with the numbers in place; None when no text was asked for.
        path: the file the image came from; None for an image that was handed over in memory.
    """

    scores: dict[str, Score | None]
    text: str | None = None
    path: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The fields under their names, scores as dicts (None stays None): ready for JSON."""
        scores = {name: None if score is None else score.to_dict() for name, score in self.scores.items()}
        return {"path": self.path, "scores": scores, "text": self.text}
