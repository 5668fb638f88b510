"""The model of a run: from a checkpoint, with LoRA or QLoRA, or refused."""

import csv
import itertools
import json
import shutil
from dataclasses import replace

import pytest
import torch
from heads import SPACE, fill_head
from peft import PeftModel
from PIL import Image, ImageOps
from safetensors.torch import load_file
from tiny_models import BUILDERS
from training_runs import QUICK, data_set, demo, finetune

from roc import Assessment
from roc.checkpoint.folder import save
from roc.cli import main
from roc.model.attachment import attach
from roc.model.declaration import declare
from roc.model.processing import save_processor


def test_another_head_than_the_checkpoints_is_refused(finished, tmp_path, capsys):
    words = ["--model_name_or_path", str(finished), "--max_score", "11", "--attributes", "overall,light",
             "--answer", "none"]  # fmt: skip
    assert demo(tmp_path / "out", *words) == 2
    error = capsys.readouterr().err
    assert "max_score: the checkpoint has 10, the settings say 11" in error
    assert "attributes: the checkpoint has" in error


def test_training_goes_on_from_a_checkpoint(finished, tmp_path):
    words = ["--model_name_or_path", str(finished), "--freeze", "vision", "--max_steps", "2"]
    assert demo(tmp_path / "out", *words) == 0
    before, after = load_file(finished / "model.safetensors"), load_file(tmp_path / "out" / "model.safetensors")
    for name, weight in before.items():
        assert torch.equal(after[name], weight) == ("vision_tower" in name), name


def rows_of(file):
    with file.open(encoding="utf-8") as table:
        return list(csv.DictReader(table))


@pytest.fixture(scope="module")
def flipped_run(tmp_path_factory):
    """Trains with score_flip for one step; returns the words of the data, and the folder."""
    folder = tmp_path_factory.mktemp("flipped")
    file, base, out = data_set(folder / "photos", range(2, 8)), folder / "base", folder / "out"
    model, processor = BUILDERS["llava"]()
    attach(model, processor, SPACE)
    fill_head(model)  # so that a picture and its mirror image get different scores
    save(model, processor, base)
    words = ["--data_path", str(file), *QUICK[:-2], "--check_answers", "0"]
    assert finetune(*words, "--model_name_or_path", str(base), "--score_flip", "true", "--output_dir", str(out)) == 0
    return words, out


def test_scores_are_means_over_mirror_images_in_the_table_and_the_command(flipped_run, tmp_path):
    _, out = flipped_run
    photo, other = out.parent / "photos" / "5.png", tmp_path / "mirrored.png"  # the test row
    ImageOps.mirror(Image.open(photo)).save(other)
    assert main(["score", str(photo), str(other), "--checkpoint", str(out), "--out", str(tmp_path / "s.csv")]) == 0
    found = [float(row["prediction"]) for row in rows_of(tmp_path / "s.csv")]
    (tested,) = rows_of(out / "predictions.csv")
    plain = Assessment(out)
    declare(plain.model, replace(plain.model.declaration, score_flip=False))
    pair = [one.scores["overall"].value for one in plain.score([photo, other])]
    assert abs(pair[0] - pair[1]) > 1e-3
    assert found == pytest.approx([sum(pair) / 2] * 2, abs=1e-4)
    assert float(tested["prediction"]) == pytest.approx(found[0], abs=1e-4)
    assert f'Assessment(pretrained="{out}").score("' in (out / "metrics.txt").read_text()


@pytest.mark.parametrize(
    ("words", "kept"), [([], True), pytest.param(["--score_flip", "false"], None, marks=pytest.mark.slow)]
)
def test_a_run_that_goes_on_keeps_mirror_images_unless_told_otherwise(flipped_run, tmp_path, words, kept):
    same, before = flipped_run
    words = [*same, "--model_name_or_path", str(before), "--no_test_table", "true", *words]
    assert finetune(*words, "--output_dir", str(tmp_path / "out")) == 0
    assert json.loads((tmp_path / "out" / "config.json").read_text())["roc"].get("score_flip") is kept


def test_pictures_that_cannot_be_mirrored_in_a_batch_are_refused(tmp_path, capsys):
    file, base = data_set(tmp_path / "photos", range(2, 8)), tied_base(tmp_path / "base")
    words = ["--model_name_or_path", base, "--data_path", str(file), "--score_flip", "true", "--report_to", "none"]
    assert finetune(*words, "--output_dir", str(tmp_path / "out")) == 2
    said = capsys.readouterr().err
    assert "a qwen2_5_vl model cannot be shown mirror images" in said and "give --score_flip false" in said


@pytest.fixture(scope="module")
def lora_run(finished, tmp_path_factory):
    """Trains LoRA on the finished demo model for two epochs; returns the words of the command and the folder."""
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
    read = PeftModel.load_adapter

    def forgetful(self, *args, **settings):  # as PEFT is where transformers once named a part otherwise
        result = read(self, *args, **settings)
        for name, parameter in self.named_parameters():
            if "mlp" in name and "lora_" in name:
                torch.nn.init.normal_(parameter.data)
        return result

    monkeypatch.setattr(PeftModel, "load_adapter", forgetful)
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


def tied_base(folder, family="qwen2_5_vl"):
    """Saves a tiny base without a head whose input and output embeddings are tied; returns its path."""
    model, processor = BUILDERS[family](hidden_size=64, tied=True)
    model.save_pretrained(folder)
    save_processor(processor, folder)
    return str(folder)


@pytest.mark.slow
@pytest.mark.parametrize("tuning", ["lora", "qlora"])
def test_the_best_adapter_on_tied_embeddings_is_kept_and_a_cut_run_goes_on(tmp_path, capsys, monkeypatch, tuning):
    if tuning == "qlora":
        pytest.importorskip("bitsandbytes")
    evaluated = itertools.count()
    # The first state is the best.
    monkeypatch.setattr("roc.training.validation.srcc", lambda *_: 1 - 0.1 * next(evaluated))
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
