"""How plots look: their colours on light and on dark paper, and their axes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Theme:
    """Colours of a plot: paper, text, background lines, grid, and the two sides of every comparison."""

    paper: str
    ink: str
    quiet: str
    grid: str
    human: str
    model: str

    @property
    def settings(self) -> dict[str, Any]:
        """The same as matplotlib settings."""
        return {
            "figure.facecolor": self.paper,
            "axes.facecolor": self.paper,
            "axes.edgecolor": self.quiet,
            "axes.labelcolor": self.ink,
            "axes.titlecolor": self.ink,
            "axes.titlesize": 11,
            "text.color": self.ink,
            "xtick.color": self.ink,
            "ytick.color": self.ink,
            "legend.labelcolor": self.ink,
            "legend.frameon": False,
            "legend.fontsize": 9,
            "grid.color": self.grid,
        }


LIGHT = Theme("#ffffff", "#1f2328", "#8c8c8c", "#ebebeb", "#4c72b0", "#d9703a")
DARK = Theme("#161b22", "#e6edf3", "#8b949e", "#2a313b", "#79a8ec", "#f0a070")


def check_matplotlib() -> None:
    """Checks that plots can be drawn, before any long work.

    Raises:
        ImportError: With the command that installs matplotlib.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise ImportError("plots need matplotlib; install it with: pip install 'roc-mllm[train]'") from error


def quieten(axes: Axes) -> None:
    """Removes the upper and right frame and puts a thin grid behind the data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(linewidth=0.8)
    axes.set_axisbelow(True)
