"""Calibration on anchors: the line that brings scores onto the scale, after learning from differences alone.

Differences say nothing about mean and width of the scores. A straight line through the scores of some rated photos, by
least squares, gives both back; it keeps the order and cannot mend an error of it. The declaration carries it
(roc/model/calibration.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from roc.calibration.affine import FEWEST_RATINGS, Line, fit_line
from roc.data.records import Record
from roc.evaluation.metrics import mae, plcc, srcc

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from roc.model.collator import RocCollator

WAYS = {"critique": "behind critiques", "short": "in one forward pass"}


@dataclass(frozen=True)
class Fit:
    """A line and what it does to the scores of the anchors.

    Attributes:
        line: rating = intercept + slope * score, native scale; None where none fits, with `reason`.
        before, after: `srcc`, `plcc` and `mae` of the anchors; a metric that does not exist is left out.
        n: Anchors with a score.
        of: How many were asked about.
        reason: Why there is no line.
    """

    line: Line | None
    before: dict[str, float]
    after: dict[str, float]
    n: int
    of: int
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Gives the fields by name, ready for JSON."""
        line = None if self.line is None else self.line._asdict()
        return {"line": line, "n": self.n, "of": self.of, "before": self.before, "after": self.after} | (
            {} if self.reason is None else {"reason": self.reason}
        )


def fit(scores: Sequence[float | None], ratings: Sequence[float]) -> Fit:
    """Fits the line of a model.

    Args:
        scores: (n,) of the anchors on the native scale; None where the model gave none.
        ratings: (n,) human scores.
    """
    pairs = [(score, rating) for score, rating in zip(scores, ratings, strict=True) if score is not None]
    if len(pairs) < FEWEST_RATINGS:
        return applied(None, scores, ratings, f"{len(pairs)} anchors have a score, {FEWEST_RATINGS} are needed")
    try:
        line = fit_line(*zip(*pairs, strict=True), what="the scores of the anchors")
    except ValueError as error:
        return applied(None, scores, ratings, str(error))
    return applied(line, scores, ratings)


def applied(
    line: Line | None, scores: Sequence[float | None], ratings: Sequence[float], reason: str | None = None
) -> Fit:
    """Measures scores before and after a line; `scores` and `ratings` as for `fit`, None leaves the scores."""
    pairs = [(score, rating) for score, rating in zip(scores, ratings, strict=True) if score is not None]
    values, human = [score for score, _ in pairs], [rating for _, rating in pairs]
    moved = values if line is None else [line(value) for value in values]
    return Fit(line, _metrics(values, human), _metrics(moved, human), len(pairs), len(scores), reason)


def scores_of(
    model: PreTrainedModel, collator: RocCollator, records: Sequence[Record], *, batch_size: int, tokens: int | None
) -> list[float | None]:
    """Scores photos with a model that may be in training.

    Args:
        model: Carries the head; PEFT may wrap it.
        collator: Of the model.
        records: With an image each.
        batch_size: Photos per forward pass.
        tokens: Longest critique that is written before a score; None scores in one forward pass.
    """
    from roc.evaluation.reasoned import evaluating, open_first, write_answers_to
    from roc.scoring.one_forward import one_forward
    from roc.scoring.reasoning import Sampling

    if tokens is not None:
        sampling = Sampling(max_new_tokens=tokens, retries=0)
        written = write_answers_to(model, collator, records, sampling, batch_size=batch_size)
        return [None if answers[0].score is None else answers[0].score.value for answers in written]
    found: list[float | None] = []
    with evaluating(model):
        for start in range(0, len(records), batch_size):
            pictures = [open_first(record) for record in records[start : start + batch_size]]
            found += one_forward(model, collator.scoring_batch(pictures, 1)).scores[:, 0].tolist()
    return found


def rows_of(fits: dict[str, Fit], way: str) -> dict[str, Any]:
    """Gives a fit and what its line does to both ways of scoring, ready for JSON; the arguments are those of
    `lines_of`.

    Returns:
        `line`, `n`, `of` and, without a line, `reason` of the fit; `fitted_on` in words; `rows`: each with `read` and
        `when` in words, and the metrics that exist.
    """
    rows = [
        {"read": WAYS[name], "when": when, **metrics}
        for name, one in fits.items()
        for when, metrics in (("before", one.before), ("after", one.after))
    ]
    told = {key: value for key, value in fits[way].to_dict().items() if key not in ("before", "after")}
    return {**told, "fitted_on": WAYS[way], "rows": rows}


def lines_of(fits: dict[str, Fit], way: str) -> list[str]:
    """Words a fit, and what its line does to both ways of scoring, for the table of a run.

    Args:
        fits: Key of `WAYS` -> what was found.
        way: The one that the line was fitted on.
    """
    found = fits[way]
    lines = [f"Calibration on {found.n} of {found.of} anchors, scores read {WAYS[way]}:"]
    if found.line is None:
        lines.append(f"  none: {found.reason}; scores stay as they are")
    else:
        lines.append(
            f"  score = {found.line.intercept:.3f} + {found.line.slope:.3f} x score; every score has it from now on"
        )
    lines.append(f"  {'':<22}{'':>9}{'SRCC':>8}{'PLCC':>8}{'MAE':>8}")
    for name, one in fits.items():
        for when, metrics in (("before", one.before), ("after", one.after)):
            cells = "".join(f"{metrics[key]:>8.3f}" if key in metrics else f"{'-':>8}" for key in _METRICS)
            lines.append(f"  {WAYS[name]:<22}{when:>9}{cells}")
    return lines


_METRICS = {"srcc": srcc, "plcc": plcc, "mae": mae}


def _metrics(values: Sequence[float], human: Sequence[float]) -> dict[str, float]:
    if not values:
        return {}
    found = {name: metric(values, human) for name, metric in _METRICS.items()}
    return {name: value for name, value in found.items() if value is not None}
