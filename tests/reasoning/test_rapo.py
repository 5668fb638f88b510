"""`roc reasoning train` as a whole: from photos and a checkpoint that reasons to a better one, and what it refuses."""

import json
import signal
import subprocess
import sys
import time
from unittest.mock import patch

import pytest
from heads import save_base
from safetensors.torch import load_file

pytest.importorskip("trl", reason="reinforcement needs trl: pip install 'roc-mllm[rl]'")

from policy_runs import QUICK, corpus, run_file  # noqa: E402

from roc.checkpoint.folder import load  # noqa: E402
from roc.commands.reasoning import main  # noqa: E402


def words(checkpoint, data, out, **more):
    own = {"model_name_or_path": checkpoint, "data_path": data, "output_dir": str(out), "check_answers": 2}
    return ["train", *(word for name, value in (QUICK | own | more).items() for word in (f"--{name}", str(value)))]


def test_a_run_from_photos_to_a_checkpoint(reasoning_checkpoint, reasoning_photos, tmp_path, capsys):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out = tmp_path / "out"
    command = words(
        reasoning_checkpoint,
        reasoning_photos,
        out,
        report_to="tensorboard",
        eval_strategy="steps",
        eval_steps=2,
        save_steps=2,
    )
    command += ["--save_strategy", "steps"]
    with patch("roc.evaluation.report.draw", return_value={}):
        assert main(command) == 0
    told = capsys.readouterr()
    assert "step 1 of 2  reward" in told.err and "validation" in told.err and "head error" in told.err
    assert "<think>" in told.err
    model, _ = load(out)
    assert model.declaration.reasons and run_file(out)["finished"] is True
    assert json.loads((out / "metrics.json").read_text())["command"].startswith("roc reasoning train")
    events = EventAccumulator(str(next((out / "training").rglob("events.*")).parent)).Reload()
    tags = events.Tags()
    assert any("answer" in tag for tag in tags["tensors"])
    assert {"train/reward", "train/kl", "train/head_error", "train/rewards/rank/mean"} <= set(tags["scalars"])

    assert main(command) == 0
    assert "is finished; --overwrite trains it anew" in capsys.readouterr().out
    assert main([*command, "--beta", "0.1"]) == 2
    assert "beta: 0.01 -> 0.1" in capsys.readouterr().err


def test_a_base_without_a_head_is_refused(reasoning_photos, tmp_path, capsys):
    base = str(save_base("llava", tmp_path / "base"))
    assert main(words(base, reasoning_photos, tmp_path / "out")) == 2
    assert "has no [SCORE] and no score head" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_another_range_than_the_checkpoints_is_refused(reasoning_checkpoint, reasoning_photos, tmp_path, capsys):
    assert main(words(reasoning_checkpoint, reasoning_photos, tmp_path / "out", min_score=0)) == 2
    assert "min_score is 0.0, but the checkpoint" in capsys.readouterr().err


@pytest.mark.parametrize("setting", ["data_path", "critiques_path"])
def test_critiques_that_give_the_score_away_are_refused(
    reasoning_checkpoint, reasoning_photos, tmp_path, capsys, setting
):
    said = ["A calm picture.", "A calm picture.", "A calm picture, which I rate 7 out of 10.", *["Dark."] * 9]
    file = corpus(tmp_path / "corpus.jsonl", reasoning_photos, said)
    assert main(words(reasoning_checkpoint, reasoning_photos, tmp_path / "out", **{setting: file})) == 2
    told = capsys.readouterr().err
    assert "corpus.jsonl:3: the critique gives its score away" in told and told.count("gives its score away") == 1


def test_a_file_without_critiques_is_refused(reasoning_checkpoint, reasoning_photos, tmp_path, capsys):
    given = words(reasoning_checkpoint, reasoning_photos, tmp_path / "out", critiques_path=reasoning_photos)
    assert main(given) == 2
    assert "photos.jsonl: no row to learn from holds a critique" in capsys.readouterr().err
    given = words(reasoning_checkpoint, reasoning_photos, tmp_path / "out", critiques_path="nowhere.jsonl")
    assert main(given) == 2 and "nowhere.jsonl" in capsys.readouterr().err


@pytest.mark.slow
def test_a_killed_run_ends_with_the_weights_of_an_uninterrupted_one(reasoning_checkpoint, reasoning_photos, tmp_path):
    file = corpus(tmp_path / "corpus.jsonl", reasoning_photos)
    more = {"max_steps": 12, "save_strategy": "steps", "save_steps": 2, "logging_steps": 1}
    more |= {"critiques_path": file, "critiques_batch_size": 2}
    with patch("roc.evaluation.report.draw", return_value={}):
        assert main(words(reasoning_checkpoint, reasoning_photos, tmp_path / "whole", **more)) == 0
    command = [
        sys.executable,
        "-m",
        "roc.cli",
        "reasoning",
        *words(reasoning_checkpoint, reasoning_photos, tmp_path / "killed", **more),
    ]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    saved, ends = tmp_path / "killed" / "training" / "checkpoint-6" / "checksums.json", time.monotonic() + 200
    while not (saved.exists() and json.loads(saved.read_text())["finished"]):
        assert first.poll() is None and time.monotonic() < ends
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert run_file(tmp_path / "killed")["finished"] is False
    with patch("roc.evaluation.report.draw", return_value={}):
        assert main(words(reasoning_checkpoint, reasoning_photos, tmp_path / "killed", **more)) == 0
    expected, found = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "killed"))
    assert all((found[name] == tensor).all() for name, tensor in expected.items())
