"""The plot of a training run."""

import pytest

from roc.evaluation.curves import training_figure
from roc.evaluation.plots import draw

pytest.importorskip("matplotlib")


def test_the_curves_of_a_run_on_critiques():
    history = [
        {"step": step, "eval_entropy": entropy, "eval_readable": 1.0, "eval_sampled_readable": share,
         "eval_srcc": 0.5, "eval_short_srcc": 0.4}
        for step, entropy, share in ((10, 0.75, 0.5), (20, 0.5, 0.875), (30, 0.25, None))
    ]  # fmt: skip
    axes = {one.get_title(loc="left"): one for one in training_figure(history).axes}
    assert list(axes) == ["validation correlation", "entropy of the policy, nats", "readable answers"]
    (entropy,) = axes["entropy of the policy, nats"].get_lines()
    assert list(entropy.get_xdata()) == [10, 20, 30] and list(entropy.get_ydata()) == [0.75, 0.5, 0.25]
    greedy, sampled = axes["readable answers"].get_lines()
    assert (greedy.get_label(), sampled.get_label()) == ("likeliest", "sampled")
    assert list(sampled.get_xdata()) == [10, 20] and list(sampled.get_ydata()) == [0.5, 0.875]


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
