"""A calibration from its options to the declaration on disk: the work of `roc calibrate`.

A temperature or lines, where they are asked for, are fitted first, on one half of the photos; intervals then rest on
the other half, since scores that were fitted to a rating are too near to it. Without them intervals rest on all photos.
Each call begins from the head as it was trained, so that calibrations do not pile up; only intervals around scores that
an earlier call moved begin from these, where that is asked for.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import roc
from roc.calibration.affine import FEWEST_RATINGS, Line, fit_line, with_lines
from roc.calibration.conformal import fewest_rows, half_width, widths_of_thirds
from roc.calibration.held_out import HeldOut, read_held_out, score_held_out
from roc.calibration.options import CalibrateOptions
from roc.calibration.removal import kept_reference
from roc.calibration.temperature import Fitted, fit_temperature, shared_vote, tempered
from roc.data.counts import counted
from roc.data.digest import smallest
from roc.model.calibration import Calibration, Intervals, quantiles_of
from roc.model.declaration import Declaration
from roc.score_space import ScoreSpace

if TYPE_CHECKING:
    from roc.scoring.results import Assessed
    from roc.scoring.run import Watch

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Calibrated:
    """What was calibrated.

    Attributes:
        declaration: As it stands in the checkpoint now.
        photos: Number of rated photos.
        temperature: Where one was asked for.
        lines: Attribute -> its line, where they were asked for.
        unrated: Attributes without any rating, which were left as they are.
        one_width: Attribute -> why it has one width for all scores where one for each third was asked for.
    """

    declaration: Declaration
    photos: int
    temperature: Fitted | None = None
    lines: dict[str, Line] = field(default_factory=dict)
    unrated: tuple[str, ...] = ()
    one_width: dict[str, str] = field(default_factory=dict)


def calibrate(options: CalibrateOptions, watch: Watch = lambda rows, total, done: rows) -> Calibrated:
    """Calibrates a checkpoint on held-out ratings, and writes what was found into its declaration.

    Args:
        options: What is calibrated, and on what.
        watch: Sees the images as they are scored; it may draw a progress bar.

    Raises:
        ValueError: If the checkpoint, its folder or the ratings cannot be used, or there are too few ratings.
        OSError: If the declaration cannot be written.
    """
    from roc.checkpoint.declared import declaring_file, write_declaration
    from roc.checkpoint.head_file import read_declaration

    declaring_file(options.checkpoint)
    before = read_declaration(options.checkpoint)
    plain = _beginning(options, before)
    if options.scaled and not plain.distribution_supervised:
        raise ValueError(
            f"--scaled: the head of {options.checkpoint} was not fitted to distributions of ratings, so its standard "
            "deviations mean nothing; leave --scaled out"
        )
    records, scale = read_held_out(options, plain)
    _check_enough(options, [record.scores for record in records], plain)
    held_out = score_held_out(options, plain, records, watch)
    found = fit(options, plain, held_out, scale)
    found = replace(found, declaration=_with_reference(found.declaration, before))
    write_declaration(options.checkpoint, found.declaration)
    return found


def fit(options: CalibrateOptions, plain: Declaration, held_out: HeldOut, scale: ScoreSpace) -> Calibrated:
    """Fits what was asked for.

    Args:
        options: What to fit.
        plain: Declaration of the model, without intervals.
        held_out: Ratings on `scale` and scores of that model.
        scale: That of the ratings.

    Raises:
        ValueError: If there are too few ratings, or they do not go with the scores.
    """
    count = len(held_out.records)
    moved = options.temperature or options.affine
    half = count // 2 if moved and options.level is not None else count if moved else 0
    first, second = slice(half), slice(half if options.level is not None else count, None)
    kept = plain.calibration
    found = Calibration(
        data=held_out.fingerprint,
        rows=count,
        earlier=None if kept is None else kept.earlier or kept.data,
        sample=smallest(held_out.digests),
        temperature=plain.temperature,
        affine=None if kept is None else kept.affine,
        version=roc.__version__,
    )
    fitted, lines, one_width = None, {}, {}
    if options.temperature:
        fitted = _temperature(plain, held_out, first)
        found = replace(found, temperature=fitted.temperature)
    rated = [name for name in plain.attributes if held_out.rated(name)]
    declaration = replace(plain, calibration=found)
    if options.affine:
        lines = {name: _line(name, held_out, first) for name in rated}
        ratings = {name: scale.of(name).range for name in rated}
        declaration = with_lines(plain, lines, found, ratings=ratings, unit=options.unit)
    if options.level is not None:
        read = _Reader(plain, 1.0 if fitted is None else fitted.temperature, lines)
        intervals, one_width = _intervals(options, rated, held_out, second, read)
        declaration = replace(declaration, calibration=replace(declaration.calibration, intervals=intervals))
    unrated = tuple(name for name in plain.attributes if name not in rated)
    return Calibrated(declaration, count, fitted, lines, unrated, one_width)


def _beginning(options: CalibrateOptions, before: Declaration) -> Declaration:
    """Gives the declaration to calibrate: as the head was trained or, where that is asked for, with what moved it.

    Raises:
        ValueError: If an earlier call has moved the scores and this one says neither to keep nor to replace that.
    """
    calibration = before.calibration
    if calibration is None or not calibration.moves_scores:
        if options.earlier == "keep":
            raise ValueError(
                f"--earlier keep: no earlier call has moved the scores of {options.checkpoint}; leave it out"
            )
        return before.uncalibrated()
    moves = {"a temperature": calibration.temperature != 1, "a line": calibration.affine is not None}
    asked = {"a temperature": options.temperature, "a line": options.affine}
    undone = [what for what, there in moves.items() if there and not asked[what]]
    ratings = f"fitted to the ratings {calibration.earlier or calibration.data}"
    if undone and options.earlier is None:
        raise ValueError(
            f"the scores of {options.checkpoint} are moved by {' and '.join(undone)}, {ratings}; give --earlier keep "
            "for intervals around these scores, or --earlier drop to begin from the head as it was trained"
        )
    if options.earlier == "keep":
        return replace(before, calibration=replace(calibration, intervals=None, sample=()), reference=None)
    logger.info("what moved the scores before (%s) is dropped", ratings)
    return before.uncalibrated()


def _check_enough(options: CalibrateOptions, ratings: list[dict[str, float]], plain: Declaration) -> None:
    """Makes sure before anything is scored that there are enough ratings of every attribute that has some."""
    parts = 2 if options.temperature or options.affine else 1
    needed = 0 if options.level is None else fewest_rows(options.level)
    why = f"intervals at {options.level:g}" if options.level is not None else "a line"
    if parts == 2:
        needed = max(needed, FEWEST_RATINGS) * (2 if options.level is not None else 1)
        why += ", which rest on one half of the ratings," if options.level is not None else ""
    for name in plain.attributes:
        count = sum(name in scores for scores in ratings)
        if 0 < count < needed:
            of = f" of {name}" if len(plain.attributes) > 1 else ""
            raise ValueError(
                f"{options.data_path} has {counted(count, 'rating')}{of} to calibrate on; {why} take {needed} or more. "
                "Rate more photos, or give a lower --level"
            )


def _temperature(plain: Declaration, held_out: HeldOut, part: slice) -> Fitted:
    import numpy as np

    distributions, votes = [], []
    for name in plain.attributes:
        levels = np.array(plain.space.of(name).levels)
        for record, one in held_out.rated(name, part):
            given = record.histograms.get(name)
            fits = given is not None and len(given) == len(levels)
            votes.append(np.array(given, dtype=float) if fits else shared_vote(record.scores[name], levels))
            distributions.append(one.scores[name].distribution)
    return fit_temperature(np.array(distributions), np.array(votes))


def _line(name: str, held_out: HeldOut, part: slice) -> Line:
    pairs = held_out.rated(name, part)
    scores = [one.scores[name].value for _, one in pairs]
    return fit_line(scores, [record.scores[name] for record, _ in pairs], f"the scores of {name}")


class _Reader:
    """Reads scores with a temperature or lines that the model does not have yet."""

    def __init__(self, plain: Declaration, temperature: float, lines: dict[str, Line]) -> None:
        self._plain, self._temperature, self._lines = plain, temperature, lines

    def __call__(self, name: str, one: Assessed) -> tuple[float, float]:
        """Gives the score of an attribute and its standard deviation."""
        import numpy as np

        score = one.scores[name]
        value, std = score.value, score.std
        if self._temperature != 1:
            shares = tempered(np.array([score.distribution]), self._temperature)[0]
            levels = np.array(self._plain.space.of(name).levels)
            value = float(shares @ levels)
            std = float(np.sqrt(shares @ (levels - value) ** 2))
        line = self._lines.get(name)
        return (value, std) if line is None else (line(value), line.slope * std)


def _intervals(
    options: CalibrateOptions, rated: list[str], held_out: HeldOut, part: slice, read: _Reader
) -> tuple[Intervals, dict[str, str]]:
    """Gives the intervals of all rated attributes, and why some have one width where three were asked for."""
    widths: dict[str, float] = {}
    rows: dict[str, int] = {}
    thirds: dict[str, Any] = {}
    scores: dict[str, Any] = {}
    stds: dict[str, Any] = {}
    one_width: dict[str, str] = {}
    for name in rated:
        pairs = held_out.rated(name, part)
        read_scores = [read(name, one) for _, one in pairs]
        values = [value for value, _ in read_scores]
        distances = []
        for (record, _), (value, std) in zip(pairs, read_scores, strict=True):
            distance = abs(record.scores[name] - value)
            if options.scaled:
                distance = distance / std if std else 0.0 if distance == 0 else math.inf
            distances.append(distance)
        try:
            widths[name] = half_width(distances, options.level)
        except ValueError as error:
            raise ValueError(
                f"{options.data_path}: {name}: {error}; rate more photos, or give a lower --level"
            ) from None
        if options.by_third:
            try:
                thirds[name] = widths_of_thirds(values, distances, options.level)
            except ValueError as error:
                one_width[name] = str(error)
        rows[name] = len(pairs)
        if len(pairs) > 1:
            scores[name] = quantiles_of(values)
            stds[name] = quantiles_of([std for _, std in read_scores])
    if math.inf in [*widths.values(), *(width for _, found in thirds.values() for width in found)]:
        raise ValueError(
            "the standard deviation of too many scores is 0, so that no multiple of it reaches their ratings; leave "
            "--scaled out"
        )
    intervals = Intervals(
        level=options.level,
        half_widths=widths,
        rows=rows,
        scores=scores,
        stds=stds,
        thirds=thirds,
        scaled=options.scaled,
    )
    return intervals, one_width


def _with_reference(declaration: Declaration, before: Declaration) -> Declaration:
    """Keeps the reference of a checkpoint as long as its scores stay what they were."""
    kept = kept_reference(declaration, before)
    if kept is None and before.reference is not None:
        logger.warning("the reference %s is of other scores and was dropped; make it anew", before.reference.name)
    return replace(declaration, reference=kept)
