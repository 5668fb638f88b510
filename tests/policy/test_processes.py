"""Two processes reward and learn as a single one does, also where the answers about a picture lie on both."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("trl", reason="reinforcement needs trl: pip install 'roc-mllm[rl]'")

import policy_processes  # noqa: E402

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_rewards_and_gradient_are_those_of_one_process(llava, data, tmp_path):
    expected = policy_processes.step(llava, data, str(tmp_path / "alone"), 1)
    words = [
        sys.executable, "-m", "accelerate.commands.launch",
        "--config_file", str(ROOT / "configs" / "distributed" / "ddp.yaml"),
        "--num_processes", "2", "--main_process_port", "0", str(ROOT / "tests/helpers/policy_processes.py"),
        llava, data, str(tmp_path),
    ]  # fmt: skip
    places = os.pathsep.join([str(ROOT), str(ROOT / "tests/helpers")])
    environment = os.environ | {"PYTHONPATH": places, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    ended = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=400)
    assert ended.returncode == 0, ended.stderr[-3000:]
    found = torch.load(tmp_path / "found.pt")
    assert found["rewards"].shape == (12, 3)
    assert torch.allclose(found["rewards"], expected["rewards"], atol=1e-5)
    assert expected["rewards"][5].tolist() == [0, 0, 0] and (expected["rewards"].sum(dim=1) > 0).sum() == 11
    assert set(found["gradient"]) == set(expected["gradient"])
    largest = max(gradient.abs().max() for gradient in expected["gradient"].values())
    for name, gradient in expected["gradient"].items():
        assert torch.allclose(found["gradient"][name], gradient, atol=1e-4 * float(largest)), name
