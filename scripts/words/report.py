"""Writes what was measured as Markdown."""

from __future__ import annotations

from typing import Any

_ASKED = {
    "true": "a claim is true of the scene",
    "best": "what is praised first is the best of it",
    "worst": "what is blamed first is the worst of it",
}
_READ = {"forward": "in one forward pass, without words", "written": "while the answer is written"}


def markdown(report: dict[str, Any]) -> str:
    """Writes the report as Markdown.

    Args:
        report: What `judge_answers` found, with `command`, `machine`, `versions`, `minutes` (stage -> minutes) and
            `samples` (`image`, `written`, `true`).
    """
    minutes = ", ".join(f"{stage} {spent:.1f}" for stage, spent in report["minutes"].items())
    lines = [
        "# A language model of 135 million parameters, taught to score and comment",
        "",
        f"`{report['command']}`",
        "",
        f"{report['n']} test scenes, never used in training or selection. Minutes: {minutes}; "
        f"{sum(report['minutes'].values()):.1f} in all. {report['machine']}; "
        f"{', '.join(f'{name} {version}' for name, version in report['versions'].items())}.",
        "",
        f"Whole answers (the sentence with its score, then a comment that ends): {report['whole']:.1%}. Answers with a "
        f"comment on an attribute: {report['commented']:.1%}.",
        "",
        "| scores | n | SRCC | PLCC | MAE |",
        "|---|---|---|---|---|",
        *[_scores(_READ[name], report["scores"][name]) for name in _READ],
        "",
    ]
    if report["apart"] is not None:
        largest, mean = report["apart"]["largest"], report["apart"]["mean"]
        lines += [f"The two differ by {largest:.2g} at most and by {mean:.2g} in the mean, on 1..10.", ""]
    lines += [
        "| comments | n | right | by chance | difference, 95% interval |",
        "|---|---|---|---|---|",
        *[_comments(title, report["comments"][name]) for name, title in _ASKED.items()],
        "",
        "By chance: the same comments, as if they were about the other scenes.",
        "",
        "| picture | written | true of the scene |",
        "|---|---|---|",
        *[f"| {one['image']} | {_cell(one['written'])} | {_cell(one['true'])} |" for one in report["samples"]],
    ]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _scores(title: str, found: dict[str, Any]) -> str:
    if found["srcc"] is None:
        return f"| {title} | {found['n']} | - | - | - |"
    interval = f"{found['srcc']:.3f} [{found['srcc_low']:.3f}, {found['srcc_high']:.3f}]"
    return f"| {title} | {found['n']} | {interval} | {found['plcc']:.3f} | {found['mae']:.3f} |"


def _comments(title: str, found: dict[str, Any]) -> str:
    if not found["n"]:
        return f"| {title} | 0 | - | - | - |"
    difference = f"{found['minus_chance']:+.1%} [{found['low']:+.1%}, {found['high']:+.1%}]"
    return f"| {title} | {found['n']} | {found['share']:.1%} | {found['chance']:.1%} | {difference} |"
