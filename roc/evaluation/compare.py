"""Two evaluations of the same rows compared metric by metric: the work of `roc compare`.

Two models are better compared on the same photos than by two intervals side by side: a hard photo is hard for both, so
the difference of two metrics is much more certain than either of them. Both are therefore resampled with the same draws
(a paired bootstrap). The folders are what `roc evaluate`, or a training run, wrote; folders of different rows are
refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

from roc.data.counts import counted
from roc.evaluation.bootstrap import resamples_for
from roc.evaluation.compare_pairs import compare_pair_folders, holds_pairs
from roc.evaluation.estimates import (
    Difference,
    Estimates,
    compare_estimates,
    estimate_coverage,
    estimate_distributions,
    estimate_scores,
    estimate_unscored,
)
from roc.evaluation.evaluated_rows import EvaluatedRow, coverage_input, distributions, is_number, levels_of
from roc.evaluation.folder import Evaluation, json_text, read_evaluation
from roc.evaluation.keys import (
    attribute_prefix,
    bounds_text,
    range_text,
    rating_scale_of,
    split_key,
    threshold_text,
    value_text,
)
from roc.evaluation.options import CompareOptions
from roc.evaluation.page import page, table
from roc.evaluation.verdict import better_model, main_metrics, metric_name, verdict
from roc.files import write_text
from roc.model.reasoned import told_answers
from roc.score_space import ScoreSpace

_SHOWN = 10
"""How many of the rows that differ are named."""

_VERDICTS = {
    "A": ("yes", "A"),
    "B": ("no", "B"),
    "equal": ("quiet", "equal"),
    "open": ("unknown", "not clear"),
    None: ("quiet", ""),
}
"""What `better_model` says -> CSS class and word of the page."""

Pair = tuple[EvaluatedRow, EvaluatedRow]
"""One image as A and as B evaluated it; the human scores of both are those of A."""


def compare(options: CompareOptions) -> dict[str, Any]:
    """Compares two folders and writes the comparison to the files of `options.out`.

    Returns:
        What `compare_evaluations` found, or `compare_pair_folders` of two evaluations on pairs.

    Raises:
        ValueError: If a folder holds no evaluation, or the two are not of the same rows or pairs.
        OSError: If a file cannot be read or written.
    """
    drawn = {"n_resamples": options.n_resamples, "seed": options.seed}
    of_pairs = [holds_pairs(folder) for folder in (options.a, options.b)]
    if all(of_pairs):
        if options.threshold is not None:
            raise ValueError("--threshold has no meaning for pairs; leave it out")
        found = compare_pair_folders(options.a, options.b, **drawn)
    elif any(of_pairs):
        pairs, rows = (options.a, options.b) if of_pairs[0] else (options.b, options.a)
        raise ValueError(f"{pairs} holds an evaluation on pairs and {rows} does not; compare two of one kind")
    else:
        evaluations = read_evaluation(options.a), read_evaluation(options.b)
        found = compare_evaluations(*evaluations, threshold=options.threshold, **drawn)
    for out in options.out:
        as_text = _as_json if Path(out).suffix.lower() == ".json" else _as_html
        write_text(out, as_text(found))
    return found


def compare_evaluations(
    a: Evaluation, b: Evaluation, *, threshold: float | None = None, n_resamples: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Compares all metrics of two evaluations on the rows that both scored.

    Args:
        a: The first model.
        b: The second model.
        threshold: Adds the accuracy at this threshold.
        n_resamples: Bootstrap resamples; 0 leaves intervals and shares out.
        seed: Seed of the resampling.

    Returns:
        `a, b` (the folders), `n` (rows that both scored), `unscored_a, unscored_b, threshold, n_resamples` (as many as
        were drawn), `seed`, `verdict` and `caveats` (sentences), `answers` (A or B, where it wrote critiques -> a
        sentence about those that could not be read), `metrics`: key -> `Difference`, further attributes as
        `<attribute>/<key>`; and `notes`: key -> why it is 0 or null.

    Raises:
        ValueError: If rows, human scores or scales are not the same; the message names what differs.
    """
    _check_same_rows(a, b)
    of_b = {row.id: row for row in b.rows}
    rows = [(row, replace(of_b[row.id], scores=row.scores, h_n=row.h_n)) for row in a.rows]
    found: dict[str, Difference] = {}
    notes: dict[str, str] = {}
    attributes = a.metrics["attributes"]
    for attribute in _common_attributes(a, b):
        prefix = attribute_prefix(attribute, attributes)
        scale = rating_scale_of(a.metrics, prefix)
        space = ScoreSpace(*scale) if scale else None
        border = threshold if scale == rating_scale_of(a.metrics) else None
        for first, second in _estimates(rows, attribute, space, border, is_first=attribute == attributes[0]):
            differences = compare_estimates(first, second, n_resamples=n_resamples, seed=seed)
            found |= {prefix + key: one for key, one in differences.items()}
            notes |= {prefix + key: why for key, why in _reasons(first, second).items()}
    rated = [pair for pair in rows if is_number(pair[0].scores.get(attributes[0]))]
    scored = [[is_number(row.predictions.get(attributes[0])) for row in pair] for pair in rated]
    n = sum(map(all, scored))
    return {
        "a": a.folder,
        "b": b.folder,
        "n": n,
        "unscored_a": sum(not by_a for by_a, _ in scored),
        "unscored_b": sum(not by_b for _, by_b in scored),
        **({} if threshold is None else {"threshold": threshold}),
        "n_resamples": resamples_for(n, n_resamples),
        "seed": seed,
        "verdict": verdict(found, n),
        "caveats": _caveats(a, b),
        "answers": {name: told_answers(one.metrics) for name, one in (("A", a), ("B", b)) if "answers" in one.metrics},
        "metrics": found,
        "notes": notes,
    }


def _caveats(a: Evaluation, b: Evaluation) -> list[str]:
    """What must be known about either evaluation; that rows are few is part of the verdict."""
    models: dict[str, list[str]] = {}
    for model, one in (("A", a), ("B", b)):
        for caveat in one.metrics.get("caveats", ()):
            if not caveat.startswith("few rows"):
                models.setdefault(caveat, []).append(model)
    return [f"{' and '.join(names)}: {caveat}" for caveat, names in models.items()]


def _common_attributes(a: Evaluation, b: Evaluation) -> list[str]:
    return [name for name in a.metrics["attributes"] if name in b.metrics["attributes"]]


def _estimates(
    pairs: Sequence[Pair], attribute: str, space: ScoreSpace | None, threshold: float | None, *, is_first: bool
) -> list[tuple[Estimates, Estimates]]:
    """Estimates of A and of B for each group of metrics, each group on the rows that both have the values for.

    Args:
        pairs: All rows.
        attribute: Whose scores are compared.
        space: The native scale, where it is known.
        threshold: Adds the accuracy.
        is_first: Whether distributions and standard deviations belong to this attribute.
    """

    def scores(rows: list[EvaluatedRow]) -> Estimates:
        predicted = [row.predictions[attribute] for row in rows]
        return estimate_scores(predicted, [row.scores[attribute] for row in rows], space=space, threshold=threshold)

    def unscored(rows: list[EvaluatedRow]) -> Estimates:
        return estimate_unscored([is_number(row.predictions.get(attribute)) for row in rows])

    def votes(rows: list[EvaluatedRow]) -> Estimates:
        predicted, human = distributions(rows, attribute)
        return estimate_distributions(predicted, human, levels=levels_of(space, human.shape[1]))

    def spreads(rows: list[EvaluatedRow]) -> Estimates:
        return estimate_coverage(**coverage_input(rows, attribute, space))

    rated = [pair for pair in pairs if is_number(pair[0].scores.get(attribute))]
    scored = [pair for pair in rated if all(is_number(row.predictions.get(attribute)) for row in pair)]
    with_votes = [pair for pair in scored if is_first and _has_votes(pair)]
    with_spread = [pair for pair in scored if is_first and all(is_number(row.std) for row in pair)]
    groups = [(scores, scored)]
    groups += [group for group in ((unscored, rated), (votes, with_votes), (spreads, with_spread)) if group[1]]
    return [(estimate([a for a, _ in part]), estimate([b for _, b in part])) for estimate, part in groups]


def _has_votes(pair: Pair) -> bool:
    """True if both models give a distribution with as many levels as the histogram."""
    a, b = pair
    return None not in (a.h_n, a.p_n, b.p_n) and len(a.h_n) == len(a.p_n) == len(b.p_n)


def _reasons(a: Estimates, b: Estimates) -> dict[str, str]:
    """Metric -> why it is 0 or missing, or what else must be known about it, for either model."""
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


def _check_same_rows(a: Evaluation, b: Evaluation) -> None:
    faults = []
    rows = [{row.id: row for row in one.rows} for one in (a, b)]
    for one, here, there in ((a, *rows), (b, *rows[::-1])):
        alone = [name for name in here if name not in there]
        if alone:
            faults.append(f"{counted(len(alone), 'row is', 'rows are')} in {one.folder} only: {_named(alone)}")
    differ = False
    for attribute in _common_attributes(a, b):
        scales = [
            rating_scale_of(one.metrics, attribute_prefix(attribute, one.metrics["attributes"])) for one in (a, b)
        ]
        if scales[0] != scales[1] and not differ:
            differ = True
            texts = [range_text(scale) if scale else "not given" for scale in scales]
            of = f" of {attribute}" if attribute != a.metrics["attributes"][0] else ""
            faults.append(f"the scales{of} differ: {texts[0]} in {a.folder}, {texts[1]} in {b.folder}")
    if not faults:
        for attribute in _common_attributes(a, b):
            moved = [name for name in rows[0] if _differ(rows[0][name], rows[1][name], attribute)]
            if moved:
                faults.append(
                    f"{counted(len(moved), 'row has', 'rows have')} another human score of {attribute}: {_named(moved)}"
                )
    first = [one.metrics["attributes"][0] for one in (a, b)]
    if first[0] != first[1]:
        faults.append(f"the first score is {first[0]} in one and {first[1]} in the other")
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


def format_comparison(found: dict[str, Any], *, full: bool = False) -> str:
    """Formats a comparison as plain text for the terminal: the verdict, then a table.

    Args:
        found: What `compare_evaluations` returned.
        full: Whether the table has all metrics, with their notes, instead of the main ones.

    Returns:
        Several lines without a newline at the end.
    """
    metrics = found["metrics"]
    keys = list(metrics) if full else main_metrics(metrics)
    lines = [*found["verdict"], "", f"A: {found['a']}", f"B: {found['b']}", _rows_text(found)]
    lines += _answers_lines(found)
    lines += [*(f"caution: {caveat}" for caveat in found["caveats"]), ""]
    names = {key: metric_name(key) for key in keys}
    width = max(map(len, names.values()), default=0)
    lines.append(f"  {'':<{width}}{'A':>9}{'B':>9}{'A - B':>9}   {'95% interval':<19}A better in")
    for key in keys:
        one = metrics[key]
        n = _count(found, key)
        a, b = (value_text(value, n) for value in (one.a, one.b))
        difference, interval, share = _cells(one, n)
        lines.append(f"  {names[key]:<{width}}{a:>9}{b:>9}{difference:>9}   {interval:<19}{share}".rstrip())
    notes = [f"  note: {note}" for note in _notes(found, keys)]
    lines += ["", *notes] if notes else []
    hidden = len(metrics) - len(keys)
    if hidden:
        lines += ["", f"{hidden} further metrics: --full prints them, --out FILE.html shows them"]
    return "\n".join(lines)


def _answers_lines(found: dict[str, Any]) -> list[str]:
    return [f"critiques of {name}: {told}" for name, told in found.get("answers", {}).items()]


def _notes(found: dict[str, Any], keys: Iterable[str]) -> list[str]:
    """One line for each reason, naming those of the metrics that it holds for."""
    names: dict[str, list[str]] = {}
    for key in keys:
        if key in found["notes"]:
            names.setdefault(found["notes"][key], []).append(metric_name(key))
    return [f"{', '.join(those)}: {why}" for why, those in names.items()]


def _count(found: dict[str, Any], key: str) -> int:
    """Gives the number of rows, or of pairs, that a metric is computed on."""
    return found.get("counts", {}).get(split_key(key)[0], found["n"])


def _cells(one: Difference, n: int) -> tuple[str, str, str]:
    """Difference, interval and share as text; empty where there is none."""
    return (
        value_text(one.difference, n, "+.3f"),
        bounds_text(one.low, one.high, n, "+.3f"),
        "" if one.a_better is None else f"{one.a_better:.1%}",
    )


def _rows_text(found: dict[str, Any]) -> str:
    if "sources" in found:
        pairs, sources = counted(found["n"], "decided pair"), counted(found["sources"], "source")
        return f"{pairs} of {sources}; sources are what is resampled"
    text = f"{found['n']:,} rows that both scored"
    if found["unscored_a"] or found["unscored_b"]:
        text += f"; {found['unscored_a']:,} have no score from A, {found['unscored_b']:,} none from B"
    threshold = threshold_text(found)
    return f"{text}; {threshold}" if threshold else text


def _as_json(found: dict[str, Any]) -> str:
    return json_text(found | {"metrics": {key: one._asdict() for key, one in found["metrics"].items()}})


def _as_html(found: dict[str, Any]) -> str:
    title, rows = f"Two models on the same {'pairs' if 'sources' in found else 'images'}", []
    for key, one in found["metrics"].items():
        n = _count(found, key)
        difference, interval, share = _cells(one, n)
        a, b = (value_text(value, n) for value in (one.a, one.b))
        style, word = _VERDICTS[better_model(key, one)]
        rows.append(
            f'<tr><td class="name">{escape(metric_name(key))}</td><td class="number">{a}</td>'
            f'<td class="number">{b}</td><td class="number">{difference}</td>'
            f'<td class="number">{interval}</td><td>{_bar(one)}</td><td class="number">{share}</td>'
            f'<td class="{style}">{word}</td></tr>'
        )
    header = ("metric", "A", "B", "A &minus; B", "95% interval", "0 is the middle line", "A better in", "verdict")
    body = (
        f"<h1>{title}</h1>\n"
        + "".join(f"<p><b>{escape(line)}</b></p>\n" for line in found["verdict"])
        + f"<p><b>A</b> <code>{escape(found['a'])}</code><br><b>B</b> <code>{escape(found['b'])}</code></p>\n"
        f'<p class="quiet">{escape(_rows_text(found))}. Paired bootstrap, {found["n_resamples"]:,} resamples, seed '
        f"{found['seed']}: both models are resampled with the same draws. A better in: share of the resamples, a tie "
        "counting half. A coverage is better the nearer it is to its nominal value.</p>\n"
        + "".join(f'<p class="quiet">{escape(line)}.</p>\n' for line in _answers_lines(found))
        + "".join(f'<p class="no">Caution: {escape(caveat)}.</p>\n' for caveat in found["caveats"])
        + table(header, rows, numbers=(1, 2, 3, 4, 6))
        + (
            f"<ul>{notes}</ul>"
            if (notes := "".join(f"<li>{escape(note)}</li>" for note in _notes(found, found["metrics"])))
            else ""
        )
    )
    return page(title, body)


def _bar(one: Difference) -> str:
    """The interval of a difference as an SVG line with 0 in the middle."""
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
