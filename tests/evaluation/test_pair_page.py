"""The page of an evaluation on pairs: numbers, kinds, the pairs that went wrong; names are text and nothing else."""

from PIL import Image

from roc.data.pairs import Pair
from roc.evaluation.pair_page import pair_page
from roc.evaluation.pairs import ScoredPair, pair_metrics

ABOUT = {"attribute": "overall", "min_score": 1, "max_score": 10, "calibrated": False, "split": "test", "command": "c"}
EVIL = "<script>alert(1)</script>"


def test_the_pairs_that_went_wrong_are_shown(tmp_path):
    for name in "ab":
        Image.new("RGB", (20, 20), "red").save(tmp_path / f"{name}.png")
    images = (str(tmp_path / "a.png"), str(tmp_path / "b.png"))
    rows = [ScoredPair(Pair(f"{EVIL}{n}", images, 1.0, 1.5, f"s{n}", EVIL), 4.0, 5.0, 0.9) for n in range(3)]
    rows += [ScoredPair(Pair("wrong", images, 0.0, -2.0, "s3", "blur"), 4.0, 5.0, 0.75)]
    rows += [ScoredPair(Pair("tie", images, 0.5, None, "s4"), 4.0, 4.5, 0.6)]
    text = pair_page(rows, {**ABOUT, **pair_metrics(rows, n_resamples=20)})
    assert "<script" not in text and "5 pairs of 5 sources; 1 tie, which have no right order" in text
    assert text.count("<figure>") == 1 and text.count("data:image/jpeg") == 2  # what is right is not shown
    assert "judged: the first is better, by 2.00; model: 4.00 and 5.00, 25% for the better one" in text
    assert "accuracy" in text and "By kind of edit" in text and "fewer than 30" in text and "uncalibrated" in text
    right = pair_page(rows[:3], {**ABOUT, **pair_metrics(rows[:3], n_resamples=0)})
    assert "<figure>" not in right and "Intervals" not in right
