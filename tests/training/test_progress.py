"""What is seen of a training run."""

from types import SimpleNamespace

import pytest

from roc.training.progress import LogLines


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({}, ""),
        ({"errors_tracked": 0.5}, "  errors of 50% of the rows tracked"),
        (
            {"errors_tracked": 1.0, "largest_error_weight": 1.838},
            "  errors of 100% of the rows tracked, weights up to 1.84",
        ),
    ],
)
def test_a_log_line_shows_error_aware_weights(caplog, more, says):
    caplog.set_level("INFO", logger="roc.training.progress")
    logs = {"loss": 1.5, "l1_loss": 1.5, "learning_rate": 1e-3, "epoch": 1.0, **more}
    LogLines().on_log(None, SimpleNamespace(is_world_process_zero=True), None, logs)
    assert caplog.messages == [f"epoch 1.0  loss 1.500 (l1 1.500)  lr 1.0e-03{says}"]


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        (300, "epoch 2.0  validation SRCC 0.949 PLCC 0.912 MAE 1.312"),
        (4, "epoch 2.0  validation SRCC ~0.9 PLCC ~0.9 MAE ~1 (rounded: 4 rows)"),
    ],
)
def test_a_validation_on_few_rows_shows_no_decimals_to_quote(caplog, rows, line):
    caplog.set_level("INFO", logger="roc.training.progress")
    logs = {"eval_loss": 1.0, "eval_srcc": 0.949, "eval_plcc": 0.912, "eval_mae": 1.312, "eval_n": rows, "epoch": 2.0}
    LogLines().on_log(None, SimpleNamespace(is_world_process_zero=True), None, logs)
    assert caplog.messages == [line]
