"""The plot of a training run."""

import pytest

from roc.evaluation.curves import training_figure
from roc.evaluation.plots import draw

pytest.importorskip("matplotlib")


def test_training_curves():
    history = [{"step": step, "loss": 5 / step, "l1_loss": 2 / step, "learning_rate": 1e-4} for step in range(1, 40)]
    history += [{"step": 20, "eval_srcc": 0.5, "eval_plcc": None, "eval_mae": 0.4}, {"step": 40, "eval_srcc": 0.6}]
    history += [{"step": 40, "train_loss": 1.0, "train_runtime": 3.0, "loss": float("nan")}]
    figure = training_figure(history)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["loss", "learning rate", "validation correlation", "validation MAE, native scale"]
    assert [line.get_label() for line in figure.axes[0].get_lines()] == ["loss", "l1 loss"]
    assert list(draw((), {}, history)) == ["training"]
    assert training_figure([{"step": 1, "train_loss": 1.0, "epoch": 0.5}]) is None
    assert draw((), {}) == {}
