"""The metrics of an evaluation as a table for the terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from roc.evaluation.critique_effect import critique_text
from roc.evaluation.image_effect import effect_text
from roc.evaluation.intervals import interval_parts
from roc.evaluation.keys import (
    METRICS,
    attribute_prefix,
    interval_text,
    metric_text,
    own_scale_text,
    range_text,
    scale_of,
    split_key,
    subset_prefix,
    threshold_text,
)
from roc.model.reasoned import told_answers

_WIDTH = 100


def format_table(metrics: Mapping[str, Any]) -> str:
    """Formats metrics as plain text, each with its 95% interval.

    Args:
        metrics: What `evaluate_predictions` returned.

    Returns:
        Several lines without a newline at the end, at most 100 columns wide unless a name is very long: all metrics of
        the first attribute, then SRCC, PLCC and MAE of the other attributes and of the subsets, then caveats and notes.
    """
    return "\n".join([*_first_attribute(metrics), *_parts(metrics), *_notes(metrics)])


def answers_line(metrics: Mapping[str, Any], prefix: str = "") -> str:
    """Says how many of the answers of a model that reasons could be read, and what was wrong with the others."""
    return f"{told_answers(metrics, prefix)}; critiques of {metrics[f'{prefix}words']:.0f} words"


def reasoned_lines(metrics: Mapping[str, Any]) -> list[str]:
    """Shows how a trained model scores that reasons first, and where its reinforcement best begins.

    Args:
        metrics: Of a training run; keys below `reasoned/` are what `reasoned_part` and `start_part` of
            `roc.training.finish` give, each where it was asked for.
    """
    lines = _both_ways(metrics) if "reasoned/n" in metrics else []
    if metrics.get("reasoned/start"):
        lines += _wrapped(
            f"start of reinforcement: {metrics['reasoned/start']}, the highest entropy with a stable format "
            f"({metrics['reasoned/start_entropy']:.3f} nats, {metrics['reasoned/start_readable']:.0%} readable)"
        )
    elif "reasoned/start" in metrics:
        lines += _wrapped(
            "no saved state is a start of reinforcement: too few of the sampled answers were readable in each "
            f"(stable_format is {metrics['reasoned/stable_format']:.0%}); more steps teach the form"
        )
    return lines


def _both_ways(metrics: Mapping[str, Any]) -> list[str]:
    """Shows the scores with a critique first beside those of one forward pass on the same rows."""
    counted = {"reasoned/n": metrics["reasoned/n"]}
    lines = [f"  with a critique first (.describe), {metrics['reasoned/n'] + metrics['reasoned/unscored']} rows:"]
    for title, part in (("", "critique"), ("one_pass_", "one pass")):
        values = counted | {f"reasoned/{name}": metrics[f"reasoned/{title}{name}"] for name in ("srcc", "plcc", "mae")}
        if not title:
            values |= {key: metrics[key] for key in metrics if key.startswith("reasoned/")}
        cells = [
            f"{METRICS[name].name} {metric_text(values, f'reasoned/{name}')} "
            f"{interval_text(values, f'reasoned/{name}')}".rstrip()
            for name in ("srcc", "plcc", "mae")
        ]
        lines.append(f"    {part:<10}" + "  ".join(cells))
    lines += _wrapped(answers_line(metrics, "reasoned/"))
    return lines + _words_matter(metrics, "reasoned/")


def _words_matter(metrics: Mapping[str, Any], prefix: str = "") -> list[str]:
    text = critique_text(metrics, prefix)
    return _wrapped(f"do the words matter: {text}") if text else []


def _first_attribute(metrics: Mapping[str, Any]) -> list[str]:
    scale, threshold = scale_of(metrics), threshold_text(metrics)
    facts = [f"{metrics['attributes'][0]}: {metrics['n']} rows"]
    if metrics["unscored"]:
        facts.append(f"{metrics['unscored']} unscored and left out")
    facts += [f"scores on {range_text(scale)}"] if scale else []
    facts += [threshold] if threshold else []
    with_interval = any(key.endswith("_low") for key in metrics)
    lines = [", ".join(facts), *_spans(metrics)]
    if "answers" in metrics:
        lines += _wrapped(answers_line(metrics))
    lines.append(f"  {'':<14}{'value':>8}" + ("   95% interval" if with_interval else ""))
    for key, metric in METRICS.items():
        if key in metrics and (key != "unscored_share" or metrics["unscored"]):
            interval = interval_text(metrics, key)
            lines.append(f"  {metric.name:<14}{metric_text(metrics, key):>8}   {interval}".rstrip())
    return lines + _intervals(metrics)


def _intervals(metrics: Mapping[str, Any]) -> list[str]:
    """Shows what the intervals of a calibrated checkpoint hold, in all and by thirds of the score."""
    lines = []
    for part in interval_parts(metrics):
        name = f"{part.attribute}: " if len(metrics["attributes"]) > 1 else ""
        lines += _wrapped(f"{name}intervals at {part.level:g} hold {part.text}; mean width {part.width:.3g}")
        if part.thirds:
            lines += _wrapped(f"  by thirds of the predicted score: {'; '.join(part.thirds)}")
    return lines


def _spans(metrics: Mapping[str, Any]) -> list[str]:
    """Says where on the scale people and model are; empty for an evaluation of an earlier release."""
    human, predicted = metrics.get("score_range"), metrics.get("prediction_range")
    if human is None or predicted is None:
        return []
    texts = [f"{values[0]:.4g} to {values[1]:.4g}" for values in (human, predicted)]
    return [f"  human scores {texts[0]}, predictions {texts[1]}"]


def _parts(metrics: Mapping[str, Any]) -> list[str]:
    """One line for each further attribute and each subset."""
    attributes = metrics["attributes"]
    found = {name: attribute_prefix(name, attributes) for name in attributes[1:]}
    prefixes = {f"{name}{own_scale_text(metrics, prefix)}": prefix for name, prefix in found.items()}
    prefixes |= {f"subset {name}": subset_prefix(name) for name in metrics.get("subsets", [])}
    if not prefixes:
        return []
    width = max(map(len, prefixes))
    lines = ["", f"  {'':<{width}}  {'rows':>6}  {'SRCC':<24}{'PLCC':<24}{'MAE':<24}".rstrip()]
    for name, prefix in prefixes.items():
        cells = [
            f"{metric_text(metrics, prefix + key)} {interval_text(metrics, prefix + key)}"
            for key in ("srcc", "plcc", "mae")
        ]
        row = f"  {name:<{width}}  {metrics[prefix + 'n']:>6}  " + "".join(f"{cell:<24}" for cell in cells)
        lines.append(row.rstrip())
    return lines


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent="  ", subsequent_indent="    ", break_long_words=False)


def _notes(metrics: Mapping[str, Any]) -> list[str]:
    """One line for each reason, naming the metrics that it holds for."""
    lines = [line for caveat in metrics.get("caveats", ()) for line in _wrapped(f"caution: {caveat}")]
    if "image_n" in metrics:
        scale = scale_of(metrics)
        width = None if scale is None else scale[1] - scale[0]
        lines += _wrapped(f"does it look at the picture: {effect_text(metrics, width)}")
    lines += _words_matter(metrics)
    if metrics["calibrated"] is False:
        lines.append("  note: std and distributions are uncalibrated, as the head was not fitted to votes")
    reasons: dict[tuple[str, str], list[str]] = {}
    for key, reason in metrics["notes"].items():
        prefix, name = split_key(key)
        reasons.setdefault((reason, prefix), []).append(name)
    for (reason, prefix), names in reasons.items():
        subject = ", ".join(prefix + name for name in names) if len(names) <= 4 else f"{prefix}* ({len(names)} metrics)"
        lines.append(f"  note: {subject}: {reason}")
    return ["", *lines] if lines else []
