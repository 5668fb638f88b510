"""How processes share a model, read from the environment that the launcher leaves."""

import json
from types import SimpleNamespace

import accelerate
import pytest
from transformers.integrations import deepspeed

from roc.training.config import load_config
from roc.training.processes import divided, first_process_first, sharding, whole_on_every_process
from roc.training.run import FirstFailed


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


def test_the_others_do_not_begin_where_the_first_process_failed(monkeypatch):
    said = []
    monkeypatch.setattr("accelerate.utils.broadcast_object_list", lambda told: said.append(told) or said[0])
    first, second = (SimpleNamespace(is_main_process=is_first, num_processes=2) for is_first in (True, False))
    with pytest.raises(ZeroDivisionError), first_process_first(first):
        raise ZeroDivisionError
    with pytest.raises(FirstFailed), first_process_first(second):
        pytest.fail("it began")
    said.clear()
    for process in (first, second):
        with first_process_first(process):
            pass
    assert said == [[False], [False]]


def test_every_process_does_a_part_and_has_all(monkeypatch):
    parts = []

    def process(index, gathered):
        monkeypatch.setattr(accelerate, "PartialState", lambda: SimpleNamespace(process_index=index, num_processes=2))
        monkeypatch.setattr(accelerate.utils, "gather_object", gathered)
        return divided(lambda some: [None if one == 3 else one / 10 for one in some], range(5))

    def kept(own):
        parts.extend(own)
        return [[(place, None) for place in range(5)]]

    for index in range(2):
        process(index, kept)
    assert parts == [[(0, 0.0), (2, 0.2), (4, 0.4)], [(1, 0.1), (3, None)]]
    assert process(1, lambda own: [parts[0], *own]) == [0.0, 0.1, 0.2, None, 0.4]
