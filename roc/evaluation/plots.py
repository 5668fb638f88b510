"""The plots of an evaluation, and all plots of a folder.

    scatter       predicted against human score
    errors        where on the scale the model is too high or too low
    calibration   whether a prediction of 6 means 6: the mean human score of similar predictions
    coverage      whether the reported spread is right: how much lies inside its central intervals
    distribution  the average prediction beside the average human answer
    spread        whether a wide predicted distribution means that people disagreed
    training      losses, learning rate and validation metrics over the steps (roc/evaluation/curves.py)

Each can be drawn in `LIGHT` or in `DARK`. They need matplotlib; a plot that the rows have no data for is left out.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from roc.evaluation.curves import training_figure
from roc.evaluation.evaluated_rows import EvaluatedRow, distributions, is_number, scored_rows
from roc.evaluation.keys import METRICS, metric_text, range_text, scale_of
from roc.evaluation.metrics import coverage, votes_coverage
from roc.evaluation.theme import LIGHT, Theme, check_matplotlib, quieten
from roc.files import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MANY_POINTS = 3000
"""Above this number of points, which would cover each other, their density is drawn instead."""


def evaluation_figures(
    rows: Sequence[EvaluatedRow], metrics: Mapping[str, Any], theme: Theme = LIGHT
) -> dict[str, Figure]:
    """Draws the plots of an evaluation, for the first attribute.

    Args:
        rows: The rows that were evaluated.
        metrics: What `evaluate_predictions` returned for them.
        theme: Colours.

    Returns:
        Name -> figure, in the order listed at the top of this module; empty where no row is scored.

    Raises:
        ImportError: If matplotlib is missing.
    """
    check_matplotlib()
    import matplotlib

    first = metrics["attributes"][0]
    scored = scored_rows(rows, first)
    if not scored:
        return {}
    human = np.array([row.scores[first] for row in scored], dtype=float)
    predicted = np.array([row.predictions[first] for row in scored], dtype=float)
    spread = [row for row in scored if is_number(row.std)]
    with matplotlib.rc_context(theme.settings):
        figures = {
            "scatter": _scatter(human, predicted, metrics, theme),
            "errors": _errors(human, predicted, metrics, theme),
            "calibration": _calibration(human, predicted, metrics, theme),
        }
        if len(spread) >= 3:
            figures["coverage"] = _coverage(spread, metrics, theme)
        figures["distribution"] = _mean_distribution(scored, human, predicted, metrics, theme)
        if len(spread) >= 2:
            figures["spread"] = _spread(spread, metrics, theme)
    return figures


def draw(
    rows: Sequence[EvaluatedRow],
    metrics: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]] = (),
    theme: Theme = LIGHT,
) -> dict[str, bytes]:
    """Draws all plots of an evaluation, and of the training before it, as PNG files in memory.

    Args:
        rows: The rows that were evaluated; none for the training alone.
        metrics: What `evaluate_predictions` returned for them.
        history: The log of the training run, as `training_figure` takes it.
        theme: Colours.

    Returns:
        Name -> bytes.

    Raises:
        ImportError: If matplotlib is missing.
    """
    figures = evaluation_figures(rows, metrics, theme) if rows else {}
    training = training_figure(history, theme)
    if training is not None:
        figures["training"] = training
    return {name: _png(figure) for name, figure in figures.items()}


def write_plots(folder: str | os.PathLike[str], plots: Mapping[str, bytes]) -> list[Path]:
    """Writes what `draw` returned into a folder as `<name>.png`; a file appears once it is complete."""
    return [
        write_whole(Path(folder) / f"{name}.png", lambda path, content=content: path.write_bytes(content))
        for name, content in plots.items()
    ]


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", pil_kwargs={"compress_level": 4})
    return buffer.getvalue()


def _figure() -> Figure:
    """An empty figure for one pair of axes."""
    from matplotlib.figure import Figure

    # A Figure of its own draws with Agg and leaves the caller's pyplot state and backend alone. Fixed margins that fit
    # all plots here take half the time of a layout engine.
    figure = Figure(figsize=(5.8, 5.0), dpi=130)
    figure.subplots_adjust(left=0.135, right=0.975, bottom=0.125, top=0.9)
    return figure


def _range_text(metrics: Mapping[str, Any]) -> str:
    scale = scale_of(metrics)
    return f" ({range_text(scale)})" if scale else ""


def _limits(*values: np.ndarray) -> tuple[float, float]:
    both = np.concatenate(values)
    margin = 0.04 * (np.ptp(both) or 1.0)
    return both.min() - margin, both.max() + margin


def _cloud(axes: Axes, x: np.ndarray, y: np.ndarray, color: str, theme: Theme) -> None:
    """Draws points, or their density where there are many."""
    if len(x) <= _MANY_POINTS:
        axes.scatter(x, y, s=14, color=color, alpha=float(np.clip(250 / len(x), 0.2, 0.8)), linewidths=0)
        return
    from matplotlib.colors import LinearSegmentedColormap, to_rgb

    mix = {
        name: 0.3 * np.array(to_rgb(color)) + 0.7 * np.array(to_rgb(getattr(theme, name))) for name in ("paper", "ink")
    }
    colors = LinearSegmentedColormap.from_list("density", [mix["paper"], color, mix["ink"]])
    axes.hexbin(x, y, gridsize=55, bins="log", mincnt=1, cmap=colors, linewidths=0.1)


def _scatter(human: np.ndarray, predicted: np.ndarray, metrics: Mapping[str, Any], theme: Theme) -> Figure:
    figure = _figure()
    axes = figure.add_subplot()
    limits = _limits(human, predicted)
    _cloud(axes, human, predicted, theme.model, theme)
    axes.plot(limits, limits, color=theme.quiet, linewidth=1, linestyle="--", label="prediction = score")
    axes.set(xlim=limits, ylim=limits, aspect="equal")
    axes.set_xlabel(f"human score{_range_text(metrics)}")
    axes.set_ylabel(f"prediction{_range_text(metrics)}")
    correlations = [
        f"{METRICS[key].name} {metric_text(metrics, key)}" for key in ("srcc", "plcc") if metrics.get(key) is not None
    ]
    title = f"Predictions and human scores of {len(human):,} rows" + (", density" if len(human) > _MANY_POINTS else "")
    axes.set_title(f"{title}\n{'   '.join(correlations)}" if correlations else title, loc="left")
    axes.legend(loc="upper left")
    quieten(axes)
    return figure


def _errors(human: np.ndarray, predicted: np.ndarray, metrics: Mapping[str, Any], theme: Theme) -> Figure:
    figure = _figure()
    axes = figure.add_subplot()
    groups = _by_tenths(human)
    errors = [(predicted - human)[group] for group in groups]
    positions = np.arange(len(groups))
    axes.axhline(0, color=theme.quiet, linewidth=1, linestyle="--")
    axes.boxplot(
        errors,
        positions=positions,
        widths=0.6,
        whis=(5, 95),
        showfliers=False,
        patch_artist=True,
        boxprops={"facecolor": theme.model, "alpha": 0.45, "edgecolor": theme.model},
        whiskerprops={"color": theme.model},
        capprops={"color": theme.model},
        medianprops={"color": theme.ink, "linewidth": 1.5},
    )
    axes.set_xticks(positions, [_span_text(human[group]) for group in groups])
    axes.tick_params(axis="x", labelsize=8)
    axes.set_xlabel(f"human score{_range_text(metrics)}, rows in groups of about equal size")
    axes.set_ylabel("prediction - human score")
    axes.set_title("Residuals along the scale: middle half and 5%..95%", loc="left")
    quieten(axes)
    return figure


def _calibration(human: np.ndarray, predicted: np.ndarray, metrics: Mapping[str, Any], theme: Theme) -> Figure:
    figure = _figure()
    axes = figure.add_subplot()
    groups = _by_tenths(predicted)
    x = np.array([predicted[group].mean() for group in groups])
    y = np.array([human[group].mean() for group in groups])
    error = np.array([_half_interval(human[group]) for group in groups])
    reach = np.nan_to_num(error)
    limits = _limits(x, y - reach, y + reach)
    axes.plot(limits, limits, color=theme.quiet, linewidth=1, linestyle="--", label="as predicted")
    axes.errorbar(x, y, yerr=error, color=theme.model, marker="o", linewidth=1.5, capsize=3, label="mean and its 95%")
    axes.set(xlim=limits, ylim=limits)
    many = f"{len(groups)} groups of about equal size" if len(groups) > 1 else "one group"
    axes.set_xlabel(f"mean prediction of similar rows{_range_text(metrics)}, {many}")
    axes.set_ylabel("their mean human score")
    axes.set_title("Calibration: what a prediction stands for", loc="left")
    axes.legend(loc="upper left")
    quieten(axes)
    return figure


def _half_interval(values: np.ndarray) -> float:
    """Half the 95% interval of the mean, by Student's t as groups may be small; NaN for one value."""
    if len(values) < 2:
        return math.nan
    return stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))


def _coverage(rows: Sequence[EvaluatedRow], metrics: Mapping[str, Any], theme: Theme) -> Figure:
    """Draws the coverage of rows that are scored and have a standard deviation."""
    figure = _figure()
    axes = figure.add_subplot()
    first = metrics["attributes"][0]
    predicted = np.array([row.predictions[first] for row in rows], dtype=float)
    human = np.array([row.scores[first] for row in rows], dtype=float)
    std = np.array([row.std for row in rows], dtype=float)
    percents = np.arange(5, 100, 5)
    axes.plot([0, 100], [0, 100], color=theme.quiet, linewidth=1, linestyle="--", label="as promised")
    if "min_score" in metrics and all(row.h_n is not None for row in rows):
        votes = np.array([row.h_n for row in rows], dtype=float)
        levels = np.linspace(metrics["min_score"], metrics["max_score"], votes.shape[1])
        inside = [100 * votes_coverage(predicted, std, votes, levels, percent) for percent in percents]
        axes.plot(percents, inside, color=theme.human, marker="s", markersize=4, linewidth=1.5, label="single votes")
    inside = [100 * coverage(predicted, std, human, percent) for percent in percents]
    axes.plot(
        percents, inside, color=theme.model, marker="o", markersize=4, linewidth=1.5, label="human scores (means)"
    )
    axes.set(xlim=(0, 100), ylim=(0, 102))
    axes.set_xlabel("central interval of the reported spread, %")
    axes.set_ylabel("inside it, %")
    axes.set_title(f"Coverage: is the spread right?{_uncalibrated(metrics)}", loc="left")
    axes.legend(loc="lower right")
    quieten(axes)
    return figure


def _mean_distribution(
    rows: Sequence[EvaluatedRow], human: np.ndarray, predicted: np.ndarray, metrics: Mapping[str, Any], theme: Theme
) -> Figure:
    figure = _figure()
    axes = figure.add_subplot()
    p, h = distributions(rows, metrics["attributes"][0])
    if len(h):
        num_levels = h.shape[1]
        lowest, highest = metrics.get("min_score", 1), metrics.get("max_score", num_levels)
        levels, step = np.linspace(lowest, highest, num_levels, retstep=True)
        axes.bar(levels - 0.2 * step, h.mean(axis=0), width=0.4 * step, color=theme.human, label="votes")
        axes.bar(levels + 0.2 * step, p.mean(axis=0), width=0.4 * step, color=theme.model, label="predicted")
        if num_levels <= 20:
            axes.set_xticks(levels, [f"{level:.3g}" for level in levels])
        axes.set_xlabel(f"level{_range_text(metrics)}")
        axes.set_ylabel("mean share")
        axes.set_title(f"Mean distribution over {len(h):,} rows{_uncalibrated(metrics)}", loc="left")
    else:
        both = np.concatenate([human, predicted])
        edges = np.linspace(both.min(), both.max() + (np.ptp(both) == 0), 31)
        axes.hist(human, bins=edges, color=theme.human, alpha=0.6, label="human scores")
        axes.hist(predicted, bins=edges, color=theme.model, alpha=0.6, label="predictions")
        axes.set_xlabel(f"score{_range_text(metrics)}")
        axes.set_ylabel("rows")
        axes.set_title(f"Scores and predictions of {len(human):,} rows", loc="left")
    axes.legend()
    quieten(axes)
    return figure


def _spread(rows: Sequence[EvaluatedRow], metrics: Mapping[str, Any], theme: Theme) -> Figure:
    """Draws the spread of rows that are scored and have a standard deviation."""
    figure = _figure()
    axes = figure.add_subplot()
    first = metrics["attributes"][0]
    std = np.array([row.std for row in rows], dtype=float)
    if "min_score" in metrics and all(row.h_n is not None for row in rows):
        h = np.array([row.h_n for row in rows], dtype=float)
        levels = np.linspace(metrics["min_score"], metrics["max_score"], h.shape[1])
        actual = np.sqrt(np.maximum(h @ levels**2 - (h @ levels) ** 2, 0))
        marks = [(std[group].mean(), actual[group].mean()) for group in _by_tenths(std)]
        limits = _limits(std, actual)
        _cloud(axes, std, actual, theme.human, theme)
        axes.plot(limits, limits, color=theme.quiet, linewidth=1, linestyle="--", label="equal")
        axes.set(xlim=limits, ylim=limits, aspect="equal")
        label, title = "standard deviation of the votes", "Predicted spread and spread of the votes"
    else:
        # No line of equality here: the distribution describes how far raters are apart, not the error of the mean.
        error = np.array([row.predictions[first] - row.scores[first] for row in rows], dtype=float)
        marks = [(std[group].mean(), np.sqrt(np.square(error[group]).mean())) for group in _by_tenths(std)]
        axes.set_ylim(0, 1.3 * max(height for _, height in marks) or 1.0)
        label, title = "RMSE of the predictions", "Predicted spread and size of the errors"
    axes.plot(*zip(*marks, strict=True), color=theme.model, marker="o", linewidth=1.5, label="mean of similar rows")
    axes.set_xlabel("predicted standard deviation, native scale")
    axes.set_ylabel(f"{label}, native scale")
    axes.set_title(title + _uncalibrated(metrics), loc="left")
    axes.legend(loc="upper left")
    quieten(axes)
    return figure


def _uncalibrated(metrics: Mapping[str, Any]) -> str:
    return "\nnot trained on distributions: the spread is uncalibrated" if metrics.get("calibrated") is False else ""


def _by_tenths(values: np.ndarray) -> list[np.ndarray]:
    """Row numbers in up to ten groups of about equal size, in ascending order of `values`."""
    groups = min(10, max(1, len(values) // 5))
    return np.array_split(np.argsort(values, kind="stable"), groups)


def _span_text(values: np.ndarray) -> str:
    low, high = f"{values.min():.3g}", f"{values.max():.3g}"
    return low if low == high else f"{low}\nto {high}"
