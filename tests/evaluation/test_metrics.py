"""The metrics against the recorded vectors, against scipy, and against cases worked out by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from roc.evaluation import metrics, ranks
from roc.evaluation.summary import summarize, summarize_coverage


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
    summary = summarize(*pair, threshold=given["thr"], n_resamples=0)
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


def test_rounding_on_a_constant_is_no_rank_either():
    x = np.array([3.0, 1.0, 2.0, 6.0, 5.0, 4.0, 9.0, 7.0])
    near, scores = 5 + 1e-15 * x, np.array([3.1, 1.2, 2.0, 5.0, 6.0, 4.0, 9.5, 7.0])
    assert len(set(near)) > 3 and stats.spearmanr(near, scores).statistic > 0.8
    for given in ((near, scores), (scores, near)):
        assert [of(*given) for of in (metrics.srcc, metrics.krcc, metrics.plcc)] == [0, 0, 0]
    summary = summarize(near, scores, n_resamples=50)
    correlations = ("srcc", "plcc", "plcc_mapped", "krcc")
    assert [summary[key + end] for key in correlations for end in ("", "_low", "_high")] == [0] * 12
    reason = "all predictions are equal, so there is no correlation"
    assert summary["notes"] == dict.fromkeys(correlations, reason)


def test_ranks_tell_apart_what_is_further_than_a_tie():
    near, order = 5 + 1e-8 * np.array([3.0, 1.0, 2.0, 4.0]), [3, 1, 2, 4]
    assert metrics.srcc(near, order) == metrics.krcc(near, order) == pytest.approx(1)


def test_scores_that_differ_in_the_last_bit_are_ties():
    scores, plain = [0.1 + 0.2, 0.3, 0.3, 0.4], [0.3, 0.3, 0.3, 0.4]
    assert scores[0] != scores[1]
    # Ranks 2, 2, 2, 4 against 1 to 4: covariance 3 / 4, variances 5 / 4 and 3 / 4, so sqrt(3 / 5).
    assert metrics.srcc([1, 2, 3, 4], scores) == metrics.srcc([1, 2, 3, 4], plain) == pytest.approx(0.6**0.5)
    assert metrics.srcc(scores, [1, 2, 3, 4]) == metrics.srcc(plain, [1, 2, 3, 4])
    assert metrics.krcc([1, 2, 3, 4], scores) == metrics.krcc([1, 2, 3, 4], plain) == pytest.approx(0.5**0.5)


@pytest.mark.parametrize("unit", [1, 1e-6, 7e5 / 3])
def test_means_of_votes_summed_in_another_order_give_the_same_summary(unit):
    generator = np.random.default_rng(1)
    votes = generator.integers(1, 11, size=(60, 3)) / 10 * unit
    sums = [(votes[:, a] + votes[:, b] + votes[:, c]) / 3 for a, b, c in ((0, 1, 2), (2, 1, 0), (1, 2, 0))]
    assert any((sums[0] != other).any() for other in sums[1:])
    predictions = sums[0] + generator.normal(size=60) / 10 * unit
    for name in ("srcc", "krcc"):
        assert len({getattr(metrics, name)(predictions, scores) for scores in sums}) == 1
        assert len({getattr(metrics, name)(scores, predictions) for scores in sums}) == 1
    threshold = 0.6 * unit
    found = [summarize(predictions, scores, threshold=threshold, n_resamples=40) for scores in sums]
    keys = [name + end for name in ("srcc", "krcc", "accuracy") for end in ("", "_low", "_high")]
    assert len({tuple(one[key] for key in keys) for one in found}) == 1


def test_a_score_on_the_threshold_but_for_the_last_bit_is_bad():
    assert metrics.accuracy([0.1, 0.2, 0.9], [0.1 + 0.2, 0.3, 0.4], 0.3) == 1


def test_ties_are_found_in_a_chain_of_neighbours():
    values = np.array([0.0, 1.0, 0.9e-9, 1.8e-9, 0.5])
    assert ranks.tie_groups(values).tolist() == [0, 2, 0, 0, 1]
    assert ranks.tie_groups(np.array([])).tolist() == []


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
        summarize([1, None], [1, 2, 3])
    with pytest.raises(ValueError, match="human score is not finite"):
        summarize([1, None, 3, 4], [1, math.nan, 3, 4])
    with pytest.raises(ValueError, match="prediction number 1 is inf"):
        summarize([math.inf, 2, 3], [1, 2, 3])


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


def test_distances_refuse_levels_that_do_not_fit():
    with pytest.raises(ValueError, match="got 2 levels for 3 bins"):
        metrics.wasserstein([1, 0, 0], [0, 1, 0], levels=[1, 2])
    with pytest.raises(ValueError, match="ascending"):
        metrics.wasserstein([1, 0, 0], [0, 1, 0], levels=[3, 2, 1])
    with pytest.raises(ValueError, match="kl got no rows"):
        metrics.kl(np.zeros((0, 4)), np.zeros((0, 4)))


def test_coverage_by_hand():
    # Intervals 5 -+ 1.96, 5 -+ 0 and 5 -+ 0.98.
    assert metrics.coverage([5, 5, 5], [1, 0, 0.5], [6.9, 5, 6], 95) == pytest.approx(2 / 3)
    assert metrics.coverage([5, 5], [1, 1], [5, 5], 95) is None
    # 50%: 2 -+ 0.6745 of bins 0.5..1.5, 1.5..2.5 and 2.5..3.5 is all of the middle one and 0.1745 of each neighbour.
    summary = summarize_coverage(
        [2.0] * 3, [1.0] * 3, [2.0] * 3, histograms=[[0.2, 0.6, 0.2]] * 3, levels=[1, 2, 3], n_resamples=0
    )
    assert summary["votes_coverage_50"] == pytest.approx(0.6 + 0.4 * (stats.norm.ppf(0.75) - 0.5))
    assert summary["votes_coverage_95"] == pytest.approx(1)
    with pytest.raises(ValueError, match="standard deviation number 2 is -1.0"):
        metrics.coverage([1, 2, 3], [1, -1, 1], [1, 2, 3], 50)
    with pytest.raises(ValueError, match="central interval of 100%"):
        metrics.coverage([1, 2, 3], [1, 1, 1], [1, 2, 3], 100)


def test_mapped_plcc_stands_one_row_far_outside():
    scores = np.full(10_100, 5.0)
    scores[7] = 1.0  # more than a hundred standard deviations away
    mapped = metrics.plcc_mapped(np.random.default_rng(0).normal(5, 1, len(scores)), scores)
    assert mapped is None or 0 <= mapped <= 1


def test_a_threshold_is_a_number_and_says_when_it_parts_nothing():
    with pytest.raises(ValueError, match="the threshold is nan; expected a finite number"):
        metrics.accuracy([1, 2, 3], [1, 2, 3], float("nan"))
    with pytest.raises(ValueError, match="the threshold is inf"):
        summarize([1, 2, 3], [1, 2, 3], threshold=float("inf"))
    found = summarize([1, 2, 6], [6, 7, 8], threshold=5.5, n_resamples=0)
    assert found["accuracy"] == pytest.approx(1 / 3)
    assert found["notes"]["accuracy"] == "all human scores are above the threshold 5.5"
    assert "accuracy" not in summarize([1, 2, 6], [1, 7, 8], threshold=5.5, n_resamples=0)["notes"]
