"""What a user gets back: `Assessed` for one image, with a `Score` for each attribute.

Numbers are on the native scale of the checkpoint, and every score carries that scale with it, so that a 7.1 can be read
without asking where it came from. A score that the model did not give is None under its name, never a number.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Score:
    """One score with the distribution whose mean it is.

    Attributes:
        value: The score on the native scale, inside `range`.
        std: Standard deviation of `distribution` over `levels`, in native units.
        distribution: Probability of each level, (N,); they add up to 1.
        levels: Native value of each level, (N,), ascending.
        range: (lowest, highest) score of the native scale.
        calibrated: Whether distributions were trained. Where False, only `value` means something: training on mean
            scores alone leaves `std` and the shape of `distribution` free.

    Raises:
        ValueError: The numbers of probabilities and levels differ.
    """

    value: float
    std: float
    distribution: tuple[float, ...]
    levels: tuple[float, ...]
    range: tuple[float, float]
    calibrated: bool

    def __post_init__(self) -> None:
        # numpy and torch scalars become plain floats, so that JSON can hold what to_dict() gives
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

    def __float__(self) -> float:
        return self.value

    def to_dict(self) -> dict[str, Any]:
        """Gives the fields by name, sequences as lists, ready for JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Assessed:
    """Scores and answer of one image.

    Attributes:
        scores: Attribute name -> `Score`, or None where the model did not give this score. The first or only
            attribute is called "overall".
        text: The generated answer with the numbers in place; None where no answer was asked for.
        path: File of the image; None for an image in memory.
    """

    scores: dict[str, Score | None]
    text: str | None = None
    path: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Gives one flat row, as `roc score` writes it: `pandas.DataFrame(r.to_dict() for r in results)`.

        Returns:
            `image`, then `prediction` and `std` of the first attribute and `prediction.<attribute>` of the others (None
            where the model gave no score), `text` where there is one, `min_score`, `max_score`, `calibrated`. Levels
            and distributions are in `scores[name].to_dict()`.
        """
        row: dict[str, Any] = {"image": self.path}
        for place, (name, score) in enumerate(self.scores.items()):
            row["prediction" if place == 0 else f"prediction.{name}"] = None if score is None else score.value
            if place == 0:
                row["std"] = None if score is None else score.std
        if self.text is not None:
            row["text"] = self.text
        given = next((score for score in self.scores.values() if score is not None), None)
        scale = (None, None, None) if given is None else (*given.range, given.calibrated)
        return row | dict(zip(("min_score", "max_score", "calibrated"), scale, strict=True))
