"""How processes share a model, read from the environment that the launcher leaves."""

import json

import pytest
from transformers.integrations import deepspeed

from roc.training.config import load_config
from roc.training.processes import sharding, whole_on_every_process


@pytest.mark.parametrize(
    ("environment", "file", "expected"),
    [
        ({}, None, "ddp"),
        ({"ACCELERATE_USE_FSDP": "true"}, None, "fsdp2"),
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, None, "zero2"),
        ({"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"}, None, "zero3"),
        ({"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "2"}, 3, "zero3"),
        ({}, 2, "zero2"),
    ],
)
def test_how_a_model_is_spread(tmp_path, monkeypatch, environment, file, expected):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = {}
    if file is not None:
        settings["deepspeed"] = str(tmp_path / "zero.json")
        (tmp_path / "zero.json").write_text(json.dumps({"zero_optimization": {"stage": file}}))
    assert sharding(load_config(None, settings)) == expected


def test_a_model_is_built_whole_under_zero3():
    class Settings:
        def is_zero3(self):
            return True

    settings = Settings()  # transformers holds no more than a weak reference
    try:
        deepspeed.set_hf_deepspeed_config(settings)
        with whole_on_every_process():
            assert not deepspeed.is_deepspeed_zero3_enabled()
        assert deepspeed.is_deepspeed_zero3_enabled()
    finally:
        deepspeed.unset_hf_deepspeed_config()
