"""Rows of an evaluation: what people said of one image beside what a model said of it.

`evaluated_rows` makes them from the records of a data file and the scores of a model; roc/evaluation/predictions.py
reads and writes them as files. Everything else in this room computes from such rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from roc.data.records import Record
from roc.score_space import ScoreSpace
from roc.scoring.results import Assessed


@dataclass(frozen=True)
class EvaluatedRow:
    """One image with its human and predicted scores, all on the native scale.

    Attributes:
        id: Name of the row, as in the data file.
        scores: Attribute -> human score; an attribute that nobody rated is absent, None or NaN.
        predictions: Attribute -> predicted score; None where the model gave none.
        std: Standard deviation of the predicted distribution of the first attribute.
        p_n: (N,) that distribution, summing to 1.
        h_n: (N,) vote histogram of the first attribute, summing to 1.
        subset: Part of the test set that the row belongs to, if results are reported by parts.
        image: Path of the image; None where it is not known. Not written into files: the id names the row.
        intervals: Attribute -> the interval (low, high) that a calibrated model gives; empty where it gives none.
    """

    id: str
    scores: Mapping[str, float | None]
    predictions: Mapping[str, float | None]
    std: float | None = None
    p_n: Sequence[float] | None = field(default=None, repr=False)
    h_n: Sequence[float] | None = field(default=None, repr=False)
    subset: str | None = None
    image: str | None = field(default=None, repr=False)
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict, repr=False)


def evaluable(records: Sequence[Record]) -> list[Record]:
    """Selects the records that can be evaluated: those with one image and at least one human score."""
    return [record for record in records if len(record.images) == 1 and record.scores]


def evaluated_rows(records: Sequence[Record], assessed: Sequence[Assessed]) -> list[EvaluatedRow]:
    """Combines records with what a model said of them.

    Args:
        records: In any order; if they come from several data sets, each of these becomes a subset.
        assessed: Scores of the same records.

    Returns:
        One row per record. A histogram with another number of levels than the model's is left out.
    """
    datasets = {record.dataset for record in records}
    rows = []
    for record, one in zip(records, assessed, strict=True):
        overall, votes = one.scores["overall"], record.histograms.get("overall")
        fits = votes is not None and (overall is None or len(votes) == len(overall.distribution))
        rows.append(
            EvaluatedRow(
                id=record.id,
                scores=record.scores,
                predictions={name: None if score is None else score.value for name, score in one.scores.items()},
                std=None if overall is None else overall.std,
                p_n=None if overall is None else overall.distribution,
                h_n=votes if fits else None,
                subset=record.dataset if len(datasets) > 1 else None,
                image=record.images[0],
                intervals={
                    name: (score.low, score.high)
                    for name, score in one.scores.items()
                    if score is not None and score.low is not None
                },
            )
        )
    return rows


def is_number(value: float | None) -> bool:
    """True if a score is there: neither None nor NaN."""
    return value is not None and not math.isnan(value)


def scored_rows(rows: Sequence[EvaluatedRow], attribute: str) -> list[EvaluatedRow]:
    """Selects the rows that have both a human and a predicted score of an attribute."""
    return [row for row in rows if is_number(row.scores.get(attribute)) and is_number(row.predictions.get(attribute))]


def distributions(rows: Sequence[EvaluatedRow], attribute: str) -> tuple[np.ndarray, np.ndarray]:
    """Predicted distributions and vote histograms of the predicted rows that have both, (n, N) each.

    Raises:
        ValueError: If the number of levels is not the same everywhere.
    """
    both = [
        row for row in rows if row.p_n is not None and row.h_n is not None and is_number(row.predictions.get(attribute))
    ]
    for row in both:
        if not len(row.p_n) == len(row.h_n) == len(both[0].h_n):
            raise ValueError(
                f"row {row.id}: {len(row.p_n)} predicted levels and {len(row.h_n)} histogram bins, where the first row "
                f"has {len(both[0].h_n)} bins; a distribution is compared with a histogram of as many bins as levels. "
                "Leave one of the two out to evaluate the scores alone"
            )
    return np.array([row.p_n for row in both], dtype=float), np.array([row.h_n for row in both], dtype=float)


def levels_of(space: ScoreSpace | None, num_levels: int) -> tuple[float, ...] | None:
    """Native values of `num_levels` levels spread evenly over the scale; None where the scale is not known."""
    return None if space is None else replace(space, num_levels=num_levels).levels


def coverage_input(rows: Sequence[EvaluatedRow], attribute: str, space: ScoreSpace | None) -> dict[str, Any]:
    """Collects the arguments of `estimate_coverage` from rows.

    Args:
        rows: Scored rows with a standard deviation.
        attribute: The first attribute.
        space: The native scale. Votes are left out where it is not known or a row has no histogram.
    """
    found: dict[str, Any] = {
        "predictions": [row.predictions[attribute] for row in rows],
        "stds": [row.std for row in rows],
        "scores": [row.scores[attribute] for row in rows],
    }
    if rows and space is not None and all(row.h_n is not None for row in rows):
        found |= {"histograms": [row.h_n for row in rows], "levels": levels_of(space, len(rows[0].h_n))}
    return found
