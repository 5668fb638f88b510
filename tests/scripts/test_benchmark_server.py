"""The benchmark of the server: what it counts, and one short run of the whole."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("fastapi")

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import benchmark_server as benchmark  # noqa: E402


def answer(photo, status, *values):
    scores = {str(i): {"value": value} for i, value in enumerate(values)}
    return photo, 0.1, 1.0, status, json.dumps({"results": [{"scores": scores}]}).encode()


def test_lost_and_mixed_up_answers_are_seen():
    own = np.array([[1.0, 5.0], [2.0, 5.0], [2.0, 7.0]])
    good = [answer(0, 200, 1.0, 5.0), answer(2, 200, 2.0, 7.01)]
    found = benchmark.check(good, own)
    assert (found["failed"], found["mixed_up"], found["statuses"]) == (0, 0, {200: 2})
    assert found["largest_difference"] == pytest.approx(0.01)
    found = benchmark.check([*good, answer(0, 200, 2.0, 5.0), answer(1, 503)], own)
    assert (found["failed"], found["mixed_up"], found["statuses"]) == (1, 1, {200: 3, 503: 1})
    assert benchmark.nearest_other(own) == 1.0


@pytest.mark.slow
def test_the_whole(tmp_path):
    from heads import build

    from roc.checkpoint.folder import save

    model, processor, _ = build("llava")
    save(model, processor, tmp_path / "tiny")
    words = ["--checkpoint", tmp_path / "tiny", "--clients", 4, "--seconds", 3, "--count", 12, "--device", "cpu"]
    words += ["--photo-size", 64, 48, "--json", tmp_path / "found.json"]
    assert benchmark.main(list(map(str, words))) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert "cores" in found["machine"]["machine"]
    assert found["requests"] > 10 and found["failed"] == found["mixed_up"] == found["stopped_with"] == 0
    assert found["largest_difference"] < 1e-3 < found["nearest_other"]
