"""What a user gets back: `Assessed` for one image, with a `Score` for each attribute.

Numbers are on the native scale of the checkpoint, and every score carries that scale with it, so that a 7.1 can be read
without asking where it came from. A score that the model did not give is None under its name, never a number.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from roc.model.reasoned import count_kinds, kinds_text

if TYPE_CHECKING:
    from roc.model.declaration import Declaration
    from roc.model.head import LevelReading


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

    @classmethod
    def from_reading(cls, reading: LevelReading, declaration: Declaration, attribute: str) -> Score:
        """Makes the score of one reading.

        Args:
            reading: Of a single score: a number, a number, (N,).
            declaration: Of the model that gave it.
            attribute: Name of the score, which may have a range of its own.
        """
        space = declaration.space.of(attribute)
        return cls(
            value=reading.scores,
            std=reading.stds,
            distribution=reading.probabilities.tolist(),
            levels=space.levels,
            range=space.range,
            calibrated=declaration.distribution_supervised,
        )

    def __float__(self) -> float:
        return self.value

    def to_dict(self) -> dict[str, Any]:
        """Gives the fields by name, sequences as lists, ready for JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


def scale_columns(
    common: tuple[float, float] | None, ranges: Mapping[str, tuple[float, float]], calibrated: bool
) -> dict[str, Any]:
    """Gives the columns of a row that name the scale of its scores.

    Args:
        common: Range of the first attribute; None where it is not known.
        ranges: Attribute -> its range.
        calibrated: Whether distributions were trained.

    Returns:
        `min_score, max_score`, then `min_score.<attribute>, max_score.<attribute>` for each attribute on another range
        than the common one, and `calibrated`.
    """
    low, high = common or (None, None)
    columns: dict[str, Any] = {"min_score": low, "max_score": high}
    for name, own in ranges.items():
        if own != common:
            columns |= {f"min_score.{name}": own[0], f"max_score.{name}": own[1]}
    return columns | {"calibrated": calibrated}


@dataclass(frozen=True)
class Reasoned:
    """One answer of a model that reasons.

    Attributes:
        text: What it wrote, as it is, `[SCORE]` in it.
        critique: The words before the score; empty where there are none.
        kind: "good", or what is wrong with the answer, a key of `roc.model.reasoned.WRONG`.
        score: Read at its `[SCORE]`, given the critique; None where the answer is not good.
        retried: Whether it was written in place of one that could not be read.
    """

    text: str
    critique: str
    kind: str
    score: Score | None
    retried: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Gives text, kind, whether it was retried, and the prediction and std of its score, ready for JSON."""
        return {
            "text": self.text,
            "kind": self.kind,
            "retried": self.retried,
            "prediction": None if self.score is None else self.score.value,
            "std": None if self.score is None else self.score.std,
        }


def combined(scores: Sequence[Score]) -> Score | None:
    """Combines scores of one image: the mean of their distributions, with the mean and the spread of that.

    Args:
        scores: On the same levels; None comes back for none of them.
    """
    if not scores:
        return None
    shares = [math.fsum(column) / len(scores) for column in zip(*(one.distribution for one in scores), strict=True)]
    value = math.fsum(one.value for one in scores) / len(scores)
    variance = sum(variances(scores))
    return dataclasses.replace(scores[0], value=value, std=math.sqrt(variance), distribution=shares)


def variances(scores: Sequence[Score]) -> tuple[float, float]:
    """Splits the variance of the combination of scores into its two parts, whose sum it is.

    Args:
        scores: Of one image, at least one.

    Returns:
        (within, between) in squared native units: the mean variance of the distributions, and the variance of their
        means, which says how far the critiques lead apart.
    """
    mean = math.fsum(one.value for one in scores) / len(scores)
    within = math.fsum(one.std**2 for one in scores) / len(scores)
    return within, math.fsum((one.value - mean) ** 2 for one in scores) / len(scores)


@dataclass(frozen=True)
class Assessed:
    """Scores and answer of one image.

    Attributes:
        scores: Attribute name -> `Score`, or None where the model did not give this score. The first or only
            attribute is called "overall".
        text: The generated answer with the numbers in place; None where no answer was asked for.
        path: File of the image; None for an image in memory.
        answers: What a model that reasons wrote, each text with its score; `scores` is the combination of the good
            ones (`combined`), `text` the first of them. Empty where the model does not reason, or was not asked to.
    """

    scores: dict[str, Score | None]
    text: str | None = None
    path: str | None = None
    answers: tuple[Reasoned, ...] = ()

    @property
    def variances(self) -> tuple[float, float] | None:
        """The variance of the score, split into (within, between) answers; None without a good answer."""
        good = [one.score for one in self.answers if one.score is not None]
        return variances(good) if good else None

    def to_dict(self) -> dict[str, Any]:
        """Gives one flat row, as `roc score` writes it: `pandas.DataFrame(r.to_dict() for r in results)`.

        Returns:
            `image`, then `prediction` and `std` of the first attribute and `prediction.<attribute>` of the others (None
            where the model gave no score), `text` where there is one, the columns of `answer_columns` where the model
            reasoned, `min_score`, `max_score`, the same with `.<attribute>` for each other attribute on another range,
            `calibrated`. Levels and distributions are in `scores[name].to_dict()`.
        """
        row: dict[str, Any] = {"image": self.path}
        for place, (name, score) in enumerate(self.scores.items()):
            row["prediction" if place == 0 else f"prediction.{name}"] = None if score is None else score.value
            if place == 0:
                row["std"] = None if score is None else score.std
        if self.text is not None:
            row["text"] = self.text
        row |= self.answer_columns()
        given = {name: score for name, score in self.scores.items() if score is not None}
        if not given:
            return row | dict.fromkeys(("min_score", "max_score", "calibrated"))
        ranges = {name: score.range for name, score in given.items()}
        first = next(iter(self.scores))
        common = ranges[first] if first in ranges else None
        if common is None and len({*ranges.values()}) == 1:
            common = next(iter(ranges.values()))
        return row | scale_columns(common, ranges, next(iter(given.values())).calibrated)

    def answer_columns(self) -> dict[str, Any]:
        """Gives the columns about the answers of a model that reasons; none where there are no answers.

        Returns:
            `answers`, their number by kind ("good 3, cut 1"); with several of them `std_within` and `std_between`, the
            two parts of the spread in native units, and `samples`, all texts with their scores as JSON.
        """
        if not self.answers:
            return {}
        columns: dict[str, Any] = {"answers": kinds_text(count_kinds(one.kind for one in self.answers))}
        if len(self.answers) == 1:
            return columns
        parts = self.variances or (None, None)
        names = ("std_within", "std_between")
        columns |= {name: None if part is None else math.sqrt(part) for name, part in zip(names, parts, strict=True)}
        return columns | {"samples": json.dumps([one.to_dict() for one in self.answers], ensure_ascii=False)}
