"""The metrics against the recorded vectors, against scipy, and against cases one can work out by hand."""

import json
import math
import time
import tracemalloc

import numpy as np
import pytest
from scipy import stats

from roc.evaluation import metrics
from roc.evaluation.bootstrap import draws
from roc.score_space import ScoreSpace


def noisy_scores(n, noise=0.7, seed=0):
    """Predictions and scores with ties among the scores, as rounded human ratings have."""
    generator = np.random.default_rng(seed)
    scores = np.round(5.5 + generator.normal(size=n), 1)
    return scores + noise * generator.normal(size=n), scores


@pytest.mark.parametrize("name", ["metric.all", "metric.const"])
def test_reference(vectors, name):
    entry = vectors[name]
    given = entry["inputs"]
    pair = given["pred"], given["gt"]
    computed = {
        "srcc": metrics.srcc(*pair),
        "plcc": metrics.plcc(*pair),
        "mae": metrics.mae(*pair),
        "rmse": metrics.rmse(*pair),
        "acc": metrics.accuracy(*pair, given["thr"]),
    }
    assert computed == pytest.approx(entry["expected"], abs=entry["tol"])
    summary = metrics.summarize(*pair, threshold=given["thr"], n_resamples=0)
    assert {name: summary["accuracy" if name == "acc" else name] for name in computed} == computed


def test_emd_reference(vectors):
    entry = vectors["roc.emd.sample_r2"]
    assert metrics.emd(entry["inputs"]["p"], entry["inputs"]["q"]) == pytest.approx(entry["expected"], abs=entry["tol"])


def test_emd_by_hand():
    # All mass one of four levels away: cumulative gaps 1, 0, 0, 0.
    assert metrics.emd([1, 0, 0, 0], [0, 1, 0, 0]) == pytest.approx(0.5)
    assert metrics.emd([1, 0, 0, 0], [0, 1, 0, 0], r=1) == pytest.approx(0.25)
    assert metrics.emd([[1, 0, 0, 0], [0, 1, 0, 0]], [[0, 1, 0, 0], [0, 1, 0, 0]]) == pytest.approx(0.25)


def test_emd_refuses_what_is_no_distribution():
    with pytest.raises(ValueError, match="row 2 of q sums to 20; expected 1: divide vote counts"):
        metrics.emd([[0.5, 0.5], [0.5, 0.5]], [[0.5, 0.5], [8, 12]])
    with pytest.raises(ValueError, match="sums to nan"):
        metrics.emd([0.5, math.nan], [0.5, 0.5])
    with pytest.raises(ValueError, match="the same rows and levels"):
        metrics.emd([0.5, 0.5], [0.5, 0.25, 0.25])
    with pytest.raises(ValueError, match="got no rows"):
        metrics.emd(np.zeros((0, 4)), np.zeros((0, 4)))


def test_rank_correlations_know_order_only():
    scores = [1, 2, 3, 4, 5]
    for of in (metrics.srcc, metrics.krcc):
        assert of([1, 10, 100, 1000, 10000], scores) == pytest.approx(1)
        assert of([5, 4, 3, 2, 1], scores) == pytest.approx(-1)
    assert metrics.plcc([1, 10, 100, 1000, 10000], scores) < 0.8
    # One neighbouring pair of ten swapped: tau = (9 - 1) / 10.
    assert metrics.krcc([2, 1, 3, 4, 5], scores) == pytest.approx(0.8)


def test_mapped_plcc_undoes_a_saturating_scale():
    x = np.linspace(-3, 3, 60)
    y = 2 / (1 + np.exp(-(x - 0.5) / 0.4)) + 4
    assert metrics.plcc_mapped(x, y) == pytest.approx(1, abs=1e-6)
    assert metrics.plcc(x, y) < 0.95
    # On a straight line the curve has nothing to add, and must not get lost on its way to being straight.
    assert metrics.plcc_mapped(x, 3 * x - 1) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("of", [metrics.srcc, metrics.plcc, metrics.plcc_mapped, metrics.krcc])
@pytest.mark.parametrize("constant", [[0.1] * 6, [5.5] * 6, [0.0] * 6])
def test_constant_input_has_correlation_zero(of, constant):
    varied = [1, 2, 3, 4, 5, 6]
    assert of(constant, varied) == 0.0
    assert of(varied, constant) == 0.0
    assert of(constant, constant) == 0.0


@pytest.mark.parametrize("constant", [[0.1 + 0.2, 0.3, 0.3, 0.3, 0.3, 0.3], [5.0, 5.0, 5.0, 5.0, 5.0 + 2e-15, 5.0]])
def test_rounding_on_a_constant_is_no_linear_correlation(constant):
    varied = [1, 2, 3, 4, 5, 6]
    for of in (metrics.plcc, metrics.plcc_mapped):
        assert of(constant, varied) == of(varied, constant) == 0.0


def test_ranks_tell_any_two_numbers_apart():
    x = np.array([3.0, 1.0, 2.0, 6.0, 5.0, 4.0, 9.0, 7.0])
    near, scores = 5 + 1e-15 * x, np.array([3.1, 1.2, 2.0, 5.0, 6.0, 4.0, 9.5, 7.0])
    assert len(set(near)) > 3 and np.ptp(near) < 1e-14
    for given in ((near, scores), (scores, near)):
        assert metrics.srcc(*given) == pytest.approx(stats.spearmanr(*given).statistic) and metrics.srcc(*given) > 0.8
        assert metrics.krcc(*given) == pytest.approx(stats.kendalltau(*given).statistic) and metrics.krcc(*given) > 0.7
        assert metrics.plcc(*given) == 0
    summary = metrics.summarize(near, scores, n_resamples=50)
    assert summary["srcc"] == metrics.srcc(near, scores) and summary["krcc"] == metrics.krcc(near, scores)
    assert summary["srcc_low"] <= summary["srcc"] <= summary["srcc_high"] and summary["krcc_high"] > 0
    assert [summary[key] for key in ("plcc", "plcc_low", "plcc_high", "plcc_mapped")] == [0, 0, 0, 0]
    assert set(summary["notes"]) == {"plcc", "plcc_mapped"}
    assert summary["notes"]["plcc"] == (
        "all predictions are equal but for rounding, so only their order can be compared"
    )


@pytest.mark.parametrize("n", [0, 1, 2])
def test_fewer_than_three_rows_give_none(n):
    values = [1.0, 2.0][:n]
    for of in (metrics.srcc, metrics.plcc, metrics.plcc_mapped, metrics.krcc, metrics.mae, metrics.rmse):
        assert of(values, values) is None
    assert metrics.accuracy(values, values, 1.5) is None


def test_mapped_plcc_needs_five_rows():
    assert metrics.plcc_mapped([1, 2, 3, 4], [1, 3, 2, 4]) is None
    assert metrics.plcc_mapped([1, 2, 3, 4, 5], [1, 3, 2, 4, 5]) is not None


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match=r"shape \(2,\) and scores of shape \(3,\)"):
        metrics.srcc([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="prediction number 2 is nan"):
        metrics.mae([1, math.nan, 3], [1, 2, 3])
    with pytest.raises(ValueError, match="score number 3 is inf"):
        metrics.plcc([1, 2, 3], [1, 2, math.inf])
    with pytest.raises(ValueError, match="one score for each"):
        metrics.summarize([1, None], [1, 2, 3])
    with pytest.raises(ValueError, match="human score is not finite"):
        metrics.summarize([1, None, 3, 4], [1, math.nan, 3, 4])
    with pytest.raises(ValueError, match="prediction number 1 is inf"):
        metrics.summarize([math.inf, 2, 3], [1, 2, 3])


def test_summary_has_the_agreed_keys_and_survives_json():
    predictions, scores = noisy_scores(40)
    summary = metrics.summarize(predictions, scores, space=ScoreSpace(), threshold=5.5, n_resamples=50)
    names = ["srcc", "plcc", "plcc_mapped", "krcc", "mae", "rmse", "accuracy", "mae_unit", "rmse_unit"]
    names.insert(0, "unscored_share")
    expected = ["n", "unscored", *[key for name in names for key in (name, f"{name}_low", f"{name}_high")], "notes"]
    assert list(summary) == expected
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert summary["notes"] == {}


def test_summary_agrees_with_scipy():
    predictions, scores = noisy_scores(100)
    summary = metrics.summarize(predictions, scores, n_resamples=0)
    assert summary["srcc"] == pytest.approx(stats.spearmanr(predictions, scores).statistic, abs=1e-12)
    assert summary["plcc"] == pytest.approx(stats.pearsonr(predictions, scores).statistic, abs=1e-12)
    assert summary["krcc"] == pytest.approx(stats.kendalltau(predictions, scores).statistic, abs=1e-12)
    assert not [name for name in summary if name.endswith(("_low", "_high"))]


def test_unscored_rows_leave_every_metric_and_are_counted():
    predictions, scores = noisy_scores(20)
    with_gaps = [*predictions, None, math.nan]
    summary = metrics.summarize(with_gaps, [*scores, 1.0, 10.0], n_resamples=30)
    assert summary["unscored"] == 2
    assert summary["unscored_share"] == pytest.approx(2 / 22)
    assert 0 <= summary["unscored_share_low"] < 2 / 22 < summary["unscored_share_high"] < 0.4
    complete = metrics.summarize(predictions, scores, n_resamples=30)
    assert complete["unscored_share"] == complete["unscored_share_high"] == 0
    assert {key: summary[key] for key in summary if "unscored" not in key} == {
        key: complete[key] for key in complete if "unscored" not in key
    }


def test_summary_of_constant_predictions_gives_zero_and_the_reason():
    summary = metrics.summarize([5.5] * 6, [1, 2, 3, 4, 5, 6], n_resamples=20)
    assert [summary[name] for name in ("srcc", "plcc", "plcc_mapped", "krcc")] == [0, 0, 0, 0]
    assert (summary["srcc_low"], summary["srcc_high"]) == (0, 0)
    assert summary["mae"] == pytest.approx((4.5 + 3.5 + 2.5 + 1.5 + 0.5 + 0.5) / 6)
    assert set(summary["notes"]) == {"srcc", "plcc", "plcc_mapped", "krcc"}
    assert summary["notes"]["srcc"] == "all predictions are equal, so there is no correlation"


def test_summary_of_too_few_rows_gives_null_and_the_reason():
    summary = metrics.summarize([5.0, None, 6.0], [5, 6, 7], space=ScoreSpace(), threshold=5)
    assert (summary["n"], summary["unscored"]) == (2, 1)
    for name in ("srcc", "plcc", "plcc_mapped", "krcc", "mae", "rmse", "accuracy", "mae_unit", "rmse_unit"):
        assert summary[name] is summary[f"{name}_low"] is summary[f"{name}_high"] is None
        assert summary["notes"][name] == "2 rows with a prediction, fewer than 3"


def test_summary_says_when_the_fitted_curve_hides_a_reversed_prediction():
    predictions, scores = noisy_scores(60)
    summary = metrics.summarize(-predictions, scores, n_resamples=0)
    assert summary["plcc"] < -0.5 < 0.5 < summary["plcc_mapped"]
    assert "falls" in summary["notes"]["plcc_mapped"]


def test_unit_errors_follow_the_mode():
    predictions, scores = [2, 3, 4], [3, 3, 3]
    assert metrics.summarize(predictions, scores, space=ScoreSpace(1, 5))["mae_unit"] == pytest.approx(2 / 3 / 4)
    assert metrics.summarize(predictions, scores, space=ScoreSpace(1, 5, mode="max"))["mae_unit"] == pytest.approx(
        2 / 3 / 5
    )


def test_resampled_statistics_equal_scipy_on_the_same_rows():
    predictions, scores = noisy_scores(60)
    predictions = np.round(predictions, 1)
    statistics = metrics.estimate_scores(predictions, scores, threshold=5.5).statistics
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
    statistics = metrics.estimate_scores(x, y).statistics
    only_the_first = np.array([[3.0, 0.0, 0.0]])
    assert [statistics[name](only_the_first)[0] for name in ("srcc", "plcc", "krcc")] == [0, 0, 0]


def test_intervals_cover_the_truth_and_depend_on_the_seed_only():
    # The Fisher transform gives 0.8 +- 0.0226 for a correlation of 0.8 on 1,000 normal rows.
    generator = np.random.default_rng(5)
    scores = generator.normal(size=1000)
    predictions = 0.8 * scores + 0.6 * generator.normal(size=1000)
    summary = metrics.summarize(predictions, scores, n_resamples=300)
    assert summary["plcc_low"] < 0.8 < summary["plcc_high"]
    assert summary["plcc_high"] - summary["plcc_low"] == pytest.approx(2 * 0.0226, rel=0.2)
    assert summary == metrics.summarize(predictions, scores, n_resamples=300)
    assert summary["srcc_low"] != metrics.summarize(predictions, scores, n_resamples=300, seed=1)["srcc_low"]


def test_thousand_resamples_of_500_rows_take_under_two_seconds():
    predictions, scores = noisy_scores(500)
    started = time.process_time()
    metrics.summarize(predictions, scores, space=ScoreSpace(), threshold=5.5)
    assert time.process_time() - started < 2


@pytest.mark.slow
def test_thousand_resamples_of_20000_rows_take_seconds_and_little_memory():
    predictions, scores = noisy_scores(20_000)
    tracemalloc.start()
    started = time.process_time()
    summary = metrics.summarize(predictions, scores, space=ScoreSpace(), threshold=5.5)
    # Tracing every allocation makes it slower than it is; 9 s without, on the machine this was written on.
    assert time.process_time() - started < 60
    assert tracemalloc.get_traced_memory()[1] < 300 * 2**20
    tracemalloc.stop()
    assert summary["krcc_low"] < summary["krcc"] < summary["krcc_high"]


def test_emd_summary_against_a_fixed_histogram():
    human = np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]])
    # Baseline distances: root(0/4), root(1/4), root(2/4) from the first level. Predictions: only the last row is off.
    predicted = np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    summary = metrics.summarize_distributions(predicted, human, baseline=[1, 0, 0, 0], n_resamples=200)
    assert summary["emd"] == pytest.approx(0.5 / 3)
    assert summary["emd_baseline"] == pytest.approx((0 + 0.5 + math.sqrt(0.5)) / 3)
    assert summary["emd_ratio"] == pytest.approx(0.5 / (0.5 + math.sqrt(0.5)))
    assert summary["emd_low"] <= summary["emd"] <= summary["emd_high"]
    assert list(summary)[:4] == ["emd_n", "emd", "emd_low", "emd_high"]
    json.dumps(summary, allow_nan=False)


def test_emd_summary_without_baseline_or_rows():
    three = np.full((3, 4), 0.25)
    summary = metrics.summarize_distributions(three, three, n_resamples=0)
    assert summary == {"emd_n": 3, "emd": 0.0, "kl": 0.0, "notes": {}}
    summary = metrics.summarize_distributions(three, three, baseline=three[0], n_resamples=20)
    assert (summary["emd_baseline"], summary["emd_ratio"]) == (0.0, None)
    assert "no ratio" in summary["notes"]["emd_ratio"]
    summary = metrics.summarize_distributions(three[:2], three[:2], baseline=three[0])
    assert summary["emd"] is summary["emd_ratio"] is summary["emd_low"] is None
    assert "fewer than 3" in summary["notes"]["emd_ratio"]


def test_kl_and_wasserstein_by_hand_and_by_scipy():
    # log 2 for the half of the votes on each level; all mass one step of 4.5 native points away.
    assert metrics.kl([0.25, 0.75], [0.5, 0.5]) == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3))
    assert metrics.wasserstein([1, 0, 0], [0, 1, 0], levels=[1, 5.5, 10]) == pytest.approx(4.5)
    generator = np.random.default_rng(0)
    p, q = generator.dirichlet(np.ones(10), size=(2, 5))
    levels = np.linspace(1, 10, 10)
    scipy_kl = np.mean([stats.entropy(human, model) for model, human in zip(p, q, strict=True)])
    assert metrics.kl(p, q) == pytest.approx(scipy_kl, abs=1e-12)
    scipy_distance = np.mean([stats.wasserstein_distance(levels, levels, a, b) for a, b in zip(p, q, strict=True)])
    assert metrics.wasserstein(p, q, levels) == pytest.approx(scipy_distance, abs=1e-12)


def test_a_level_without_probability_makes_kl_infinite_and_says_so():
    assert metrics.kl([1, 0], [1, 0]) == 0
    assert metrics.kl([1, 0], [0.5, 0.5]) == math.inf
    summary = metrics.summarize_distributions([[1, 0], [0.5, 0.5], [0.5, 0.5]], np.full((3, 2), 0.5), n_resamples=10)
    assert summary["kl"] is summary["kl_low"] is summary["kl_high"] is None
    assert summary["notes"] == {"kl": "infinite: 1 rows give a level that has votes no probability at all"}
    json.dumps(summary, allow_nan=False)


def test_distances_refuse_levels_that_do_not_fit():
    with pytest.raises(ValueError, match="got 2 levels for 3 bins"):
        metrics.wasserstein([1, 0, 0], [0, 1, 0], levels=[1, 2])
    with pytest.raises(ValueError, match="ascending"):
        metrics.wasserstein([1, 0, 0], [0, 1, 0], levels=[3, 2, 1])
    with pytest.raises(ValueError, match="kl got no rows"):
        metrics.kl(np.zeros((0, 4)), np.zeros((0, 4)))


def test_coverage_of_honest_spreads_is_what_they_promise():
    generator = np.random.default_rng(0)
    predictions, stds = generator.normal(size=4000), generator.uniform(0.2, 2, size=4000)
    scores = predictions + stds * generator.normal(size=4000)
    summary = metrics.summarize_coverage(predictions, stds, scores, n_resamples=200)
    assert summary["coverage_n"] == 4000
    for percent in (50, 80, 95):
        assert summary[f"coverage_{percent}"] == metrics.coverage(predictions, stds, scores, percent)
        assert summary[f"coverage_{percent}_low"] < percent / 100 < summary[f"coverage_{percent}_high"]
    half_as_wide = metrics.coverage(predictions, stds / 2, scores, 95)
    assert half_as_wide == pytest.approx(2 * stats.norm.cdf(1.96 / 2) - 1, abs=0.02)


def test_coverage_by_hand():
    # Intervals 5 -+ 1.96, 5 -+ 0 and 5 -+ 0.98.
    assert metrics.coverage([5, 5, 5], [1, 0, 0.5], [6.9, 5, 6], 95) == pytest.approx(2 / 3)
    assert metrics.coverage([5, 5], [1, 1], [5, 5], 95) is None
    # 50%: 2 -+ 0.6745 of bins 0.5..1.5, 1.5..2.5 and 2.5..3.5 is all of the middle one and 0.1745 of each neighbour.
    summary = metrics.summarize_coverage(
        [2.0] * 3, [1.0] * 3, [2.0] * 3, histograms=[[0.2, 0.6, 0.2]] * 3, levels=[1, 2, 3], n_resamples=0
    )
    assert summary["votes_coverage_50"] == pytest.approx(0.6 + 0.4 * (stats.norm.ppf(0.75) - 0.5))
    assert summary["votes_coverage_95"] == pytest.approx(1)
    with pytest.raises(ValueError, match="standard deviation number 2 is -1.0"):
        metrics.coverage([1, 2, 3], [1, -1, 1], [1, 2, 3], 50)
    with pytest.raises(ValueError, match="central interval of 100%"):
        metrics.coverage([1, 2, 3], [1, 1, 1], [1, 2, 3], 100)


def test_comparison_is_paired():
    predictions, scores = noisy_scores(300)
    worse = predictions + 0.3 * np.random.default_rng(9).normal(size=300)
    a, b = (metrics.estimate_scores(given, scores, space=ScoreSpace()) for given in (predictions, worse))
    found = metrics.compare(a, b, n_resamples=300)
    assert set(found) == set(a.values)
    for name, one in found.items():
        assert (one.a, one.b, one.difference) == (a.values[name], b.values[name], a.values[name] - b.values[name])
        assert one.low <= one.difference <= one.high
    assert found["srcc"].difference > 0 > found["mae"].difference
    assert found["srcc"].a_better > 0.9 and found["mae"].a_better > 0.9  # a larger SRCC, a smaller MAE
    alone = metrics.summarize(predictions, scores, n_resamples=300)
    # Both models see the same photos, so the difference is far surer than either number.
    assert found["srcc"].high - found["srcc"].low < 0.7 * (alone["srcc_high"] - alone["srcc_low"])
    swapped = metrics.compare(b, a, n_resamples=300)
    assert swapped["plcc"].difference == -found["plcc"].difference
    assert swapped["plcc"].a_better == pytest.approx(1 - found["plcc"].a_better)


def test_comparison_of_a_model_with_itself_and_of_too_few_rows():
    predictions, scores = noisy_scores(30)
    same = metrics.estimate_scores(predictions, scores)
    for one in metrics.compare(same, same, n_resamples=20).values():
        assert (one.difference, one.low, one.high, one.a_better) == (0, 0, 0, 0.5)
    two = metrics.estimate_scores([1, 2], [1, 2])
    assert metrics.compare(two, two)["srcc"] == metrics.Difference(None, None)
    with pytest.raises(ValueError, match="30 and of 2 rows"):
        metrics.compare(same, two)


def test_a_coverage_is_better_the_nearer_it_is_to_what_it_promises():
    generator = np.random.default_rng(0)
    predictions, scores = np.zeros(500), generator.normal(size=500)
    honest, wide = (metrics.estimate_coverage(predictions, [std] * 500, scores) for std in (1, 3))
    found = metrics.compare(honest, wide, n_resamples=50)["coverage_80"]
    assert found.difference < 0 and found.a_better == 1


def test_mapped_plcc_stands_one_row_far_outside():
    scores = np.full(10_100, 5.0)
    scores[7] = 1.0  # more than a hundred standard deviations away
    mapped = metrics.plcc_mapped(np.random.default_rng(0).normal(5, 1, len(scores)), scores)
    assert mapped is None or 0 <= mapped <= 1


def test_a_threshold_is_a_number_and_says_when_it_parts_nothing():
    with pytest.raises(ValueError, match="the threshold is nan; expected a finite number"):
        metrics.accuracy([1, 2, 3], [1, 2, 3], float("nan"))
    with pytest.raises(ValueError, match="the threshold is inf"):
        metrics.summarize([1, 2, 3], [1, 2, 3], threshold=float("inf"))
    found = metrics.summarize([1, 2, 6], [6, 7, 8], threshold=5.5, n_resamples=0)
    assert found["accuracy"] == pytest.approx(1 / 3)
    assert found["notes"]["accuracy"] == "all human scores are above the threshold 5.5"
    assert "accuracy" not in metrics.summarize([1, 2, 6], [1, 7, 8], threshold=5.5, n_resamples=0)["notes"]
