"""The plot of the links of a model that was trained on several data sets: which ratings go with a shared score.

One panel a data set. The line is the link; beside it stand the held-out rows, each at its predicted shared score and
its human rating, where they are known. On the dashed line, the ranges are mapped onto each other and nothing else.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from roc.evaluation.theme import LIGHT, Theme, check_matplotlib, quieten
from roc.files import write_whole
from roc.model.scales import DataScale
from roc.score_space import ScoreSpace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROWS = 3000
"""Rows that are drawn at most."""
_PER_LINE = 3
_STEPS = 200


def links_figure(
    scales: Sequence[DataScale],
    space: ScoreSpace,
    attribute: str,
    rows: Mapping[str, Sequence[tuple[float, float]]],
    theme: Theme = LIGHT,
) -> Figure:
    """Draws the links of one attribute.

    Args:
        scales: Of the data sets.
        space: The scale of the shared score.
        attribute: Name of the score.
        rows: Data set -> (shared score, human rating) of its held-out rows.
        theme: Colours.

    Raises:
        ImportError: If matplotlib is missing.
    """
    check_matplotlib()
    import matplotlib
    from matplotlib.figure import Figure

    columns = min(_PER_LINE, len(scales))
    lines = math.ceil(len(scales) / columns)
    with matplotlib.rc_context(theme.settings):
        figure = Figure(figsize=(4.0 * columns, 3.8 * lines), dpi=130, layout="constrained")
        for number, scale in enumerate(scales, start=1):
            axes = figure.add_subplot(lines, columns, number)
            _panel(axes, scale, space.of(attribute), attribute, rows.get(scale.name, ())[:_ROWS], theme)
    return figure


def write_links(file: str | os.PathLike[str], figure: Figure) -> Path:
    """Writes the figure as PNG; the file appears once it is complete."""
    return write_whole(Path(file), lambda path: figure.savefig(path, format="png"))


def _panel(
    axes: Axes,
    scale: DataScale,
    space: ScoreSpace,
    attribute: str,
    rows: Sequence[tuple[float, float]],
    theme: Theme,
) -> None:
    if rows:
        shared, human = zip(*rows, strict=True)
        axes.scatter(shared, human, s=12, color=theme.human, alpha=0.35, linewidths=0, label="held-out rows")
    axes.plot(space.range, scale.range, color=theme.quiet, linewidth=1, linestyle="--", label="range onto range")
    units = [step / _STEPS for step in range(_STEPS + 1)]
    ratings = [scale.move(unit, attribute) for unit in units]
    learnt = attribute in scale.links
    label = "link" if learnt else "link, fixed"
    axes.plot([space.from_unit(unit) for unit in units], ratings, color=theme.model, linewidth=2, label=label)
    margin = 0.02 * (scale.range[1] - scale.range[0])
    axes.set(xlim=space.range, ylim=(scale.range[0] - margin, scale.range[1] + margin))
    axes.set_xlabel(f"shared score ({attribute})")
    axes.set_ylabel("rating")
    axes.set_title(scale.name, loc="left")
    axes.legend(loc="upper left")
    quieten(axes)
