"""Processors with and without their video part, and with and without torchvision."""

import json
import os
import pickle

import pytest
import torch
from any_type import build
from PIL import Image
from tiny_models import FAMILY_BUILDERS, tiny_llava, tiny_qwen2_5_vl
from torch.utils.data import DataLoader
from transformers import LlavaProcessor, Qwen2_5_VLProcessor
from transformers.models.smolvlm import processing_smolvlm
from transformers.utils import is_torchvision_available
from type_recipes import RECIPES

from roc.data.records import Record
from roc.model.attachment import attach
from roc.model.collator import RocCollator
from roc.model.processing import image_only, load_processor, processor_class, save_processor
from roc.score_space import ScoreSpace

without_torchvision = pytest.mark.skipif(is_torchvision_available(), reason="is about a machine without torchvision")
VIDEO = {"video_processor_type": "Qwen2VLVideoProcessor", "fps": 2}
QUICK = ("llava", "mistral3", "qwen2_5_vl")


def settings_of(folder):
    return json.loads((folder / "processor_config.json").read_text())


def test_a_class_without_video_is_left_alone():
    assert image_only(LlavaProcessor) is LlavaProcessor
    assert image_only(Qwen2_5_VLProcessor).__name__ == "Qwen2_5_VLProcessor"
    assert image_only(Qwen2_5_VLProcessor) is image_only(Qwen2_5_VLProcessor)
    assert image_only(image_only(Qwen2_5_VLProcessor)) is image_only(Qwen2_5_VLProcessor)


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in sorted(FAMILY_BUILDERS)]
)
def test_round_trip(name, tmp_path):
    try:
        model, processor = FAMILY_BUILDERS[name]()
    except ImportError as error:  # older releases of transformers want torchvision for more families
        pytest.skip(str(error))
    model.config.save_pretrained(tmp_path)
    save_processor(processor, tmp_path)
    again = load_processor(tmp_path)
    assert type(again) is type(processor)
    assert again.chat_template == processor.chat_template
    assert again.tokenizer.get_vocab() == processor.tokenizer.get_vocab()
    assert again.image_processor.to_dict() == processor.image_processor.to_dict()
    picture = Image.new("RGB", (40, 30), "teal")
    pixels = [one.image_processor(picture, return_tensors="pt")["pixel_values"] for one in (processor, again)]
    assert (pixels[0] == pixels[1]).all()


@without_torchvision
@pytest.mark.parametrize("write", [save_processor, lambda processor, folder: processor.save_pretrained(folder)])
def test_video_settings_survive_a_machine_without_torchvision(write, tmp_path):
    _, processor = tiny_qwen2_5_vl()
    save_processor(processor, tmp_path / "a")
    assert "video_processor" not in settings_of(tmp_path / "a")
    (tmp_path / "a" / "processor_config.json").write_text(
        json.dumps(settings_of(tmp_path / "a") | {"video_processor": VIDEO})
    )
    write(load_processor(tmp_path / "a"), tmp_path / "b")
    assert settings_of(tmp_path / "b") == settings_of(tmp_path / "a")


@without_torchvision
@pytest.mark.parametrize("file", ["video_preprocessor_config.json", "preprocessor_config.json"])
def test_a_checkpoint_in_the_layout_of_older_releases(file, tmp_path):
    """One file for images, perhaps one for video, none for the processor, as in most checkpoints on the hub."""
    model, processor = tiny_qwen2_5_vl()
    model.config.save_pretrained(tmp_path)
    processor.tokenizer.save_pretrained(tmp_path)
    (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": processor.chat_template}))
    pictures = processor.image_processor.to_dict() | {"processor_class": "Qwen2_5_VLProcessor"}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(pictures))
    if file == "video_preprocessor_config.json":
        (tmp_path / file).write_text(json.dumps(VIDEO))
    again = load_processor(tmp_path)
    assert type(again) is type(processor)
    assert again.chat_template == processor.chat_template
    save_processor(again, tmp_path / "saved")
    assert settings_of(tmp_path / "saved")["video_processor"] == json.loads((tmp_path / file).read_text())


@without_torchvision
def test_the_class_comes_from_the_model_type_where_no_file_names_it(tmp_path):
    model, processor = tiny_qwen2_5_vl()
    model.config.save_pretrained(tmp_path)
    save_processor(processor, tmp_path)
    os.remove(tmp_path / "processor_config.json")
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor.image_processor.to_dict()))
    assert type(load_processor(tmp_path)) is type(processor)


@without_torchvision
def test_a_processor_that_needs_torchvision_says_so(tmp_path):
    _, processor = tiny_llava()
    save_processor(processor, tmp_path)
    pictures = {"image_processor_type": "Llama4ImageProcessor"}
    (tmp_path / "processor_config.json").write_text(
        json.dumps({"processor_class": "Llama4Processor", "image_processor": pictures})
    )
    with pytest.raises(ValueError, match="torchvision.*install"):
        load_processor(tmp_path)


@without_torchvision
def test_another_missing_package_is_named(tmp_path, monkeypatch):
    _, processor = tiny_llava()
    save_processor(processor, tmp_path)
    settings = settings_of(tmp_path) | {"processor_class": "SmolVLMProcessor", "video_processor": VIDEO}
    (tmp_path / "processor_config.json").write_text(json.dumps(settings))
    monkeypatch.setattr(processing_smolvlm, "num2words", None)
    with pytest.raises(ValueError, match=r"\(SmolVLMProcessor\) needs a package .*pip install num2words"):
        load_processor(tmp_path)


def test_an_unknown_class_has_none():
    assert processor_class("NoSuchProcessor") is None


def test_a_tokenizer_alone_is_refused(tmp_path):
    _, processor = tiny_llava()
    processor.tokenizer.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises((ValueError, OSError)):
        load_processor(tmp_path)


@pytest.mark.parametrize("name", sorted(FAMILY_BUILDERS))
def test_a_processor_is_pickled_with_all_it_does(name):
    _, processor = FAMILY_BUILDERS[name]()
    again = pickle.loads(pickle.dumps(processor))
    assert type(again) is type(processor) and again.to_dict() == processor.to_dict()
    assert again.chat_template == processor.chat_template


@pytest.mark.slow
@pytest.mark.parametrize("name", ["qwen2_5_vl", "mistral3"])
def test_a_spawned_loader_worker_makes_the_same_batch(name):
    model, processor = FAMILY_BUILDERS[name]()
    declaration = attach(model, processor, ScoreSpace(1, 10)).declaration
    collator = RocCollator(processor, declaration)
    rows = [(Record(id="a", images=("a",), scores={"overall": 5.0}), [Image.new("RGB", (40, 30), "teal")])]
    (batch,) = DataLoader(rows, 1, collate_fn=collator, num_workers=1, multiprocessing_context="spawn")
    for key, value in collator(rows).items():
        assert torch.equal(batch[key], value), key


@without_torchvision
@pytest.mark.parametrize("name", ["video_llava", "llava_next_video", "gemma4", "ernie4_5_vl_moe"])
def test_processors_that_hand_their_parts_on_in_any_way(name, tmp_path):
    """By position with the video part in the middle or in front, by name; one saves a font of its video part."""
    _, processor = build(name, RECIPES[name])
    save_processor(processor, tmp_path)
    again = load_processor(tmp_path)
    assert again.tokenizer.get_vocab() == processor.tokenizer.get_vocab()
    assert again.image_processor.to_dict() == processor.image_processor.to_dict()
