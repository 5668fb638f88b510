"""The benchmark of AGREE runs from start to end and prints a row for everything that it measures."""

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import benchmark_agree as benchmark  # noqa: E402


@pytest.mark.slow
def test_every_arm_has_a_row(capsys, monkeypatch):
    small = {"depths": [1, 1], "hidden_sizes": [8, 8], "embedding_size": 8, "layer_type": "basic"}
    monkeypatch.setattr(benchmark, "RESNET_18", small)
    words = ["--hosts", "backbone", "--rounds", "2", "--batch", "2", "--side", "32", "--width", "8"]
    benchmark.main([*words, "--size", "40", "--photos", "2"])
    said = capsys.readouterr().out
    for name in benchmark.ARMS:
        assert (
            len(re.findall(rf"\| backbone \| (?:training|scoring) \| {re.escape(name)} \| [\d.]+ \| [\d.]", said)) == 2
        )
    assert re.search(r"\| five maps \| 40 x 40 \| [\d.]+ \|", said)
    assert re.search(r"\| sensitivity, backbone \| 40 x 40 \| \d+ \| [\d.]+ \[.*\] times scoring it once", said)
