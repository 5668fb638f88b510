"""A starter is built whole or not at all, checks itself, and opens with stock classes alone."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from starter_parts import another, damaged_on_disk, published_forward, published_weights
from transformers import AutoModelForImageTextToText, AutoProcessor, FastVlmForConditionalGeneration, LlavaProcessor

from roc.starter.build import build_starter
from roc.starter.options import StarterOptions
from roc.starter.plan import plan
from roc.starter.sizes import SIZES

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def miniature(size, monkeypatch):
    monkeypatch.setitem(SIZES, "small", size)


def build(out, wheel_folder, **settings):
    options = StarterOptions(out=str(out), from_=(str(wheel_folder),), image_size=64, **settings)
    return build_starter(options, plan(options))


@pytest.fixture(scope="module")
def built(size, wheel_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("built") / "starter"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SIZES, "small", size)
        return build(out, wheel_folder)


def with_tower(size, **changes):
    return dataclasses.replace(size, tower=dataclasses.replace(size.tower, **changes))


def inputs(processor, images):
    question = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "How is the light?"}]}]
    prompt = processor.apply_chat_template(question, add_generation_prompt=True)
    return processor(images=images, text=[prompt] * len(images), return_tensors="pt")


def test_the_folder_opens_with_stock_classes_and_its_tower_is_the_published_one(built):
    model = AutoModelForImageTextToText.from_pretrained(built.path)
    processor = AutoProcessor.from_pretrained(built.path)
    assert type(model) is FastVlmForConditionalGeneration and "roc" not in json.loads(
        (built.path / "config.json").read_text()
    )
    rng = np.random.default_rng(0)
    photos = [Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)) for _ in range(2)]
    batch = inputs(processor, photos)
    assert (batch["input_ids"] == model.config.image_token_id).sum(1).tolist() == [4, 4] == [built.image_tokens] * 2
    pixels = torch.stack([torch.tensor(np.asarray(photo)).permute(2, 0, 1) for photo in photos]).float()
    with torch.no_grad():
        features = model.model.vision_tower(batch["pixel_values"]).last_hidden_state
        expected = published_forward(published_weights(), (pixels - 127) / 128)
        assert torch.allclose(features, expected, atol=1e-3)
        logits = model(**batch).logits[:, -1]
    assert not torch.allclose(logits[0], logits[1], atol=1e-4)
    assert sum(p.numel() for p in model.parameters()) == built.parameters


def test_the_card_says_what_it_is_and_whose(built, size):
    package = size.tower.package
    card = (built.path / "README.md").read_text()
    for text in (package.sha256, package.source, package.copyright, "license: apache-2.0", "not met yet"):
        assert text in card
    assert (built.path / f"LICENSE.{package.name}").read_bytes() == b"Apache License 2.0\n"


def test_the_whole_text_of_the_licence_goes_along(built):
    """Packages may carry a notice alone; whoever passes their work on has to add the text (section 4a)."""
    text = (built.path / "LICENSE").read_text()
    assert text == (ROOT / "LICENSE").read_text() and "4. Redistribution." in text
    assert "`LICENSE`" in (built.path / "README.md").read_text()


def test_the_seed_decides_what_is_not_pretrained(built, wheel_folder, tmp_path):
    first = AutoModelForImageTextToText.from_pretrained(built.path).state_dict()
    for seed, same in ((0, True), (1, False)):
        again = build(tmp_path / str(seed), wheel_folder, seed=seed).path
        weights = AutoModelForImageTextToText.from_pretrained(again).state_dict()
        equal = {name: torch.equal(value, first[name]) for name, value in weights.items()}
        assert equal["model.multi_modal_projector.linear_1.weight"] is same
        assert all(value for name, value in equal.items() if "vision_tower" in name)
        assert (again / "tokenizer.json").read_bytes() == (built.path / "tokenizer.json").read_bytes()


def test_a_part_that_gives_other_numbers_is_refused_and_nothing_stays(size, wheel_folder, tmp_path, monkeypatch):
    wrong = dataclasses.replace(size.tower.record, mean=size.tower.record.mean + 0.01)
    monkeypatch.setitem(SIZES, "small", with_tower(size, record=wrong))
    with pytest.raises(ValueError, match="does not give the recorded numbers: they differ by 1.0e-02"):
        build(tmp_path / "out", wheel_folder)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_tensor_of_the_tower_is_found_however_little_it_changes(wheel_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(FastVlmForConditionalGeneration, "save_pretrained", damaged_on_disk("encoder.top_bn.bias"))
    with pytest.raises(ValueError, match="from roc-test-tower in 1 of 138 tensors: encoder.top_bn.bias;"):
        build(tmp_path / "out", wheel_folder)
    assert list(tmp_path.iterdir()) == []


def test_a_processor_that_does_not_open_is_told_and_nothing_stays(wheel_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(LlavaProcessor, "save_pretrained", lambda processor, folder: None)
    with pytest.raises((OSError, ValueError)):
        build(tmp_path / "out", wheel_folder)
    assert list(tmp_path.iterdir()) == []


def test_weights_of_another_architecture_leave_nothing(size, wheel_folder, tmp_path, monkeypatch):
    monkeypatch.setitem(SIZES, "small", with_tower(size, stages=size.tower.stages[:-1]))
    with pytest.raises(ValueError, match="not those of its architecture"):
        build(tmp_path / "out", wheel_folder)
    monkeypatch.setitem(SIZES, "small", with_tower(size, package=another(size.tower.package, member="gone.pth")))
    with pytest.raises(ValueError, match="gone.pth cannot be read"):
        build(tmp_path / "out", wheel_folder)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_left_alone_and_an_empty_one_is_filled(wheel_folder, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="not empty"):
        build(tmp_path / "full", wheel_folder)
    assert [file.name for file in (tmp_path / "full").iterdir()] == ["mine.txt"]
    (tmp_path / "empty").mkdir()
    assert (build(tmp_path / "empty", wheel_folder).path / "config.json").is_file()


@pytest.mark.parametrize(("pixels", "message"), [(100, "a multiple of 32, such as 96"), (16, "at least 32")])
def test_image_sizes_that_the_tower_does_not_fit_are_refused(pixels, message):
    with pytest.raises(ValueError, match=message):
        StarterOptions(out="out", image_size=pixels)
