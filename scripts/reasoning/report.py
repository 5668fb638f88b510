"""What came out of a cold start and of RAPO, as Markdown."""

from __future__ import annotations

import platform
import statistics
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from stages import machine, times

from roc import __version__
from roc.model.reasoned import told_answers
from roc.training.run import STATES

TENTH = 10
"""The rewards of so many of the logged steps are the beginning, and as many the end: a tenth."""

_TITLES = {"srcc": "SRCC", "plcc": "PLCC", "mae": "MAE"}
_REWARDS = {
    "reward": "reward of sampled critiques",
    "rank": "its part for the rank",
    "error": "its part for the error",
    "format": "its part for the form",
}
_WAYS = {"critique": "with a critique first", "short": "one forward pass, no words"}


def curves_of(run: Path) -> dict[str, dict[int, float]]:
    """Reads what a run logged: the states that it keeps need not reach its end, its TensorBoard logs do.

    Args:
        run: Its `output_dir`.

    Returns:
        Name, such as "train/reward" -> step -> value; of a step that was done twice, after a resume, the later one.

    Raises:
        ValueError: If it logged nothing.
    """
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    files = sorted((run / STATES / "runs").glob("*/events.*"), key=lambda file: file.stat().st_mtime_ns)
    curves: dict[str, dict[int, float]] = {}
    for file in files:
        log = EventAccumulator(str(file), size_guidance={"scalars": 0}).Reload()
        for name in log.Tags()["scalars"]:
            curves.setdefault(name, {}).update({event.step: event.value for event in log.Scalars(name)})
    if not curves:
        raise ValueError(f"{run / STATES} holds no log of the run; train it anew")
    return {name: dict(sorted(curve.items())) for name, curve in curves.items()}


def reward_of(run: Path) -> dict[str, Any]:
    """Means the rewards of a run over the first and the last tenth of its log.

    Returns:
        `first` and `last`, each with `reward` and its parts by name; `steps` of the run; `seconds` of a step (mean).

    Raises:
        ValueError: If the run logged nothing.
    """
    curves = curves_of(run)
    means = {name: list(curve.values()) for name, curve in curves.items() if name.startswith("train/rewards/")}
    means = {name.split("/")[2]: values for name, values in means.items() if name.endswith("/mean")}
    columns = {"reward": list(curves["train/reward"].values()), **means}
    count = max(1, len(columns["reward"]) // TENTH)
    return {
        "first": {name: statistics.fmean(values[:count]) for name, values in columns.items()},
        "last": {name: statistics.fmean(values[-count:]) for name, values in columns.items()},
        "steps": max(curves["train/reward"]),
        "seconds": statistics.fmean(curves["train/step_time"].values()) if "train/step_time" in curves else None,
    }


def circumstances(out: Path) -> dict[str, Any]:
    """Collects what a reader has to know beside the numbers: `machine`, `versions`, and `minutes` of each stage."""
    return {
        "machine": machine(),
        "versions": {"roc": __version__}
        | {name: version(name) for name in ("torch", "transformers", "trl")}
        | {"Python": platform.python_version()},
        "minutes": {stage: seconds / 60 for stage, seconds in times(out).items()},
    }


def markdown(report: Mapping[str, Any]) -> str:
    """Writes the report.

    Args:
        report: What `compare_models` found, with `command`, `machine`, `versions` and `minutes` (stage -> minutes).
    """
    before, after = report["models"]["cold_start"], report["models"]["reinforced"]
    minutes = ", ".join(f"{stage} {spent:.1f}" for stage, spent in report["minutes"].items())
    rated = before["critique"]["n"] + before["critique"]["unscored"]
    lines = [
        "# Thinking first: a cold start, then RAPO",
        "",
        f"`{report['command']}`",
        "",
        f"{rated} test scenes, never used in training or selection. Minutes: {minutes}; "
        f"{sum(report['minutes'].values()):.1f} in all. {report['machine']}; "
        f"{', '.join(f'{name} {number}' for name, number in report['versions'].items())}.",
        "",
        "| | after the cold start | after RAPO | difference, 95% interval |",
        "|---|---|---|---|",
        f"| answers in their form at once | {_at_once(before['critique'])} | {_at_once(after['critique'])} | |",
        f"| answers by kind | {kinds_cell(before['critique'])} | {kinds_cell(after['critique'])} | |",
    ]
    for way, words in _WAYS.items():
        for key, title in _TITLES.items():
            found = report["differences"][way][key]
            cells = _number(found["b"]), _number(found["a"]), _interval(found, "difference")
            lines.append(f"| {title} {words} | {' | '.join(cells)} |")
    for name, title in _REWARDS.items():
        found = report["sampled"][name]
        cells = _number(found["b"]), _number(found["a"]), _interval(found, "difference")
        lines.append(f"| {title} | {' | '.join(cells)} |")
    lines += [
        "",
        "Differences scene by scene, on the scenes that both scored. MAE on 1..10: lower is better. Sampled critiques: "
        "at temperature 1, from the whole vocabulary; one that cannot be read earns 0.",
        "",
        *_reward(report["reward"]),
        "",
        *critique_table({"after the cold start": before["critique"], "after RAPO": after["critique"]}),
        "",
        "| picture | after the cold start | after RAPO |",
        "|---|---|---|",
        *[
            f"| {one['image']} | {_answer(one['cold_start'])} | {_answer(one['reinforced'])} |"
            for one in report["samples"]
        ],
    ]
    return "\n".join(lines) + "\n"


def critique_table(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Shows whether words matter: the error behind a model's own critique, another picture's, and none.

    Args:
        rows: Title -> metrics with the keys of `roc.evaluation.critique_effect.effect_metrics`.
    """
    lines = [
        "| MAE behind | its own critique | that of another picture | none |",
        "|---|---|---|---|",
    ]
    for title, found in rows.items():
        if "critique_own_mae" in found:
            others = [
                f"{found[f'critique_{name}_mae']:.3f} ({_interval(found, f'critique_{name}_added')})"
                for name in ("other", "none")
            ]
            lines.append(f"| {title} | {found['critique_own_mae']:.3f} | {' | '.join(others)} |")
    return [*lines, "", "In brackets by how much the error grows, with its 95% interval."]


def _reward(found: Mapping[str, Any]) -> list[str]:
    names = list(found["first"])
    lines = [
        f"| rewards, {found['steps']} steps | " + " | ".join(names) + " |",
        "|---" * (len(names) + 1) + "|",
    ]
    for key, words in (("first", "first tenth"), ("last", "last tenth")):
        lines.append(f"| {words} | " + " | ".join(f"{found[key][name]:.3f}" for name in names) + " |")
    return lines


def _at_once(metrics: Mapping[str, Any]) -> str:
    total = sum(metrics["answers"].values())
    return f"{total - metrics['retried']} of {total}"


def kinds_cell(metrics: Mapping[str, Any]) -> str:
    """Tells what was wrong with answers, the first and the second ones, in a cell of a table.

    Args:
        metrics: With the keys of `roc.evaluation.reasoned.answer_metrics`.
    """
    return told_answers(metrics).replace("<", "\\<")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _interval(found: Mapping[str, Any], key: str) -> str:
    """Writes a difference with its interval: under `key`, and `low` and `high` or `key_low` and `key_high`."""
    low, high = (found.get(f"{key}_{end}", found.get(end)) for end in ("low", "high"))
    if found[key] is None:
        return "-"
    return f"{found[key]:+.3f}" + ("" if low is None else f" [{low:+.3f}, {high:+.3f}]")


def _answer(one: Mapping[str, Any]) -> str:
    text = " ".join(one["text"].split()).replace("|", "\\|")
    value = one["prediction"]
    return text if value is None else text.replace("[SCORE]", f"{value:.2f}")
