"""The whole job through the real command: train, evaluate, save, use, resume."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file
from training_runs import ROOT, TINY, ava_file, demo

from roc import Assessment
from roc.commands.finetune import main


def test_a_run_leaves_what_it_promises(finished):
    assert {"config.json", "model.safetensors", "metrics.json", "predictions.csv", "run.json", "plots"} <= {
        path.name for path in finished.iterdir()
    }
    assert {path.name for path in (finished / "plots").iterdir()} >= {"training.png", "scatter.png"}
    metrics = json.loads((finished / "metrics.json").read_text())
    assert metrics["n"] == 8
    assert {"srcc", "srcc_low", "plcc", "mae", "light/srcc", "emd_ratio", "ceiling/overall"} <= set(metrics)
    roc = json.loads((finished / "config.json").read_text())["roc"]
    assert roc["attributes"] == ["overall", "composition", "light", "colour", "focus"]
    assert roc["distribution_supervised"] is True
    history = list((finished / "training").rglob("events.out.tfevents*"))
    assert history, "no TensorBoard log"


def test_the_same_command_prints_the_table_again(finished, capsys):
    before = (finished / "model.safetensors").stat().st_mtime_ns
    assert demo(finished) == 0
    printed = capsys.readouterr().out
    assert "SRCC" in printed and "is finished" in printed
    assert (finished / "model.safetensors").stat().st_mtime_ns == before


def test_a_killed_run_ends_with_the_weights_of_an_uninterrupted_one(tmp_path):
    """The state is saved inside the second epoch, with augmentation, averaged and error-aware weights on."""
    settings = ["--save_strategy", "steps", "--save_steps", "2", "--eval_strategy", "steps", "--ema_decay", "0.8",
                "--augment_flip", "0.5", "--augment_shift", "0.2", "--num_train_epochs", "3",
                "--error_aware", "true", "--save_total_limit", "9"]  # fmt: skip
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert demo(whole, *settings) == 0
    first = multiprocessing.get_context("fork").Process(target=demo, args=(killed, *settings))
    first.start()
    saved = killed / "training" / "checkpoint-4" / "trainer_state.json"
    deadline = time.time() + 240
    while not saved.exists() and first.is_alive() and time.time() < deadline:
        time.sleep(0.01)
    first.kill()
    first.join()
    assert saved.exists() and first.exitcode == -signal.SIGKILL
    assert json.loads((killed / "run.json").read_text())["finished"] is False
    for later in (6, 8):  # the kill may come late; the test is about going on from inside an epoch
        shutil.rmtree(killed / "training" / f"checkpoint-{later}", ignore_errors=True)
    assert demo(killed, *settings) == 0
    state = "training/checkpoint-9"
    for name in ("model.safetensors", f"{state}/training_weights.safetensors", f"{state}/errors.safetensors"):
        expected, found = load_file(whole / name), load_file(killed / name)
        assert expected.keys() == found.keys()
        for key, weight in expected.items():
            torch.testing.assert_close(found[key], weight, atol=1e-6, rtol=0)
    logs = [json.loads((run / "training/checkpoint-9/trainer_state.json").read_text()) for run in (whole, killed)]
    losses = [{entry["step"]: entry["l1_loss"] for entry in log["log_history"] if "l1_loss" in entry} for log in logs]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    key = "largest_error_weight"
    heaviest = [{entry["step"]: entry[key] for entry in log["log_history"] if key in entry} for log in logs]
    assert list(heaviest[0]) == [4, 5, 6, 7, 8, 9] and max(heaviest[0].values()) > 1.1
    assert heaviest[0] == pytest.approx(heaviest[1])


def test_the_mean_of_the_weights_is_what_is_saved(tmp_path):
    words = ["--ema_decay", "0.9", "--eval_strategy", "no", "--save_strategy", "epoch", "--num_train_epochs", "1"]
    assert demo(tmp_path / "out", *words) == 0
    kept = load_file(tmp_path / "out" / "model.safetensors")
    state = tmp_path / "out" / "training" / "checkpoint-3"
    mean, own = load_file(state / "model.safetensors"), load_file(state / "training_weights.safetensors")
    assert torch.equal(kept["score_head.weight"], mean["score_head.weight"])
    assert not torch.equal(mean["score_head.weight"], own["score_head.weight"])


@pytest.mark.parametrize("count", [1, pytest.param(6, marks=pytest.mark.slow)])
def test_the_published_sample_trains_through_the_script_and_its_variables(tmp_path, count, finished):
    (tmp_path / "images").mkdir()
    data = ava_file(tmp_path / "images", count)
    environment = os.environ | {
        "DATA_FILE": str(data), "IMAGE_ROOT": str(tmp_path / "images"), "VIRTUAL_ENV": sys.prefix,
        "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1",
    }  # fmt: skip
    published = ["--min_score", "1", "--max_score", "10", "--num_tokens", "10", "--l1_weight", "0", "--ce_weight", "10",
                 "--emd_weight", "0", "--version", "v1", "--image_aspect_ratio", "pad", "--bf16", "False",
                 "--num_train_epochs", "1", "--per_device_train_batch_size", "2", "--evaluation_strategy", "no",
                 "--save_strategy", "no", "--learning_rate", "2e-5", "--weight_decay", "0.", "--warmup_ratio", "0.03",
                 "--lr_scheduler_type", "cosine", "--logging_steps", "1", "--model_max_length", "2048",
                 "--gradient_checkpointing", "True", "--tune_visual_abstractor", "True",
                 "--freeze_vision_model", "False", "--dataloader_num_workers", "0", "--lazy_preprocess", "True",
                 "--report_to", "none", "--tiny_model", "demo", "--check_answers", "0",
                 "--output_dir", str(tmp_path / "out")]  # fmt: skip
    command = ["bash", str(ROOT / "scripts" / "finetune.sh"), *published]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    roc = json.loads((tmp_path / "out" / "config.json").read_text())["roc"]
    assert roc["question"] == "Could you evaluate the aesthetics of this image?"
    assert roc["answer"] == "The aesthetic rate of the image is [SCORE]"
    assert (roc["ce_weight"], roc["image_aspect_ratio"]) == (10.0, "pad")


def test_unknown_settings_are_refused(capsys):
    assert main(["--learning_rat", "1"]) == 2
    assert "learning_rate" in capsys.readouterr().err


def test_a_row_that_is_too_long_is_named(tmp_path, capsys):
    assert demo(tmp_path / "out", "--model_max_length", "25") == 2
    said = capsys.readouterr().err
    assert "train_0.png needs" in said and "model_max_length is 25" in said and "takes all rows" in said


@pytest.mark.slow
def test_two_processes_do_the_whole_job_once(tmp_path):
    out = tmp_path / "demo"
    words = ["--launcher", "ddp", "--num_processes", "2", str(ROOT / "configs" / "demo.yaml")]
    settings = [*TINY, "--per_device_train_batch_size", "4", "--augment_flip", "0.5", "--output_dir", str(out)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "ROC_PYTHON": sys.executable}
    command = ["bash", str(ROOT / "scripts" / "finetune.sh"), *words, *settings]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("rows, scores on 1..10") == 1
    assert json.loads((out / "run.json").read_text())["finished"] is True
    assert len(Assessment(out).score(out / "scenes" / "images" / "test_0.png")) == 1


@pytest.mark.slow
def test_the_first_of_two_processes_says_what_is_wrong_with_the_data(tmp_path):
    (tmp_path / "ratings.csv").write_text("image,score\na.jpg,1\nb.jpg,2\n")
    words = ["--launcher", "ddp", "--num_processes", "2", "--tiny_model", "demo", "--data_path", "ratings.csv"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "ROC_PYTHON": sys.executable}
    environment["PYTHONPATH"] = str(ROOT)
    command = ["bash", str(ROOT / "scripts" / "finetune.sh"), *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert done.returncode != 0 and done.stderr.count("none of the 2 images is there") == 1
    assert "[rank1]" not in done.stderr and "Connection closed" not in done.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--max_score", "11"], "carries another score head than asked for"),
        (
            ["--attn_implementation", "flash_attention_2"],
            "attn_implementation is flash_attention_2, which needs a CUDA",
        ),
    ],
)
def test_nothing_is_drawn_or_read_where_the_model_or_the_machine_says_no(
    finished, tmp_path, capsys, monkeypatch, words, says
):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("roc.training.data.read_data", lambda _: pytest.fail("the data was read"))
    assert demo(tmp_path / "out", "--model_name_or_path", str(finished), *words) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
