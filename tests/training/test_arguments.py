"""Settings become the Trainer's own, and notes say what was decided for the user."""

import json

import pytest
from heads import build, picture
from training_runs import QUICK, finetune, ratings

from roc.checkpoint.folder import save
from roc.data.pairs import Pair, pair_records
from roc.training import arguments as training_settings
from roc.training.arguments import limit_validation, training_arguments
from roc.training.config import load_config
from roc.training.data import RunData
from roc.training.trainer import RocTrainer


def test_one_gpu_of_several_is_used(tmp_path, monkeypatch, caplog):
    from transformers import TrainingArguments

    def three_gpus(self):
        TrainingArguments.__post_init__(self)
        self._n_gpu = 3

    made = type("ThreeGpus", (TrainingArguments,), {"__post_init__": three_gpus})
    monkeypatch.setattr("transformers.TrainingArguments", made)
    arguments = training_arguments(load_config(None, {"output_dir": str(tmp_path), "report_to": "none"}))
    assert isinstance(arguments, made) and arguments.n_gpu == 1
    assert caplog.messages == ["one of 3 GPUs is used; `bash scripts/finetune.sh --launcher ddp` uses all"]


@pytest.mark.parametrize(
    ("asked", "gibibytes", "expected"),
    [("auto", None, False), ("auto", 80, False), ("auto", 1, True), ("true", 80, True), ("false", 1, False)],
)
def test_checkpointing_is_used_where_memory_asks_for_it(tmp_path, capsys, monkeypatch, asked, gibibytes, expected):
    data = ratings(tmp_path, ["5,4", "6,3", "7,2"])
    model, processor, _ = build("llava")
    save(model, processor, tmp_path / "model")
    monkeypatch.setattr(training_settings, "free_gpu_memory", lambda: None if gibibytes is None else gibibytes * 2**30)
    seen = []

    def training_step(self, model, *rest, **more):
        seen.append({m.gradient_checkpointing for m in model.modules() if hasattr(m, "gradient_checkpointing")})
        raise SystemExit("seen enough")

    monkeypatch.setattr(RocTrainer, "training_step", training_step)
    words = ["--model_name_or_path", str(tmp_path / "model"), "--data_path", data, "--attributes", "overall,light"]
    words += ["--gradient_checkpointing", asked, "--min_score", "1", "--max_score", "10", "--tuning", "lora", *QUICK]
    with pytest.raises(SystemExit, match="seen enough"):
        finetune(*words, "--save_strategy", "no", "--output_dir", str(tmp_path / "out"))
    assert seen == [{expected}]
    assert ("of the 1.0 GiB of the GPU" in capsys.readouterr().err) == (asked == "auto" and expected)


def test_the_best_state_of_pairs_alone_has_most_pairs_right(tmp_path, capsys):
    for number in range(8):
        picture(number).save(tmp_path / f"{number}.png")
    rows = ["0.png,1.png,1,train", "2.png,3.png,-1,train", *(f"{a}.png,{b}.png,1,val" for a, b in ("45", "67", "74"))]
    (tmp_path / "pairs.csv").write_text("\n".join(["image_a,image_b,delta,split", *rows]) + "\n")
    words = ["--pairs_path", str(tmp_path / "pairs.csv"), *QUICK, "--output_dir", str(tmp_path / "out")]
    by_steps = ["--eval_strategy", "steps", "--save_strategy", "steps", "--eval_steps", "1", "--save_steps", "1"]
    assert finetune(*words, *by_steps, "--max_steps", "2") == 0
    assert "validation pairs right " in capsys.readouterr().err
    (last,) = (tmp_path / "out" / "training").glob("checkpoint-2")
    state = json.loads((last / "trainer_state.json").read_text())
    found = {entry["step"]: entry["eval_pair_accuracy"] for entry in state["log_history"] if "eval_loss" in entry}
    assert set(found) == {1, 2} and state["best_metric"] == max(found.values())


def test_pairs_alone_of_which_none_is_marked_val_keep_the_last_state(tmp_path, caplog):
    arguments = training_arguments(load_config(None, {"output_dir": str(tmp_path), "report_to": "none"}))
    pair = Pair("a", ("0.png", "1.png"), 1.0)
    limit_validation(arguments, RunData(train=pair_records([pair]), val=[], test=[], pairs=(pair,)))
    assert arguments.eval_strategy == "no" and not arguments.load_best_model_at_end
    assert "no pair is marked val and no rated row is there to validate on; there is no validation" in caplog.text


def test_too_few_validation_rows_are_said(tmp_path, capsys):
    data = ratings(tmp_path, ["5,4,train", "6,3,train", "7,2,val", "3,3,train"], "image,score,light,split")
    assert finetune("--data_path", data, *QUICK, "--output_dir", str(tmp_path / "out")) == 0
    assert "1 validation rows are too few" in capsys.readouterr().err
