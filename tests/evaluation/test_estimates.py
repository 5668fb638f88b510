"""Groups of metrics on resampled rows, and the paired differences of two models."""

import numpy as np
import pytest
from evaluations import noisy_scores
from scipy import stats

from roc.evaluation.bootstrap import draws
from roc.evaluation.estimates import Difference, compare_estimates, estimate_coverage, estimate_scores
from roc.evaluation.summary import summarize
from roc.score_space import ScoreSpace


def test_resampled_statistics_equal_scipy_on_the_same_rows():
    predictions, scores = noisy_scores(60)
    predictions = np.round(predictions, 1)
    statistics = estimate_scores(predictions, scores, threshold=5.5).statistics
    (counts,) = draws(60, n_resamples=4, seed=3)
    assert counts.sum(axis=1).tolist() == [60] * 4
    computed = {name: statistic(counts) for name, statistic in statistics.items()}
    for k, row_counts in enumerate(counts.astype(int)):
        x, y = np.repeat(predictions, row_counts), np.repeat(scores, row_counts)
        assert computed["srcc"][k] == pytest.approx(stats.spearmanr(x, y).statistic)
        assert computed["plcc"][k] == pytest.approx(stats.pearsonr(x, y).statistic)
        assert computed["krcc"][k] == pytest.approx(stats.kendalltau(x, y).statistic)
        assert computed["mae"][k] == pytest.approx(np.abs(x - y).mean())
        assert computed["rmse"][k] == pytest.approx(np.sqrt(((x - y) ** 2).mean()))
        assert computed["accuracy"][k] == pytest.approx(((x > 5.5) == (y > 5.5)).mean())


def test_a_constant_resample_has_correlation_zero():
    x, y = np.array([1.1, 2.2, 3.3]), np.array([3.0, 1.0, 2.0])
    statistics = estimate_scores(x, y).statistics
    only_the_first = np.array([[3.0, 0.0, 0.0]])
    assert [statistics[name](only_the_first)[0] for name in ("srcc", "plcc", "krcc")] == [0, 0, 0]


def test_comparison_is_paired():
    predictions, scores = noisy_scores(300)
    worse = predictions + 0.3 * np.random.default_rng(9).normal(size=300)
    a, b = (estimate_scores(given, scores, space=ScoreSpace()) for given in (predictions, worse))
    found = compare_estimates(a, b, n_resamples=300)
    assert set(found) == set(a.values)
    for name, one in found.items():
        assert (one.a, one.b, one.difference) == (a.values[name], b.values[name], a.values[name] - b.values[name])
        assert one.low <= one.difference <= one.high
    assert found["srcc"].difference > 0 > found["mae"].difference
    assert found["srcc"].a_better > 0.9 and found["mae"].a_better > 0.9  # a larger SRCC, a smaller MAE
    alone = summarize(predictions, scores, n_resamples=300)
    # Both models see the same photos, so the difference is far surer than either number.
    assert found["srcc"].high - found["srcc"].low < 0.7 * (alone["srcc_high"] - alone["srcc_low"])
    swapped = compare_estimates(b, a, n_resamples=300)
    assert swapped["plcc"].difference == -found["plcc"].difference
    assert swapped["plcc"].a_better == pytest.approx(1 - found["plcc"].a_better)


def test_comparison_of_a_model_with_itself_and_of_too_few_rows():
    predictions, scores = noisy_scores(30)
    same = estimate_scores(predictions, scores)
    for one in compare_estimates(same, same, n_resamples=20).values():
        assert (one.difference, one.low, one.high, one.a_better) == (0, 0, 0, 0.5)
    two = estimate_scores([1, 2], [1, 2])
    assert compare_estimates(two, two)["srcc"] == Difference(None, None)
    with pytest.raises(ValueError, match="30 and of 2 rows"):
        compare_estimates(same, two)


def test_a_coverage_is_better_the_nearer_it_is_to_what_it_promises():
    generator = np.random.default_rng(0)
    predictions, scores = np.zeros(500), generator.normal(size=500)
    honest, wide = (estimate_coverage(predictions, [std] * 500, scores) for std in (1, 3))
    found = compare_estimates(honest, wide, n_resamples=50)["coverage_80"]
    assert found.difference < 0 and found.a_better == 1
