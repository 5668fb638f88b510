"""The verdict of a comparison: which of two models is better, on what, by how much, and whether that is certain.

A difference is certain where its paired 95% interval excludes 0. One that rounds to 0.000 is none, however certain.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from roc.data.counts import counted
from roc.evaluation.estimates import Difference
from roc.evaluation.keys import FEW_ROWS, METRICS, bounds_text, split_key, value_text

NEGLIGIBLE = 0.0005
"""Differences below this are shown as 0.000 and count as none."""

_MAIN = ("srcc", "plcc", "mae", "accuracy", "emd")
_MAIN_OF_OTHERS = ("srcc", "mae")


def better_model(key: str, one: Difference) -> Literal["A", "B", "equal", "open"] | None:
    """Decides which model is better on one metric.

    Args:
        key: Key of the metric.
        one: The difference A - B.

    Returns:
        "A" or "B" where the interval excludes 0, "equal" where no end of it reaches `NEGLIGIBLE`, "open" otherwise;
        None where there is no interval.
    """
    if one.low is None or one.a_better is None:
        return None
    if abs(one.difference) < NEGLIGIBLE and max(abs(one.low), abs(one.high)) < NEGLIGIBLE:
        return "equal"
    if isinstance(METRICS[split_key(key)[1]].better, str):
        certain = one.low > 0 or one.high < 0
    else:  # the nearer to a target the better, so the sign of the difference decides nothing
        certain = not 0.025 < one.a_better < 0.975
    if not certain or abs(one.difference) < NEGLIGIBLE:
        return "open"
    return "A" if one.a_better > 0.5 else "B"


def main_metrics(metrics: Iterable[str]) -> list[str]:
    """Chooses the keys that a verdict is about: rank, linear and absolute agreement of each score, and the votes."""
    keys = []
    for key in metrics:
        prefix, name = split_key(key)
        if name in (_MAIN_OF_OTHERS if prefix else _MAIN):
            keys.append(key)
    return keys


def metric_name(key: str) -> str:
    """Names the metric of a key: `SRCC`, `light: SRCC`."""
    prefix, metric = split_key(key)
    return f"{prefix.removesuffix('/')}: {METRICS[metric].name}" if prefix else METRICS[metric].name


def verdict(metrics: Mapping[str, Difference], n: int, *, of: str = "row") -> list[str]:
    """Says in a few sentences which model is better.

    Args:
        metrics: Key -> difference A - B.
        n: Number of rows that both scored.
        of: What they are.

    Returns:
        One to five lines: on what A is better, on what B is, what is undecided or equal, and whether the rows are few.
    """
    found: dict[str | None, list[str]] = {}
    for key in main_metrics(metrics):
        found.setdefault(better_model(key, metrics[key]), []).append(key)
    lines = []
    for model, other in ("AB", "BA"):
        if model in found:
            first = [_margin(key, metrics[key], n) for key in found[model] if not split_key(key)[0]]
            others = [key for key in found[model] if split_key(key)[0]]
            won = "; ".join([*first, *([f"of the other scores {_names(others)}"] if others else [])])
            lines.append(f"{model} is better than {other}: {won}.")
    if not lines:
        lines.append(_no_winner(found, metrics, n, of))
    elif "open" in found:
        lines.append(f"Not certain, the 95% interval of A - B includes 0: {_names(found['open'])}.")
    if "equal" in found and len(found) > 1:
        lines.append(f"Equal to three decimals: {_names(found['equal'])}.")
    if 0 < n < FEW_ROWS:
        lines.append(
            f"Only {counted(n, of)} (below {FEW_ROWS}): numbers are rounded, and other photos may say otherwise."
        )
    return lines


def _no_winner(found: Mapping[str | None, list[str]], metrics: Mapping[str, Difference], n: int, of: str) -> str:
    if "open" in found:
        ahead = "; ".join(_tie(key, metrics[key], n) for key in found["open"])
        return f"Neither is certainly better, every 95% interval of A - B includes 0: {ahead}."
    if "equal" in found:
        return "A and B are equal to three decimals."
    if any(metrics[key].difference is not None for key in found.get(None, ())):
        return "Without resamples, as with --n_resamples 0, there is no interval to tell a difference from chance."
    return f"There are too few {of}s to compare."


def _margin(key: str, one: Difference, n: int) -> str:
    """Writes the value of the better model, of the other, and by how much they differ, with the interval."""
    better, other = (one.a, one.b) if one.a_better > 0.5 else (one.b, one.a)
    low, high = sorted((abs(one.low), abs(one.high)))
    margin = f"{value_text(abs(one.difference), n)} {bounds_text(low, high, n)}"
    return f"{metric_name(key)} {value_text(better, n)} against {value_text(other, n)}, by {margin}"


def _tie(key: str, one: Difference, n: int) -> str:
    """Writes the difference A - B with its interval."""
    difference = value_text(one.difference, n, "+.3f")
    return f"{metric_name(key)} {difference} {bounds_text(one.low, one.high, n, '+.3f')}"


def _names(keys: Iterable[str]) -> str:
    return ", ".join(map(metric_name, keys))
