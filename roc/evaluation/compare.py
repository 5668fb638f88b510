"""`roc compare A B`: two evaluations of the same rows, metric by metric.

Two models are better compared on the same photos than by two intervals side by side: a hard photo is hard for both, and
the difference of two metrics is far surer than either of them. So both are resampled with the same draws (a paired
bootstrap). The folders are what `roc evaluate`, or a training run, wrote; folders of different rows are refused.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from roc.evaluation.bootstrap import resamples_for
from roc.evaluation.metrics import (
    METRICS,
    Difference,
    Estimates,
    compare,
    estimate_coverage,
    estimate_distributions,
    estimate_scores,
    estimate_unscored,
    value_text,
)
from roc.evaluation.predictions import EvaluatedRow, is_number, read_predictions
from roc.evaluation.report import page, table
from roc.files import write_text
from roc.score_space import ScoreSpace

_SHOWN = 10
"""How many of the rows that differ are named."""


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation left in its folder.

    Attributes:
        folder: as the user names it.
        metrics: its metrics.json.
        rows: its predictions, id -> row.
    """

    folder: str
    metrics: dict[str, Any]
    rows: dict[str, EvaluatedRow]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `roc compare`.

    Args:
        argv: words after `roc compare`; None takes those of the process.

    Returns:
        Exit status: 0 done, 2 bad input (the reason is on stderr).
    """
    words = list(sys.argv[1:] if argv is None else argv)
    given = _parser().parse_args([_with_underscores(word) for word in words])
    try:
        unknown = [out for out in given.out if Path(out).suffix.lower() not in (".html", ".json")]
        if unknown:
            raise ValueError(f"--out is {unknown[0]}; expected a name that ends in .html or .json")
        if given.n_resamples < 0:
            raise ValueError(f"--n_resamples is {given.n_resamples}; expected 0 or more")
        if given.seed < 0:
            raise ValueError(f"--seed is {given.seed}; expected 0 or more")
        if given.threshold is not None and not math.isfinite(given.threshold):
            raise ValueError(f"--threshold is {given.threshold}; expected a finite number")
        a, b = read_evaluation(given.a), read_evaluation(given.b)
        found = compare_evaluations(a, b, threshold=given.threshold, n_resamples=given.n_resamples, seed=given.seed)
        for out in given.out:
            as_text = _as_json if Path(out).suffix.lower() == ".json" else _as_html
            write_text(out, as_text(found))
    except (ValueError, OSError) as error:
        print(f"roc compare: {error}", file=sys.stderr)
        return 2
    print(format_comparison(found))
    for out in given.out:
        print(out)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="roc compare",
        description="Compares two evaluations of the same rows: the difference A - B of every metric, its 95%\n"
        "interval, and the share of resamples in which A is better.",
        epilog="example: roc compare evaluations/mine evaluations/baseline --out compare.html",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("a", metavar="A", help="folder that `roc evaluate` or a training run wrote")
    parser.add_argument("b", metavar="B", help="another, of the same rows")
    parser.add_argument(
        "--out", metavar="FILE", action="append", default=[], help="also write it as .html or .json; may be given twice"
    )
    parser.add_argument("--threshold", type=float, help="border between bad and good, for the accuracy")
    parser.add_argument("--n_resamples", type=int, default=1000, help="of the bootstrap; 0 for no intervals [1000]")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap [0]")
    return parser


def _with_underscores(word: str) -> str:
    """`--n-resamples` and `--n_resamples` are one flag."""
    name, equals, value = word.partition("=")
    return f"--{name[2:].replace('-', '_')}{equals}{value}" if name.startswith("--") else word


def read_evaluation(folder: str | os.PathLike[str]) -> Evaluation:
    """Reads the folder of an evaluation.

    Args:
        folder: holds metrics.json and predictions.csv.

    Raises:
        ValueError: where one of the two is missing or cannot be read.
    """
    folder = Path(folder)
    missing = [name for name in ("metrics.json", "predictions.csv") if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"{folder} holds no {' and no '.join(missing)}; expected a folder that `roc evaluate` wrote")
    try:
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        metrics["attributes"][0]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise ValueError(f"{folder / 'metrics.json'} is no metrics file of roc: {error!r}; evaluate again") from None
    found = read_predictions(folder / "predictions.csv")
    return Evaluation(str(folder), metrics, {row.id: row for row in found.rows})


def compare_evaluations(
    a: Evaluation, b: Evaluation, *, threshold: float | None = None, n_resamples: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """All metrics of two evaluations on the rows that both scored.

    Args:
        a: the first model.
        b: the second.
        threshold: adds the accuracy at this border.
        n_resamples: bootstrap resamples; 0 leaves intervals and shares out.
        seed: of the resampling.

    Returns:
        `a, b` (the folders), `n` (rows that both scored), `unscored_a, unscored_b, threshold, n_resamples` (as many as
        were drawn), `seed`, `metrics`: key -> `Difference`, further attributes as `<attribute>/<key>`; and `notes`: key
        -> why it is 0 or null.

    Raises:
        ValueError: if rows, human scores or scales are not the same; the message names what differs.
    """
    _check_same_rows(a, b)
    bounds = [bound for bound in ("min_score", "max_score") if bound in a.metrics]
    space = ScoreSpace(a.metrics["min_score"], a.metrics["max_score"]) if bounds else None
    rows = [(a.rows[name], b.rows[name]) for name in a.rows]
    options = {"n_resamples": n_resamples, "seed": seed}
    found: dict[str, Difference] = {}
    notes: dict[str, str] = {}
    for attribute in [name for name in a.metrics["attributes"] if name in b.metrics["attributes"]]:
        prefix = "" if attribute == a.metrics["attributes"][0] else f"{attribute}/"
        rated = [pair for pair in rows if is_number(pair[0].scores.get(attribute))]
        predictions = np.array(
            [
                [np.nan if (value := row.predictions.get(attribute)) is None else value for row in pair]
                for pair in rated
            ],
            dtype=float,
        ).reshape(-1, 2)
        human = np.array([first.scores[attribute] for first, _ in rated], dtype=float)
        both = ~np.isnan(predictions).any(axis=1)
        scores = [
            estimate_scores(predictions[both, model], human[both], space=space, threshold=threshold) for model in (0, 1)
        ]
        groups = [scores]
        if rated:
            groups.append([estimate_unscored(~np.isnan(predictions[:, model])) for model in (0, 1)])
        if not prefix:
            n, missing = int(both.sum()), np.isnan(predictions).sum(axis=0)
            scored = [pair for pair, there in zip(rated, both, strict=True) if there]
            groups += [_distribution_estimates(scored, space), _coverage_estimates(scored, attribute, space)]
        for group in filter(None, groups):
            found |= {prefix + key: one for key, one in compare(*group, **options).items()}
            notes |= {prefix + key: why for key, why in _reasons(*group).items()}
    return {
        "a": a.folder,
        "b": b.folder,
        "n": n,
        "unscored_a": int(missing[0]),
        "unscored_b": int(missing[1]),
        **({} if threshold is None else {"threshold": threshold}),
        "n_resamples": resamples_for(n, n_resamples),
        "seed": seed,
        "metrics": found,
        "notes": notes,
    }


def _reasons(a: Estimates, b: Estimates) -> dict[str, str]:
    """Metric -> why it is 0 or not there, or what else must be known of it, for either model."""
    reasons = {}
    for key in a.values:
        of_a, of_b = a.notes.get(key), b.notes.get(key)
        if of_a == of_b:
            found = [of_a] if of_a else []
        else:
            found = [f"{model}: {why}" for model, why in (("A", of_a), ("B", of_b)) if why]
        if found:
            reasons[key] = "; ".join(found)
    return reasons


def _distribution_estimates(
    pairs: Sequence[tuple[EvaluatedRow, EvaluatedRow]], space: ScoreSpace | None
) -> list[Estimates]:
    """Of A and of B, over the rows for which both models gave as many levels as there are in the histogram."""
    with_both = [
        (first, second)
        for first, second in pairs
        if None not in (first.h_n, first.p_n, second.p_n) and len(first.h_n) == len(first.p_n) == len(second.p_n)
    ]
    if not with_both:
        return []
    human = [first.h_n for first, _ in with_both]
    levels = ScoreSpace(space.min_score, space.max_score, len(human[0])).levels if space else None
    return [estimate_distributions([pair[model].p_n for pair in with_both], human, levels=levels) for model in (0, 1)]


def _coverage_estimates(
    pairs: Sequence[tuple[EvaluatedRow, EvaluatedRow]], attribute: str, space: ScoreSpace | None
) -> list[Estimates]:
    """Of A and of B, over the rows for which both models reported a spread."""
    with_both = [pair for pair in pairs if is_number(pair[0].std) and is_number(pair[1].std)]
    if not with_both:
        return []
    votes = {}
    if space is not None and all(first.h_n is not None for first, _ in with_both):
        levels = ScoreSpace(space.min_score, space.max_score, len(with_both[0][0].h_n)).levels
        votes = {"histograms": [first.h_n for first, _ in with_both], "levels": levels}
    return [
        estimate_coverage(
            [pair[model].predictions[attribute] for pair in with_both],
            [pair[model].std for pair in with_both],
            [first.scores[attribute] for first, _ in with_both],
            **votes,
        )
        for model in (0, 1)
    ]


def _check_same_rows(a: Evaluation, b: Evaluation) -> None:
    faults = []
    for one, other in ((a, b), (b, a)):
        alone = [name for name in one.rows if name not in other.rows]
        if alone:
            faults.append(f"{len(alone)} rows are in {one.folder} only: {_named(alone)}")
    scales = [tuple(one.metrics.get(bound) for bound in ("min_score", "max_score")) for one in (a, b)]
    if scales[0] != scales[1]:
        faults.append(
            f"the scales differ: {_range_text(scales[0])} in {a.folder}, {_range_text(scales[1])} in {b.folder}"
        )
    elif not faults:
        for attribute in [name for name in a.metrics["attributes"] if name in b.metrics["attributes"]]:
            moved = [name for name in a.rows if _differ(a.rows[name], b.rows[name], attribute)]
            if moved:
                faults.append(f"{len(moved)} rows have another human score of {attribute}: {_named(moved)}")
    if a.metrics["attributes"][0] != b.metrics["attributes"][0]:
        faults.append(
            f"the first score is {a.metrics['attributes'][0]} in one and {b.metrics['attributes'][0]} in the other"
        )
    if faults:
        raise ValueError(
            "these are not two evaluations of the same rows:\n  " + "\n  ".join(faults) + "\n"
            "Evaluate both models on the same file."
        )


def _differ(first: EvaluatedRow, second: EvaluatedRow, attribute: str) -> bool:
    ours, theirs = (row.scores.get(attribute) for row in (first, second))
    if not (is_number(ours) and is_number(theirs)):
        return is_number(ours) or is_number(theirs)
    return not math.isclose(ours, theirs, rel_tol=1e-6, abs_tol=1e-6)


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _range_text(scale: tuple[float | None, float | None]) -> str:
    return "not said" if None in scale else f"{scale[0]:g}..{scale[1]:g}"


def format_comparison(found: dict[str, Any]) -> str:
    """The comparison as a plain-text table for the terminal.

    Args:
        found: what `compare_evaluations` returned.

    Returns:
        Several lines without a newline at the end.
    """
    lines = [
        f"A: {found['a']}",
        f"B: {found['b']}",
        _rows_text(found),
        "",
    ]
    names = {key: _name(key) for key in found["metrics"]}
    width = max(map(len, names.values()))
    lines.append(f"  {'':<{width}}{'A':>9}{'B':>9}{'A - B':>9}   {'95% interval':<19}A better in")
    for key, one in found["metrics"].items():
        difference, interval, share = _cells(one)
        values = f"{value_text(one.a):>9}{value_text(one.b):>9}{difference:>9}"
        lines.append(f"  {names[key]:<{width}}{values}   {interval:<19}{share}".rstrip())
    notes = _notes(found)
    return "\n".join([*lines, *([""] if notes else []), *(f"  note: {note}" for note in notes)])


def _notes(found: dict[str, Any]) -> list[str]:
    """One line for each reason, with the metrics it holds for."""
    keys: dict[str, list[str]] = {}
    for key, why in found["notes"].items():
        keys.setdefault(why, []).append(_name(key))
    return [f"{', '.join(names)}: {why}" for why, names in keys.items()]


def _cells(one: Difference) -> tuple[str, str, str]:
    """Difference, interval and share as text; empty where there is none."""
    return (
        "-" if one.difference is None else f"{one.difference:+.3f}",
        "" if one.low is None else f"[{one.low:+.3f}, {one.high:+.3f}]",
        "" if one.a_better is None else f"{one.a_better:.1%}",
    )


def _rows_text(found: dict[str, Any]) -> str:
    text = f"{found['n']:,} rows that both scored"
    if found["unscored_a"] or found["unscored_b"]:
        text += f"; {found['unscored_a']:,} have no score from A, {found['unscored_b']:,} none from B"
    if "threshold" in found:
        text += f"; threshold of the accuracy {found['threshold']:g}"
    return text


def _name(key: str) -> str:
    attribute, slash, metric = key.rpartition("/")
    return f"{attribute}{': ' if slash else ''}{METRICS[metric].name}"


def _as_json(found: dict[str, Any]) -> str:
    metrics = {key: one._asdict() for key, one in found["metrics"].items()}
    return json.dumps(found | {"metrics": metrics}, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _as_html(found: dict[str, Any]) -> str:
    rows = []
    for key, one in found["metrics"].items():
        difference, interval, share = _cells(one)
        verdict, word = _verdict(key, one)
        rows.append(
            f'<tr><td class="name">{escape(_name(key))}</td><td class="number">{value_text(one.a)}</td>'
            f'<td class="number">{value_text(one.b)}</td><td class="number">{difference}</td>'
            f'<td class="number">{interval}</td><td>{_bar(one)}</td><td class="number">{share}</td>'
            f'<td class="{verdict}">{word}</td></tr>'
        )
    header = ("metric", "A", "B", "A &minus; B", "95% interval", "0 is the middle line", "A better in", "verdict")
    body = (
        "<h1>Two models on the same images</h1>\n"
        f"<p><b>A</b> <code>{escape(found['a'])}</code><br><b>B</b> <code>{escape(found['b'])}</code></p>\n"
        f'<p class="quiet">{escape(_rows_text(found))}. Paired bootstrap, {found["n_resamples"]:,} resamples, seed '
        f"{found['seed']}: both models are resampled with the same draws. A better in: share of the resamples, a tie "
        "counting half. A coverage is better the nearer it is to what it promises.</p>\n"
        + table(header, rows, numbers=(1, 2, 3, 4, 6))
        + (f"<ul>{notes}</ul>" if (notes := "".join(f"<li>{escape(note)}</li>" for note in _notes(found))) else "")
    )
    return page("Two models on the same images", body)


def _verdict(key: str, one: Difference) -> tuple[str, str]:
    """A class of the page and a word: who is better, where the interval leaves no doubt about it."""
    if one.a_better is None:
        return "quiet", ""
    if one.low == one.high == 0:
        return "quiet", "equal"
    if 0.025 < one.a_better < 0.975:
        return "unknown", "not clear"
    return ("yes", "A") if one.a_better > 0.5 else ("no", "B")


def _bar(one: Difference) -> str:
    """The interval of a difference as a line, 0 in the middle."""
    if one.low is None:
        return ""
    reach = max(abs(one.low), abs(one.high), abs(one.difference)) or 1.0
    x = [70 + 64 * value / reach for value in (one.low, one.difference, one.high)]
    return (
        '<svg width="140" height="18" role="img" aria-label="interval">'
        '<line x1="70" x2="70" y1="1" y2="17" stroke="currentColor" stroke-opacity=".4"/>'
        f'<line x1="{x[0]:.1f}" x2="{x[2]:.1f}" y1="9" y2="9" stroke="currentColor" stroke-width="2"/>'
        f'<circle cx="{x[1]:.1f}" cy="9" r="4" fill="currentColor"/></svg>'
    )


if __name__ == "__main__":
    sys.exit(main())
