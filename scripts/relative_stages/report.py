"""What came out of the three stages, as Markdown."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from stages import machine, times

from roc import __version__

_TITLES = {"srcc": "SRCC", "plcc": "PLCC", "mae": "MAE"}
_MODELS = {
    "anchors": "after stage 2, anchors",
    "groups": "after stage 3, groups",
    "groups_alone": "stage 3 without anchors",
}
_WAYS = {"short": "in one forward pass", "critique": "with a critique first"}


def circumstances(out: Path) -> dict[str, Any]:
    """Collects what a reader has to know beside the numbers: `machine`, `versions`, and `minutes` of each stage."""
    packages = {name: version(name) for name in ("torch", "transformers", "trl")}
    return {
        "machine": machine(),
        "versions": {"roc": __version__, **packages, "Python": platform.python_version()},
        "minutes": {stage: seconds / 60 for stage, seconds in times(out).items()},
    }


def is_finished(out: Path, names: Sequence[str]) -> bool:
    """Tells whether the report is there, with all of these stages."""
    file = out / "relative.json"
    return file.is_file() and set(names) <= set(json.loads(file.read_text(encoding="utf-8"))["groups"])


def markdown(report: Mapping[str, Any]) -> str:
    """Writes the report.

    Args:
        report: What `compare_stages` found, with `command`, `machine`, `versions` and `minutes` (stage -> minutes).
    """
    minutes, build = report["minutes"], report["build"]
    spent = ", ".join(f"{stage} {took:.1f}" for stage, took in minutes.items())
    lines = [
        "# Learning from edits: pairs, anchors, groups",
        "",
        f"`{report['command']}`",
        "",
        f"Minutes: {spent}; {sum(minutes.values()):.1f} in all. {report['machine']}; "
        f"{', '.join(f'{name} {number}' for name, number in report['versions'].items())}.",
        "",
        "## Edits",
        "",
        f"{build['pairs']} edits of {build['photos']} scenes are kept, {build['better']} for the better and "
        f"{build['worse']} for the worse; {build['anchors']} scenes are anchors. {_rejected(build['rejected'])}",
        "",
        *_agreement(build["agreement"]),
        "",
        "## Stage 1",
        "",
        *_first_stage(report["pairs"]),
        "",
        "## Stages 2 and 3",
        "",
        *_groups(report["groups"]),
        "",
        *_scenes(report),
        "",
        *_calibration(report["calibration"], "stage 3"),
        "",
    ]
    if report["calibration_alone"] is not None:
        lines += [*_calibration(report["calibration_alone"], "stage 3 without anchors"), ""]
    lines += _categories(report["groups"])
    return "\n".join(lines) + "\n"


def _rejected(reasons: Mapping[str, int]) -> str:
    told = ", ".join(f"{reason} {count}" for reason, count in reasons.items())
    return f"Not used: {told}." if told else "All are used."


def _agreement(found: Mapping[str, Any]) -> list[str]:
    kappa = "" if found["kappa"] is None else f"; Fleiss' kappa {found['kappa']:.3f}"
    lines = [
        f"Judges before any edit is left out: {found['unanimous']:.1%} of {found['pairs']} edits unanimous{kappa}.",
        "",
        "| judges | agree on the direction |",
        "|---|---|",
    ]
    return lines + [f"| {names} | {share:.1%} |" for names, share in found["pairwise"].items()]


def _first_stage(found: Mapping[str, Any]) -> list[str]:
    lines = [
        f"{found['decided']} pairs of {found['split']} scenes, both pictures in one question: "
        f"{_share(found, 'accuracy')} with the right sign, answered at once."
    ]
    words = found["words"]
    if words is not None and words["accuracy"] is not None:
        lines.append(
            f"With reasons first: {words['accuracy']:.1%} of {words['decided']}. Answers: {_kinds(words['kinds'])} of "
            f"{words['n']}."
        )
    return lines


def _kinds(kinds: Mapping[str, int]) -> str:
    return ", ".join(f"{kind} {count}" for kind, count in kinds.items())


def _groups(groups: Mapping[str, Any]) -> list[str]:
    models = list(groups.values())
    first, words = models[0], models[0]["words"]
    rows = {
        f"source against edit, {first['decided']} pairs, {_WAYS['short']}": [_share(one, "accuracy") for one in models],
        f"Kendall's tau within {first['krcc_n']} groups, {_WAYS['short']}": [_number(one["krcc"]) for one in models],
        f"comparisons within groups, {words['compared']}, {_WAYS['critique']}": [
            f"{one['words']['pair_accuracy']:.1%}" for one in models
        ],
        f"answers that can be read, of {words['n']}": [f"{one['words']['readable']:.0%}" for one in models],
        f"standard deviation of the scores, share of the range, {_WAYS['critique']}": [
            _number(one["words"].get("spread")) for one in models
        ],
    }
    head = _head("edits of test scenes, each picture scored by itself", [_MODELS[name] for name in groups])
    return [*head, *(f"| {title} | {' | '.join(cells)} |" for title, cells in rows.items())]


def _head(title: str, columns: Sequence[str]) -> list[str]:
    return [f"| {title} | {' | '.join(columns)} |", "|---" * (1 + len(columns)) + "|"]


def _scenes(report: Mapping[str, Any]) -> list[str]:
    scenes, differences = report["scenes"], report["differences"]
    others = list(differences["short"])
    lines = _head(
        f"{scenes['short']['anchors']['n']} test scenes with their ratings, on 0..10",
        [*(_MODELS[name] for name in scenes["short"]), *(f"stage 3 less {_LESS[name]}" for name in others)],
    )
    for way, title in _WAYS.items():
        for key, name in _TITLES.items():
            cells = [_number(one[key]) for one in scenes[way].values()]
            cells += [_difference(differences[way][other][key]) for other in others]
            lines.append(f"| {name} {title} | {' | '.join(cells)} |")
        cells = [_number(one["spread"]) for one in scenes[way].values()] + ["-"] * len(others)
        lines.append(f"| standard deviation of the scores {title} | {' | '.join(cells)} |")
    told = (
        "Differences with their 95% intervals. Scores of scenes after stage 3 have its line; a share of the range is "
        "the same before and after it, as the range moves along."
    )
    return [*lines, "", told]


_LESS = {"anchors": "stage 2", "groups_alone": "that without anchors"}


def _difference(found: Mapping[str, Any]) -> str:
    if found["difference"] is None:
        return "-"
    interval = "" if found["low"] is None else f" [{found['low']:+.3f}, {found['high']:+.3f}]"
    return f"{found['difference']:+.3f}{interval}"


def _calibration(found: Mapping[str, Any], stage: str) -> list[str]:
    fit, read = found[found["fitted_on"]], f"on scores read {_WAYS[found['fitted_on']]}"
    told = f"The line of {stage} is fitted on the anchors, {read}; it keeps SRCC and PLCC."
    if fit["line"] is None:
        told = f"After {stage} no line fits the anchors, {read}: {fit['reason']}; scores stay as they are."
    lines = [
        told,
        "",
        "| anchors | SRCC | PLCC | MAE before | MAE after |",
        "|---|---|---|---|---|",
    ]
    for way, title in _WAYS.items():
        one = found[way]
        cells = [
            one["before"].get("srcc"),
            one["before"].get("plcc"),
            one["before"].get("mae"),
            one["after"].get("mae"),
        ]
        lines.append(f"| {title} | {' | '.join(map(_number, cells))} |")
    return lines


def _categories(groups: Mapping[str, Any]) -> list[str]:
    models = [one["categories"] for one in groups.values()]
    lines = _head("kind of edit", ["pairs", *(_MODELS[name] for name in groups)])
    for name, found in models[0].items():
        cells = " | ".join(_share(one[name], "accuracy") for one in models)
        lines.append(f"| {name} | {found['n']} | {cells} |")
    return lines


def _share(found: Mapping[str, Any], key: str) -> str:
    if found[key] is None:
        return "-"
    low, high = found.get(f"{key}_low"), found.get(f"{key}_high")
    return f"{found[key]:.1%}" + ("" if low is None else f" [{low:.1%}, {high:.1%}]")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
