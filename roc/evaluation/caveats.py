"""Caveats: what a reader of the numbers must know before quoting them, one sentence each.

They are found from the metrics alone and kept among them, so that the table, the report, metrics.json and the card of a
checkpoint say the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from roc.evaluation.image_effect import BLIND
from roc.evaluation.keys import FEW_ROWS, attribute_prefix, range_text, scale_of, subset_prefix

MIN_ROWS = 3
"""Fewer predictions have no spread to speak of."""

HARDLY_VARY = 0.02
"""Share of the range: predictions with a smaller standard deviation, and less than half of people's, hardly vary."""

FAR_BELOW = 0.1
"""Predictions hardly vary either if their standard deviation is below this share of the standard deviation of people's
scores, whatever the range."""


def find_caveats(metrics: Mapping[str, Any]) -> list[str]:
    """Finds what must be said about an evaluation.

    Args:
        metrics: What `evaluate_predictions` found, and what else is known: `split`; `mapped_from`, the range that human
            scores were mapped from, `<attribute>/mapped_from` for an attribute on another one;
            `image_n, image_swapped, image_black` (roc/evaluation/image_effect.py); `untrained`, `idle_adapter` and
            `stand_in`, true where the checkpoint is one.

    Returns:
        Sentences, the most important first; empty where there is nothing to say.
    """
    return [*_about_the_checkpoint(metrics), *_about_the_rows(metrics), *_about_the_predictions(metrics)]


def _about_the_checkpoint(metrics: Mapping[str, Any]) -> Iterator[str]:
    scale = scale_of(metrics)
    if metrics.get("stand_in"):
        trained = f", trained on {metrics['trained_on']}" if metrics.get("trained_on") else ""
        yield f"the checkpoint is a stand-in to try the software with{trained}: its scores of real photos mean nothing"
    if metrics.get("untrained"):
        yield "the score head is untrained (all its weights are 0): every picture gets the middle of the range"
    elif metrics.get("image_n") and scale is not None:
        moved = max(metrics["image_swapped"] or 0.0, metrics["image_black"])
        if moved < BLIND * (scale[1] - scale[0]):
            yield (
                "the scores do not depend on the image: they move by "
                f"{moved / (scale[1] - scale[0]):.2%} of the range when another picture or a black one is shown"
            )
    if metrics.get("idle_adapter"):
        yield "the adapter changes nothing: its low-rank matrices are zero, so the model scores as its base does"


def _about_the_rows(metrics: Mapping[str, Any]) -> Iterator[str]:
    scale = scale_of(metrics)
    for name, prefix in _parts(metrics):
        if f"{prefix}mapped_from" in metrics:
            yield (
                f"human scores{f' of {name}' if name else ''} were mapped from "
                f"{range_text(metrics[f'{prefix}mapped_from'])} onto {range_text(scale_of(metrics, prefix))}; all "
                "errors are on the latter"
            )
    yield from metrics.get("drift", ())
    if metrics.get("interval_overlap"):
        yield (
            f"the intervals were calibrated on photos of these rows (about {metrics['interval_overlap']} of them): "
            "what they hold here says nothing and is not shown; evaluate rows that were not calibrated on"
        )
    human = metrics["score_range"]
    if scale is not None and human is not None and human[1] <= sum(scale) / 2 and "mapped_from" not in metrics:
        yield (
            f"all human scores ({range_text(human)}) lie in the lower half of {range_text(scale)}; if they were given "
            "on another scale, the errors compare two scales"
        )
    few = {name: metrics[f"{prefix}n"] for name, prefix in _parts(metrics) if 0 < metrics[f"{prefix}n"] < FEW_ROWS}
    if few:
        counts = ", ".join(f"{n} row{'s' * (n != 1)}" if not name else f"{n} of {name}" for name, n in few.items())
        yield (
            f"few rows ({counts}; below {FEW_ROWS}): numbers are rounded to one digit and marked ~, and other photos "
            "may give quite different ones"
        )
    if metrics.get("split") in ("val", "validation"):
        yield (
            "these are validation rows: if training kept its best state by them, they have selected the model and "
            "the numbers are too good; quote those of test rows"
        )


def _about_the_predictions(metrics: Mapping[str, Any]) -> Iterator[str]:
    for name, prefix in _parts(metrics):
        if name.startswith("subset ") or metrics[f"{prefix}n"] < MIN_ROWS:
            continue
        scale = scale_of(metrics, prefix)
        label = f"predictions of {name}" if name else "predictions"
        model, people = metrics[f"{prefix}prediction_std"], metrics[f"{prefix}score_std"]
        narrow = scale is not None and model < HARDLY_VARY * (scale[1] - scale[0]) and model < people / 2
        human, predicted = metrics[f"{prefix}score_range"], metrics[f"{prefix}prediction_range"]
        if narrow or model < FAR_BELOW * people:
            yield (
                f"{label} hardly vary: their standard deviation is {model:.2g}, that of people's scores {people:.2g}; "
                "whatever the correlation, every photo gets about the same score"
            )
        elif predicted[0] > human[1] or predicted[1] < human[0]:
            yield (
                f"{label} lie on {range_text(predicted)} and human scores on {range_text(human)}: MAE and RMSE compare "
                "two scales"
            )


def _parts(metrics: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Name and key prefix of each score and each subset; the first score has neither."""
    attributes = metrics["attributes"]
    for name in attributes:
        prefix = attribute_prefix(name, attributes)
        yield (name if prefix else ""), prefix
    for name in metrics.get("subsets", ()):
        yield f"subset {name}", subset_prefix(name)
