"""Plots are PNGs of what the rows hold, in both themes, and leave the settings of matplotlib alone."""

import sys

import numpy as np
import pytest
from evaluations import make_metrics, make_rows
from scipy import stats

from roc.evaluation.evaluated_rows import EvaluatedRow
from roc.evaluation.plots import draw, evaluation_figures, write_plots
from roc.evaluation.summary import evaluate_predictions
from roc.evaluation.theme import DARK
from roc.score_space import ScoreSpace

matplotlib = pytest.importorskip("matplotlib")


def figures_of(rows, **options):
    return evaluation_figures(rows, evaluate_predictions(rows, space=None, n_resamples=0), **options)


def test_pictures_are_pngs_for_what_the_rows_hold(tmp_path):
    rows = make_rows()
    pictures = draw(rows, make_metrics(rows, calibrated=False))
    assert list(pictures) == ["scatter", "errors", "calibration", "coverage", "distribution", "spread"]
    paths = write_plots(tmp_path / "plots", pictures)
    assert [path.name for path in paths] == [f"{name}.png" for name in pictures]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)

    bare = [EvaluatedRow(str(n), {"overall": n / 7}, {"overall": 0.5}) for n in range(7)]
    assert list(figures_of(bare)) == ["scatter", "errors", "calibration", "distribution"]
    assert figures_of([EvaluatedRow("a", {"overall": 1.0}, {"overall": None})]) == {}


def test_a_dark_picture_has_dark_paper_and_the_settings_are_given_back():
    before = dict(matplotlib.rcParams)
    figure = evaluation_figures(make_rows(), make_metrics(make_rows(), n_resamples=0), DARK)["scatter"]
    assert matplotlib.colors.to_hex(figure.get_facecolor()) == DARK.paper
    assert dict(matplotlib.rcParams) == before


def test_spread_is_drawn_against_the_errors_where_there_are_no_votes():
    rows = [EvaluatedRow(str(n), {"overall": n / 7}, {"overall": 0.5}, std=0.1 + n / 50) for n in range(12)]
    figures = figures_of(rows)
    assert figures["spread"].axes[0].get_ylabel() == "RMSE of the predictions, native scale"
    assert len(figures["coverage"].axes[0].get_lines()) == 2  # as promised, and human scores; no votes


def test_many_points_become_a_density():
    generator = np.random.default_rng(0)
    rows = [
        EvaluatedRow(str(n), {"overall": x}, {"overall": x + 0.1}) for n, x in enumerate(generator.normal(size=3001))
    ]
    axes = figures_of(rows)["scatter"].axes[0]
    assert [type(artist).__name__ for artist in axes.collections] == ["PolyCollection"]


def test_the_calibration_line_holds_the_means_of_tenths():
    rows = [EvaluatedRow(str(n), {"overall": n + 1.0}, {"overall": float(n)}) for n in range(100)]
    errorbar = figures_of(rows)["calibration"].axes[0].containers[0]
    x, y = errorbar.lines[0].get_data()
    assert x == pytest.approx(np.arange(4.5, 100, 10)) and y == pytest.approx(x + 1)


def test_the_calibration_of_few_rows_is_called_what_it_is():
    """Checks two groups of five, whose intervals are those of Student's t."""
    rows = [EvaluatedRow(str(n), {"overall": float(n % 5)}, {"overall": float(n)}) for n in range(10)]
    axes = figures_of(rows)["calibration"].axes[0]
    assert axes.get_xlabel() == "mean prediction of similar rows, 2 groups of about equal size"
    (bars,) = axes.containers[0].lines[2]
    low, high = stats.t.interval(0.95, 4, loc=2, scale=stats.sem(range(5)))
    assert [tuple(bar[:, 1]) for bar in bars.get_segments()] == [pytest.approx((low, high))] * 2
    (lone,) = figures_of(rows[:1])["calibration"].axes[0].containers[0].lines[2]
    assert not np.size(lone.get_segments()[0])  # one row has no interval


def test_levels_are_written_out():
    rows = [EvaluatedRow("a", {"overall": 1.0}, {"overall": 1.0}, p_n=[0.2] * 5, h_n=[0.2] * 5)]
    axes = evaluation_figures(rows, evaluate_predictions(rows, space=ScoreSpace(1, 10), n_resamples=0))["distribution"]
    assert [label.get_text() for label in axes.axes[0].get_xticklabels()] == ["1", "3.25", "5.5", "7.75", "10"]


def test_without_matplotlib_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'roc-mllm\[train\]'"):
        draw(make_rows(), {"attributes": ["overall"]})
