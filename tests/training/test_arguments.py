"""Settings become the Trainer's own, and notes say what was decided for the user."""

import pytest
from heads import build
from training_runs import QUICK, finetune, ratings

from roc.checkpoint.folder import save
from roc.training import arguments as training_settings
from roc.training.arguments import training_arguments
from roc.training.config import load_config
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


def test_too_few_validation_rows_are_said(tmp_path, capsys):
    data = ratings(tmp_path, ["5,4,train", "6,3,train", "7,2,val", "3,3,train"], "image,score,light,split")
    assert finetune("--data_path", data, *QUICK, "--output_dir", str(tmp_path / "out")) == 0
    assert "1 validation rows are too few" in capsys.readouterr().err
