"""The report of an evaluation: one HTML page that says what was found, how sure it is, what it compares with.

The page is complete in itself: pictures and colours are inside, nothing is loaded from anywhere, and no script runs. It
follows the reader's choice of light or dark and fits a phone. Everything that comes from a user's file, names of
pictures and attributes above all, is escaped.
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image

from roc import __version__
from roc.data.images import ImageError, open_image
from roc.evaluation.benchmarks import TEST_SETS, TestSet, comparable
from roc.evaluation.bootstrap import resamples_for
from roc.evaluation.metrics import METRICS, interval_text, value_text
from roc.evaluation.plots import DARK, draw, write_plots
from roc.evaluation.predictions import EvaluatedRow, is_number, scored_rows
from roc.files import write_text

REPORT_FILE = "report.html"
WORST = 20

_PICTURE_SIDE = 320
_PART_KEYS = ("srcc", "plcc", "krcc", "mae", "rmse", "accuracy")
_CAPTIONS = {
    "scatter": "Each picture once: on the dashed line, model and people agree.",
    "errors": "Where on the scale the model is too high (above 0) or too low. The box holds the middle half of the "
    "rows, the whiskers 5% to 95%, the line is the median.",
    "calibration": "Rows in order of their prediction, in up to ten groups of about equal size. On the dashed line a "
    "prediction is what people say on average; a flatter line means that the predictions are spread too widely.",
    "coverage": "How much lies inside the central intervals that prediction and spread make. Assumed: a normal "
    "distribution; votes are spread evenly over half a level to both sides. A spread that tells how far single people "
    "are apart follows the dashed line for votes, and covers means of many people more than it promises.",
    "distribution": "The average predicted answer beside the average human one.",
    "spread": "Whether a wide predicted distribution means that people disagreed, or that the model erred.",
    "training": "What was logged while the model was trained.",
}

_STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --panel: #f6f8fa; --ink: #1f2328; --quiet: #59636e; --line: #d1d9e0;
  --yes: #1a7f37; --no: #b42318; --unknown: #7d5a00; }
@media (prefers-color-scheme: dark) { :root { --paper: #0d1117; --panel: #161b22; --ink: #e6edf3; --quiet: #9198a1;
  --line: #30363d; --yes: #56d364; --no: #ff8a80; --unknown: #e3b341; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 1.5rem 1rem 3rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; }
p { margin: .4rem 0; max-width: 75ch; }
.quiet, figcaption, td small { color: var(--quiet); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(7.4rem, 1fr)); gap: .75rem; margin: 1.25rem 0; }
.tile, figure, .card { background: var(--panel); border: 1px solid var(--line); border-radius: 8px; }
.tile { padding: .75rem .8rem; }
.tile b { display: block; font-size: 1.5rem; line-height: 1.2; font-variant-numeric: tabular-nums; }
.tile span { color: var(--quiet); font-size: .8rem; display: block; white-space: nowrap; }
.wide { overflow-x: auto; border: 1px solid var(--line); border-radius: 8px; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th, td { text-align: left; padding: .4rem .7rem; border-top: 1px solid var(--line); vertical-align: top; }
thead th { border-top: 0; background: var(--panel); white-space: nowrap; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td small { display: block; }
td.name { overflow-wrap: anywhere; min-width: 9rem; }
td.text { min-width: 14rem; }
tr.ours td { font-weight: 600; }
.yes { color: var(--yes); } .no { color: var(--no); } .unknown { color: var(--unknown); }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 1rem; }
figure { margin: 0; padding: .75rem; }
figure.training { grid-column: 1 / -1; }
figure img { width: 100%; height: auto; display: block; border-radius: 4px; }
figcaption { font-size: .88rem; margin-top: .5rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(45%, 12rem), 1fr)); gap: .75rem; }
.card { overflow: hidden; font-size: .85rem; }
.card img, .card .nothing { display: block; width: 100%; aspect-ratio: 1; object-fit: contain;
  background: var(--paper); }
.card .nothing { padding: 1rem; color: var(--quiet); overflow-wrap: anywhere; }
.card div { padding: .5rem .7rem; }
.card code { overflow-wrap: anywhere; }
code { font: .88em ui-monospace, monospace; overflow-wrap: anywhere; }
footer { margin-top: 3rem; border-top: 1px solid var(--line); padding-top: 1rem; color: var(--quiet);
  font-size: .88rem; }
"""

# The page may show what is inside it and nothing else, whatever a name in a file tries.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def write_report(
    folder: str | os.PathLike[str],
    rows: Sequence[EvaluatedRow],
    metrics: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]] = (),
) -> list[Path]:
    """Draws the pictures of an evaluation into `folder/plots` and writes `folder/report.html`.

    Pictures that an earlier evaluation left there, and for which this one holds nothing, are removed.

    Args:
        folder: made if it is not there. Each file appears once it is complete.
        rows: the rows that were evaluated; their `image`, where known, is shown for the worst of them.
        metrics: what `evaluate_predictions` found for them; also read: `test_set`, a name of `TEST_SETS`; `dataset`,
            `split` and `command`, which are shown.
        history: what was logged in training, as `training_figure` takes it.

    Returns:
        The files written.

    Raises:
        ImportError: if matplotlib is missing.
        OSError: the disk is full or the folder cannot be written.
    """
    folder = Path(folder)
    light = draw(rows, metrics, history)
    for name in set(_CAPTIONS) - set(light):  # of an earlier evaluation in this folder, perhaps
        (folder / "plots" / f"{name}.png").unlink(missing_ok=True)
    written = write_plots(folder / "plots", light)
    page = report_html(rows, metrics, light, draw(rows, metrics, history, DARK))
    return [*written, write_text(folder / REPORT_FILE, page)]


def report_html(
    rows: Sequence[EvaluatedRow],
    metrics: Mapping[str, Any],
    light: Mapping[str, bytes],
    dark: Mapping[str, bytes],
) -> str:
    """The page as text.

    Args:
        rows, metrics: as for `write_report`.
        light: name -> PNG, from `draw`.
        dark: the same pictures for a dark page.
    """
    test_set = TEST_SETS.get(metrics.get("test_set"))
    title = test_set.title if test_set else metrics.get("dataset") or "Evaluation"
    parts = [
        _head(title, metrics),
        _tiles(metrics),
        _published(metrics, test_set) if test_set else "",
        "<h2>All metrics</h2>",
        _metrics_table(metrics),
        _notes(metrics),
        "<h2>Pictures</h2>",
        _pictures(light, dark),
        _parts(
            "Attributes", metrics["attributes"], metrics, lambda n: "" if n == metrics["attributes"][0] else f"{n}/"
        ),
        _parts("Subsets", metrics.get("subsets", []), metrics, lambda name: f"subset/{name}/"),
        _worst(rows, metrics),
        _footer(metrics),
    ]
    return page(title, "\n".join(part for part in parts if part))


def page(title: str, body: str) -> str:
    """A whole HTML page; `title` is escaped here, `body` is HTML already."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n"
        "</html>\n"
    )


def table(header: Sequence[str], rows: Sequence[str], numbers: range | Sequence[int] = ()) -> str:
    """An HTML table that scrolls sideways where it does not fit; cells and headings are HTML already.

    Args:
        header: headings.
        rows: one `<tr>...</tr>` each.
        numbers: which columns hold numbers.
    """
    cells = "".join(
        f'<th class="number">{name}</th>' if number in numbers else f"<th>{name}</th>"
        for number, name in enumerate(header)
    )
    return (
        f'<div class="wide"><table><thead><tr>{cells}</tr></thead>\n<tbody>\n'
        + "\n".join(rows)
        + "\n</tbody></table></div>"
    )


def _head(title: str, metrics: Mapping[str, Any]) -> str:
    facts = [f"{metrics['n']:,} images with a prediction"]
    if metrics["unscored"]:
        facts.append(f"{metrics['unscored']:,} without one, left out of every metric")
    if "min_score" in metrics:
        facts.append(f"scores on {metrics['min_score']:g}..{metrics['max_score']:g}, higher is better")
    if metrics.get("split"):
        facts.append(f"{metrics['split']} rows")
    if "threshold" in metrics:
        facts.append(f"threshold of the accuracy {metrics['threshold']:g}")
    facts.append(f"first score: {metrics['attributes'][0]}")
    return f'<h1>{escape(str(title))}</h1>\n<p class="quiet">{escape("; ".join(facts))}.</p>'


def _tiles(metrics: Mapping[str, Any]) -> str:
    tiles = [
        f"<div class='tile'><span>{METRICS[key].name}</span><b>{value_text(metrics[key])}</b>"
        f"<span>{interval_text(metrics, key) or '&nbsp;'}</span></div>"
        for key in ("srcc", "plcc", "krcc", "mae", "rmse", "accuracy", "emd")
        if key in metrics
    ]
    unscored = metrics["unscored"] / max(metrics["unscored"] + metrics["n"], 1)
    interval = [metrics.get(f"unscored_share_{end}") for end in ("low", "high")]
    text = f"[{interval[0]:.1%}, {interval[1]:.1%}]" if None not in interval else "&nbsp;"
    tiles.append(f"<div class='tile'><span>unscored</span><b>{unscored:.1%}</b><span>{text}</span></div>")
    return f'<div class="tiles">{"".join(tiles)}</div>\n<p class="quiet">In brackets: 95% bootstrap intervals.</p>'


def _metrics_table(metrics: Mapping[str, Any]) -> str:
    rows = []
    for key, metric in METRICS.items():
        if key not in metrics:
            continue
        aim = metric.better if isinstance(metric.better, str) else f"{metric.better:g}"
        rows.append(
            f'<tr><td>{metric.name}</td><td class="number">{value_text(metrics[key])}</td>'
            f'<td class="number">{interval_text(metrics, key)}</td><td>{aim}</td>'
            f'<td class="text">{escape(metric.meaning)}</td></tr>'
        )
    return table(("metric", "value", "95% interval", "better", "what it is"), rows, numbers=(1, 2))


def _notes(metrics: Mapping[str, Any]) -> str:
    notes = [f"<li><code>{escape(key)}</code>: {escape(why)}</li>" for key, why in metrics["notes"].items()]
    if metrics.get("calibrated") is False:
        notes.insert(
            0,
            "<li>The model was trained on scores alone: its spread and distribution are free and mean nothing by "
            "themselves.</li>",
        )
    return f"<ul>{''.join(notes)}</ul>" if notes else ""


def _pictures(light: Mapping[str, bytes], dark: Mapping[str, bytes]) -> str:
    figures = []
    for name in light:
        by_dark, by_light = _data(dark[name], "png"), _data(light[name], "png")
        figures.append(
            f'<figure class="{name}"><picture><source srcset="{by_dark}" media="(prefers-color-scheme: dark)">'
            f'<img src="{by_light}" alt="{name}"></picture><figcaption>{escape(_CAPTIONS[name])}</figcaption></figure>'
        )
    return (
        f'<div class="pictures">{"".join(figures)}</div>'
        if figures
        else "<p>No row has a score, so there are none.</p>"
    )


def _parts(title: str, names: Sequence[str], metrics: Mapping[str, Any], prefix_of: Any) -> str:
    """A table with a row for each attribute, or for each subset."""
    if not names or (title == "Attributes" and len(names) < 2):
        return ""
    keys = [key for key in _PART_KEYS if key in metrics]
    rows = []
    for name in names:
        prefix = prefix_of(name)
        cells = "".join(
            f'<td class="number">{value_text(metrics[prefix + key])}'
            f"<small>{interval_text(metrics, prefix + key)}</small></td>"
            for key in keys
        )
        counts = (
            f'<td class="number">{metrics[prefix + "n"]:,}</td><td class="number">{metrics[prefix + "unscored"]:,}</td>'
        )
        rows.append(f'<tr><td class="name">{escape(name)}</td>{counts}{cells}</tr>')
    header = (title.removesuffix("s").lower(), "rows", "unscored", *(METRICS[key].name for key in keys))
    return f"<h2>{title}</h2>\n" + table(header, rows, numbers=range(1, len(header)))


def _published(metrics: Mapping[str, Any], test_set: TestSet) -> str:
    scale = (metrics["min_score"], metrics["max_score"]) if "min_score" in metrics else None
    native = scale == (test_set.min_score, test_set.max_score)
    rows = [
        f'<tr class="ours"><td class="name">this evaluation</td>{_numbers(metrics["srcc"], metrics["plcc"])}'
        f'<td class="number">{value_text(metrics["mae"])}{"" if native else "<small>other scale</small>"}</td>'
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
        error = f"{prediction - score:+.{decimals}f}"
        cards.append(
            f'<div class="card">{_picture(row)}<div><code>{escape(row.id)}</code><br>people '
            f"{score:.{decimals}f}, model {prediction:.{decimals}f}{spread}<br><b>{error}</b></div></div>"
        )
    many = "The worst" if len(scored) > len(worst) else "All"
    return f'<h2>{many} {len(worst)}</h2>\n<div class="cards">{"".join(cards)}</div>'


def _picture(row: EvaluatedRow) -> str:
    if row.image is None:
        return '<div class="nothing">no picture given</div>'
    try:
        picture = open_image(row.image)
    except ImageError as error:
        why = str(error).removeprefix(f"{row.image}: ")
        return f'<div class="nothing">no picture: {escape(why)}</div>'
    picture.thumbnail((_PICTURE_SIDE, _PICTURE_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=82)
    return f'<img loading="lazy" src="{_data(buffer.getvalue(), "jpeg")}" alt="{escape(row.id)}">'


def _data(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _footer(metrics: Mapping[str, Any]) -> str:
    lines = [f"Written by roc {__version__}."]
    if metrics["n_resamples"]:
        drawn = resamples_for(metrics["n"], metrics["n_resamples"])
        lines.append(
            f"Intervals: percentile bootstrap over rows, {drawn:,} resamples, seed {metrics['seed']}. "
            "They tell how much another draw of images would move a number, not how much another training run would."
        )
    text = " ".join(lines)
    command = f"<br>Made by: <code>{escape(metrics['command'])}</code>" if metrics.get("command") else ""
    return f"<footer>{escape(text)}{command}</footer>"
