"""Two processes reward and learn as a single one does, also where the answers about a picture lie on both."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("trl", reason="reinforcement needs trl: pip install 'roc-mllm[rl]'")

import policy_processes  # noqa: E402
from policy_runs import corpus  # noqa: E402

ROOT = Path(__file__).parents[2]


@pytest.fixture
def groups(data, tmp_path):
    """A group of three photos, a step's all, so that it lies on both processes."""
    lines = [json.loads(line) for line in Path(data).read_text().splitlines()[:3]]
    for line, edit in zip(lines, (None, {"delta": 1.0}, {"delta": -1.0}), strict=True):
        del line["score"]
        line |= {"group": "g"} | ({} if edit is None else {"edit": edit})
    file = Path(data).with_name("groups.jsonl")
    file.write_text("\n".join(map(json.dumps, lines)) + "\n")
    return str(file)


@pytest.fixture
def critiques(data, tmp_path):
    """Critiques to learn beside, fewer than a batch takes, so that each process draws all of them."""
    return corpus(tmp_path / "corpus.jsonl", data, count=2)


@pytest.mark.slow
def test_a_whole_group_reaches_one_reward(llava, groups, critiques, tmp_path):
    """On two processes, each of which has answers about a part of it, as on one."""
    relative = two_like_one(llava, groups, critiques, tmp_path, "relative", "format")[:, 0]
    assert not relative.isnan().any() and len(set(relative.tolist())) > 1


@pytest.mark.slow
def test_rewards_and_gradient_are_those_of_one_process(llava, data, critiques, tmp_path):
    two_like_one(llava, data, critiques, tmp_path, "rank", "error", "format")


def two_like_one(llava, data, critiques, tmp_path, *rewards):
    """Takes a step on one process and on two, and compares them; returns the rewards (12, F)."""
    more = {"rewards": rewards, "critiques_path": critiques}
    expected = policy_processes.step(llava, data, str(tmp_path / "alone"), 1, **more)
    words = [
        sys.executable, "-m", "accelerate.commands.launch",
        "--config_file", str(ROOT / "configs" / "distributed" / "ddp.yaml"),
        "--num_processes", "2", "--main_process_port", "0", str(ROOT / "tests/helpers/policy_processes.py"),
        llava, data, critiques, str(tmp_path), *rewards,
    ]  # fmt: skip
    places = os.pathsep.join([str(ROOT), str(ROOT / "tests/helpers")])
    environment = os.environ | {"PYTHONPATH": places, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    ended = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=400)
    assert ended.returncode == 0, ended.stderr[-3000:]
    found = torch.load(tmp_path / "found.pt")
    assert found["rewards"].shape == (12, len(rewards))
    assert torch.allclose(found["rewards"], expected["rewards"], atol=1e-5)
    assert expected["rewards"][5].tolist() == [0] * len(rewards) and (expected["rewards"].sum(dim=1) > 0).sum() == 11
    assert set(found["gradient"]) == set(expected["gradient"])
    largest = max(gradient.abs().max() for gradient in expected["gradient"].values())
    for name, gradient in expected["gradient"].items():
        assert torch.allclose(found["gradient"][name], gradient, atol=1e-4 * float(largest)), name
    return expected["rewards"]
