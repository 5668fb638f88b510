"""The verdict of a comparison: who is better on what, and whether that is certain."""

import pytest

from roc.evaluation.estimates import Difference
from roc.evaluation.verdict import better_model, main_metrics, verdict


@pytest.mark.parametrize(
    ("key", "one", "said"),
    [
        ("srcc", Difference(0.9, 0.8, 0.1, 0.02, 0.2, 0.99), "A"),
        ("srcc", Difference(0.9, 0.8, 0.1, -0.02, 0.2, 0.9), "open"),
        ("light/mae", Difference(0.9, 0.8, 0.1, 0.02, 0.2, 0.01), "B"),
        ("mae", Difference(0.8, 0.8, 1e-7, 1e-8, 2e-7, 0.0), "equal"),
        ("mae", Difference(0.8, 0.8, 4e-4, 1e-4, 9e-4, 0.0), "open"),
        ("coverage_50", Difference(0.5, 0.8, -0.3, -0.4, -0.2, 1.0), "A"),
        ("coverage_50", Difference(0.6, 0.8, -0.2, -0.4, -0.1, 0.9), "open"),
        ("srcc", Difference(0.9, 0.8, 0.1), None),
        ("srcc", Difference(None, 0.8), None),
    ],
)
def test_a_model_is_better_where_the_interval_excludes_zero(key, one, said):
    assert better_model(key, one) == said


def test_the_main_metrics_are_few():
    keys = ["srcc", "plcc", "krcc", "mae", "rmse", "emd", "coverage_50", "light/srcc", "light/krcc", "light/mae"]
    assert main_metrics(keys) == ["srcc", "plcc", "mae", "emd", "light/srcc", "light/mae"]


def test_the_verdict_names_winner_margin_and_what_is_open():
    metrics = {
        "srcc": Difference(0.9, 0.8, 0.1, 0.02, 0.2, 0.99),
        "plcc": Difference(0.9, 0.89, 0.01, -0.02, 0.03, 0.7),
        "mae": Difference(0.9, 0.8, 0.1, 0.02, 0.2, 0.01),
        "krcc": Difference(0.9, 0.8, 0.1, 0.02, 0.2, 0.99),
    }
    assert verdict(metrics, 100) == [
        "A is better than B: SRCC 0.900 against 0.800, by 0.100 [0.020, 0.200].",
        "B is better than A: MAE 0.800 against 0.900, by 0.100 [0.020, 0.200].",
        "Not certain, the 95% interval of A - B includes 0: PLCC.",
    ]
    assert verdict({"plcc": metrics["plcc"]}, 12) == [
        "Neither is certainly better, every 95% interval of A - B includes 0: PLCC +0.01 [-0.02, +0.03].",
        "Only 12 rows (below 30): numbers are rounded, and other photos may say otherwise.",
    ]
    assert "--n_resamples 0" in verdict({"srcc": Difference(0.9, 0.8, 0.1)}, 100)[0]
    assert verdict({"srcc": Difference(None, None)}, 0) == ["There are too few rows to compare."]
