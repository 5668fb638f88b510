"""The report of an evaluation: one HTML page with the numbers, how certain they are, and what they compare with.

Everything that comes from a user's file, names of images and attributes above all, is escaped. No picture is loaded
lazily: below the visible part of the page it would stay blank in a print or in a picture of the whole page.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from roc import __version__
from roc.evaluation.benchmarks import TEST_SETS, TestSet, comparable
from roc.evaluation.bootstrap import resamples_for
from roc.evaluation.evaluated_rows import EvaluatedRow, is_number, scored_rows
from roc.evaluation.image_effect import effect_text
from roc.evaluation.intervals import interval_parts
from roc.evaluation.keys import (
    METRICS,
    attribute_prefix,
    interval_text,
    metric_text,
    own_scale_text,
    range_text,
    scale_of,
    subset_prefix,
    threshold_text,
    value_text,
)
from roc.evaluation.page import page, table
from roc.evaluation.plots import draw, write_plots
from roc.evaluation.table import answers_line, reasoned_lines
from roc.evaluation.theme import DARK
from roc.evaluation.thumbnail import data_url, thumbnail
from roc.files import write_text

REPORT_FILE = "report.html"
WORST = 20
"""How many of the rows with the largest errors are shown with their images."""

_PART_KEYS = ("srcc", "plcc", "krcc", "mae", "rmse", "accuracy")
_CAPTIONS = {
    "scatter": "One point per image; on the dashed line, model and people agree.",
    "errors": "Where on the scale the model is too high (above 0) or too low. The box holds the middle half of the "
    "rows, the whiskers 5% to 95%, the line is the median.",
    "calibration": "Rows sorted by prediction, in up to ten groups of about equal size. On the dashed line a "
    "prediction equals the average human score; a flatter line means that the predictions are spread too widely.",
    "coverage": "Share inside the central intervals given by prediction and spread. Assumed: a normal distribution; "
    "votes are spread evenly over half a level to both sides. A spread that describes how far single raters are apart "
    "follows the dashed line for votes, and covers means of many raters more than it promises.",
    "distribution": "The average predicted answer beside the average human one.",
    "spread": "Whether a wide predicted distribution means that people disagreed, or that the model erred.",
    "training": "Values logged during training.",
}


def write_report(
    folder: str | os.PathLike[str],
    rows: Sequence[EvaluatedRow],
    metrics: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]] = (),
) -> list[Path]:
    """Draws the plots of an evaluation into `folder/plots` and writes `folder/report.html`.

    Plots of an earlier evaluation in the folder that this one does not have are removed.

    Args:
        folder: Created if it does not exist. Each file appears once it is complete.
        rows: The rows that were evaluated; the images of the worst are shown, where their paths are known.
        metrics: What `evaluate_predictions` found for them; also read: `test_set`, a name of `TEST_SETS`; `dataset`,
            `split` and `command`, which are shown.
        history: Values logged in training, as `training_figure` takes them.

    Returns:
        The files written.

    Raises:
        ImportError: If matplotlib is missing.
        OSError: If the disk is full or the folder cannot be written.
    """
    folder = Path(folder)
    light = draw(rows, metrics, history)
    for name in set(_CAPTIONS) - set(light):
        (folder / "plots" / f"{name}.png").unlink(missing_ok=True)
    written = write_plots(folder / "plots", light)
    html = report_html(rows, metrics, light, draw(rows, metrics, history, DARK))
    return [*written, write_text(folder / REPORT_FILE, html)]


def report_html(
    rows: Sequence[EvaluatedRow],
    metrics: Mapping[str, Any],
    light: Mapping[str, bytes],
    dark: Mapping[str, bytes],
) -> str:
    """Builds the page.

    Args:
        rows, metrics: As for `write_report`.
        light: Name -> PNG, from `draw`.
        dark: The same plots for a dark page.
    """
    test_set = TEST_SETS.get(metrics.get("test_set"))
    title = test_set.title if test_set else metrics.get("dataset") or "Evaluation"
    parts = [
        _head(title, metrics),
        _caveats(metrics),
        _tiles(metrics),
        _published(metrics, test_set) if test_set else "",
        _reasoned(metrics),
        "<h2>All metrics</h2>",
        _metrics_table(metrics),
        _intervals(metrics),
        _anchors(metrics),
        _notes(metrics),
        "<h2>Plots</h2>",
        _plots(light, dark),
        _parts("Attributes", _attribute_prefixes(metrics), metrics),
        _parts("Subsets", {name: subset_prefix(name) for name in metrics.get("subsets", [])}, metrics),
        _worst(rows, metrics),
        _footer(metrics),
    ]
    return page(title, "\n".join(part for part in parts if part))


def _head(title: str, metrics: Mapping[str, Any]) -> str:
    facts = [f"{metrics['n']:,} images with a prediction"]
    if metrics["unscored"]:
        facts.append(f"{metrics['unscored']:,} without one, left out of every metric")
    if scale := scale_of(metrics):
        facts.append(f"scores on {range_text(scale)}, higher is better")
    if metrics.get("split"):
        facts.append(f"{metrics['split']} rows")
    facts += filter(None, [threshold_text(metrics), answers_line(metrics) if "answers" in metrics else ""])
    facts.append(f"first score: {metrics['attributes'][0]}")
    return f'<h1>{escape(str(title))}</h1>\n<p class="quiet">{escape("; ".join(facts))}.</p>'


def _reasoned(metrics: Mapping[str, Any]) -> str:
    """Shows what a training run found of the scores with a critique first."""
    lines = "\n".join(reasoned_lines(metrics))
    return f"<h2>Thinking first</h2>\n<pre>{escape(lines)}</pre>" if lines else ""


def _caveats(metrics: Mapping[str, Any]) -> str:
    lines = [f'<li class="no">Caution: {escape(caveat)}.</li>' for caveat in metrics.get("caveats", ())]
    if "image_n" in metrics:
        scale = scale_of(metrics)
        width = None if scale is None else scale[1] - scale[0]
        lines.append(f"<li>Does it look at the picture? The {escape(effect_text(metrics, width))}.</li>")
    return f"<ul>{''.join(lines)}</ul>" if lines else ""


def _tiles(metrics: Mapping[str, Any]) -> str:
    tiles = [
        f"<div class='tile'><span>{METRICS[key].name}</span><b>{metric_text(metrics, key)}</b>"
        f"<span>{interval_text(metrics, key) or '&nbsp;'}</span></div>"
        for key in ("srcc", "plcc", "krcc", "mae", "rmse", "accuracy", "emd")
        if key in metrics
    ]
    unscored = metrics["unscored"] / max(metrics["unscored"] + metrics["n"], 1)
    text = interval_text(metrics, "unscored_share", ".1%") or "&nbsp;"
    tiles.append(f"<div class='tile'><span>unscored</span><b>{unscored:.1%}</b><span>{text}</span></div>")
    return f'<div class="tiles">{"".join(tiles)}</div>\n<p class="quiet">In brackets: 95% bootstrap intervals.</p>'


def _metrics_table(metrics: Mapping[str, Any]) -> str:
    rows = []
    for key, metric in METRICS.items():
        if key not in metrics:
            continue
        aim = metric.better if isinstance(metric.better, str) else f"{metric.better:g}"
        rows.append(
            f'<tr><td>{metric.name}</td><td class="number">{metric_text(metrics, key)}</td>'
            f'<td class="number">{interval_text(metrics, key)}</td><td>{aim}</td>'
            f'<td class="text">{escape(metric.meaning)}</td></tr>'
        )
    return table(("metric", "value", "95% interval", "better", "what it is"), rows, numbers=(1, 2))


def _intervals(metrics: Mapping[str, Any]) -> str:
    """Shows what the intervals of a calibrated checkpoint hold."""
    rows = [
        f"<tr><td>{escape(part.attribute)}</td><td>{escape(which)}</td>"
        f'<td class="number">{part.level:g}</td><td class="text">{escape(text)}</td></tr>'
        for part in interval_parts(metrics)
        for which, text in [("all", f"{part.text}, mean width {part.width:.3g}"), *part.named_thirds]
    ]
    if not rows:
        return ""
    head = ("score", "rows", "level", "share of ratings inside")
    return f"<h2>Intervals</h2>\n{table(head, rows, numbers=(2,))}"


def _anchors(metrics: Mapping[str, Any]) -> str:
    """Shows the line that was fitted on anchors after training, and what it does to their scores."""
    found = metrics.get("anchor_calibration")
    if found is None:
        return ""
    if found["line"] is None:
        told = f"No line fits ({found['reason']}); scores stay as they are."
    else:
        told = "score = {intercept:.3f} + {slope:.3f} x score; every score has it.".format(**found["line"])
    keys = ("srcc", "plcc", "mae")
    rows = [
        f"<tr><td>{escape(one['read'])}</td><td>{escape(one['when'])}</td>"
        + "".join(f'<td class="number">{value_text(one.get(key))}</td>' for key in keys)
        + "</tr>"
        for one in found["rows"]
    ]
    fitted = f"Fitted on {found['n']} of {found['of']} anchors, on scores read {found['fitted_on']}. {told}"
    head = ("scores read", "line", *(METRICS[key].name for key in keys))
    return f"<h2>Calibration on anchors</h2>\n<p>{escape(fitted)}</p>\n{table(head, rows, numbers=range(2, 5))}"


def _notes(metrics: Mapping[str, Any]) -> str:
    notes = [f"<li><code>{escape(key)}</code>: {escape(why)}</li>" for key, why in metrics["notes"].items()]
    if metrics.get("calibrated") is False:
        notes.insert(
            0,
            "<li>The head was not fitted to votes: its spread and distribution are uncalibrated.</li>",
        )
    return f"<ul>{''.join(notes)}</ul>" if notes else ""


def _plots(light: Mapping[str, bytes], dark: Mapping[str, bytes]) -> str:
    figures = []
    for name in light:
        by_dark, by_light = data_url(dark[name], "png"), data_url(light[name], "png")
        caption = escape(_CAPTIONS[name])
        figures.append(
            f'<figure class="{name}"><picture><source srcset="{by_dark}" media="(prefers-color-scheme: dark)">'
            f'<img decoding="sync" src="{by_light}" alt="{name}"></picture><figcaption>{caption}</figcaption></figure>'
        )
    return (
        f'<div class="pictures">{"".join(figures)}</div>'
        if figures
        else "<p>No row has a score, so there are none.</p>"
    )


def _attribute_prefixes(metrics: Mapping[str, Any]) -> dict[str, str]:
    """Attribute -> prefix of its keys; empty where there is only one, which the other tables show."""
    names = metrics["attributes"]
    return {name: attribute_prefix(name, names) for name in names} if len(names) > 1 else {}


def _parts(title: str, prefixes: Mapping[str, str], metrics: Mapping[str, Any]) -> str:
    """A table with a row for each attribute, or for each subset; empty where there are none."""
    if not prefixes:
        return ""
    keys = [key for key in _PART_KEYS if key in metrics]
    rows = []
    for name, prefix in prefixes.items():
        cells = "".join(
            f'<td class="number">{value_text(metrics.get(prefix + key))}'
            f"<small>{interval_text(metrics, prefix + key)}</small></td>"
            for key in keys
        )
        counts = (
            f'<td class="number">{metrics[prefix + "n"]:,}</td><td class="number">{metrics[prefix + "unscored"]:,}</td>'
        )
        rows.append(f'<tr><td class="name">{escape(name + own_scale_text(metrics, prefix))}</td>{counts}{cells}</tr>')
    header = (title.removesuffix("s").lower(), "rows", "unscored", *(METRICS[key].name for key in keys))
    return f"<h2>{title}</h2>\n" + table(header, rows, numbers=range(1, len(header)))


def _published(metrics: Mapping[str, Any], test_set: TestSet) -> str:
    scale = scale_of(metrics)
    native = scale == (test_set.min_score, test_set.max_score)
    ours = "".join(f'<td class="number">{metric_text(metrics, key)}</td>' for key in ("srcc", "plcc"))
    rows = [
        f'<tr class="ours"><td class="name">this evaluation</td>{ours}'
        f'<td class="number">{metric_text(metrics, "mae")}{"" if native else "<small>other scale</small>"}</td>'
        "<td></td><td></td><td></td></tr>"
    ]
    for one in test_set.published:
        verdict, why = comparable(one, test_set, n=metrics["n"], unscored=metrics["unscored"], scale=scale)
        rows.append(
            f'<tr><td class="name">{escape(one.model)}</td>{_numbers(one.srcc, one.plcc)}'
            f'<td class="number">{value_text(one.mae)}</td><td class="{verdict}">{verdict}</td>'
            f'<td class="text">{escape(why)}</td><td class="text">{escape(one.source)}</td></tr>'
        )
    size = f"{test_set.rows:,} rows" if test_set.rows else "number of rows not stated in what we read"
    facts = [f"{test_set.layout} {size[0].upper()}{size[1:]}.", test_set.caution or ""]
    header = ("model", "SRCC", "PLCC", "MAE", "comparable", "why", "source")
    found = table(header, rows, numbers=(1, 2, 3)) if test_set.published else "<p>No published numbers are known.</p>"
    return (
        f"<h2>Published on {escape(test_set.title)}</h2>\n"
        + "".join(f'<p class="quiet">{escape(fact)}</p>' for fact in facts if fact)
        + found
    )


def _numbers(*values: float | None) -> str:
    return "".join(f'<td class="number">{value_text(value)}</td>' for value in values)


def _worst(rows: Sequence[EvaluatedRow], metrics: Mapping[str, Any]) -> str:
    first = metrics["attributes"][0]
    scored = scored_rows(rows, first)
    worst = sorted(scored, key=lambda row: -abs(row.predictions[first] - row.scores[first]))[:WORST]
    if not worst:
        return ""
    human = [row.scores[first] for row in scored]
    decimals = 3 if max(human) - min(human) <= 2 else 2  # scores on 0..1 lie closer together
    cards = []
    for row in worst:
        score, prediction = row.scores[first], row.predictions[first]
        spread = f" &plusmn; {row.std:.{decimals}f}" if is_number(row.std) else ""
        if first in row.intervals:
            spread += " ({:.{d}f} to {:.{d}f})".format(*row.intervals[first], d=decimals)
        error = f"{prediction - score:+.{decimals}f}"
        cards.append(
            f'<div class="card">{_thumbnail(row)}<div><code>{escape(row.id)}</code><br>people '
            f"{score:.{decimals}f}, model {prediction:.{decimals}f}{spread}<br><b>{error}</b></div></div>"
        )
    many = "The worst" if len(scored) > len(worst) else "All"
    return f'<h2>{many} {len(worst)}</h2>\n<div class="cards">{"".join(cards)}</div>'


def _thumbnail(row: EvaluatedRow) -> str:
    return '<div class="nothing">no image given</div>' if row.image is None else thumbnail(row.image, row.id)


def _footer(metrics: Mapping[str, Any]) -> str:
    lines = [f"Written by roc {__version__}."]
    if metrics["n_resamples"]:
        drawn = resamples_for(metrics["n"], metrics["n_resamples"])
        lines.append(
            f"Intervals: percentile bootstrap over rows, {drawn:,} resamples, seed {metrics['seed']}. "
            "They tell how much another draw of images would move a number, not how much another training run would."
        )
    if metrics.get("scorer"):
        lines.append(f"Scored by {metrics['scorer']}.")
    text = " ".join(lines)
    command = f"<br>Command: <code>{escape(metrics['command'])}</code>" if metrics.get("command") else ""
    return f"<footer>{escape(text)}{command}</footer>"
