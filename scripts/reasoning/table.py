"""The table of the ablation: means over seeds, differences to the recipe, and the paper's numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ablation.table import cell, interval

from .arms import ARMS, PAPER_REWARDS, PAPER_STARTS, REFERENCE
from .report import kinds_cell

METRICS = {"readable": "readable", "srcc": "SRCC", "plcc": "PLCC", "mae": "MAE", "one_pass_srcc": "SRCC, no words"}
_COMPARED = ("srcc", "plcc", "mae")
EFFECTS = {
    "critique_own_mae": "its own critique",
    "critique_other_added": "another picture's adds",
    "critique_none_added": "none adds",
}


def markdown(report: Mapping[str, Any]) -> str:
    """Writes the report.

    Args:
        report: `command`, `pictures` ("scenes" or "photos"), `subject` (the model that reasons about them), `scale`
            (of the errors), `steps`, `wanted` (runs in all), `runs` (results of `execute`), `machine`, `versions`,
            `minutes`.
    """
    runs = report["runs"]
    names = [name for name in ARMS if any(run["arm"] == name for run in runs)]
    of_arm = {name: {run["seed"]: run for run in runs if run["arm"] == name} for name in names}
    lines = [
        "# Rewards and cold starts of a model that reasons",
        "",
        f"`{report['command']}`",
        "",
        f"{len(runs)} of {report['wanted']} runs are finished, {report['steps']} steps of reinforcement each, from one "
        f"base that sees. Test {report['pictures']}, never used in training or selection; mean and 95% interval over "
        f"the seeds (Student's t). MAE on {report['scale']}. {report['subject']}: signs and order can be compared with "
        "the paper's, not sizes. "
        f"{report['machine']}; {', '.join(f'{name} {version}' for name, version in report['versions'].items())}.",
        "",
        "## After RAPO, with a critique first",
        "",
        f"| | seeds | {' | '.join(METRICS.values())} | reward, first and last tenth | answers by kind, all seeds |",
        "|---" * (len(METRICS) + 4) + "|",
    ]
    for name in names:
        some = list(of_arm[name].values())
        cells = [cell(_mean(some, "after", key), percent=key == "readable") for key in METRICS]
        rewards = [cell(interval([run["reward"][end]["reward"] for run in some])) for end in ("first", "last")]
        cells += [" to ".join(rewards), _kinds(some, "after")]
        lines.append(f"| {ARMS[name].title} | {len(some)} | {' | '.join(cells)} |")
    starts: dict[int, dict[int, Mapping[str, Any]]] = {}
    for name in names:
        starts.setdefault(ARMS[name].epochs, {}).update(of_arm[name])
    lines += ["", "## After the cold start alone", ""]
    lines += [
        f"| epochs | seeds | {' | '.join(METRICS.values())} | entropy | answers by kind, all seeds |",
        "|---" * (len(METRICS) + 4) + "|",
    ]
    for epochs, found in sorted(starts.items()):
        some = [run for run in found.values() if run["before"]]
        cells = [cell(_mean(some, "before", key), percent=key == "readable") for key in METRICS]
        entropy = cell(_mean(some, "before", "entropy"))
        lines.append(f"| {epochs} | {len(some)} | {' | '.join(cells)} | {entropy} | {_kinds(some, 'before')} |")
    lines += _differences(of_arm)
    lines += ["", "## Do the words matter?", ""]
    lines += [f"| MAE behind | when | {' | '.join(EFFECTS.values())} |", "|---" * (len(EFFECTS) + 2) + "|"]
    for name in names:
        for when in ("before", "after"):
            cells = [
                cell(_mean(list(of_arm[name].values()), when, key), signed=key.endswith("added")) for key in EFFECTS
            ]
            lines.append(f"| {ARMS[name].title} | {when} RAPO | {' | '.join(cells)} |")
    return "\n".join([*lines, *_paper()]) + "\n"


def _mean(runs: Sequence[Mapping[str, Any]], when: str, key: str) -> dict[str, Any]:
    return interval([run[when][key] for run in runs if run[when].get(key) is not None])


def _kinds(runs: Sequence[Mapping[str, Any]], when: str) -> str:
    """Adds up the answers of all seeds by kind, and what was wrong with those that were written anew."""
    found = [run[when] for run in runs if "answers" in run[when]]
    if not found:
        return "-"
    total: dict[str, Any] = {"retried": sum(one["retried"] for one in found)}
    for name in ("answers", "retried_kinds"):
        if all(name in one for one in found):  # runs of an earlier version noted no kinds of what was written anew
            total[name] = dict(sum((Counter(one[name]) for one in found), Counter()))
    return kinds_cell(total)


def _differences(of_arm: Mapping[str, Mapping[int, Mapping[str, Any]]]) -> list[str]:
    """Writes paired differences: each arm after RAPO minus before, and the recipe minus each other arm."""
    lines = _pair_table(
        "After RAPO minus the cold start, seed by seed",
        {
            ARMS[name].title: [(run["after"], run["before"]) for _, run in sorted(some.items())]
            for name, some in of_arm.items()
            if ARMS[name].epochs
        },
    )
    recipe = of_arm.get(REFERENCE, {})
    others = {
        ARMS[name].title: [(recipe[seed]["after"], some[seed]["after"]) for seed in sorted(some.keys() & recipe.keys())]
        for name, some in of_arm.items()
        if recipe and name != REFERENCE
    }
    return lines + _pair_table(f"{ARMS[REFERENCE].title} minus the others, seed by seed", others)


def _pair_table(title: str, rows: Mapping[str, Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]]) -> list[str]:
    """Writes the differences of pairs of metrics; nothing where there are no rows."""
    if not rows:
        return []
    lines = ["", f"## {title}", "", f"| | {' | '.join(METRICS[key] for key in _COMPARED)} |"]
    lines.append("|---" * (len(_COMPARED) + 1) + "|")
    for name, pairs in rows.items():
        cells = []
        for key in _COMPARED:
            values = [(one.get(key), other.get(key)) for one, other in pairs]
            cells.append(
                cell(interval([one - other for one, other in values if None not in (one, other)]), signed=True)
            )
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _paper() -> list[str]:
    lines = ["", "## The paper's own numbers, SRCC and PLCC", "", "| rewards, no cold start | SRCC | PLCC |"]
    lines.append("|---|---|---|")
    lines += [f"| {name} | {srcc:.3f} | {plcc:.3f} |" for name, (srcc, plcc) in PAPER_REWARDS.items()]
    lines += ["", "| epochs of cold start, then RAPO | SRCC | PLCC |", "|---|---|---|"]
    return lines + [f"| {epochs} | {srcc:.3f} | {plcc:.3f} |" for epochs, (srcc, plcc) in PAPER_STARTS.items()]
