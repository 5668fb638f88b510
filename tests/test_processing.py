"""Processors with and without their video part."""

import json

import pytest
from tiny_models import tiny_llava, tiny_qwen2_5_vl
from transformers import LlavaProcessor, Qwen2_5_VLProcessor
from transformers.utils import is_torchvision_available

from roc.processing import image_only, load_processor, save_processor


def test_a_class_without_video_is_left_alone():
    assert image_only(LlavaProcessor) is LlavaProcessor
    assert image_only(Qwen2_5_VLProcessor).__name__ == "Qwen2_5_VLProcessor"
    assert image_only(Qwen2_5_VLProcessor) is image_only(Qwen2_5_VLProcessor)


@pytest.mark.parametrize("builder", [tiny_llava, tiny_qwen2_5_vl])
def test_round_trip(builder, tmp_path):
    _, processor = builder()
    save_processor(processor, tmp_path)
    again = load_processor(tmp_path)
    assert again.chat_template == processor.chat_template
    assert again.tokenizer.get_vocab() == processor.tokenizer.get_vocab()
    assert again.image_processor.to_dict() == processor.image_processor.to_dict()


@pytest.mark.skipif(is_torchvision_available(), reason="with torchvision the whole processor is loaded")
def test_video_settings_survive_a_machine_without_torchvision(tmp_path):
    _, processor = tiny_qwen2_5_vl()
    save_processor(processor, tmp_path / "a")
    file = tmp_path / "a" / "processor_config.json"
    settings = json.loads(file.read_text())
    settings["video_processor"] = {"video_processor_type": "Qwen2VLVideoProcessor", "fps": 2}
    file.write_text(json.dumps(settings))
    save_processor(load_processor(tmp_path / "a"), tmp_path / "b")
    written = json.loads((tmp_path / "b" / "processor_config.json").read_text())
    assert written["video_processor"] == settings["video_processor"]
    assert "roc_video_settings" not in written


def test_a_tokenizer_alone_is_refused(tmp_path):
    _, processor = tiny_llava()
    processor.tokenizer.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises((ValueError, OSError)):
        load_processor(tmp_path)
