"""What the intervals of a calibrated checkpoint hold: the share of ratings inside, in all and by thirds of the score.

A calibration promises its level for all photos together. Thirds of the predicted score show where on the scale it holds
more or less. The 95% intervals of the shares are those of Clopper and Pearson, exact for a share of independent rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from roc.evaluation.evaluated_rows import EvaluatedRow, scored_rows
from roc.evaluation.keys import attribute_prefix

_THIRDS = ("low", "middle", "high")


def interval_metrics(rows: Sequence[EvaluatedRow], attributes: Sequence[str], level: float) -> dict[str, Any]:
    """Counts ratings inside the intervals.

    Args:
        rows: Human scores, predictions and intervals.
        attributes: Names of the scores.
        level: Share of ratings that the intervals should hold.

    Returns:
        `interval_level`, and for each attribute with intervals, below its prefix, `interval_n` (rows),
        `interval_coverage` (share inside) with `_low` and `_high`, `interval_width` (mean, native scale) and, from nine
        rows on, `interval_thirds`: for each third of the predicted scores, from low to high, a dict with `to` (its
        highest score), `n`, `coverage`, `low` and `high`.
    """
    found: dict[str, Any] = {}
    for name in attributes:
        given = [row for row in scored_rows(rows, name) if name in row.intervals]
        if not given:
            continue
        prefix = attribute_prefix(name, attributes)
        human = np.array([row.scores[name] for row in given], dtype=float)
        scores = np.array([row.predictions[name] for row in given], dtype=float)
        ends = np.array([row.intervals[name] for row in given], dtype=float)  # (n, 2)
        inside = (ends[:, 0] <= human) & (human <= ends[:, 1])
        share = _share(inside)
        found |= {
            f"{prefix}interval_n": len(given),
            f"{prefix}interval_coverage": share["coverage"],
            f"{prefix}interval_coverage_low": share["low"],
            f"{prefix}interval_coverage_high": share["high"],
            f"{prefix}interval_width": float((ends[:, 1] - ends[:, 0]).mean()),
        }
        if len(given) >= 9:
            parts = np.array_split(np.argsort(scores, kind="stable"), 3)
            found[f"{prefix}interval_thirds"] = [
                {"to": float(scores[part].max()), "n": len(part), **_share(inside[part])} for part in parts
            ]
    return {"interval_level": level, **found} if found else {}


def _share(inside: np.ndarray) -> dict[str, float]:
    from scipy.stats import binomtest

    held = int(inside.sum())
    ends = binomtest(held, len(inside)).proportion_ci(0.95, "exact")
    return {"coverage": held / len(inside), "low": float(ends.low), "high": float(ends.high)}


@dataclass(frozen=True)
class IntervalPart:
    """The intervals of one attribute, as tables show them.

    Attributes:
        attribute: Name of the score.
        level: Share of ratings that the intervals should hold.
        text: What they hold, with the 95% interval and the number of rows.
        width: Mean width, native scale.
        named_thirds: (Name, the same text) of each third of the predicted score; empty with few rows.
    """

    attribute: str
    level: float
    text: str
    width: float
    named_thirds: tuple[tuple[str, str], ...]

    @property
    def thirds(self) -> list[str]:
        """What each third holds, in one text each."""
        return [f"{name} {text}" for name, text in self.named_thirds]


def interval_parts(metrics: Mapping[str, Any]) -> Iterator[IntervalPart]:
    """Gives what an evaluation found of intervals, attribute by attribute."""
    for name in metrics["attributes"]:
        prefix = attribute_prefix(name, metrics["attributes"])
        if f"{prefix}interval_n" not in metrics:
            continue
        whole = {
            "n": metrics[f"{prefix}interval_n"],
            "coverage": metrics[f"{prefix}interval_coverage"],
            "low": metrics[f"{prefix}interval_coverage_low"],
            "high": metrics[f"{prefix}interval_coverage_high"],
        }
        thirds = metrics.get(f"{prefix}interval_thirds", ())
        yield IntervalPart(
            name,
            metrics["interval_level"],
            _text(whole),
            metrics[f"{prefix}interval_width"],
            tuple((f"{which} (to {one['to']:.3g})", _text(one)) for which, one in zip(_THIRDS, thirds, strict=False)),
        )


def _text(part: Mapping[str, Any]) -> str:
    return f"{part['coverage']:.3f} [{part['low']:.3f}, {part['high']:.3f}] of {part['n']}"
