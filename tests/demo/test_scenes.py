"""The demo's scenes and raters: same seed, same pixels; what is better is rated better; statistics do not give it away.

Run: python -m pytest tests/demo/test_scenes.py
"""

from __future__ import annotations

import csv
import json
import random

import numpy as np
import pytest
from scipy.stats import spearmanr

from roc.data.reading import read_records
from roc.demo import scenes
from roc.demo.scenes import ATTRIBUTES, LATENTS, RaterPanel, overall_quality, rater_ceiling, render_scene, write_dataset
from roc.score_space import ScoreSpace

BEST = {"subject_x": 1 / 3, "roll": 0.0, "stops": 0.75, "hue_gap": 180.0, "focus": 1.0}


def pixels(index, seed=0, size=48, **facts):
    return np.asarray(render_scene(index, seed=seed, size=size, facts=facts).image).astype(int)


def test_same_seed_and_index_give_the_same_pixels_whatever_the_global_generators_do():
    first = pixels(7)
    state = np.random.get_state()[1].copy()
    random.seed(1)
    again = pixels(7)
    assert (first == again).all()
    assert (np.random.get_state()[1] == state).all()
    assert (pixels(8) != first).mean() > 0.5
    assert (pixels(7, seed=1) != first).mean() > 0.5


def test_a_scene_is_an_rgb_square_with_latents_between_0_and_1():
    for index in range(30):
        scene = render_scene(index, seed=3, size=64)
        assert scene.image.size == (64, 64) and scene.image.mode == "RGB"
        assert set(scene.latents) == set(LATENTS)
        assert all(0 <= value <= 1 for value in scene.latents.values())
        assert all(1 <= score <= 10 for score in scene.true_scores.values())
        assert scene.comment.endswith(".") and scene.comment[0].isupper()
        assert np.asarray(scene.image).std() > 10


@pytest.mark.parametrize(
    ("fact", "value", "attribute", "by"),
    [
        ("subject_x", 0.5, "composition", (1 / 6) / 0.17 / 2),
        ("roll", -6.5, "composition", 0.25),
        ("stops", -1.35, "light", 1.0),
        ("hue_gap", 110.0, "colour", 0.5),
        ("focus", 0.2, "focus", 0.8),
    ],
)
def test_a_worse_fact_lowers_its_attribute_and_the_overall_score_and_nothing_else(fact, value, attribute, by):
    best = render_scene(5, seed=0, size=48, facts=BEST)
    worse = render_scene(5, seed=0, size=48, facts=BEST | {fact: value})
    assert best.latents == pytest.approx(dict.fromkeys(LATENTS, 1.0))
    assert best.latents[attribute] - worse.latents[attribute] == pytest.approx(by)
    for other in set(LATENTS) - {attribute}:
        assert worse.latents[other] == best.latents[other]
    assert worse.quality < best.quality
    assert (worse.place, worse.kind) == (best.place, best.kind)
    assert (np.asarray(worse.image) != np.asarray(best.image)).any()


def test_overall_quality_by_hand():
    # All 1: soft minimum 1, product 1, pairs 1. All 0: soft minimum 0, product 0.1, pairs 0.
    assert overall_quality(dict.fromkeys(LATENTS, 1.0)) == pytest.approx(1.0)
    assert overall_quality(dict.fromkeys(LATENTS, 0.0)) == pytest.approx(0.0, abs=1e-12)
    # All 1/2: soft minimum 0.5, product 0.55, pairs 0.25 -> x = (0.225 + 0.1925 + 0.05 - 0.035) / 0.965.
    assert overall_quality(dict.fromkeys(LATENTS, 0.5)) == pytest.approx(1 - (1 - 0.4325 / 0.965) ** 1.6)


def test_a_weak_attribute_caps_the_rest():
    weak = {"composition": 1.0, "light": 0.0, "colour": 1.0, "focus": 1.0}
    middling = dict.fromkeys(LATENTS, 0.75)
    assert overall_quality(weak) < overall_quality(middling) - 0.2


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


def test_faults_are_named():
    with pytest.raises(ValueError, match="size 16"):
        render_scene(0, seed=0, size=16)
    with pytest.raises(ValueError, match="sharpness"):
        render_scene(0, seed=0, size=48, facts={"sharpness": 1.0})
    with pytest.raises(ValueError, match="focus"):
        render_scene(0, seed=0, size=48, facts={"focus": 1.5})
    with pytest.raises(ValueError, match="min_votes"):
        RaterPanel(min_votes=10)


def statistics(image):
    """Colour statistics and sharpness of a whole picture: what must not be enough."""
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


def test_the_data_set_is_written_read_reused_and_replaced(tmp_path):
    folder = tmp_path / "scenes"
    path = write_dataset(folder, 6, 2, 4, size=32, seed=0)
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    levels = [f"h_{level}" for level in range(1, 11)]
    assert list(rows[0]) == ["image", "score", *LATENTS, "std", "n_votes", *levels, "comment", "split"]
    assert [row["split"] for row in rows] == ["train"] * 6 + ["val"] * 2 + ["test"] * 4
    for row in rows:
        assert sum(float(row[level]) for level in levels) == pytest.approx(1, abs=1e-8)

    records = read_records(path, folder, space=ScoreSpace(), num_levels=10, require_histogram=True)
    assert len(records) == 12
    assert tuple(records[0].scores) == ATTRIBUTES
    assert records[0].std >= 1 and records[0].n_votes >= 20 and records[0].comment

    assert set(scenes.read_ceiling(folder)) == set(ATTRIBUTES)
    stamp = path.stat().st_mtime_ns
    assert write_dataset(folder, 6, 2, 4, size=32, seed=0) == path
    assert path.stat().st_mtime_ns == stamp

    test_image = (folder / "images/test_0.png").read_bytes()
    write_dataset(folder, 3, 2, 4, size=32, seed=0)
    assert not (folder / "images/train_3.png").exists()
    assert (folder / "images/test_0.png").read_bytes() == test_image
    assert json.loads((folder / "manifest.json").read_text())["parameters"]["counts"]["train"] == 3
    assert [child.name for child in tmp_path.iterdir()] == ["scenes"]


def test_a_failure_while_writing_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(scenes, "_write_csv", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_dataset(tmp_path / "scenes", 2, 1, 1, size=32, seed=0)
    assert not list(tmp_path.iterdir())


def test_a_folder_of_something_else_is_never_touched(tmp_path):
    (tmp_path / "holiday.txt").write_text("mine")
    with pytest.raises(ValueError, match="no demo scenes"):
        write_dataset(tmp_path, 2, 1, 1, size=32, seed=0)
    assert (tmp_path / "holiday.txt").read_text() == "mine"
