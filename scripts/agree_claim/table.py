"""The report: the rows of the table beside the paper's, what each switch adds, and the photos by leading attribute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from roc.agree.attributes import ATTRIBUTES
from roc.agree.common_errors import common_errors

from .arms import ARMS, PAIRS, REFERENCE
from .effects import Compared, Found

METRICS = {"srcc": "SRCC", "plcc": "PLCC", "mae": "MAE"}
TITLES = {"D": "decoupling", "F": "fusion", "W": "routing", "E": "error-aware weights"}
HARD_SHARE = 0.25
_SHOWN_BY_ATTRIBUTE = ("D", "DW", "DFW", "DFWE")


def summarise(
    results: Sequence[Mapping[str, Any]],
    hard_from: Sequence[Mapping[str, Any]],
    scores: Sequence[float],
    leading: Sequence[str],
    *,
    n_resamples: int = 1000,
) -> dict[str, Any]:
    """Computes all numbers of one data set.

    Args:
        results: Of the compared runs: `arm`, `seed`, `predictions`, `by_predictor`, `rate`.
        hard_from: Of the plain runs of other seeds, which define the common-error set.
        scores: (n,) human scores of the test photos.
        leading: (n,) leading attribute of each.
        n_resamples: Draws of each interval.

    Returns:
        `n`; `hard`: its size, and how many runs define it; `rows`: for each arm its seeds, rate, means and differences
        to the plain scorer on `all` photos and on the `hard` ones; `switches`: what each adds; `leading`: for each
        attribute its photos, and the MAE of the plain scorer and differences to it; `predictor`: of routed arms, by the
        predictor minus by the table. Means and differences are (value, low, high).
    """
    truth = np.asarray(scores, dtype=float)
    by_arm = _by_arm(results, "predictions")
    errors = [np.abs(np.asarray(one["predictions"]) - truth) for one in hard_from]
    hard = common_errors(errors, HARD_SHARE) if errors else np.array([], dtype=int)
    if not len(hard):
        hard = None
    parts = {"all": Compared(by_arm, truth, n_resamples=n_resamples)}
    if hard is not None:
        parts["hard"] = Compared(by_arm, truth, hard, n_resamples=n_resamples)
    rows = {}
    for name, of_seed in by_arm.items():
        rows[name] = {
            "seeds": sorted(of_seed),
            "rate": next(one["rate"] for one in results if one["arm"] == name),
            "cpu_seconds": float(np.median([one["cpu_seconds"] for one in results if one["arm"] == name])),
        }
        for part, compared in parts.items():
            rows[name][part] = {metric: compared.mean(name, metric) for metric in METRICS}
            if name != REFERENCE and REFERENCE in by_arm:
                pair = [(name, REFERENCE)]
                rows[name][f"{part}_minus"] = {metric: compared.difference(pair, metric) for metric in METRICS}
    switches = {}
    for letter, pairs in PAIRS.items():
        there = [pair for pair in pairs if set(pair) <= set(by_arm)]
        if there:
            switches[letter] = {"pairs": there} | {
                part: {metric: compared.difference(there, metric) for metric in METRICS}
                for part, compared in parts.items()
            }
    return {
        "n": len(truth),
        "hard": {"n": 0 if hard is None else len(hard), "seeds": [one["seed"] for one in hard_from]},
        "rows": rows,
        "switches": switches,
        "leading": _by_leading(by_arm, truth, leading, hard, n_resamples),
        "predictor": _by_predictor(results, truth, n_resamples),
    }


def _by_arm(results: Sequence[Mapping[str, Any]], key: str) -> dict[str, dict[int, list[float]]]:
    found: dict[str, dict[int, list[float]]] = {}
    for name in ARMS:
        of_seed = {one["seed"]: one[key] for one in results if one["arm"] == name and one[key] is not None}
        if of_seed:
            found[name] = of_seed
    return found


def _by_leading(
    by_arm: Mapping[str, Mapping[int, Sequence[float]]],
    truth: np.ndarray,
    leading: Sequence[str],
    hard: np.ndarray | None,
    n_resamples: int,
) -> dict[str, Any]:
    """Compares errors on the photos of each leading attribute."""
    found: dict[str, Any] = {}
    hard_names = [] if hard is None else [leading[place] for place in hard]
    for name in ATTRIBUTES:
        places = [place for place, one in enumerate(leading) if one == name]
        if not places:
            continue
        compared = Compared(by_arm, truth, places, n_resamples=n_resamples)
        found[name] = {"n": len(places), "hard": hard_names.count(name)}
        if REFERENCE in by_arm:
            found[name]["mae"] = compared.mean(REFERENCE, "mae")
            found[name]["minus"] = {
                arm: compared.difference([(arm, REFERENCE)], "mae") for arm in _SHOWN_BY_ATTRIBUTE if arm in by_arm
            }
    return found


def _by_predictor(results: Sequence[Mapping[str, Any]], truth: np.ndarray, n_resamples: int) -> dict[str, Any]:
    """Compares scores by the weights of the predictor with those by the weights of the table."""
    by_table, by_predictor = _by_arm(results, "predictions"), _by_arm(results, "by_predictor")
    found = {}
    for name, of_seed in by_predictor.items():
        both = Compared({"predictor": of_seed, "table": by_table[name]}, truth, n_resamples=n_resamples)
        found[name] = {metric: both.difference([("predictor", "table")], metric) for metric in METRICS}
    return found


def markdown(report: Mapping[str, Any]) -> str:
    """Writes the report.

    Args:
        report: `command`, `machine`, `versions`, `minutes` (stage -> minutes of one core), `budget` and, under `data`,
            for each data set its `title`, `encoder`, `settings`, `wanted` runs, `agreement` and what `summarise` found.
    """
    minutes = report["minutes"]
    lines = [
        "# Attribute routing against a plain scorer",
        "",
        f"`{report['command']}`",
        "",
        "D: a branch for each attribute; F: fusion with text anchors; W: routing by sensitivity; E: error-aware "
        "weights. For one seed all rows start from the same encoder and see the same photos in the same order, for the "
        "same number of steps; each got its learning rate by the same rule. "
        f"Anchors: {report['anchors']}.",
        "",
        "Means over seeds. Differences are paired by photo and seed; their 95% intervals draw photos and seeds again, "
        "and those that leave out 0 are bold. Routed rows are scored by the weights of the table of sensitivities, as "
        "published. MAE: lower is better.",
        "",
        f"{sum(minutes.values()):.0f} minutes of one core: "
        f"{', '.join(f'{name} {spent:.1f}' for name, spent in minutes.items())}. {report['machine']}; "
        f"{', '.join(f'{name} {version}' for name, version in report['versions'].items())}.",
    ]
    for found in report["data"].values():
        lines += ["", *_data_set(found)]
    return "\n".join([*lines, *_paper(), *(["", *report["notes"]] if report["notes"] else [])]) + "\n"


def shown(found: Sequence[float | None], *, signed: bool = False) -> str:
    """Writes a mean with its interval, such as "+0.012 [+0.003, +0.021]"; bold where a difference is clear."""
    one = Found(*found)
    if one.value is None:
        return "-"
    sign = "+" if signed else ""
    text = f"{one.value:{sign}.3f}"
    if one.low is not None:
        text += f" [{one.low:{sign}.3f}, {one.high:{sign}.3f}]"
    return f"**{text}**" if signed and one.clear else text


def _data_set(found: Mapping[str, Any]) -> list[str]:
    rows, hard = found["rows"], found["hard"]
    done = sum(len(row["seeds"]) for row in rows.values())
    lines = [
        f"## {found['title']}",
        "",
        f"Encoder: {found['encoder']}. {found['settings']} {done} of {found['wanted']} runs. {found['agreement']}",
        "",
        f"| all {found['n']} test photos | seeds | rate | s | SRCC | PLCC | MAE |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        cells = [shown(row["all"][metric][:1]) for metric in METRICS]
        lines.append(
            f"| {name} | {len(row['seeds'])} | {row['rate']:g} | {row['cpu_seconds']:.0f} | {' | '.join(cells)} |"
        )
    titles = [f"{title}, {where}" for where in ("all", "common errors") for title in ("SRCC", "MAE")]
    lines += ["", f"| minus {REFERENCE} | {' | '.join(titles)} |", "|---" * 5 + "|"]
    for name, row in rows.items():
        if "all_minus" in row:
            lines.append(f"| {name} | {_four(row, '_minus')} |")
    lines += ["", f"| adds | {' | '.join(titles)} |", "|---" * 5 + "|"]
    for letter, one in found["switches"].items():
        pairs = ", ".join(f"{first} - {second}" for first, second in one["pairs"])
        lines.append(f"| {letter}, {TITLES[letter]} (mean of {pairs}) | {_four(one, '')} |")
    lines += ["", _hard_words(hard, found["n"]), "", *_leading_table(found["leading"])]
    if found["predictor"]:
        lines += ["", "| by the predictor minus by the table | SRCC | PLCC | MAE |", "|---" * 4 + "|"]
        for name, one in found["predictor"].items():
            lines.append(f"| {name} | {' | '.join(shown(one[metric], signed=True) for metric in METRICS)} |")
    return lines


def _four(one: Mapping[str, Any], suffix: str) -> str:
    cells = []
    for part in ("all", "hard"):
        there = one.get(part + suffix)
        cells += ["-" if there is None else shown(there[metric], signed=True) for metric in ("srcc", "mae")]
    return " | ".join(cells)


def _hard_words(hard: Mapping[str, Any], n: int) -> str:
    if not hard["n"]:
        return "No photo is a common error."
    return (
        f"Common errors: the {hard['n']} of {n} photos whose error is among the largest {HARD_SHARE:.0%} of each of "
        f"{len(hard['seeds'])} plain runs of other seeds. Compare correlations on them with each other alone, never "
        "with those on all photos."
    )


def _leading_table(leading: Mapping[str, Any]) -> list[str]:
    arms = list(next(iter(leading.values()), {}).get("minus", {}))
    if not arms:
        return []
    titles = " | ".join(f"{arm} minus {REFERENCE}" for arm in arms)
    lines = [f"| photos that lean on | photos | common errors | MAE of {REFERENCE} | {titles} |"]
    lines.append("|---" * (4 + len(arms)) + "|")
    for name, one in leading.items():
        cells = " | ".join(shown(one["minus"][arm], signed=True) for arm in arms)
        lines.append(f"| {name} | {one['n']} | {one['hard']} | {shown(one['mae'])} | {cells} |")
    return lines


def _paper() -> list[str]:
    lines = [
        "",
        "## The paper's own numbers",
        "",
        "EAMB-Net on AVA, one run each: a larger encoder, 222,383 training photos. Signs and order can be compared, "
        "sizes cannot.",
        "",
        f"| | SRCC | PLCC | MAE | RMSE | SRCC minus {REFERENCE} | MAE minus {REFERENCE} |",
        "|---|---|---|---|---|---|---|",
    ]
    plain = ARMS[REFERENCE].paper
    for name, arm in ARMS.items():
        cells = " | ".join(f"{value:.3f}" for value in arm.paper)
        minus = f"{arm.paper[0] - plain[0]:+.3f} | {arm.paper[2] - plain[2]:+.3f}" if name != REFERENCE else "| "
        lines.append(f"| {name} | {cells} | {minus} |")
    return lines
