"""The plot of a training run: losses, learning rate and validation metrics over the steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from roc.evaluation.theme import LIGHT, Theme, check_matplotlib, quieten

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def training_figure(history: Sequence[Mapping[str, Any]], theme: Theme = LIGHT) -> Figure | None:
    """Draws the curves of a training run.

    Args:
        history: The `log_history` of a Trainer: dicts with `step` and any of `loss`, `<name>_loss`, `learning_rate`,
            `eval_srcc`, `eval_plcc`, `eval_mae`, `eval_loss`; of a model that reasons `eval_short_srcc`,
            `eval_short_mae`, `eval_entropy`, `eval_readable`, `eval_sampled_readable`. Other keys, and values that are
            not finite, are ignored.
        theme: Colours.

    Returns:
        None if nothing of this was logged: a run may end before its first logging step.

    Raises:
        ImportError: If matplotlib is missing.
    """
    losses = sorted({key for entry in history for key in entry if key == "loss" or key.endswith("_loss")})
    # train_loss, the Trainer's average over the whole run, is logged once at the end and makes no curve.
    losses = [key for key in ("loss", *losses) if key in losses and key != "train_loss"]
    panels = {
        "loss": dict.fromkeys(losses),
        "learning rate": {"learning_rate": None},
        "validation correlation": {"eval_srcc": "SRCC", "eval_plcc": "PLCC", "eval_short_srcc": "SRCC, one pass"},
        "validation MAE, native scale": {"eval_mae": "MAE", "eval_short_mae": "one pass"},
        "validation pairs right": {"eval_pair_accuracy": None},
        "entropy of the policy, nats": {"eval_entropy": None},
        "readable answers": {"eval_readable": "likeliest", "eval_sampled_readable": "sampled"},
    }
    drawn = {
        title: found
        for title, labels in panels.items()
        if (
            found := {label or key.replace("_", " "): c for key, label in labels.items() if (c := _curve(history, key))}
        )
    }
    if not drawn:
        return None
    check_matplotlib()
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(theme.settings):
        columns = min(2, len(drawn))
        size = 5.0 * columns, 3.2 * math.ceil(len(drawn) / 2)
        figure = Figure(figsize=size, dpi=130, layout="constrained")
        for number, (title, curves) in enumerate(drawn.items(), start=1):
            axes = figure.add_subplot(math.ceil(len(drawn) / 2), columns, number)
            for color, (label, (steps, values)) in enumerate(curves.items()):
                few = len(steps) <= 30
                style = "--" if label.startswith("eval") else "-"
                marker = "o" if few else None
                line = {"label": label, "linewidth": 1.5, "marker": marker, "markersize": 3}
                axes.plot(steps, values, style, color=_line_color(color, theme), **line)
            values = np.concatenate([values for _, values in curves.values()])
            if title == "loss" and values.min() > 0 and values.max() > 20 * values.min():
                axes.set_yscale("log")
            if title == "learning rate":
                axes.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
            axes.set_title(title, loc="left")
            axes.set_xlabel("step")
            if len(curves) > 1:
                # Losses start in the upper left and fall, so the upper right is free.
                axes.legend(**({"loc": "upper right", "ncols": 2, "fontsize": 8} if title == "loss" else {}))
            quieten(axes)
    return figure


def _curve(history: Sequence[Mapping[str, Any]], key: str) -> tuple[list[float], list[float]] | None:
    """Steps and values of one key; None where it was not logged."""
    points = [(entry["step"], entry[key]) for entry in history if key in entry and "step" in entry]
    points = [(step, value) for step, value in points if value is not None and math.isfinite(value)]
    return tuple(map(list, zip(*points, strict=True))) if points else None


def _line_color(number: int, theme: Theme) -> str:
    others = ("#55a868", "#c44e52", "#8172b3", "#937860", "#da8bc3", "#64b5cd")
    return (theme.human, theme.model, *others)[number % 8]
