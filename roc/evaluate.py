"""From predictions to numbers, a table and pictures: what `evaluate` writes into its folder.

It starts where the model is done: each `EvaluatedRow` holds what people said of one image and what the model said.
`evaluate_predictions` turns rows into one flat dict of metrics, `format_table` prints it, `write_evaluation` keeps it:

    metrics.json       every metric with its 95% interval, the score range, and the reason for every 0 or null
    predictions.csv    one line per row; `score`, `h_n`, `score.<attribute>` are human, `prediction`, `std`, `p_n`,
                       `prediction.<attribute>` are the model's
    scatter.png        predicted against human score
    errors.png         where on the scale the model is too high or too low
    distribution.png   what the average prediction looks like beside the average human answer
    spread.png         whether a wide predicted distribution means that people disagreed

`plot_training` draws the curves of a training run. Files appear under their final name only when they are complete.
"""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from roc.metrics import summarize, summarize_emd
from roc.score_space import ScoreSpace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HUMAN, MODEL, QUIET = "#4c72b0", "#dd8452", "#8c8c8c"

TABLE_NAMES = {
    "srcc": "SRCC",
    "plcc": "PLCC",
    "plcc_mapped": "PLCC mapped",
    "krcc": "KRCC",
    "mae": "MAE",
    "rmse": "RMSE",
    "mae_unit": "MAE on 0..1",
    "rmse_unit": "RMSE on 0..1",
    "accuracy": "accuracy",
    "emd": "EMD",
    "emd_baseline": "EMD baseline",
    "emd_ratio": "EMD ratio",
}


@dataclass(frozen=True)
class EvaluatedRow:
    """One image: what people said and what the model said. All scores are on the native scale.

    Attributes:
        id: name of the row, as in the data file.
        scores: attribute -> human score; an attribute may be absent, None or NaN where nobody rated it.
        predictions: attribute -> predicted score; None where the model gave none.
        std: standard deviation of the predicted distribution of the first attribute.
        p_n: (N,) that distribution, summing to 1.
        h_n: (N,) vote histogram of the first attribute, summing to 1.
        subset: name of the part of the test set the row belongs to, if it is reported by parts.
    """

    id: str
    scores: Mapping[str, float | None]
    predictions: Mapping[str, float | None]
    std: float | None = None
    p_n: Sequence[float] | None = field(default=None, repr=False)
    h_n: Sequence[float] | None = field(default=None, repr=False)
    subset: str | None = None


def evaluate_predictions(
    rows: Sequence[EvaluatedRow],
    *,
    space: ScoreSpace | None,
    attributes: Sequence[str] = ("overall",),
    threshold: float | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
    baseline_histogram: Sequence[float] | None = None,
    calibrated: bool | None = None,
) -> dict[str, Any]:
    """All metrics of a set of rows.

    Args:
        rows: what was predicted, in any order.
        space: the native scale; None leaves out what needs it.
        attributes: names of the scores; the first is the one the distributions and subsets belong to.
        threshold: border between bad and good on the native scale; adds `accuracy`.
        n_resamples: bootstrap resamples for the intervals; 0 leaves them out.
        seed: of the resampling.
        baseline_histogram: (N,) the mean histogram of the training rows; adds `emd_baseline` and `emd_ratio`.
        calibrated: whether the model was trained on distributions, so that `std` and `p_n` mean something; None:
            not known.

    Returns:
        A flat dict that JSON takes. First what was evaluated: `attributes, min_score, max_score, calibrated,
        n_resamples, seed`. Then, for the first attribute, the keys of `roc.metrics.summarize`, and those of
        `summarize_emd` if there are histograms; for each further attribute `<attribute>/<key>`; for each subset
        `subset/<name>/<key>`. Last `notes`, key -> why it is 0 or None.

    Raises:
        ValueError: if there are no rows or no attributes, a value is infinite, or distributions do not fit together.
    """
    if not rows:
        raise ValueError("there are no rows to evaluate; is the test split of the data file empty?")
    if not attributes:
        raise ValueError("no attribute to evaluate; name at least one, as a rule 'overall'")
    options = {"n_resamples": n_resamples, "seed": seed}
    first, *others = attributes

    metrics: dict[str, Any] = {"attributes": list(attributes)}
    if space is not None:
        metrics |= {"min_score": space.min_score, "max_score": space.max_score}
    metrics |= {"calibrated": calibrated, **options}
    notes: dict[str, str] = {}

    def add(prefix: str, found: dict[str, Any]) -> None:
        notes.update({prefix + key: reason for key, reason in found.pop("notes").items()})
        metrics.update({prefix + key: value for key, value in found.items()})

    parts = {"": rows}
    for name in dict.fromkeys(row.subset for row in rows if row.subset is not None):
        parts[f"subset/{name}/"] = [row for row in rows if row.subset == name]
    for prefix, part in parts.items():
        predictions, scores = _scored_pairs(part, first)
        add(prefix, summarize(predictions, scores, space=space, threshold=threshold, **options))
        predicted, human = _distributions(part, first)
        if len(human):
            found = summarize_emd(predicted, human, baseline=baseline_histogram, **options)
            if len(human) < metrics[f"{prefix}n"]:
                found["notes"].setdefault("emd", f"over the {len(human)} rows that have a histogram")
            add(prefix, found)
        if not prefix:
            for attribute in others:
                predictions, scores = _scored_pairs(part, attribute)
                add(f"{attribute}/", summarize(predictions, scores, space=space, threshold=threshold, **options))
    metrics["notes"] = notes
    return metrics


def write_evaluation(
    folder: str | os.PathLike[str], rows: Sequence[EvaluatedRow], metrics: Mapping[str, Any], plots: bool = True
) -> list[Path]:
    """Keep an evaluation in a folder: metrics.json, predictions.csv and the plots.

    The numbers are written before the plots are drawn, and each file only appears once it is complete; an older file of
    the same name stays until then.

    Args:
        folder: made if it is not there.
        rows: the rows that were evaluated.
        metrics: what `evaluate_predictions` returned for them.
        plots: whether to draw the plots, which needs matplotlib.

    Returns:
        The files written, in the order above.

    Raises:
        ImportError: if plots are asked for and matplotlib is missing; the numbers are written all the same.
        OSError: if the disk is full or the folder cannot be written; no half-written file is left.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / "metrics.json", folder / "predictions.csv"]
    text = json.dumps(metrics, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    _write_complete(written[0], lambda path: path.write_text(text, encoding="utf-8"))
    _write_complete(written[1], lambda path: _write_predictions(path, rows, metrics))
    if plots:
        written += write_plots(folder, rows, metrics)
    return written


def write_plots(folder: str | os.PathLike[str], rows: Sequence[EvaluatedRow], metrics: Mapping[str, Any]) -> list[Path]:
    """Draw the plots of an evaluation, for the first attribute. Arguments and folder as for `write_evaluation`.

    Returns:
        The files written. A plot for which the rows hold nothing (no scored row, no spread) is left out.

    Raises:
        ImportError: if matplotlib is missing.
    """
    folder = Path(folder)
    first = metrics["attributes"][0]
    scored = [row for row in rows if _is_number(row.scores.get(first)) and _is_number(row.predictions.get(first))]
    if not scored:
        return []
    human = np.array([row.scores[first] for row in scored], dtype=float)
    predicted = np.array([row.predictions[first] for row in scored], dtype=float)

    figures = {
        "scatter": _scatter(human, predicted, metrics),
        "errors": _errors(human, predicted, metrics),
        "distribution": _mean_distribution(scored, human, predicted, metrics),
    }
    if sum(_is_number(row.std) for row in scored) >= 2:
        figures["spread"] = _spread(scored, human, predicted, metrics)
    return [_save(figure, folder / f"{name}.png") for name, figure in figures.items()]


def plot_training(history: Sequence[Mapping[str, Any]], path: str | os.PathLike[str]) -> Path | None:
    """Draw the curves of a training run.

    Args:
        history: what was logged, one dict for each time, with `step` and any of `loss`, `<name>_loss`,
            `learning_rate`, `eval_srcc`, `eval_plcc`, `eval_mae`, `eval_loss`: the `log_history` of a Trainer. Other
            keys are left alone, and so are values that are not finite.
        path: the PNG to write; its folder is made if it is not there.

    Returns:
        The file written; None, and no file, if nothing of this was logged: a run can be shorter than its logging.

    Raises:
        ImportError: if matplotlib is missing.
    """
    losses = sorted({key for entry in history for key in entry if key == "loss" or key.endswith("_loss")})
    # train_loss is the Trainer's average over the whole run, logged once at the end: no curve.
    losses = [key for key in ("loss", *losses) if key in losses and key != "train_loss"]
    panels = {
        "loss": dict.fromkeys(losses),
        "learning rate": {"learning_rate": None},
        "validation correlation": {"eval_srcc": "SRCC", "eval_plcc": "PLCC"},
        "validation MAE, native scale": {"eval_mae": None},
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

    columns = min(2, len(drawn))
    figure = _figure(width=5.0 * columns, height=3.2 * math.ceil(len(drawn) / 2))
    for number, (title, curves) in enumerate(drawn.items(), start=1):
        axes = figure.add_subplot(math.ceil(len(drawn) / 2), columns, number)
        for label, (steps, values) in curves.items():
            few = len(steps) <= 30
            style = "--" if label.startswith("eval") else "-"
            axes.plot(steps, values, style, label=label, linewidth=1.5, marker="o" if few else None, markersize=3)
        values = np.concatenate([values for _, values in curves.values()])
        if title == "loss" and values.min() > 0 and values.max() > 20 * values.min():
            axes.set_yscale("log")
        axes.set_title(title, loc="left")
        axes.set_xlabel("step")
        if len(curves) > 1:
            axes.legend(frameon=False)
        _quiet(axes)
    return _save(figure, Path(path))


def format_table(metrics: Mapping[str, Any]) -> str:
    """The metrics as a plain-text table for the terminal, each with its 95% interval.

    Args:
        metrics: what `evaluate_predictions` returned.

    Returns:
        Several lines without a newline at the end, at most 100 columns wide unless a name is very long: all metrics of
        the first attribute, then SRCC, PLCC and MAE of the other attributes and of the subsets, then the notes.
    """
    first, *others = metrics["attributes"]
    scale = f", scores on {metrics['min_score']:g}..{metrics['max_score']:g}" if "min_score" in metrics else ""
    unscored = f", {metrics['unscored']} unscored and left out" if metrics["unscored"] else ""
    lines = [f"{first}: {metrics['n']} rows{unscored}{scale}"]
    with_interval = any(key.endswith("_low") for key in metrics)
    lines.append(f"  {'':<14}{'value':>8}" + ("   95% interval" if with_interval else ""))
    for key, name in TABLE_NAMES.items():
        if key in metrics:
            interval = _interval_text(metrics, key)
            lines.append(f"  {name:<14}{_number_text(metrics[key]):>8}   {interval}".rstrip())

    subsets = list(dict.fromkeys(key.split("/")[1] for key in metrics if key.startswith("subset/")))
    parts = {name: f"{name}/" for name in others} | {f"subset {name}": f"subset/{name}/" for name in subsets}
    if parts:
        width = max(len(name) for name in parts)
        lines += ["", f"  {'':<{width}}  {'rows':>6}  {'SRCC':<24}{'PLCC':<24}{'MAE':<24}".rstrip()]
        for name, prefix in parts.items():
            cells = [
                f"{_number_text(metrics[prefix + key])} {_interval_text(metrics, prefix + key)}"
                for key in ("srcc", "plcc", "mae")
            ]
            row = f"  {name:<{width}}  {metrics[prefix + 'n']:>6}  " + "".join(f"{cell:<24}" for cell in cells)
            lines.append(row.rstrip())

    reasons: dict[tuple[str, str], list[str]] = {}
    for key, reason in metrics["notes"].items():
        prefix, slash, name = key.rpartition("/")
        reasons.setdefault((reason, prefix + slash), []).append(name)
    if reasons or metrics["calibrated"] is False:
        lines.append("")
    if metrics["calibrated"] is False:
        lines.append("  note: std and distributions are uncalibrated: the model was trained on scores alone")
    for (reason, prefix), names in reasons.items():
        subject = ", ".join(prefix + name for name in names) if len(names) <= 4 else f"{prefix}* ({len(names)} metrics)"
        lines.append(f"  note: {subject}: {reason}")
    return "\n".join(lines)


def _is_number(value: float | None) -> bool:
    return value is not None and not math.isnan(value)


def _scored_pairs(rows: Sequence[EvaluatedRow], attribute: str) -> tuple[list[float | None], list[float]]:
    """Predictions and human scores of the rows that people rated."""
    rated = [row for row in rows if _is_number(row.scores.get(attribute))]
    return [row.predictions.get(attribute) for row in rated], [row.scores[attribute] for row in rated]


def _distributions(rows: Sequence[EvaluatedRow], attribute: str) -> tuple[np.ndarray, np.ndarray]:
    """Predicted distributions and vote histograms of the scored rows that have both, (n, N) each."""
    both = [
        row
        for row in rows
        if row.p_n is not None and row.h_n is not None and _is_number(row.predictions.get(attribute))
    ]
    for row in both:
        if not len(row.p_n) == len(row.h_n) == len(both[0].h_n):
            raise ValueError(
                f"row {row.id}: {len(row.p_n)} predicted levels and {len(row.h_n)} histogram bins, where the first row "
                f"has {len(both[0].h_n)} bins; a distribution is compared with a histogram of as many bins as levels"
            )
    return np.array([row.p_n for row in both], dtype=float), np.array([row.h_n for row in both], dtype=float)


def _write_complete(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` fill a temporary file beside `path`, then give it its name in one step."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _write_predictions(path: Path, rows: Sequence[EvaluatedRow], metrics: Mapping[str, Any]) -> None:
    first, *others = metrics["attributes"]
    num_h = max((len(row.h_n) for row in rows if row.h_n is not None), default=0)
    num_p = max((len(row.p_n) for row in rows if row.p_n is not None), default=0)
    columns: dict[str, Callable[[EvaluatedRow], Any]] = {"id": lambda row: row.id}
    if any(row.subset is not None for row in rows):
        columns["subset"] = lambda row: row.subset
    columns["score"] = lambda row: row.scores.get(first)
    columns |= {f"score.{name}": lambda row, name=name: row.scores.get(name) for name in others}
    columns |= {f"h_{n + 1}": lambda row, n=n: row.h_n[n] if row.h_n is not None else None for n in range(num_h)}
    columns["prediction"] = lambda row: row.predictions.get(first)
    columns |= {f"prediction.{name}": lambda row, name=name: row.predictions.get(name) for name in others}
    if num_p or any(row.std is not None for row in rows):
        columns["std"] = lambda row: row.std
        columns |= {f"p_{n + 1}": lambda row, n=n: row.p_n[n] if row.p_n is not None else None for n in range(num_p)}
        if metrics.get("calibrated") is not None:
            columns["calibrated"] = lambda row: "yes" if metrics["calibrated"] else "no"

    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([_cell(value(row)) for value in columns.values()] for row in rows)


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return value
    # Nine digits bring every float32 back exactly; an empty cell is "not given".
    return f"{float(value):.9g}" if _is_number(value) else ""


def _number_text(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _interval_text(metrics: Mapping[str, Any], key: str) -> str:
    low, high = metrics.get(f"{key}_low"), metrics.get(f"{key}_high")
    return "" if low is None or high is None else f"[{low:.3f}, {high:.3f}]"


def _figure(width: float, height: float) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("plots need matplotlib; install it with: pip install 'roc-mllm[train]'") from error
    # A Figure of its own draws with Agg and leaves the caller's pyplot state and backend alone.
    return Figure(figsize=(width, height), dpi=120, layout="constrained")


def _save(figure: Figure, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_complete(path, lambda temporary: figure.savefig(temporary, format="png"))
    return path


def _quiet(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.92", linewidth=0.8)
    axes.set_axisbelow(True)


def _range_text(metrics: Mapping[str, Any]) -> str:
    return f" ({metrics['min_score']:g}..{metrics['max_score']:g})" if "min_score" in metrics else ""


def _scatter(human: np.ndarray, predicted: np.ndarray, metrics: Mapping[str, Any]) -> Figure:
    figure = _figure(5.2, 5.2)
    axes = figure.add_subplot()
    both = np.concatenate([human, predicted])
    margin = 0.04 * (np.ptp(both) or 1.0)
    limits = both.min() - margin, both.max() + margin
    axes.plot(limits, limits, color=QUIET, linewidth=1, linestyle="--", label="prediction = score")
    opacity = float(np.clip(250 / len(human), 0.15, 0.8))
    axes.scatter(human, predicted, s=14, color=MODEL, alpha=opacity, linewidths=0)
    axes.set(xlim=limits, ylim=limits, aspect="equal")
    axes.set_xlabel(f"human score{_range_text(metrics)}")
    axes.set_ylabel(f"prediction{_range_text(metrics)}")
    correlations = [
        f"{TABLE_NAMES[key]} {_number_text(metrics[key])} {_interval_text(metrics, key)}".rstrip()
        for key in ("srcc", "plcc")
    ]
    axes.set_title(
        f"{metrics['attributes'][0]}, {len(human)} rows\n{'   '.join(correlations)}", loc="left", fontsize=10
    )
    axes.legend(frameon=False, loc="upper left")
    _quiet(axes)
    return figure


def _errors(human: np.ndarray, predicted: np.ndarray, metrics: Mapping[str, Any]) -> Figure:
    figure = _figure(6.4, 4.0)
    axes = figure.add_subplot()
    groups = _by_tenths(human)
    errors = [(predicted - human)[group] for group in groups]
    positions = np.arange(len(groups))
    axes.axhline(0, color=QUIET, linewidth=1, linestyle="--")
    axes.boxplot(
        errors,
        positions=positions,
        widths=0.6,
        whis=(5, 95),
        showfliers=False,
        patch_artist=True,
        boxprops={"facecolor": MODEL, "alpha": 0.35, "edgecolor": MODEL},
        whiskerprops={"color": MODEL},
        capprops={"color": MODEL},
        medianprops={"color": "0.2", "linewidth": 1.5},
    )
    axes.set_xticks(positions, [_span_text(human[group]) for group in groups])
    axes.tick_params(axis="x", labelsize=8)
    axes.set_xlabel(f"human score{_range_text(metrics)}, rows in groups of about equal size")
    axes.set_ylabel("prediction - human score")
    axes.set_title("Errors along the scale: middle half and 5%..95%", loc="left", fontsize=10)
    _quiet(axes)
    return figure


def _mean_distribution(
    rows: Sequence[EvaluatedRow], human: np.ndarray, predicted: np.ndarray, metrics: Mapping[str, Any]
) -> Figure:
    figure = _figure(6.4, 4.0)
    axes = figure.add_subplot()
    p, h = _distributions(rows, metrics["attributes"][0])
    if len(h):
        num_levels = h.shape[1]
        lowest, highest = metrics.get("min_score", 1), metrics.get("max_score", num_levels)
        levels, step = np.linspace(lowest, highest, num_levels, retstep=True)
        axes.bar(levels - 0.2 * step, h.mean(axis=0), width=0.4 * step, color=HUMAN, label="votes")
        axes.bar(levels + 0.2 * step, p.mean(axis=0), width=0.4 * step, color=MODEL, label="predicted")
        if num_levels <= 20:
            axes.set_xticks(levels, [f"{level:.3g}" for level in levels])
        axes.set_xlabel(f"level{_range_text(metrics)}")
        axes.set_ylabel("mean share")
        uncalibrated = "; not trained on distributions" if metrics.get("calibrated") is False else ""
        axes.set_title(f"Mean distribution over {len(h)} rows{uncalibrated}", loc="left", fontsize=10)
    else:
        both = np.concatenate([human, predicted])
        edges = np.linspace(both.min(), both.max() + (np.ptp(both) == 0), 31)
        axes.hist(human, bins=edges, color=HUMAN, alpha=0.55, label="human scores")
        axes.hist(predicted, bins=edges, color=MODEL, alpha=0.55, label="predictions")
        axes.set_xlabel(f"score{_range_text(metrics)}")
        axes.set_ylabel("rows")
        axes.set_title(f"Scores and predictions of {len(human)} rows", loc="left", fontsize=10)
    axes.legend(frameon=False)
    _quiet(axes)
    return figure


def _spread(
    rows: Sequence[EvaluatedRow], human: np.ndarray, predicted: np.ndarray, metrics: Mapping[str, Any]
) -> Figure:
    figure = _figure(5.2, 4.6)
    axes = figure.add_subplot()
    known = np.array([_is_number(row.std) for row in rows])
    std = np.array([row.std for row in rows if _is_number(row.std)], dtype=float)
    with_votes = all(row.h_n is not None for row in rows) and "min_score" in metrics
    if with_votes:
        h = np.array([row.h_n for row in rows], dtype=float)[known]
        levels = np.linspace(metrics["min_score"], metrics["max_score"], h.shape[1])
        actual = np.sqrt(np.maximum(h @ levels**2 - (h @ levels) ** 2, 0))
        marks = [(std[group].mean(), actual[group].mean()) for group in _by_tenths(std)]
        both = np.concatenate([std, actual])
        margin = 0.04 * (np.ptp(both) or 1.0)
        limits = both.min() - margin, both.max() + margin
        opacity = float(np.clip(200 / len(std), 0.1, 0.6))
        axes.plot(limits, limits, color=QUIET, linewidth=1, linestyle="--", label="equal")
        axes.scatter(std, actual, s=10, color=HUMAN, alpha=opacity, linewidths=0)
        axes.set(xlim=limits, ylim=limits, aspect="equal")
        label, title = "standard deviation of the votes", "Predicted spread and spread of the votes"
    else:
        # No line of equality here: the distribution describes how far people are apart, not how far the mean is off.
        error = np.abs(predicted - human)[known]
        marks = [(std[group].mean(), np.sqrt(np.square(error[group]).mean())) for group in _by_tenths(std)]
        axes.set_ylim(0, 1.3 * max(height for _, height in marks) or 1.0)
        label, title = "RMSE of the predictions", "Predicted spread and size of the errors"
    axes.plot(*zip(*marks, strict=True), color=MODEL, marker="o", linewidth=1.5, label="average of similar predictions")
    axes.set_xlabel("predicted standard deviation, native scale")
    axes.set_ylabel(f"{label}, native scale")
    uncalibrated = (
        "\nnot trained on distributions: the predicted spread is free" if metrics.get("calibrated") is False else ""
    )
    axes.set_title(title + uncalibrated, loc="left", fontsize=10)
    axes.legend(frameon=False)
    _quiet(axes)
    return figure


def _by_tenths(values: np.ndarray) -> list[np.ndarray]:
    """Row numbers in up to ten groups of about equal size, in ascending order of `values`."""
    groups = min(10, max(1, len(values) // 5))
    return np.array_split(np.argsort(values, kind="stable"), groups)


def _span_text(values: np.ndarray) -> str:
    low, high = f"{values.min():.3g}", f"{values.max():.3g}"
    return low if low == high else f"{low}\nto {high}"


def _curve(history: Sequence[Mapping[str, Any]], key: str) -> tuple[list[float], list[float]] | None:
    points = [(entry["step"], entry[key]) for entry in history if key in entry and "step" in entry]
    points = [(step, value) for step, value in points if value is not None and math.isfinite(value)]
    return tuple(map(list, zip(*points, strict=True))) if points else None
