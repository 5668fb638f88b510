"""Votes have the form of people's, follow the scenes, and cannot be guessed from statistics of whole pictures."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from roc.demo.raters import RaterPanel, rater_ceiling
from roc.demo.scenes import render_scene

BEST = {"subject_x": 1 / 3, "roll": 0.0, "stops": 0.75, "hue_gap": 180.0, "focus": 1.0}


def test_votes_are_whole_numbers_of_24_to_40_raters_with_a_spread_of_at_least_1():
    panel = RaterPanel()
    for index in range(60):
        # The ends of the range are where clipping would narrow the votes.
        facts = (BEST, BEST | {"subject_x": 0.5, "roll": 13.0, "stops": -1.35, "hue_gap": 40.0, "focus": 0.0}, None)
        ratings = panel.rate(render_scene(index, seed=0, size=32, facts=facts[index % 3]))
        assert 24 <= ratings.n_votes <= 40
        assert len(set(ratings.raters.tolist())) == ratings.n_votes
        for votes in ratings.votes.values():
            assert votes.shape == (ratings.n_votes,) and votes.min() >= 1 and votes.max() <= 10
            assert votes.std() >= 1
        assert sum(ratings.histogram) == pytest.approx(1, abs=1e-12)
        assert np.dot(ratings.histogram, np.arange(1, 11)) == pytest.approx(ratings.means["overall"])


def test_the_panel_prefers_the_better_scene_and_votes_the_same_twice():
    panel = RaterPanel()
    good = [panel.rate(render_scene(i, seed=0, size=32, facts=BEST)).means["overall"] for i in range(8)]
    poor = [
        panel.rate(render_scene(i, seed=0, size=32, facts=BEST | {"focus": 0.1})).means["overall"] for i in range(8)
    ]
    assert min(good) > max(poor) + 1
    scene = render_scene(0, seed=0, size=32, facts=BEST)
    assert RaterPanel().rate(scene).means == panel.rate(scene).means


def test_rater_ceiling_of_raters_who_agree_is_1_and_of_noise_is_about_0():
    quality = np.arange(1, 11, dtype=float)
    agreed = rater_ceiling([np.full(24, int(q)) for q in quality], quality)
    assert agreed == pytest.approx({"srcc_quality": 1.0, "split_half": 1.0, "reliability": 1.0})
    rng = np.random.default_rng(0)
    noise = rater_ceiling(list(rng.integers(1, 11, (400, 24))), rng.random(400))
    assert abs(noise["srcc_quality"]) < 0.15 and abs(noise["split_half"]) < 0.15
    with pytest.raises(ValueError, match="3 or more scenes"):
        rater_ceiling([np.ones(24)] * 3, [1.0, 2.0])


def test_too_few_votes_are_refused():
    with pytest.raises(ValueError, match="min_votes"):
        RaterPanel(min_votes=10)


def statistics(image):
    """Computes colour statistics and sharpness of a whole picture, which must not be enough to rate it."""
    rgb = np.asarray(image, dtype=np.float64) / 255
    hsv = np.asarray(image.convert("HSV"), dtype=np.float64) / 255
    luma = rgb @ [0.299, 0.587, 0.114]
    laplacian = 4 * luma[1:-1, 1:-1] - luma[:-2, 1:-1] - luma[2:, 1:-1] - luma[1:-1, :-2] - luma[1:-1, 2:]
    dx, dy = np.diff(luma, axis=1), np.diff(luma, axis=0)
    sharpness = [laplacian.var(), (dx**2).mean(), (dy**2).mean(), np.abs(dx).mean(), np.abs(dy).mean()]
    return np.concatenate(
        [
            *(rgb.mean((0, 1)), rgb.std((0, 1)), hsv.mean((0, 1)), hsv.std((0, 1))),
            np.percentile(rgb.reshape(-1, 3), [5, 25, 50, 75, 95], axis=0).ravel(),
            *(np.histogram(hsv[..., channel], 8, (0, 1))[0] / luma.size for channel in range(3)),
            *(sharpness, np.log(sharpness)),
        ]
    )


@pytest.mark.slow
def test_ridge_regression_on_colour_statistics_and_sharpness_stays_low():
    panel = RaterPanel()
    drawn = [render_scene(i, seed=0, size=48) for i in range(700)]
    x = np.stack([statistics(scene.image) for scene in drawn])
    y = np.array([panel.rate(scene).means["overall"] for scene in drawn])
    x = (x - x[:500].mean(0)) / (x[:500].std(0) + 1e-9)
    weights = np.linalg.solve(x[:500].T @ x[:500] + 30 * np.eye(x.shape[1]), x[:500].T @ (y[:500] - y[:500].mean()))
    assert abs(spearmanr(x[500:] @ weights, y[500:])[0]) < 0.5


def test_a_histogram_at_the_true_score_is_far_better_than_the_mean_histogram():
    panel = RaterPanel()
    drawn = [render_scene(i, seed=1, size=32) for i in range(150)]
    votes = np.cumsum([panel.rate(scene).histogram for scene in drawn], axis=1)
    edges = np.arange(1.5, 10.6)
    truth = np.array([scene.true_scores["overall"] for scene in drawn])
    # Logistic curve of standard deviation 1.2 in place of the normal one; the last level takes the rest.
    oracle = 1 / (1 + np.exp(-(edges[None] - truth[:, None]) * np.pi / np.sqrt(3) / 1.2))
    oracle[:, -1] = 1

    def emd(p):
        return np.sqrt(((p - votes) ** 2).mean(1)).mean()

    assert emd(oracle) < 0.4 * emd(votes.mean(0, keepdims=True))
