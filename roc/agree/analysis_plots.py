"""The plots of an analysis.

    conflicts        a matrix a run: the cosines between the gradients of the attributes
    over_training    share of conflicting pairs in the saved states of each run
    groups           marginalisation of hard photos and of the others
    errors           marginalisation against the mean error of the baselines
    changes          baseline to +AGREE: error on all and on hard photos, order of all photos

They are drawn from the content of analysis.json and photos.csv, in `LIGHT` or in `DARK`, and need matplotlib; what an
analysis has no numbers for is left out.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from roc.agree.attributes import ATTRIBUTES
from roc.evaluation.theme import LIGHT, Theme, check_matplotlib, quieten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_READINGS = {"shared": "shared block", "branches": "branches"}


def draw(facts: Mapping[str, Any], photos: Sequence[Mapping[str, Any]], theme: Theme = LIGHT) -> dict[str, bytes]:
    """Draws the plots of an analysis as PNG files in memory.

    Args:
        facts: The content of analysis.json.
        photos: The rows of photos.csv.
        theme: Colours.

    Returns:
        Name -> bytes, in the order listed at the top of this module.

    Raises:
        ImportError: If matplotlib is missing.
    """
    check_matplotlib()
    import matplotlib

    with matplotlib.rc_context(theme.settings):
        figures = {
            "conflicts": _conflicts(facts, theme),
            "over_training": _over_training(facts, theme),
            "groups": _groups(photos, facts, theme),
            "errors": _errors(photos, facts, theme),
            "changes": _changes(facts, theme),
        }
        return {name: _png(figure) for name, figure in figures.items() if figure is not None}


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", pil_kwargs={"compress_level": 4})
    return buffer.getvalue()


def _figure(width: float = 5.8, height: float = 4.6) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=130, layout="constrained")


def _conflicts(facts: Mapping[str, Any], theme: Theme) -> Figure | None:
    """A matrix for each run and reading."""
    panels = [
        (f"{run}\n{_READINGS[reading]}, conflict ratio {_text(found['conflict_ratio']['value'])}", found)
        for run, pull in facts.get("gradients", {}).items()
        for reading, found in pull["readings"].items()
    ]
    if not panels:
        return None
    columns = min(3, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = _figure(3.9 * columns + 0.8, 3.6 * rows + 0.4)
    drawn = []
    for number, (title, found) in enumerate(panels, start=1):
        axes = figure.add_subplot(rows, columns, number)
        drawn.append(_matrix(axes, found, theme))
        axes.set_title(title, loc="left", fontsize=9)
    figure.colorbar(drawn[0], ax=figure.axes, shrink=0.7, label="cosine of the mean gradients")
    return figure


def _matrix(axes: Axes, found: Mapping[str, Any], theme: Theme) -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    values = np.full((len(ATTRIBUTES),) * 2, np.nan)
    for name in found["attributes"]:
        values[(ATTRIBUTES.index(name),) * 2] = 1
    for pair, cosine in found["cosines"].items():
        i, j = map(ATTRIBUTES.index, pair.split("/"))
        values[i, j] = values[j, i] = np.nan if cosine["value"] is None else cosine["value"]
    colors = LinearSegmentedColormap.from_list("cosine", [theme.model, theme.paper, theme.human])
    colors.set_bad(theme.grid)
    image = axes.imshow(np.ma.masked_invalid(values), cmap=colors, vmin=-1, vmax=1)
    for (i, j), value in np.ndenumerate(values):
        axes.text(j, i, _text(value, ".2f"), ha="center", va="center", fontsize=7, color=theme.ink)
    axes.set_xticks(range(len(ATTRIBUTES)), ATTRIBUTES, rotation=45, ha="right", fontsize=8)
    axes.set_yticks(range(len(ATTRIBUTES)), ATTRIBUTES, fontsize=8)
    axes.spines[:].set_visible(False)
    return image


def _over_training(facts: Mapping[str, Any], theme: Theme) -> Figure | None:
    curves = {run: pull["over_training"] for run, pull in facts.get("gradients", {}).items()}
    curves = {run: points for run, points in curves.items() if len(points) > 1}
    if not curves:
        return None
    figure = _figure()
    axes = figure.add_subplot()
    for number, (run, points) in enumerate(curves.items()):
        color = _color(number, theme)
        steps = [point["step"] for point in points]
        axes.plot(steps, [point["conflict_ratio"] for point in points], "o", color=color, alpha=0.4, markersize=4)
        if all(point["low"] is not None for point in points):
            ends = [[point[end] for point in points] for end in ("low", "high")]
            axes.fill_between(steps, *ends, color=color, alpha=0.12, linewidth=0)
        axes.plot(steps, [point["running_mean"] for point in points], color=color, label=run)
    axes.set(xlabel="step", ylabel="share of pairs with a negative cosine", ylim=(-0.03, 1.03))
    axes.set_title(
        "Conflicts between attributes in the saved states\nline: running mean; band: interval of each", loc="left"
    )
    axes.legend()
    quieten(axes)
    return figure


def _groups(photos: Sequence[Mapping[str, Any]], facts: Mapping[str, Any], theme: Theme) -> Figure | None:
    known = [photo for photo in photos if photo.get("m") is not None]
    groups = [[photo["m"] for photo in known if photo["hard"] == flag] for flag in (True, False)]
    if not all(groups):
        return None
    found = facts["marginalisation"]["m"]
    figure = _figure()
    axes = figure.add_subplot()
    colors = (theme.model, theme.human)
    boxes = axes.boxplot(groups, widths=0.5, showfliers=False, patch_artist=True)
    for box, color in zip(boxes["boxes"], colors, strict=True):
        box.set(facecolor=color, alpha=0.35, edgecolor=theme.ink)
    for line in (*boxes["whiskers"], *boxes["caps"], *boxes["medians"]):
        line.set_color(theme.ink)
    for place, name in enumerate(("mean_hard", "mean_others"), start=1):
        one = found[name]
        if one["value"] is None:
            continue
        ends = [[one["value"] - one["low"]], [one["high"] - one["value"]]] if one["low"] is not None else None
        axes.errorbar(place, one["value"], yerr=ends, fmt="D", color=theme.ink, capsize=4, markersize=5)
    axes.set_xticks((1, 2), [f"hard ({len(groups[0])})", f"others ({len(groups[1])})"])
    axes.set_ylabel("marginalisation M")
    axes.set_title(f"M by group; Cohen's d {_with_ends(found['cohen_d'])}\ndiamond: mean with interval", loc="left")
    quieten(axes)
    return figure


def _errors(photos: Sequence[Mapping[str, Any]], facts: Mapping[str, Any], theme: Theme) -> Figure | None:
    known = [photo for photo in photos if photo.get("m") is not None]
    if len(known) < 3:
        return None
    figure = _figure()
    axes = figure.add_subplot()
    for flag, color, label in ((False, theme.human, "others"), (True, theme.model, "hard")):
        group = [photo for photo in known if photo["hard"] == flag]
        places = [photo["m"] for photo in group], [photo["mean_error"] for photo in group]
        transparency = float(np.clip(250 / len(known), 0.2, 0.8))
        axes.scatter(*places, s=14, color=color, alpha=transparency, linewidths=0, label=label)
    axes.set(xlabel="marginalisation M", ylabel="mean absolute error of the baselines")
    axes.set_title(f"Error against M; r {_with_ends(facts['marginalisation']['m']['pearson'])}", loc="left")
    axes.legend()
    quieten(axes)
    return figure


def _changes(facts: Mapping[str, Any], theme: Theme) -> Figure | None:
    """Baseline to +AGREE, one line a pair."""
    pairs = facts.get("comparisons", [])
    if not pairs:
        return None
    panels = {
        "MAE, all photos (lower is better)": ("all", "mae"),
        "MAE, hard photos (lower is better)": ("hard", "mae"),
        "SRCC, all photos (higher is better)": ("all", "srcc"),
    }
    figure = _figure(11.5, 1.6 + 0.45 * len(pairs))
    for number, (title, (part, metric)) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(1, len(panels), number)
        for place, pair in enumerate(reversed(pairs)):
            ends = [facts["runs"][pair[role]][part][metric]["value"] for role in ("baseline", "improved")]
            if None in ends:
                continue
            axes.plot(ends, [place, place], color=theme.quiet, linewidth=2, zorder=1)
            for value, color, label in zip(ends, (theme.human, theme.model), ("baseline", "+AGREE"), strict=True):
                axes.scatter([value], [place], s=40, color=color, label=label if place == 0 else None, zorder=2)
        names = [pair["baseline"] for pair in reversed(pairs)]
        axes.set_yticks(range(len(pairs)), names if number == 1 else [""] * len(pairs))
        axes.set_ylim(-0.6, len(pairs) - 0.4)
        axes.set_title(title, loc="left", fontsize=9)
        quieten(axes)
        if number == 1:
            axes.legend(fontsize=8)
    return figure


def _color(number: int, theme: Theme) -> str:
    others = ("#55a868", "#c44e52", "#8172b3", "#937860", "#da8bc3", "#64b5cd")
    return (theme.human, theme.model, *others)[number % 8]


def _text(value: float | None, form: str = ".3f") -> str:
    return "-" if value is None or math.isnan(value) else f"{value:{form}}"


def _with_ends(found: Mapping[str, float | None]) -> str:
    ends = "" if found["low"] is None else f" [{found['low']:.2f}, {found['high']:.2f}]"
    return _text(found["value"], ".2f") + ends
