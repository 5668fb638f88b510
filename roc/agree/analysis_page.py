"""What an analysis leaves behind: analysis.json, photos.csv, its plots and one self-contained HTML page."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from roc import __version__
from roc.agree.analysis import Analysis
from roc.agree.analysis_plots import draw
from roc.agree.attributes import ATTRIBUTES
from roc.data.rows import write_rows
from roc.evaluation.folder import json_text
from roc.evaluation.keys import bounds_text, range_text, value_text
from roc.evaluation.page import page, table
from roc.evaluation.plots import write_plots
from roc.evaluation.theme import DARK
from roc.evaluation.thumbnail import data_url
from roc.files import write_text

ANALYSIS_FILE = "analysis.json"
PHOTOS_FILE = "photos.csv"
REPORT_FILE = "report.html"

_CAPTIONS = {
    "conflicts": "Cosine between the mean gradients of photos that lean on two attributes: below 0, a step that helps "
    "the photos of one harms those of the other. Grey: too few photos. Branches have parameters of their own, whose "
    "gradients are compared number by number: their cosines and those of a shared block mean different things.",
    "over_training": "Share of pairs of attributes that conflict, in the saved states.",
    "groups": "How strongly photos lean on an attribute that few photos lean on, for photos that all scorers get wrong "
    "and for the others. The box holds the middle half, the line is the median.",
    "errors": "One point a photo.",
    "changes": "Each line leads from a baseline to the same with AGREE.",
}
_PARTS = {
    "all": "all",
    "hard": "hard",
    "others": "others",
    "all_low": "all, label up to the median",
    "all_high": "all, label above it",
    "hard_low": "hard, label up to the median",
    "hard_high": "hard, label above it",
}
_READINGS = {"m": "M = weight x (1 - frequency)", "m_gradient": "M' = 1 - max(0, cosine with all)"}
_METRICS = {"srcc": "SRCC", "plcc": "PLCC", "mae": "MAE", "rmse": "RMSE"}


def write_analysis(folder: str | os.PathLike[str], found: Analysis) -> list[Path]:
    """Writes an analysis; plots of an earlier one that this one does not have are removed.

    Args:
        folder: Made if it is not there. Each file appears once it is complete.
        found: What `analyse` returned.

    Returns:
        The files written.

    Raises:
        ImportError: If matplotlib is missing.
        OSError: The folder cannot be written.
    """
    folder = Path(folder)
    light = draw(found.facts, found.photos)
    for name in set(_CAPTIONS) - set(light):
        (folder / "plots" / f"{name}.png").unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    write_rows(folder / PHOTOS_FILE, found.photos, columns=list(found.photos[0]))
    return [
        write_text(folder / ANALYSIS_FILE, json_text(found.facts)),
        folder / PHOTOS_FILE,
        *write_plots(folder / "plots", light),
        write_text(folder / REPORT_FILE, page_of(found.facts, light, draw(found.facts, found.photos, DARK))),
    ]


def check_folder(folder: str | os.PathLike[str]) -> None:
    """Refuses to write an analysis into a folder of something else.

    Raises:
        ValueError: The folder holds files and no analysis.
    """
    folder = Path(folder)
    if folder.is_file():
        raise ValueError(f"--out is {folder}, which is a file; name a folder")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / ANALYSIS_FILE).is_file():
        raise ValueError(f"--out is {folder}, which holds files and no {ANALYSIS_FILE}; name another folder")


def summary(facts: Mapping[str, Any]) -> list[str]:
    """The main numbers in a few lines."""
    hard = facts["hard"]
    lines = [f"{hard['photos']:,} of {facts['photos']:,} photos are hard for {', '.join(hard['from'])}"]
    for name, run in facts["runs"].items():
        parts = [f"{part}: " + ", ".join(f"{_METRICS[one]} {_text(run[part][one])}" for one in ("srcc", "plcc", "mae"))
                 for part in ("all", "hard")]  # fmt: skip
        lines.append(f"{name}: {'; '.join(parts)}")
    for name, pull in facts.get("gradients", {}).items():
        for reading in pull["readings"].values():
            lines.append(f"{name}: conflict ratio {_text(reading['conflict_ratio'])}, gradient of {reading['of']}")
    for reading, found in facts.get("marginalisation", {}).items():
        if found["n"]:
            lines.append(
                f"{_READINGS[reading]}: Cohen's d {_text(found['cohen_d'])}, r with the error {_text(found['pearson'])}"
            )
    return lines


def _text(found: Mapping[str, float | None]) -> str:
    ends = bounds_text(found["low"], found["high"])
    return value_text(found["value"]) + (f" {ends}" if ends else "")


def page_of(facts: Mapping[str, Any], light: Mapping[str, bytes], dark: Mapping[str, bytes]) -> str:
    """Builds the page.

    Args:
        facts: The content of analysis.json.
        light: Name -> PNG, from `draw`.
        dark: The same plots for a dark page.
    """
    parts = [
        _head(facts),
        "".join(f'<p class="quiet">{escape(caveat)}</p>' for caveat in facts["caveats"]),
        "<h2>Runs</h2>",
        _runs(facts),
        _comparisons(facts),
        _leanings(facts),
        _marginalisation(facts),
        _conflicts(facts),
        "<h2>Plots</h2>" if light else "",
        _plots(light, dark),
        _footer(facts),
    ]
    return page("Conflicts between attributes", "\n".join(part for part in parts if part))


def _head(facts: Mapping[str, Any]) -> str:
    hard = facts["hard"]
    lines = [
        f"{facts['photos']:,} photos, {hard['photos']:,} of them hard: among the largest {hard['share']:.0%} of the "
        f"errors of every one of {', '.join(hard['from'])}"
    ]
    if facts["range"] is not None:
        lines.append(f"scores on {range_text(facts['range'])}")
    return f'<h1>Conflicts between attributes</h1>\n<p class="quiet">{escape("; ".join(lines))}.</p>'


def _runs(facts: Mapping[str, Any]) -> str:
    rows = [
        f'<tr><td class="name">{escape(name)}</td><td>{_PARTS[part]}</td><td class="number">{run[part]["n"]:,}</td>'
        + "".join(_cell(run[part][metric], run[part]["n"]) for metric in _METRICS)
        + "</tr>"
        for name, run in facts["runs"].items()
        for part in _PARTS
    ]
    return table(("run", "photos", "number", *_METRICS.values()), rows, numbers=range(2, 7))


def _comparisons(facts: Mapping[str, Any]) -> str:
    rows = []
    for pair in facts.get("comparisons", []):
        for part in ("all", "hard"):
            n = facts["runs"][pair["baseline"]][part]["n"]
            rows.append(
                f'<tr><td class="name">{escape(pair["baseline"])}</td><td class="name">{escape(pair["improved"])}</td>'
                f"<td>{part}</td>" + "".join(_cell(pair[part][metric], n, "+.3f") for metric in _METRICS) + "</tr>"
            )
        if "conflict_ratio" in pair:
            ratio = pair["conflict_ratio"]
            change = _with_bounds(ratio["absolute"], "+.3f")
            if ratio["relative"]["value"] is not None:
                change += f", relative {_with_bounds(ratio['relative'], '+.0%')}"
            ends = f"{_with_bounds(ratio['baseline'], '.3f')} to {_with_bounds(ratio['improved'], '.3f')}"
            text = f"conflict ratio ({ratio['of']}) {ends}, {change}"
            rows.append(f'<tr><td></td><td></td><td colspan="5">{escape(text)}</td></tr>')
    header = ("baseline", "+AGREE", "photos", *_METRICS.values())
    return "<h2>With AGREE, minus baseline</h2>\n" + table(header, rows, numbers=range(3, 7)) if rows else ""


def _leanings(facts: Mapping[str, Any]) -> str:
    found = facts.get("leanings")
    if found is None:
        return ""
    rows = [
        f'<tr><td>{name}</td><td class="number">{found["frequency"][name]:.1%}</td>'
        f'<td class="number">{found["tested"][name]:.1%}</td></tr>'
        for name in ATTRIBUTES
    ]
    return f'<h2>What photos lean on</h2>\n<p class="quiet">Frequency: {escape(found["counted_on"])}.</p>' + table(
        ("attribute", "frequency", "tested photos"), rows, numbers=(1, 2)
    )


def _marginalisation(facts: Mapping[str, Any]) -> str:
    names = {
        "mean_hard": "mean, hard",
        "mean_others": "mean, others",
        "cohen_d": "Cohen's d",
        "pearson": "r with error",
    }
    rows = [
        f"<tr><td>{escape(_READINGS[reading])}</td>"
        f'<td class="number">{found["n"]:,}</td>' + "".join(_cell(found[name], found["n"]) for name in names) + "</tr>"
        for reading, found in facts.get("marginalisation", {}).items()
        if found["n"]
    ]
    if not rows:
        return ""
    return "<h2>Marginalisation</h2>\n" + table(("reading", "photos", *names.values()), rows, numbers=range(1, 6))


def _conflicts(facts: Mapping[str, Any]) -> str:
    rows = []
    for run, pull in facts.get("gradients", {}).items():
        for reading in pull["readings"].values():
            n = sum(pull["photos"].values())
            pairs = [one for one in reading["cosines"].values() if one["value"] is not None]
            lowest = min(reading["cosines"], key=lambda name: _value(reading["cosines"][name]))
            rows.append(
                f'<tr><td class="name">{escape(run)}</td><td><code>{escape(reading["of"])}</code></td>'
                f'<td class="number">{n:,}</td>{_cell(reading["conflict_ratio"])}'
                f'<td class="number">{_below_zero(pairs)} of {len(pairs)}</td>'
                f"<td>{escape(lowest)}</td>{_cell(reading['cosines'][lowest])}</tr>"
            )
    if not rows:
        return ""
    header = ("run", "gradient of", "photos", "conflict ratio", "surely below 0", "lowest cosine", "its value")
    return "<h2>Gradients</h2>\n" + table(header, rows, numbers=(2, 3, 4, 6))


def _value(cosine: Mapping[str, float | None]) -> float:
    return 2.0 if cosine["value"] is None else cosine["value"]


def _below_zero(pairs: Sequence[Mapping[str, float | None]]) -> int:
    """Counts the pairs whose whole interval is below 0."""
    return sum(one["high"] is not None and one["high"] < 0 for one in pairs)


def _with_bounds(found: Mapping[str, float | None], form: str) -> str:
    ends = "" if found["low"] is None else f" [{found['low']:{form}}, {found['high']:{form}}]"
    return f"{found['value']:{form}}{ends}"


def _cell(found: Mapping[str, float | None], n: int | None = None, form: str = ".3f") -> str:
    ends = bounds_text(found["low"], found["high"], n, form)
    return f'<td class="number">{value_text(found["value"], n, form)}<small>{ends}</small></td>'


def _plots(light: Mapping[str, bytes], dark: Mapping[str, bytes]) -> str:
    figures = []
    for name, content in light.items():
        wide = ' class="training"' if name in ("conflicts", "changes") else ""
        figures.append(
            f'<figure{wide}><picture><source srcset="{data_url(dark[name], "png")}" '
            f'media="(prefers-color-scheme: dark)"><img src="{data_url(content, "png")}" alt="{name}"></picture>'
            f"<figcaption>{escape(_CAPTIONS[name])}</figcaption></figure>"
        )
    return f'<div class="pictures">{"".join(figures)}</div>' if figures else ""


def _footer(facts: Mapping[str, Any]) -> str:
    lines = [f"Written by roc {__version__}."]
    if facts["settings"]["n_resamples"]:
        lines.append(
            f"Intervals: percentile bootstrap over photos, {facts['settings']['n_resamples']:,} resamples, seed "
            f"{facts['settings']['seed']}. They tell how much other photos would move a number, not another run."
        )
    return f"<footer>{escape(' '.join(lines))}</footer>"
