"""The report of an evaluation on pairs: one HTML page with numbers, kinds of edits, and the pairs that went wrong."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from roc import __version__
from roc.data.counts import counted
from roc.evaluation.keys import FEW_ROWS, bounds_text, range_text, value_text
from roc.evaluation.page import page, table
from roc.evaluation.pairs import ScoredPair, shown_numbers
from roc.evaluation.report import REPORT_FILE
from roc.evaluation.thumbnail import thumbnail
from roc.files import write_text

WORST = 20
"""How many of the pairs that went wrong are shown with their pictures."""

_TITLE = "Which of two pictures is better"
_SIDE_BY_SIDE = "display:grid;grid-template-columns:1fr 1fr;gap:.4rem"


def write_pair_page(folder: str | os.PathLike[str], rows: Sequence[ScoredPair], metrics: Mapping[str, Any]) -> Path:
    """Writes `folder/report.html`.

    Args:
        folder: Of the evaluation.
        rows: The scored pairs; the pictures of the worst are shown.
        metrics: What `evaluate_pairs` found for them.

    Raises:
        OSError: If the disk is full or the folder cannot be written.
    """
    return write_text(Path(folder) / REPORT_FILE, pair_page(rows, metrics))


def pair_page(rows: Sequence[ScoredPair], metrics: Mapping[str, Any]) -> str:
    """Builds the page; the arguments are those of `write_pair_page`."""
    parts = [_head(metrics), *_cautions(metrics), _numbers(metrics), _kinds(metrics), _worst(rows), _footer(metrics)]
    return page(_TITLE, "\n".join(part for part in parts if part))


def _head(metrics: Mapping[str, Any]) -> str:
    scale = range_text((metrics["min_score"], metrics["max_score"]))
    facts = [
        f"{counted(metrics['n'], 'pair')} of {counted(metrics['sources'], 'source')}",
        f"{counted(metrics['n'] - metrics['decided'], 'tie')}, which have no right order",
        f"{metrics['attribute']} on {scale}, higher is better",
        f"{metrics['split']} pairs" if metrics["split"] != "all" else "pairs of all splits",
    ]
    return f'<h1>{_TITLE}</h1>\n<p class="quiet">{escape("; ".join(facts))}.</p>'


def _cautions(metrics: Mapping[str, Any]) -> Iterator[str]:
    if metrics["decided"] < FEW_ROWS:
        told = f"{counted(metrics['decided'], 'decided pair')}, fewer than {FEW_ROWS}; numbers are rounded to one digit"
        yield f'<p class="no">Caution: {told}.</p>'
    if metrics["calibrated"] is False:
        yield '<p class="no">The spread was not trained on votes, so the confidence is uncalibrated.</p>'


def _numbers(metrics: Mapping[str, Any]) -> str:
    found = [
        f'<tr><td>{escape(name)}</td><td class="number">{value}</td><td class="number">{bounds}</td>'
        f'<td class="text">{escape(meaning)}</td></tr>'
        for name, value, bounds, meaning in shown_numbers(metrics)
    ]
    return table(("metric", "value", "95% interval", "what it is"), found, numbers=(1, 2))


def _kinds(metrics: Mapping[str, Any]) -> str:
    if not metrics["categories"]:
        return ""
    rows = [
        f'<tr><td class="name">{escape(name)}</td><td class="number">{one["n"]:,}</td>'
        f'<td class="number">{value_text(one["accuracy"], one["n"])}</td>'
        f'<td class="number">{bounds_text(one.get("accuracy_low"), one.get("accuracy_high"), one["n"])}</td></tr>'
        for name, one in metrics["categories"].items()
    ]
    head = ("kind", "decided pairs", "accuracy", "95% interval")
    return f"<h2>By kind of edit</h2>\n{table(head, rows, numbers=(1, 2, 3))}"


def _worst(rows: Sequence[ScoredPair]) -> str:
    wrong = [row for row in rows if row.pair.wins != 0.5 and row.right < 1]
    if not wrong:
        return ""
    worst = sorted(wrong, key=lambda row: row.sure)[:WORST]
    head = f"{'The surest' if len(wrong) > len(worst) else 'All'} {len(worst)} that are wrong"
    head = "The one that is wrong" if len(wrong) == 1 else head
    shown = "".join(map(_pair, worst))
    return f'<h2>{head}</h2>\n<div class="pictures">{shown}</div>'


def _pair(row: ScoredPair) -> str:
    pair = row.pair
    first, second = (f"<div>{thumbnail(path, name)}</div>" for path, name in zip(pair.images, "ab", strict=True))
    said = "the second is better" if pair.wins > 0.5 else "the first is better"
    if pair.delta is not None:
        said += f", by {abs(pair.delta):.2f}"
    kind = "" if pair.category is None else f" ({escape(pair.category)})"
    return (
        f'<figure><div style="{_SIDE_BY_SIDE}">{first}{second}</div><figcaption><code>{escape(pair.id)}</code>{kind}'
        f"<br>judged: {said}; model: {row.first:.2f} and {row.second:.2f}, {row.sure:.0%} for the better one"
        "</figcaption></figure>"
    )


def _footer(metrics: Mapping[str, Any]) -> str:
    lines = [f"Written by roc {__version__}."]
    if metrics["n_resamples"]:
        lines.append(
            f"Intervals: percentile bootstrap over sources, {metrics['n_resamples']:,} resamples, seed "
            f"{metrics['seed']}."
        )
    command = f"<br>Command: <code>{escape(metrics['command'])}</code>" if metrics.get("command") else ""
    return f"<footer>{escape(' '.join(lines))}{command}</footer>"
