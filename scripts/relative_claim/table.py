"""The report: edits that come out right, and human ratings before and after the calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from agree_claim.effects import Compared
from agree_claim.table import shown

from roc.calibration.affine import fit_line

from .arms import ARMS, DIFFERENCES
from .data import EDITS, STRONGER, TAUGHT, TESTS, WEAKER, Data
from .effects import PairsRight
from .runs import right

WHEN = ("before", "after")
"""The calibration."""
_TITLES = {"srcc": "SRCC", "plcc": "PLCC", "mae": "MAE"}


def summarise(
    results: Sequence[Mapping[str, Any]], data: Data, rated: Mapping[str, Data], *, n_resamples: int
) -> dict[str, Any]:
    """Computes all numbers of one data set.

    Args:
        results: Of the compared runs, as `runs.execute` gives them.
        data: The data set that they learnt from.
        rated: Name -> data set whose ratings they are measured on.
        n_resamples: Draws of each interval.

    Returns:
        `arms`: for each its labels, seeds, rate and seconds; `edits`: test -> `n`, `right` (arm -> share of pairs that
        comes out right) and `minus` (title of a difference -> difference); `rated`: data set -> `n`, `anchors`, `lines`
        (arm -> runs for which a line fits) and, for each of `WHEN`, arm -> metric, and `minus` likewise. All of them as
        (value, low, high), errors in points of the data set's own range.
    """
    arms = [name for name in ARMS if any(one["arm"] == name for one in results)]
    found: dict[str, Any] = {"arms": {}, "edits": {}, "rated": {}}
    for name in arms:
        own = [one for one in results if one["arm"] == name]
        found["arms"][name] = {
            "labels": _labels(name, data),
            "seeds": sorted(one["seed"] for one in own),
            "rate": own[0]["rate"],
            "cpu_seconds": float(np.median([one["cpu_seconds"] for one in own])),
        }
    for test in TESTS:
        pairs = data.pairs(test)
        by_arm = {
            name: {one["seed"]: right(pairs, one["edits"][test]) for one in results if one["arm"] == name}
            for name in arms
        }
        compared = PairsRight(by_arm, [pair.group or pair.id for pair in pairs], n_resamples=n_resamples)
        found["edits"][test] = {
            "n": len(pairs),
            "right": {name: compared.mean(name) for name in arms},
            "minus": {title: compared.difference(*pair) for title, pair in _differences(arms).items()},
        }
    for name, one in rated.items():
        found["rated"][name] = _on_ratings(results, arms, name, one, n_resamples)
    return found


def _labels(arm: str, data: Data) -> str:
    rated, pairs = ARMS[arm].rated, ARMS[arm].pairs
    counts = [] if rated is None else [f"{len(data.rated(Path(rated).stem))} ratings"]
    return ", ".join(counts + ([f"{len(data.pairs('pairs'))} edits"] if pairs else []))


def _differences(arms: Sequence[str]) -> dict[str, tuple[str, str]]:
    return {f"{first} minus {second}": (first, second) for first, second in DIFFERENCES if {first, second} <= {*arms}}


def _on_ratings(
    results: Sequence[Mapping[str, Any]], arms: Sequence[str], name: str, data: Data, n_resamples: int
) -> dict[str, Any]:
    """Measures scores on the ratings of a data set, on its own scale."""
    truth = [record.scores["overall"] for record in data.rated("test_ratings")]
    anchors = [record.scores["overall"] for record in data.rated("anchors")]
    scores: dict[str, dict[str, dict[int, list[float]]]] = {when: {arm: {} for arm in arms} for when in WHEN}
    lines = dict.fromkeys(arms, 0)
    for one in results:
        native = [data.space.from_unit(value) for value in one["rated"][name]["test"]]
        scores["before"][one["arm"]][one["seed"]] = native
        try:
            line = fit_line([data.space.from_unit(value) for value in one["rated"][name]["anchors"]], anchors)
        except ValueError:  # the ratings do not rise with the scores: no line mends that
            scores["after"][one["arm"]][one["seed"]] = native
            continue
        lines[one["arm"]] += 1
        scores["after"][one["arm"]][one["seed"]] = [line(value) for value in native]
    found: dict[str, Any] = {"title": data.title, "n": len(truth), "anchors": len(anchors), "lines": lines}
    for when in WHEN:
        compared = Compared(scores[when], truth, n_resamples=n_resamples)
        found[when] = {arm: {metric: compared.mean(arm, metric) for metric in _TITLES} for arm in arms}
        found[when]["minus"] = {
            title: {metric: compared.difference([pair], metric) for metric in _TITLES}
            for title, pair in _differences(arms).items()
        }
    return found


def markdown(report: Mapping[str, Any]) -> str:
    """Writes the report.

    Args:
        report: `command`, `held_out`, `machine`, `versions`, `minutes` (stage -> minutes of one core) and, under
            `data`, for each data set its `title`, `encoder`, `budget`, `done` and `wanted` runs, and what `summarise`
            found.
    """
    minutes = report["minutes"]
    lines = [
        "# Learning from edits, against as many ratings",
        "",
        f"`{report['command']}`",
        "",
        *(f"- {name}: {arm.title}" for name, arm in ARMS.items()),
        "",
        f"A photo has {EDITS} edits, made by the embedded editor with strengths of {_span(TAUGHT)}; it knows their "
        "direction, and the points that they cost are its estimate. Edits of the kind "
        f"{report['held_out']} are never learnt from. Test edits are of test photos: alike; weaker, "
        f"{_span(WEAKER)}; stronger, {_span(STRONGER)}; and of the kind held out. In one seed all arms start from the "
        "same encoder and get as many steps of as many pictures; where anchors are beside edits, of fewer, since an "
        "anchor takes the place of a pair. Each chose its learning rate from the same ones, by validation edits where "
        "it learns from edits, and by validation ratings where not.",
        "",
        "Means over seeds; differences are paired by photo and seed, their 95% intervals draw photos and seeds again, "
        "and those that leave out 0 are bold. MAE: lower is better.",
        "",
        f"{sum(minutes.values()):.0f} minutes of one core: "
        f"{', '.join(f'{name} {spent:.1f}' for name, spent in minutes.items())}. {report['machine']}; "
        f"{', '.join(f'{name} {version}' for name, version in report['versions'].items())}.",
    ]
    for found in report["data"].values():
        lines += ["", *_data_set(found)]
    return "\n".join(lines) + "\n"


def _span(strengths: tuple[float, float]) -> str:
    return f"{strengths[0]:g} to {strengths[1]:g}"


def _data_set(found: Mapping[str, Any]) -> list[str]:
    budget = found["budget"]
    lines = [
        f"## {found['title']}",
        "",
        f"Encoder: {found['encoder']}. {budget['steps']} steps of {budget['pictures']} pictures. "
        f"{found['done']} of {found['wanted']} runs.",
        "",
        "| arm | learns from | seeds | rate | s |",
        "|---|---|---|---|---|",
    ]
    for name, arm in found["arms"].items():
        row = name, arm["labels"], len(arm["seeds"]), f"{arm['rate']:g}", f"{arm['cpu_seconds']:.0f}"
        lines.append(f"| {' | '.join(map(str, row))} |")
    titles = " | ".join(f"{test}, {one['n']}" for test, one in found["edits"].items())
    lines += ["", f"| share of test edits right | {titles} |", "|---" * (1 + len(found["edits"])) + "|"]
    for name in found["arms"]:
        lines.append(f"| {name} | {' | '.join(shown(one['right'][name]) for one in found['edits'].values())} |")
    for title in next(iter(found["edits"].values()))["minus"]:
        cells = " | ".join(shown(one["minus"][title], signed=True) for one in found["edits"].values())
        lines.append(f"| {title} | {cells} |")
    for one in found["rated"].values():
        lines += ["", *_rated(one)]
    return lines


def _rated(one: Mapping[str, Any]) -> list[str]:
    columns = [("before", "srcc"), ("before", "plcc"), ("before", "mae"), ("after", "mae")]
    titles = [_TITLES[metric] + (f" {when}" if metric == "mae" else "") for when, metric in columns]
    lines = [
        f"| {one['n']} ratings: {one['title'][0].lower()}{one['title'][1:]} | {' | '.join(titles)} |",
        "|---" * (1 + len(columns)) + "|",
    ]
    for name in one["lines"]:
        lines.append(f"| {name} | {' | '.join(shown(one[when][name][metric]) for when, metric in columns)} |")
    for title in one["before"]["minus"]:
        cells = " | ".join(shown(one[when]["minus"][title][metric], signed=True) for when, metric in columns)
        lines.append(f"| {title} | {cells} |")
    fitted = ", ".join(f"{name} {count}" for name, count in one["lines"].items())
    told = (
        f"After: a line fitted on {one['anchors']} rated anchors, which keeps SRCC and PLCC: they are the same before "
        "and after. These anchors are training photos, so an arm that was taught their ratings fits them better than "
        "others."
    )
    lines += ["", f"{told} Runs for which one fits: {fitted}."]
    return lines
