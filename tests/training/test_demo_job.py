"""The demo, trained in full, reaches what it promises. It takes minutes of training, so it runs only on request:

bash scripts/test.sh -m slow
"""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from roc.commands.finetune import main
from roc.evaluation.metrics import srcc

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Returns the demo's folder: the finished one of this checkout, or one that is trained now."""
    finished = ROOT / "checkpoints" / "demo"
    out = finished if (finished / "metrics.json").exists() else tmp_path_factory.mktemp("run") / "demo"
    assert main([str(ROOT / "configs" / "demo.yaml"), "--output_dir", str(out)]) == 0
    return out


@pytest.mark.slow
def test_the_demo_learns_what_it_promises(demo):
    metrics = json.loads((demo / "metrics.json").read_text())
    assert (metrics["split"], metrics["n"]) == ("test", 500)
    assert metrics["srcc"] >= 0.80 and metrics["plcc"] >= 0.80
    assert min(metrics[f"{name}/srcc"] for name in ("composition", "light", "colour", "focus")) >= 0.60
    assert metrics["emd_ratio"] <= 0.6
    assert metrics["answers/n"] == 500 and metrics["answers/complete"] == 1.0


@pytest.mark.slow
def test_swapped_pictures_are_worth_nothing(demo):
    """Correlates the scores of one picture with the ratings of another, over many permutations."""
    with (demo / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    predicted, human = (np.array([float(row[key]) for row in rows]) for key in ("prediction", "score"))
    found = [srcc(np.roll(predicted, shift), human) for shift in range(1, 201)]
    assert abs(np.mean(found)) < 0.02
    assert np.percentile(np.abs(found), 90) < 0.1
