"""All metrics with their intervals: of arrays, and of rows with attributes and subsets."""

import json
import math
import time
import tracemalloc

import numpy as np
import pytest
from evaluations import LEVELS, SPACE, make_metrics, make_rows, noisy_scores
from scipy import stats

from roc.evaluation import metrics
from roc.evaluation.compare import compare_evaluations
from roc.evaluation.evaluated_rows import EvaluatedRow
from roc.evaluation.folder import Evaluation
from roc.evaluation.report import report_html
from roc.evaluation.summary import evaluate_predictions, summarize, summarize_coverage, summarize_distributions
from roc.evaluation.table import format_table
from roc.score_space import ScoreSpace


def test_keys_of_each_part_agree_with_the_metrics_themselves():
    rows = make_rows()
    baseline = np.mean([row.h_n for row in rows], axis=0)
    found = make_metrics(rows, threshold=2.5, baseline_histogram=baseline, calibrated=True)
    assert found["attributes"] == ["overall", "light"]
    assert found["threshold"] == 2.5 and ", threshold of the accuracy 2.5" in format_table(found)
    assert (found["min_score"], found["max_score"], found["calibrated"]) == (1.0, 4.0, True)
    assert (found["n"], found["unscored"]) == (21, 3)

    def pairs(part, attribute):
        return [row.predictions[attribute] for row in part], [row.scores[attribute] for row in part]

    options = {"space": SPACE, "threshold": 2.5, "n_resamples": 20}
    night = [row for row in rows if row.subset == "night"]
    for prefix, part, attribute in (
        ("", rows, "overall"),
        ("light/", rows, "light"),
        ("subset/night/", night, "overall"),
    ):
        expected = summarize(*pairs(part, attribute), **options)
        assert not expected.pop("notes")
        assert {key: found[prefix + key] for key in expected} == expected

    scored = [row for row in rows if row.predictions["overall"] is not None]
    assert found["emd_n"] == 21
    assert found["emd"] == pytest.approx(metrics.emd([row.p_n for row in scored], [row.h_n for row in scored]))
    assert found["emd_baseline"] == pytest.approx(metrics.emd([baseline] * 21, [row.h_n for row in scored]))
    assert found["emd_ratio"] == pytest.approx(found["emd"] / found["emd_baseline"])
    assert "subset/day/emd_ratio" in found
    assert "light/emd" not in found
    assert found["wasserstein"] > 0 and found["kl"] > 0
    std, p = [row.std for row in scored], [row.predictions["overall"] for row in scored]
    assert found["coverage_80"] == metrics.coverage(p, std, [row.scores["overall"] for row in scored], 80)
    votes = [row.h_n for row in scored]
    assert found["votes_coverage_80"] == metrics.votes_coverage(p, std, votes, LEVELS, 80)
    assert found["subsets"] == ["night", "day"]
    assert list(found["notes"]) == ["coverage"] and "normal distribution" in found["notes"]["coverage"]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_rows_nobody_rated_are_left_out_of_that_attribute():
    rows = make_rows(12)
    rows[0] = EvaluatedRow("a", {"overall": 2.0}, {"overall": 2.0, "light": 2.0})
    rows[1] = EvaluatedRow("b", {"overall": 2.0, "light": None}, {"overall": 2.0, "light": 2.0})
    rows[2] = EvaluatedRow("c", {"overall": 2.0, "light": float("nan")}, {"overall": 2.0, "light": None})
    found = make_metrics(rows)
    assert (found["n"], found["unscored"]) == (11, 1)
    assert (found["light/n"], found["light/unscored"]) == (9, 0)
    assert found["emd_n"] == 8
    assert found["notes"]["emd"] == "over the 8 rows that have a histogram"
    assert found["notes"]["light/n"] == "3 rows without a human score are left out"
    assert "n" not in found["notes"]


def test_notes_carry_the_prefix_of_their_part():
    rows = [EvaluatedRow(str(n), {"overall": n}, {"overall": 5.0}, subset="small" if n < 2 else None) for n in range(6)]
    found = evaluate_predictions(rows, space=None, n_resamples=0)
    assert found["srcc"] == 0.0
    assert "equal" in found["notes"]["srcc"]
    assert found["subset/small/srcc"] is None
    assert "fewer than 3" in found["notes"]["subset/small/srcc"]
    assert not [key for key in found if key.endswith("_unit") or key == "min_score" or "emd" in key or "_low" in key]


def test_nothing_to_evaluate_and_mismatched_levels_are_refused():
    with pytest.raises(ValueError, match="no rows to evaluate"):
        evaluate_predictions([], space=SPACE)
    with pytest.raises(ValueError, match="no attribute"):
        evaluate_predictions(make_rows(3), space=SPACE, attributes=())
    row = EvaluatedRow("x7", {"overall": 2.0}, {"overall": 2.0}, p_n=[0.5, 0.5], h_n=[0.2, 0.3, 0.5])
    with pytest.raises(ValueError, match="row x7: 2 predicted levels and 3 histogram bins"):
        evaluate_predictions([row], space=SPACE)
    with pytest.raises(ValueError, match=r"baseline histogram has shape \(2,\)"):
        make_metrics(make_rows(), baseline_histogram=[0.5, 0.5])


def test_summary_has_the_agreed_keys_and_survives_json():
    predictions, scores = noisy_scores(40)
    found = summarize(predictions, scores, space=ScoreSpace(), threshold=5.5, n_resamples=50)
    names = ["srcc", "plcc", "plcc_mapped", "krcc", "mae", "rmse", "accuracy", "mae_unit", "rmse_unit"]
    names.insert(0, "unscored_share")
    expected = ["n", "unscored", *[key for name in names for key in (name, f"{name}_low", f"{name}_high")], "notes"]
    assert list(found) == expected
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["notes"] == {}


def test_summary_agrees_with_scipy():
    predictions, scores = noisy_scores(100)
    found = summarize(predictions, scores, n_resamples=0)
    assert found["srcc"] == pytest.approx(stats.spearmanr(predictions, scores).statistic, abs=1e-12)
    assert found["plcc"] == pytest.approx(stats.pearsonr(predictions, scores).statistic, abs=1e-12)
    assert found["krcc"] == pytest.approx(stats.kendalltau(predictions, scores).statistic, abs=1e-12)
    assert not [name for name in found if name.endswith(("_low", "_high"))]


def test_unscored_rows_leave_every_metric_and_are_counted():
    predictions, scores = noisy_scores(20)
    with_gaps = [*predictions, None, math.nan]
    found = summarize(with_gaps, [*scores, 1.0, 10.0], n_resamples=30)
    assert found["unscored"] == 2
    assert found["unscored_share"] == pytest.approx(2 / 22)
    assert 0 <= found["unscored_share_low"] < 2 / 22 < found["unscored_share_high"] < 0.4
    complete = summarize(predictions, scores, n_resamples=30)
    assert complete["unscored_share"] == complete["unscored_share_high"] == 0
    assert {key: found[key] for key in found if "unscored" not in key} == {
        key: complete[key] for key in complete if "unscored" not in key
    }


def test_summary_of_constant_predictions_gives_zero_and_the_reason():
    found = summarize([5.5] * 6, [1, 2, 3, 4, 5, 6], n_resamples=20)
    assert [found[name] for name in ("srcc", "plcc", "plcc_mapped", "krcc")] == [0, 0, 0, 0]
    assert (found["srcc_low"], found["srcc_high"]) == (0, 0)
    assert found["mae"] == pytest.approx((4.5 + 3.5 + 2.5 + 1.5 + 0.5 + 0.5) / 6)
    assert set(found["notes"]) == {"srcc", "plcc", "plcc_mapped", "krcc"}
    assert found["notes"]["srcc"] == "all predictions are equal, so there is no correlation"


def test_summary_of_too_few_rows_gives_null_and_the_reason():
    found = summarize([5.0, None, 6.0], [5, 6, 7], space=ScoreSpace(), threshold=5)
    assert (found["n"], found["unscored"]) == (2, 1)
    for name in ("srcc", "plcc", "plcc_mapped", "krcc", "mae", "rmse", "accuracy", "mae_unit", "rmse_unit"):
        assert found[name] is found[f"{name}_low"] is found[f"{name}_high"] is None
        assert found["notes"][name] == "2 rows with a prediction, fewer than 3"


def test_summary_says_when_the_fitted_curve_hides_a_reversed_prediction():
    predictions, scores = noisy_scores(60)
    found = summarize(-predictions, scores, n_resamples=0)
    assert found["plcc"] < -0.5 < 0.5 < found["plcc_mapped"]
    assert "falls" in found["notes"]["plcc_mapped"]


def test_unit_errors_follow_the_mode():
    predictions, scores = [2, 3, 4], [3, 3, 3]
    assert summarize(predictions, scores, space=ScoreSpace(1, 5))["mae_unit"] == pytest.approx(2 / 3 / 4)
    assert summarize(predictions, scores, space=ScoreSpace(1, 5, mode="max"))["mae_unit"] == pytest.approx(2 / 3 / 5)


def test_intervals_cover_the_truth_and_depend_on_the_seed_only():
    # The Fisher transform gives 0.8 +- 0.0226 for a correlation of 0.8 on 1,000 normal rows.
    generator = np.random.default_rng(5)
    scores = generator.normal(size=1000)
    predictions = 0.8 * scores + 0.6 * generator.normal(size=1000)
    found = summarize(predictions, scores, n_resamples=300)
    assert found["plcc_low"] < 0.8 < found["plcc_high"]
    assert found["plcc_high"] - found["plcc_low"] == pytest.approx(2 * 0.0226, rel=0.2)
    assert found == summarize(predictions, scores, n_resamples=300)
    assert found["srcc_low"] != summarize(predictions, scores, n_resamples=300, seed=1)["srcc_low"]


def test_thousand_resamples_of_500_rows_take_under_two_seconds():
    predictions, scores = noisy_scores(500)
    started = time.process_time()
    summarize(predictions, scores, space=ScoreSpace(), threshold=5.5)
    assert time.process_time() - started < 2


@pytest.mark.slow
def test_thousand_resamples_of_20000_rows_take_seconds_and_little_memory():
    predictions, scores = noisy_scores(20_000)
    tracemalloc.start()
    started = time.process_time()
    found = summarize(predictions, scores, space=ScoreSpace(), threshold=5.5)
    # Tracing every allocation makes it slower than it is; 9 s without, on the machine this was written on.
    assert time.process_time() - started < 60
    assert tracemalloc.get_traced_memory()[1] < 300 * 2**20
    tracemalloc.stop()
    assert found["krcc_low"] < found["krcc"] < found["krcc_high"]


def test_emd_summary_against_a_fixed_histogram():
    human = np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]])
    # Baseline distances: root(0/4), root(1/4), root(2/4) from the first level. Predictions: only the last row is off.
    predicted = np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    found = summarize_distributions(predicted, human, baseline=[1, 0, 0, 0], n_resamples=200)
    assert found["emd"] == pytest.approx(0.5 / 3)
    assert found["emd_baseline"] == pytest.approx((0 + 0.5 + math.sqrt(0.5)) / 3)
    assert found["emd_ratio"] == pytest.approx(0.5 / (0.5 + math.sqrt(0.5)))
    assert found["emd_low"] <= found["emd"] <= found["emd_high"]
    assert list(found)[:4] == ["emd_n", "emd", "emd_low", "emd_high"]
    json.dumps(found, allow_nan=False)


def test_emd_summary_without_baseline_or_rows():
    three = np.full((3, 4), 0.25)
    found = summarize_distributions(three, three, n_resamples=0)
    assert found == {"emd_n": 3, "emd": 0.0, "kl": 0.0, "notes": {}}
    found = summarize_distributions(three, three, baseline=three[0], n_resamples=20)
    assert (found["emd_baseline"], found["emd_ratio"]) == (0.0, None)
    assert "no ratio" in found["notes"]["emd_ratio"]
    found = summarize_distributions(three[:2], three[:2], baseline=three[0])
    assert found["emd"] is found["emd_ratio"] is found["emd_low"] is None
    assert "fewer than 3" in found["notes"]["emd_ratio"]


def test_a_level_without_probability_makes_kl_infinite_and_says_so():
    assert metrics.kl([1, 0], [1, 0]) == 0
    assert metrics.kl([1, 0], [0.5, 0.5]) == math.inf
    found = summarize_distributions([[1, 0], [0.5, 0.5], [0.5, 0.5]], np.full((3, 2), 0.5), n_resamples=10)
    assert found["kl"] is found["kl_low"] is found["kl_high"] is None
    assert found["notes"] == {"kl": "infinite: 1 row gives a level that has votes no probability at all"}
    json.dumps(found, allow_nan=False)


def test_coverage_of_honest_spreads_is_what_they_promise():
    generator = np.random.default_rng(0)
    predictions, stds = generator.normal(size=4000), generator.uniform(0.2, 2, size=4000)
    scores = predictions + stds * generator.normal(size=4000)
    found = summarize_coverage(predictions, stds, scores, n_resamples=200)
    assert found["coverage_n"] == 4000
    for percent in (50, 80, 95):
        assert found[f"coverage_{percent}"] == metrics.coverage(predictions, stds, scores, percent)
        assert found[f"coverage_{percent}_low"] < percent / 100 < found[f"coverage_{percent}_high"]
    half_as_wide = metrics.coverage(predictions, stds / 2, scores, 95)
    assert half_as_wide == pytest.approx(2 * stats.norm.cdf(1.96 / 2) - 1, abs=0.02)


def test_an_attribute_on_another_range_is_measured_on_that():
    rng = np.random.default_rng(0)
    rows = [
        EvaluatedRow(id=str(i), scores={"overall": a, "light": b}, predictions={"overall": a + 1, "light": b + 1})
        for i, (a, b) in enumerate(zip(rng.uniform(1, 9, 30), rng.uniform(-10, 9, 30), strict=True))
    ]
    space = ScoreSpace(1, 10, attribute_ranges={"light": (-10, 10)})
    found = evaluate_predictions(rows, space=space, attributes=("overall", "light"), threshold=5, n_resamples=0)
    assert (found["min_score"], found["light/min_score"], found["light/max_score"]) == (1, -10, 10)
    assert found["mae_unit"] == pytest.approx(1 / 9) and found["light/mae_unit"] == pytest.approx(1 / 20)
    assert "accuracy" in found and "light/accuracy" not in found  # the threshold is a score of the first range
    assert "light (-10..10)" in format_table(found) and "light (-10..10)" in report_html(rows, found, {}, {})
    a, b = (Evaluation(name, rows, dict(found)) for name in "ab")
    compared = compare_evaluations(a, b, threshold=5, n_resamples=0)["metrics"]
    assert compared["light/mae_unit"].a == pytest.approx(0.05) and "light/accuracy" not in compared
    b.metrics["light/min_score"] = -5
    with pytest.raises(ValueError, match="the scales of light differ: -10..10 in a, -5..10 in b"):
        compare_evaluations(a, b, n_resamples=0)
