"""From finished runs to the table: means over seeds with intervals, paired differences, the paper's numbers beside."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from .arms import ARMS

METRICS = ("srcc", "plcc", "mae", "unscored")
REFERENCE = "l1"
"""The arm that the others are subtracted from: it differs from `coupled` in the decoupling alone."""

CAUTION = (
    "The paper's numbers come from large pretrained models, taught on photos; those above from {}, after very little "
    "training. Signs and order can be compared, sizes cannot."
)
# ROC4MLLM (AAAI 2026), Tables 5 and 6: SRCC, PLCC and, in Table 5, MAE.
PAPER_TABLE_5 = {
    "mPLUG-Owl2": {"direct": (0.761, 0.762, 0.379), "ROC": (0.831, 0.830, 0.322)},
    "mPLUG-Owl2, comments": {"direct": (0.758, 0.758, 0.382), "ROC": (0.835, 0.834, 0.317)},
    "LLaVA-1.5": {"direct": (0.775, 0.773, 0.372), "ROC": (0.793, 0.794, 0.354)},
    "LLaVA-1.5, comments": {"direct": (0.767, 0.767, 0.377), "ROC": (0.794, 0.795, 0.353)},
    "Qwen2-VL": {"direct": (0.784, 0.785, 0.405), "ROC": (0.831, 0.829, 0.327)},
    "Qwen2-VL, comments": {"direct": (0.780, 0.781, 0.415), "ROC": (0.831, 0.830, 0.325)},
}
PAPER_TABLE_6 = {
    "AVA": {"baseline": (0.788, 0.786), "without decoupling": (0.825, 0.824), "ROC": (0.833, 0.832)},
    "ICAA17K": {"baseline": (0.688, 0.707), "without decoupling": (0.873, 0.880), "ROC": (0.894, 0.903)},
}


def interval(values: Sequence[float]) -> dict[str, float | int | None]:
    """Computes the mean of one value per seed and its 95% interval.

    Args:
        values: One for each seed.

    Returns:
        `mean`, `low`, `high` (Student's t with n - 1 degrees of freedom; None for fewer than two values) and `n`; the
        mean of no values is None.
    """
    count = len(values)
    if not count:
        return {"mean": None, "low": None, "high": None, "n": 0}
    mean = float(np.mean(values))
    if count == 1:
        return {"mean": mean, "low": None, "high": None, "n": 1}
    half = float(stats.t.ppf(0.975, count - 1) * np.std(values, ddof=1) / math.sqrt(count))
    return {"mean": mean, "low": mean - half, "high": mean + half, "n": count}


def summarise(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Summarises the runs of each arm with and without comments.

    Args:
        runs: Results of `runs.execute`, one per arm, comments and seed.

    Returns:
        `arm`, `comments`, `rate`, `seeds`, for each of `METRICS` (and `mae_middles`) its `interval` over the seeds in
        which it exists, and `minus`: for the same metrics the paired differences `REFERENCE` minus this arm, and
        `with_comments`: those of this arm with comments minus without.
    """
    found: dict[tuple[str, bool], dict[int, dict[str, Any]]] = {}
    for run in runs:
        found.setdefault((run["arm"], run["comments"]), {})[run["seed"]] = run
    summary = []
    for comments in (False, True):
        for arm in ARMS:
            of_seed = found.get((arm, comments))
            if not of_seed:
                continue
            tests = {seed: run["test"] for seed, run in sorted(of_seed.items())}
            names = [*METRICS, *(["mae_middles"] if arm == "words" else [])]
            entry = {"arm": arm, "comments": comments, "rate": of_seed[min(of_seed)]["rate"], "seeds": list(tests)}
            for name in names:
                entry[name] = interval([test[name] for test in tests.values() if test[name] is not None])
            entry["minus"] = _paired(found.get((REFERENCE, comments), {}), of_seed)
            if comments:
                entry["with_comments"] = _paired(of_seed, found.get((arm, False), {}))
            summary.append(entry)
    return summary


def markdown(report: dict[str, Any]) -> str:
    """Writes the report as Markdown.

    Args:
        report: The content of results.json; the runs themselves are not needed.
    """
    data, settings = report["data"], report["settings"]
    *others, last = [f"{rate:g}" for rate in settings["rates"]]
    rule = f"All arms learn at the rate {last}."
    if others:
        rule = (
            f"Every arm got its learning rate by the same rule: of {', '.join(others)} and {last} the one with the "
            "best validation SRCC (times the share of scored answers) in one run of a seed that is not reported."
        )
    lines = [
        "# Ways of teaching a score to one model",
        "",
        f"`{report['command']}`",
        "",
        f"Data: {data['name']}, {data['test']} test rows, scores on {data['min_score']:g}..{data['max_score']:g}. "
        f"Model: {report['model']}. Each run: "
        f"{settings['steps']} steps of {settings['batch_size']} pictures on one thread, "
        f"{report['seconds']['median']:.0f} s of training in the median, {report['seconds']['longest']:.0f} s at most "
        f"(CPU time). {report['machine']}; {', '.join(f'{name} {v}' for name, v in report['versions'].items())}.",
        "",
        f"For one seed all arms start from the same weights and see the same pictures in the same order. {rule} "
        "All loss weights are 1. Mean and 95% interval over the seeds (Student's t); metrics leave out what is "
        "unscored. Always saying the mean of the training scores has MAE "
        f"{report['constant_mae']:.3f}.",
    ]
    for comments in (False, True):
        entries = [entry for entry in report["summary"] if entry["comments"] == comments]
        if entries:
            lines += ["", f"## {'With' if comments else 'Without'} comments in the taught text", ""]
            lines += ["| | rate | seeds | SRCC | PLCC | MAE | unscored |", "|---|---|---|---|---|---|---|"]
            lines += [_row(entry) for entry in entries]
            lines += [_middles(entry) for entry in entries if entry["arm"] == "words"]
    lines += _differences(report["summary"])
    seen = "a small one" if report["pretrained"] else "a tiny one that has seen nothing else"
    return "\n".join([*lines, *_paper(seen), *(["", *report["notes"]] if report["notes"] else [])]) + "\n"


def cell(found: dict[str, Any], *, signed: bool = False, percent: bool = False) -> str:
    """Writes a mean with its interval, for instance "0.512 [0.498, 0.526]"; "-" where there is none."""
    if found["mean"] is None:
        return "-"
    sign = "+" if signed else ""
    shape = (lambda value: f"{value:{sign}.1%}") if percent else (lambda value: f"{value:{sign}.3f}")
    if found["low"] is None:
        return shape(found["mean"])
    return f"{shape(found['mean'])} [{shape(found['low'])}, {shape(found['high'])}]"


def _paired(minuends: dict[int, dict], subtrahends: dict[int, dict]) -> dict[str, dict[str, Any]]:
    """Computes the differences of two arms' test metrics, seed by seed."""
    seeds = sorted(minuends.keys() & subtrahends.keys())
    differences: dict[str, dict[str, Any]] = {}
    for name in METRICS:
        pairs = [(minuends[seed]["test"][name], subtrahends[seed]["test"][name]) for seed in seeds]
        differences[name] = interval([one - other for one, other in pairs if None not in (one, other)])
    return differences


def _row(entry: dict[str, Any]) -> str:
    seeds = len(entry["seeds"])
    cells = []
    for name in METRICS:
        found = entry[name]
        partial = f" ({found['n']} of {seeds} seeds)" if found["n"] < seeds else ""
        cells.append(cell(found, percent=name == "unscored") + partial)
    return f"| {ARMS[entry['arm']].title} | {entry['rate']:g} | {seeds} | {' | '.join(cells)} |"


def _middles(entry: dict[str, Any]) -> str:
    return (
        "\nThe level words are read as published, five values spread over the whole range; with the middle of each "
        f"word's fifth instead, their MAE is {cell(entry['mae_middles'])} and the correlations are the same."
    )


def _differences(summary: list[dict[str, Any]]) -> list[str]:
    """Writes the paired differences; bold where the interval leaves out 0."""
    lines = []
    shown = ("srcc", "plcc", "mae")
    heading = ["| | SRCC | PLCC | MAE |", "|---|---|---|---|"]
    for comments in (False, True):
        entries = [e for e in summary if e["comments"] == comments and e["arm"] != REFERENCE]
        entries = [e for e in entries if e["minus"]["srcc"]["n"]]
        if entries:
            where = "with" if comments else "without"
            lines += ["", f"## {ARMS[REFERENCE].title} minus the others, {where} comments", "", *heading]
            lines += [
                f"| {ARMS[e['arm']].title} | {' | '.join(_difference(e['minus'][name]) for name in shown)} |"
                for e in entries
            ]
    entries = [e for e in summary if "with_comments" in e and e["with_comments"]["srcc"]["n"]]
    if entries:
        lines += ["", "## With comments minus without", "", *heading]
        lines += [
            f"| {ARMS[e['arm']].title} | {' | '.join(_difference(e['with_comments'][name]) for name in shown)} |"
            for e in entries
        ]
    if lines:
        lines += ["", "Seed by seed; bold where the 95% interval leaves out 0. A lower MAE is better."]
    return lines


def _difference(found: dict[str, Any]) -> str:
    clear = found["low"] is not None and found["low"] * found["high"] > 0
    return f"**{cell(found, signed=True)}**" if clear else cell(found, signed=True)


def _paper(seen: str) -> list[str]:
    """Writes the paper's Tables 5 and 6, with the differences that the sections above show of these runs."""
    lines = ["", "## The paper's own numbers", "", CAUTION.format(seen), ""]
    lines += ['Table 5, AVA-Captions, SRCC / PLCC / MAE. "Direct" writes the score as text.', ""]
    lines += ["| | direct | ROC | ROC minus direct |", "|---|---|---|---|"]
    lines += [
        f"| {name} | {_values(row['direct'])} | {_values(row['ROC'])} | {_gain(row['ROC'], row['direct'])} |"
        for name, row in PAPER_TABLE_5.items()
    ]
    lines += ["", "Table 6, the ablation, SRCC / PLCC.", ""]
    lines += ["| | baseline | without decoupling | ROC | ROC minus baseline | ROC minus without decoupling |"]
    lines += ["|---|---|---|---|---|---|"]
    lines += [
        f"| {name} | {_values(row['baseline'])} | {_values(row['without decoupling'])} | {_values(row['ROC'])} "
        f"| {_gain(row['ROC'], row['baseline'])} | {_gain(row['ROC'], row['without decoupling'])} |"
        for name, row in PAPER_TABLE_6.items()
    ]
    lines += [
        "",
        "Comments, SRCC: "
        + "; ".join(
            f"{model} direct {PAPER_TABLE_5[f'{model}, comments']['direct'][0] - row['direct'][0]:+.3f}, "
            f"ROC {PAPER_TABLE_5[f'{model}, comments']['ROC'][0] - row['ROC'][0]:+.3f}"
            for model, row in PAPER_TABLE_5.items()
            if f"{model}, comments" in PAPER_TABLE_5
        )
        + ".",
    ]
    return lines


def _values(numbers: Sequence[float]) -> str:
    return " / ".join(f"{number:.3f}" for number in numbers)


def _gain(ours: Sequence[float], theirs: Sequence[float]) -> str:
    return " / ".join(f"{one - other:+.3f}" for one, other in zip(ours, theirs, strict=True))
