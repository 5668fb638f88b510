"""The whole job through the real command: train, evaluate, save, use, resume, refuse."""

import csv
import itertools
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from heads import build, picture
from safetensors.torch import load_file
from tiny_models import BUILDERS

import roc.training.trainer
from roc import Assessment
from roc.checkpoint.folder import save
from roc.commands.finetune import main
from roc.model.processing import save_processor
from roc.training import arguments as training_settings
from roc.training import run
from roc.training.config import load_config
from roc.training.data import read_data
from roc.training.trainer import RocTrainer

ROOT = Path(__file__).parents[2]
TINY = ["--demo_train", "24", "--demo_val", "8", "--demo_test", "8", "--demo_size", "64", "--num_train_epochs", "2",
        "--per_device_train_batch_size", "8", "--threads", "1", "--check_answers", "2",
        "--logging_steps", "1"]  # fmt: skip

# The sample of the published training data, as it stands there.
AVA = {
    "image": "771257.jpg",
    "gt_score": 3.463414634146341,
    "conversations": [
        {"from": "human", "value": "<|image|>Could you evaluate the aesthetics of this image?"},
        {"from": "gpt", "value": "The aesthetic rate of the image is [SCORE]. "},
    ],
    "target": [0.15853658536585366, 0.10975609756097561, 0.2073170731707317, 0.2926829268292683, 0.16463414634146342,
               0.04878048780487805, 0.0, 0.0, 0.006097560975609756, 0.012195121951219513],
}  # fmt: skip


def demo(out, *words):
    return main([str(ROOT / "configs" / "demo.yaml"), *TINY, "--output_dir", str(out), *words])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "demo"
    assert demo(out) == 0
    return out


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


def test_the_card_gives_the_metrics_and_the_command_that_makes_them(finished):
    card = (finished / "README.md").read_text()
    metrics = json.loads((finished / "metrics.json").read_text())
    assert f"| overall | {metrics['srcc']:.3f} [" in card
    assert f"```bash\n{metrics['command']}\n```" in card
    config = load_config(None, shlex.split(metrics["command"])[2:])
    assert config.to_dict() == json.loads((finished / "run.json").read_text())["settings"]


def test_tensorboard_has_each_loss_rate_and_validation_metric(finished):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = next((finished / "training").rglob("events.out.tfevents*")).parent
    events = EventAccumulator(str(folder))
    events.Reload()
    wanted = {f"train/{name}" for name in ("loss", "text_loss", "l1_loss", "ce_loss", "emd_loss", "learning_rate")}
    wanted |= {f"eval/{name}" for name in ("srcc", "plcc", "mae")}
    assert wanted <= set(events.Tags()["scalars"])


def test_the_checkpoint_scores_what_the_report_says(finished):
    rows = list(csv.DictReader((finished / "predictions.csv").open()))
    pictures = [finished / "scenes" / row["id"] for row in rows]
    for row, one in zip(rows, Assessment(finished).score(pictures), strict=True):
        assert float(row["prediction"]) == pytest.approx(one.scores["overall"].value, abs=1e-4)
        assert float(row["prediction.light"]) == pytest.approx(one.scores["light"].value, abs=1e-4)


def test_the_best_state_was_kept(finished):
    """The weights of the state that validation chose, not those of the last step and not those of the start."""
    states = sorted((finished / "training").glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    state = json.loads((states[-1] / "trainer_state.json").read_text())
    best = load_file(finished / "training" / f"checkpoint-{state['best_global_step']}" / "model.safetensors")
    kept = load_file(finished / "model.safetensors")
    assert torch.equal(kept["score_head.weight"], best["score_head.weight"])
    assert kept["score_head.weight"].any()


def test_the_same_command_prints_the_table_again(finished, capsys):
    before = (finished / "model.safetensors").stat().st_mtime_ns
    assert demo(finished) == 0
    printed = capsys.readouterr().out
    assert "SRCC" in printed and "is finished" in printed
    assert (finished / "model.safetensors").stat().st_mtime_ns == before


def test_other_settings_in_the_same_folder_are_refused(finished, capsys):
    assert demo(finished, "--l1_weight", "3") == 2
    assert "l1_weight: 1.0 -> 3.0" in capsys.readouterr().err


def test_a_folder_that_is_no_run_is_left_alone(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("years of work")
    assert demo(tmp_path) == 2
    assert "holds no run.json" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def start(out, *more):
    demo_file = str(ROOT / "configs" / "demo.yaml")
    words = [sys.executable, "-m", "roc.cli", "finetune", demo_file, *TINY, "--output_dir", str(out), *more]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment)


def test_a_killed_run_ends_with_the_weights_of_an_uninterrupted_one(tmp_path):
    """Saved inside the second epoch, with everything on that has a state: augmentation, averaged weights, dropout."""
    settings = ["--save_strategy", "steps", "--save_steps", "2", "--eval_strategy", "steps", "--ema_decay", "0.8",
                "--augment_flip", "0.5", "--augment_shift", "0.2", "--num_train_epochs", "3",
                "--save_total_limit", "9"]  # fmt: skip
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert demo(whole, *settings) == 0
    first = start(killed, *settings)
    saved = killed / "training" / "checkpoint-4" / "trainer_state.json"
    deadline = time.time() + 240
    while not saved.exists() and first.poll() is None and time.time() < deadline:
        time.sleep(0.01)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert saved.exists()
    assert json.loads((killed / "run.json").read_text())["finished"] is False
    for later in (6, 8):  # the kill may come late; the test is about going on from inside an epoch
        shutil.rmtree(killed / "training" / f"checkpoint-{later}", ignore_errors=True)
    second = start(killed, *settings)
    _, errors = second.communicate(timeout=240)
    assert second.returncode == 0, errors.decode()
    for name in ("model.safetensors", "training/checkpoint-9/training_weights.safetensors"):
        expected, found = load_file(whole / name), load_file(killed / name)
        assert expected.keys() == found.keys()
        for key, weight in expected.items():
            torch.testing.assert_close(found[key], weight, atol=1e-6, rtol=0)
    logs = [json.loads((run / "training/checkpoint-9/trainer_state.json").read_text()) for run in (whole, killed)]
    losses = [{entry["step"]: entry["l1_loss"] for entry in log["log_history"] if "l1_loss" in entry} for log in logs]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_the_mean_of_the_weights_is_what_is_saved(tmp_path):
    words = ["--ema_decay", "0.9", "--eval_strategy", "no", "--save_strategy", "epoch", "--num_train_epochs", "1"]
    assert demo(tmp_path / "out", *words) == 0
    kept = load_file(tmp_path / "out" / "model.safetensors")
    state = tmp_path / "out" / "training" / "checkpoint-3"
    mean, own = load_file(state / "model.safetensors"), load_file(state / "training_weights.safetensors")
    assert torch.equal(kept["score_head.weight"], mean["score_head.weight"])
    assert not torch.equal(mean["score_head.weight"], own["score_head.weight"])


def tied_base(folder, family="qwen2_5_vl"):
    """A saved tiny base without a head that predicts with the rows it embeds with."""
    model, processor = BUILDERS[family](hidden_size=64, tied=True)
    model.save_pretrained(folder)
    save_processor(processor, folder)
    return str(folder)


@pytest.mark.parametrize("tuning", ["lora", pytest.param("qlora", marks=pytest.mark.slow)])
def test_the_best_adapter_on_tied_embeddings_is_kept_and_a_cut_run_goes_on(tmp_path, capsys, monkeypatch, tuning):
    if tuning == "qlora":
        pytest.importorskip("bitsandbytes")
    evaluated = itertools.count()
    monkeypatch.setattr(
        roc.training.trainer, "srcc", lambda *_: 1 - 0.1 * next(evaluated)
    )  # the first state is the best
    out, training = tmp_path / "out", tmp_path / "out" / "training"
    words = ["--model_name_or_path", tied_base(tmp_path / "base"), "--tuning", tuning, "--bf16", "False",
             "--dtype", "float32", "--save_total_limit", "9", "--learning_rate", "1e-2"]  # fmt: skip
    assert demo(out, *words) == 0
    first, last = (load_file(training / f"checkpoint-{step}" / "adapter_model.safetensors") for step in (3, 6))
    kept = load_file(out / "adapter_model.safetensors")
    rows = [name for name in kept if "trainable_tokens_delta" in name]
    assert len(rows) == 1 and not torch.equal(first[rows[0]], last[rows[0]])
    assert kept.keys() == first.keys() and all(torch.equal(kept[name], first[name]) for name in first)

    table = csv.DictReader((out / "scenes" / "ratings.csv").open())
    held = [row for row in table if row["split"] == "val"]
    values = [one.scores["overall"].value for one in Assessment(out).score([out / "scenes" / r["image"] for r in held])]
    history = json.loads((training / "checkpoint-6" / "trainer_state.json").read_text())["log_history"]
    logged = [entry["eval_mae"] for entry in history if "eval_mae" in entry]
    off = sum(abs(value - float(row["score"])) for value, row in zip(values, held, strict=True)) / len(held)
    assert off == pytest.approx(logged[0], abs=1e-4) and abs(logged[1] - logged[0]) > 1e-3

    shutil.rmtree(training / "checkpoint-6")
    run = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps(run | {"finished": False}))
    assert demo(out, *words) == 0
    assert "Resuming from" in capsys.readouterr().err
    again = load_file(training / "checkpoint-6" / "adapter_model.safetensors")
    for name, weight in last.items():
        torch.testing.assert_close(again[name], weight, atol=1e-6, rtol=0)


def ava_file(folder, count=6, **changes):
    samples = []
    for i in range(count):
        name = f"{i}.jpg" if i else AVA["image"]
        picture(i).save(folder / name)
        samples.append(AVA | {"image": name} | changes)
    (folder / "ava.json").write_text(json.dumps(samples))
    return folder / "ava.json"


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
                 "--report_to", "none", "--output_dir", str(tmp_path / "out")]  # fmt: skip
    command = ["bash", str(ROOT / "scripts" / "finetune.sh"), *published]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    roc = json.loads((tmp_path / "out" / "config.json").read_text())["roc"]
    assert roc["question"] == "Could you evaluate the aesthetics of this image?"
    assert roc["answer"] == "The aesthetic rate of the image is [SCORE]"
    assert (roc["ce_weight"], roc["image_aspect_ratio"]) == (10.0, "pad")


def test_a_wrong_number_of_levels_is_refused_before_any_work(tmp_path, capsys):
    data = ava_file(tmp_path, 3)
    words = ["--data_path", str(data), "--num_tokens", "8", "--ce_weight", "1", "--output_dir", str(tmp_path / "out")]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.count("expected 8") == 3
    assert "ava.json:1" in error
    assert not (tmp_path / "out").exists()


def test_faults_of_the_data_come_together_before_training(tmp_path, capsys):
    picture(0).save(tmp_path / "good.png")
    whole = (tmp_path / "good.png").read_bytes()
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "r.csv").write_text("image,score\ngood.png,5\nhalf.png,6\nmissing.png,7\ngood2.png,11\n")
    assert main(["--data_path", str(tmp_path / "r.csv"), "--output_dir", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    for line, word in ((3, "half.png"), (4, "missing.png"), (5, "11")):
        assert any(f"r.csv:{line}" in row and word in row for row in error.splitlines()), error
    assert not (tmp_path / "out").exists()


def test_votes_asked_for_but_not_there(tmp_path, capsys):
    picture(0).save(tmp_path / "good.png")
    (tmp_path / "r.csv").write_text("image,score\ngood.png,5\n")
    words = ["--data_path", str(tmp_path / "r.csv"), "--emd_weight", "1", "--output_dir", str(tmp_path / "out")]
    assert main(words) == 2
    assert "no record has a histogram" in capsys.readouterr().err


def test_another_head_than_the_checkpoints_is_refused(finished, tmp_path, capsys):
    words = ["--model_name_or_path", str(finished), "--max_score", "11", "--attributes", "overall,light"]
    assert demo(tmp_path / "out", *words) == 2
    error = capsys.readouterr().err
    assert "max_score: the checkpoint has 10.0, the settings say 11.0" in error
    assert "attributes: the checkpoint has" in error


def test_training_goes_on_from_a_checkpoint(finished, tmp_path):
    words = ["--model_name_or_path", str(finished), "--freeze", "vision", "--max_steps", "2"]
    assert demo(tmp_path / "out", *words) == 0
    before, after = load_file(finished / "model.safetensors"), load_file(tmp_path / "out" / "model.safetensors")
    for name, weight in before.items():
        assert torch.equal(after[name], weight) == ("vision_tower" in name), name


def test_unknown_settings_are_refused(capsys):
    assert main(["--learning_rat", "1"]) == 2
    assert "learning_rate" in capsys.readouterr().err


def ratings(folder, rows, header="image,score,light"):
    for i in range(len(rows)):
        picture(i).save(folder / f"{i}.png")
    lines = [f"{i}.png,{row}" for i, row in enumerate(rows)]
    (folder / "r.csv").write_text("\n".join([header, *lines]) + "\n")
    return str(folder / "r.csv")


QUICK = ["--max_steps", "1", "--per_device_train_batch_size", "2", "--report_to", "none", "--threads", "1"]


def test_scores_in_another_order_than_the_attributes_are_refused(tmp_path, capsys):
    picture(0).save(tmp_path / "0.png")
    turns = [
        {"from": "human", "value": "<|image|>Rate it."},
        {"from": "gpt", "value": "Overall [SCORE], light [SCORE], mood [SCORE]."},
    ]
    row = {"image": "0.png", "score": 5, "light": 2, "mood": 8, "conversations": turns}
    (tmp_path / "r.jsonl").write_text(json.dumps(row) + "\n")
    words = ["--data_path", str(tmp_path / "r.jsonl"), "--attributes", "overall,mood,light", *QUICK]
    assert main([*words, "--output_dir", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "r.jsonl:1: the scores of the conversation are overall, light, mood" in error


def test_attributes_nobody_rated_are_refused(tmp_path, capsys):
    data = ratings(tmp_path, ["5,4", "6,3", "7,2"])
    words = ["--data_path", data, "--attributes", "overall,mood", *QUICK, "--output_dir", str(tmp_path / "out")]
    assert main(words) == 2
    assert "no training row has a score for mood; the file has light, overall" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_extra_validation_file_takes_nothing_from_training_and_shares_no_picture(tmp_path, capsys):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    train = ratings(tmp_path / "a", ["5,4"] * 20)
    shared = tmp_path / "a" / "val.csv"
    shared.write_text("image,score\n3.png,5\n")
    words = ["--data_path", train, *QUICK]
    assert main([*words, "--eval_data_path", str(shared), "--output_dir", str(tmp_path / "x")]) == 2
    assert "val.csv:2" in capsys.readouterr().err
    val = ratings(tmp_path / "b", ["5,4"] * 4)
    data = read_data(load_config(None, {"data_path": train, "eval_data_path": val}))
    assert (len(data.train), len(data.val)) == (20, 4)


def test_a_mistake_leaves_the_folder_free_for_the_corrected_command(tmp_path, capsys):
    words = [*TINY, "--max_steps", "1", "--eval_strategy", "no", "--output_dir", str(tmp_path / "out")]
    assert main([*words, "--tiny_model", "nonsense"]) == 2
    assert "tiny_model is 'nonsense', expected one of demo, photos" in capsys.readouterr().err
    assert not (tmp_path / "out" / "run.json").exists()


def test_edited_data_is_another_run(tmp_path, capsys):
    data = ratings(tmp_path, ["5,4", "6,3", "7,2", "3,3"])
    words = ["--data_path", data, *QUICK, "--eval_strategy", "no", "--output_dir", str(tmp_path / "out")]
    assert main(words) == 0
    Path(data).write_text(Path(data).read_text().replace("0.png,5", "0.png,9"))
    assert main(words) == 2
    assert "the content of the data file has changed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("asked", "gibibytes", "expected"),
    [("auto", None, False), ("auto", 80, False), ("auto", 1, True), ("true", 80, True), ("false", 1, False)],
)
def test_checkpointing_is_used_where_memory_asks_for_it(tmp_path, capsys, monkeypatch, asked, gibibytes, expected):
    data = ratings(tmp_path, ["5,4", "6,3", "7,2"])
    model, processor, _ = build("llava")
    save(model, processor, tmp_path / "model")
    monkeypatch.setattr(training_settings, "free_gpu_memory", lambda: None if gibibytes is None else gibibytes * 2**30)
    seen, step = [], RocTrainer.training_step

    def training_step(self, model, *rest, **more):
        seen.append({m.gradient_checkpointing for m in model.modules() if hasattr(m, "gradient_checkpointing")})
        return step(self, model, *rest, **more)

    monkeypatch.setattr(RocTrainer, "training_step", training_step)
    words = ["--model_name_or_path", str(tmp_path / "model"), "--data_path", data, "--attributes", "overall,light"]
    words += ["--gradient_checkpointing", asked, "--min_score", "1", "--max_score", "10", "--tuning", "lora", *QUICK]
    assert main([*words, "--save_strategy", "no", "--output_dir", str(tmp_path / "out")]) == 0
    assert seen == [{expected}]
    assert ("of the 1.0 GiB of the GPU" in capsys.readouterr().err) == (asked == "auto" and expected)


def test_too_few_validation_rows_are_said(tmp_path, capsys):
    data = ratings(tmp_path, ["5,4,train", "6,3,train", "7,2,val", "3,3,train"], "image,score,light,split")
    assert main(["--data_path", data, *QUICK, "--output_dir", str(tmp_path / "out")]) == 0
    assert "1 validation rows are too few" in capsys.readouterr().err


def test_a_row_that_is_too_long_is_named(tmp_path, capsys):
    assert demo(tmp_path / "out", "--model_max_length", "25") == 2
    assert "cutting would lose a [SCORE]; raise model_max_length" in capsys.readouterr().err


def test_overwrite_gives_up_nothing_for_a_mistake(tmp_path, capsys):
    out = tmp_path / "out"
    assert demo(out) == 0
    before = sorted(path.name for path in (out / "training").iterdir())
    assert demo(out, "--overwrite", "--tiny_model", "nonsense") == 2
    assert sorted(path.name for path in (out / "training").iterdir()) == before
    assert demo(out) == 0
    assert "is finished" in capsys.readouterr().out


def test_a_folder_that_cannot_be_written(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert demo(tmp_path / "file" / "out") == 2
    assert "cannot be written" in capsys.readouterr().err


def test_a_full_disk_at_the_end_is_said_and_the_states_are_kept(tmp_path, capsys, monkeypatch):
    from safetensors import SafetensorError

    import roc.checkpoint.folder
    import roc.training.trainer  # noqa: F401 - before the patch, so that states are still saved

    def full(*_, **__):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    with monkeypatch.context() as patch:
        patch.setattr(roc.checkpoint.folder, "save", full)
        assert demo(tmp_path / "out") == 2
    assert "No space left on device" in capsys.readouterr().err
    (tmp_path / "out" / "README.md").write_text("All mine.")
    assert demo(tmp_path / "out") == 0
    assert "Resuming from" in capsys.readouterr().err
    assert (tmp_path / "out" / "README.md").read_text() == "All mine."


def test_a_missing_model_is_named(tmp_path, capsys):
    words = ["--model_name_or_path", str(tmp_path / "nowhere"), *TINY, "--output_dir", str(tmp_path / "out")]
    assert main(words) == 2
    assert "nowhere" in capsys.readouterr().err
    with pytest.raises(FileNotFoundError, match=r"no folder .*finetune\.sh"):
        Assessment("checkpoints/never/trained")


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


def test_a_state_is_read_by_the_processes_that_wrote_it(tmp_path, capsys):
    from types import SimpleNamespace

    share = tmp_path / "training" / "checkpoint-5" / "global_step5" / "zero_pp_rank_0_mp_rank_00_optim_states.pt"
    share.parent.mkdir(parents=True)
    share.touch()
    (tmp_path / "training" / "checkpoint-5" / "trainer_state.json").write_text("{}")
    config = load_config(None, {"output_dir": str(tmp_path)})
    for launcher, processes in (("ddp", 1), ("zero3", 1), ("zero2", 2)):
        trainer = SimpleNamespace(launcher=launcher, args=SimpleNamespace(world_size=processes))
        says = f"--launcher zero2 and 1 processes; these are {processes} processes of {launcher}"
        with pytest.raises(run.RunError, match=says):
            run.state_to_resume(config, trainer, clean=True)
    trainer.args.world_size = 1
    assert run.state_to_resume(config, trainer, clean=True).name == "checkpoint-5"


def test_lora_on_a_spread_model_is_refused(finished, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    words = ["--model_name_or_path", str(finished), "--tuning", "lora", "--ema_decay", "0"]
    assert demo(tmp_path / "out", *words) == 2
    assert "use --launcher ddp or zero2" in capsys.readouterr().err
    assert not (tmp_path / "out" / "run.json").exists()


@pytest.fixture(scope="module")
def lora_run(finished, tmp_path_factory):
    """Two epochs of LoRA on the finished demo model; `(words of the command, folder)`."""
    out = tmp_path_factory.mktemp("lora") / "adapter"
    words = ["--model_name_or_path", str(finished), "--tuning", "lora", "--lora_rank", "4", "--learning_rate", "1e-2"]
    assert demo(out, *words, "--ema_decay", "0") == 0
    return [*words, "--ema_decay", "0"], out


def test_lora_leaves_an_adapter_that_scores_what_the_report_says(lora_run, finished):
    _, out = lora_run
    assert (out / "adapter_model.safetensors").exists() and not (out / "model.safetensors").exists()
    rows = list(csv.DictReader((out / "predictions.csv").open()))
    before = {row["id"]: row for row in csv.DictReader((finished / "predictions.csv").open())}
    pictures = [out / "scenes" / row["id"] for row in rows]
    for row, one in zip(rows, Assessment(out).score(pictures), strict=True):
        assert float(row["prediction"]) == pytest.approx(one.scores["overall"].value, abs=1e-4)
        assert row["prediction"] != before[row["id"]]["prediction"]


def test_lora_interrupted_and_resumed_ends_with_the_same_adapter(lora_run, tmp_path, monkeypatch, capsys):
    from roc.training.trainer import RocTrainer

    words, whole = lora_run
    step = RocTrainer.training_step

    def cut_short(self, *args, **kwargs):
        if self.state.global_step == 4:
            raise SystemExit("power cut")
        return step(self, *args, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(SystemExit, match="power cut"):
        patch.setattr(RocTrainer, "training_step", cut_short)
        demo(tmp_path / "out", *words)
    assert demo(tmp_path / "out", *words) == 0
    assert "Resuming from" in capsys.readouterr().err
    expected, found = (load_file(folder / "adapter_model.safetensors") for folder in (whole, tmp_path / "out"))
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, atol=1e-6, rtol=0)


def test_qlora_trains_in_four_bits_and_an_adapter_is_no_start(finished, tmp_path, capsys):
    pytest.importorskip("bitsandbytes")
    words = ["--model_name_or_path", str(finished), "--tuning", "qlora", "--ema_decay", "0", "--max_steps", "2"]
    assert demo(tmp_path / "out", *words) == 0
    assert json.loads((tmp_path / "out" / "roc_config.json").read_text())["tuning"] == "qlora"
    assert demo(tmp_path / "next", "--model_name_or_path", str(tmp_path / "out")) == 2
    assert "is an adapter; `roc export" in capsys.readouterr().err


def test_lora_targets_that_match_nothing_are_refused(finished, tmp_path, capsys):
    words = ["--model_name_or_path", str(finished), "--tuning", "lora", "--ema_decay", "0", "--lora_targets", "wq"]
    assert demo(tmp_path / "out", *words) == 2
    assert "tuning lora: lora_targets wq match no linear layer of language" in capsys.readouterr().err
    assert not (tmp_path / "out" / "run.json").exists()
