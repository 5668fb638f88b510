"""The evaluation of a run on several data sets: the held-out rows of each on its own scale, and the links as a plot.

output_dir/metrics.json ...            the first data set, whose scale is that of the shared score
output_dir/data_sets/NAME/             every other one: metrics.json, predictions.csv, report.html
output_dir/plots/links.png             which rating of each data set goes with a shared score
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roc.evaluation.evaluated_rows import EvaluatedRow, evaluable, evaluated_rows
from roc.evaluation.folder import write_evaluation
from roc.evaluation.keys import interval_text, metric_text, range_text
from roc.evaluation.link_plot import links_figure, write_links
from roc.evaluation.report import write_report
from roc.evaluation.summary import evaluate_predictions
from roc.files import write_text
from roc.scoring.assessment import Assessment
from roc.scoring.scales import on_scale
from roc.training import finish
from roc.training.run import command

if TYPE_CHECKING:
    from roc.data.records import Record
    from roc.model.scales import DataScale
    from roc.scoring.results import Assessed
    from roc.training.config import RunConfig
    from roc.training.data import RunData

FOLDER = "data_sets"
"""Folder in `output_dir` with the evaluations of all data sets but the first."""


def evaluate(config: RunConfig, data: RunData, history: list[dict[str, Any]]) -> str:
    """Scores the held-out rows of each data set with the checkpoint in `output_dir`, and writes the reports.

    Args:
        config: With `mix`, of several data sets.
        data: The rows of all of them.
        history: The trainer's log, for the plots.

    Returns:
        The table of the first data set, and a line for each of them; `metrics.txt` keeps it.
    """
    out = Path(config.output_dir)
    parts = {one.name: _part(data, one.name) for one in config.data_sets}
    table = finish.evaluate(config, parts[config.data_sets[0].name], history)
    assessment = Assessment(out, batch_size=config.per_device_eval_batch_size)
    declaration = assessment.model.declaration
    lines: list[list[str]] = []
    points: dict[str, list[tuple[float, float]]] = {}
    for number, scale in enumerate(declaration.scales):
        split, held_out = _held_out(config, parts[scale.name])
        records = evaluable(held_out)
        if not records:
            lines.append([scale.name, range_text(scale.range), "no held-out row"])
            continue
        assessed = assessment.score([record.images[0] for record in records])
        points[scale.name] = _points(records, assessed, declaration.attributes[0])
        rows = _rows(records, assessed, scale)
        metrics = _metrics(config, rows, scale, assessment, split)
        if number:
            folder = out / FOLDER / scale.name
            write_evaluation(folder, rows, metrics)
            write_report(folder, rows, metrics)
        lines.append(_line(scale, metrics))
    figure = links_figure(declaration.scales, declaration.space, declaration.attributes[0], points)
    plot = write_links(out / "plots" / "links.png", figure)
    told = [table, "", *_told(lines), "", f"Links: {plot}    reports of the others: {out / FOLDER}"]
    text = "\n".join(told)
    write_text(out / finish.TABLE_FILE, text + "\n")
    return text


def _part(data: RunData, name: str) -> RunData:
    """The rows of one data set."""
    own = {split: [row for row in getattr(data, split) if row.dataset == name] for split in ("train", "val", "test")}
    return replace(data, **own)


def _held_out(config: RunConfig, data: RunData) -> tuple[str, Sequence[Record]]:
    tested = bool(data.test) and not config.no_test_table
    return ("test", data.test) if tested else ("val", data.val)


def _points(records: Sequence[Record], assessed: Sequence[Assessed], attribute: str) -> list[tuple[float, float]]:
    return [
        (one.scores[attribute].value, record.scores[attribute])
        for record, one in zip(records, assessed, strict=True)
        if attribute in record.scores
    ]


def _rows(records: Sequence[Record], assessed: Sequence[Assessed], scale: DataScale) -> list[EvaluatedRow]:
    return evaluated_rows(records, [on_scale(one, scale) for one in assessed])


def _metrics(
    config: RunConfig, rows: Sequence[EvaluatedRow], scale: DataScale, assessment: Assessment, split: str
) -> dict[str, Any]:
    low, high = scale.range
    declaration = assessment.model.declaration
    rated = [name for name in declaration.attributes if any(name in row.scores for row in rows)]
    metrics = evaluate_predictions(
        rows,
        space=replace(config.score_space, min_score=low, max_score=high, attribute_ranges={}),
        attributes=rated,
        calibrated=declaration.distribution_supervised,
    )
    return metrics | {"split": split, "dataset": scale.name, "command": command(config)}


def _line(scale: DataScale, metrics: dict[str, Any]) -> list[str]:
    cells = [f"{metric_text(metrics, key)} {interval_text(metrics, key)}" for key in ("srcc", "plcc", "mae")]
    return [scale.name, range_text(scale.range), str(metrics["n"]), *cells]


def _told(lines: Sequence[Sequence[str]]) -> list[str]:
    """Sets the lines as a table, each data set on its own scale."""
    head = ["data set", "scale", "rows", "SRCC", "PLCC", "MAE, own scale"]
    widths = [max(len(line[column]) for line in (head, *lines) if column < len(line)) for column in range(len(head))]
    return [
        ("  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=False))).rstrip()
        for line in (head, *lines)
    ]
