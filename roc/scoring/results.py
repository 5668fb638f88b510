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

COMPARISONS = ("low", "high", "percentile", "reward")
"""What a calibration and a reference add to a score, the names of fields of `Score` and of columns of rows."""


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
        low, high: Interval that holds the rating of people for a share `coverage` of photos like those that
            `roc calibrate` was given, native scale; None where the checkpoint was not calibrated.
        coverage: That share.
        percentile: Percent of the photos of `roc reference` that score lower, 0 to 100; None without a reference.
        reward: The score between 0 and 1 by that reference, 0.5 at its median; None without one.
        unit: What a step of the scale is called, where the calibration names it.

    Raises:
        ValueError: The numbers of probabilities and levels differ.
    """

    value: float
    std: float
    distribution: tuple[float, ...]
    levels: tuple[float, ...]
    range: tuple[float, float]
    calibrated: bool
    low: float | None = None
    high: float | None = None
    coverage: float | None = None
    percentile: float | None = None
    reward: float | None = None
    unit: str | None = None

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
    def from_reading(
        cls, reading: LevelReading, declaration: Declaration, attribute: str, *, one_pass: bool = True
    ) -> Score:
        """Makes the score of one reading.

        Args:
            reading: Of a single score: a number, a number, (N,).
            declaration: Of the model that gave it.
            attribute: Name of the score, which may have a range of its own.
            one_pass: Whether it was read as `.score()` reads it. Calibration and reference are of such scores, so that
                one behind a critique, or of a photo without its mirror image (`score_flip`), has no interval and no
                percentile.
        """
        space = declaration.space.of(attribute)
        value, std = float(reading.scores), float(reading.stds)
        return cls(
            **(_compared(declaration, attribute, value, std) if one_pass else {}),
            unit=unit_of(declaration, attribute),
            value=value,
            std=std,
            distribution=reading.probabilities.tolist(),
            levels=space.levels,
            range=space.range,
            calibrated=declaration.distribution_supervised,
        )

    def __float__(self) -> float:
        return self.value

    def to_dict(self) -> dict[str, Any]:
        """Gives the fields by name, sequences as lists, ready for JSON, without those that are None."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
            if value is not None
        }

    def comparisons(self) -> dict[str, float]:
        """Gives `COMPARISONS` by name, as far as the checkpoint offers them."""
        return {name: value for name in COMPARISONS if (value := getattr(self, name)) is not None}


def _compared(declaration: Declaration, attribute: str, value: float, std: float) -> dict[str, Any]:
    """Compares a score with what the declaration holds: interval, percentile and reward."""
    found: dict[str, Any] = {}
    calibration, reference = declaration.calibration, declaration.reference
    if not math.isfinite(value):
        return found
    if calibration is not None and calibration.intervals is not None:
        within = declaration.rating_space.of(attribute).range
        ends = calibration.intervals.around(attribute, value, std, within)
        if ends is not None:
            found |= {"low": ends[0], "high": ends[1], "coverage": calibration.intervals.level}
    if reference is not None and attribute in reference.quantiles:
        found["percentile"] = reference.percentile(attribute, value)
        found["reward"] = reference.reward(attribute, value)
    return found


def offered(
    declaration: Declaration, attribute: str, *, one_pass: bool = True, own_scale: bool = True
) -> tuple[str, ...]:
    """Names the `COMPARISONS` that the scores of an attribute come with.

    Args:
        declaration: Of the model.
        attribute: Name of the score.
        one_pass: As for `Score.from_reading`.
        own_scale: Whether scores are on the declared scale; intervals are of no other.
    """
    calibration, reference = declaration.calibration, declaration.reference
    if not one_pass:
        return ()
    intervals = None if calibration is None else calibration.intervals
    bounded = own_scale and intervals is not None and attribute in intervals.half_widths
    ranked = reference is not None and attribute in reference.quantiles
    return COMPARISONS[:2] * bounded + COMPARISONS[2:] * ranked


def unit_of(declaration: Declaration, attribute: str) -> str | None:
    """Names a step of the scale of an attribute, where its scores were moved onto a scale that has such a name."""
    affine = None if declaration.calibration is None else declaration.calibration.affine
    return affine.unit if affine is not None and attribute in affine.lines else None


def about_columns(declaration: Declaration, attributes: Sequence[str], *, one_pass: bool = True) -> dict[str, Any]:
    """Gives the columns of a row that say what its intervals and its unit are; none where there are neither.

    Returns:
        `coverage`, the share of ratings that intervals hold, and `unit` of the first of the attributes that has one.
    """
    found: dict[str, Any] = {}
    if any("low" in offered(declaration, name, one_pass=one_pass) for name in attributes):
        found["coverage"] = declaration.calibration.intervals.level
    units = [unit for name in attributes if (unit := unit_of(declaration, name)) is not None]
    return found | ({"unit": units[0]} if units else {})


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
        first_kind: What was wrong with the answer in whose place it was written, a key of `WRONG` likewise; None for an
            answer that was kept as it came.
    """

    text: str
    critique: str
    kind: str
    score: Score | None
    first_kind: str | None = None

    @property
    def retried(self) -> bool:
        """Whether it was written in place of one that could not be read."""
        return self.first_kind is not None

    def to_dict(self) -> dict[str, Any]:
        """Gives text, kind, `retried`, `first_kind`, and the prediction and std of its score, ready for JSON."""
        return {
            "text": self.text,
            "kind": self.kind,
            "retried": self.retried,
            "first_kind": self.first_kind,
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
    # An interval or a percentile of one of them would be none of the combination.
    nothing = dict.fromkeys((*COMPARISONS, "coverage"))
    return dataclasses.replace(scores[0], value=value, std=math.sqrt(variance), distribution=shares, **nothing)


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
            where the model gave no score), `low, high` and `percentile, reward` of a checkpoint that is calibrated or
            has a reference, with `.<attribute>` likewise, `text` where there is one, the columns of `answer_columns`
            where the model reasoned, `min_score`, `max_score`, the same with `.<attribute>` for each other attribute on
            another range, `calibrated`, and, where there are intervals or a unit, `coverage` and `unit`. Levels and
            distributions are in `scores[name].to_dict()`.
        """
        row: dict[str, Any] = {"image": self.path}
        for place, (name, score) in enumerate(self.scores.items()):
            row["prediction" if place == 0 else f"prediction.{name}"] = None if score is None else score.value
            if place == 0:
                row["std"] = None if score is None else score.std
            if score is not None:
                row |= {key if place == 0 else f"{key}.{name}": value for key, value in score.comparisons().items()}
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
        row |= scale_columns(common, ranges, next(iter(given.values())).calibrated)
        for name in ("coverage", "unit"):
            values = [value for score in given.values() if (value := getattr(score, name)) is not None]
            row |= {name: values[0]} if values else {}
        return row

    def answer_columns(self) -> dict[str, Any]:
        """Gives the columns about the answers of a model that reasons; none where there are no answers.

        Returns:
            `answers`, their number by kind ("good 3, cut 1"); `retried`, what was wrong with those that were written
            anew, likewise, empty where none was; with several answers `std_within` and `std_between`, the two parts of
            the spread in native units, and `samples`, all texts with their scores as JSON.
        """
        if not self.answers:
            return {}
        kinds = {
            "answers": [one.kind for one in self.answers],
            "retried": [one.first_kind for one in self.answers if one.first_kind is not None],
        }
        columns: dict[str, Any] = {name: kinds_text(count_kinds(found)) for name, found in kinds.items()}
        if len(self.answers) == 1:
            return columns
        parts = self.variances or (None, None)
        names = ("std_within", "std_between")
        columns |= {name: None if part is None else math.sqrt(part) for name, part in zip(names, parts, strict=True)}
        return columns | {"samples": json.dumps([one.to_dict() for one in self.answers], ensure_ascii=False)}
