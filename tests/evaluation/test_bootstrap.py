"""Resampling: the draws, how many there are, and statistics from counts alone."""

import numpy as np
import pytest
from scipy import stats

from roc.evaluation import bootstrap


def test_draws_come_in_chunks_that_hold_all_resamples(monkeypatch):
    monkeypatch.setattr(bootstrap, "_CHUNK", 35)
    chunks = list(bootstrap.draws(10, n_resamples=7, seed=0))
    assert [len(chunk) for chunk in chunks] == [3, 3, 1]
    assert np.concatenate(chunks).sum(axis=1).tolist() == [10] * 7


def test_many_rows_get_fewer_resamples_but_never_fewer_than_a_hundred():
    assert bootstrap.resamples_for(20_000, 1000) == bootstrap.resamples_for(50_000, 1000) == 1000
    assert bootstrap.resamples_for(200_000, 1000) == 250
    assert bootstrap.resamples_for(5_000_000, 1000) == 100
    assert bootstrap.resamples_for(5_000_000, 20) == 20


def test_all_statistics_see_the_same_draws():
    values = np.arange(12.0)
    found = bootstrap.resample(
        {"mean": bootstrap.resampled_mean(values), "twice": bootstrap.resampled_mean(2 * values)}, 12, 40, seed=1
    )
    assert found["mean"].shape == (40,)
    assert found["twice"] == pytest.approx(2 * found["mean"])


def test_interval_leaves_out_what_has_no_value():
    values = np.r_[np.linspace(0, 1, 1001), np.nan]
    assert bootstrap.interval(values) == pytest.approx((0.025, 0.975))


def test_statistics_from_counts_equal_those_of_the_rows_drawn():
    generator = np.random.default_rng(0)
    x, y = np.round(generator.normal(size=(2, 40)), 1)
    (counts,) = bootstrap.draws(40, n_resamples=3, seed=0)
    ranks = [bootstrap.resampled_ranks(counts, values) for values in (x, y)]
    for k, row in enumerate(counts.astype(int)):
        a, b = np.repeat(x, row), np.repeat(y, row)
        assert bootstrap.resampled_pearson(counts, x, y)[k] == pytest.approx(stats.pearsonr(a, b).statistic, abs=1e-12)
        assert bootstrap.resampled_pearson(counts, *ranks)[k] == pytest.approx(
            stats.spearmanr(a, b).statistic, abs=1e-12
        )
        assert bootstrap.resampled_kendall(counts, x, y)[k] == pytest.approx(
            stats.kendalltau(a, b).statistic, abs=1e-12
        )
