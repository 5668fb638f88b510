"""Settings become the Trainer's own; what cannot be trained with is refused."""

from roc.training.arguments import training_arguments
from roc.training.config import load_config


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
