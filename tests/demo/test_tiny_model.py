"""The tiny LLaVA-type model: built without a download, reproducible, and a stock checkpoint for everybody else."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor, LlavaForConditionalGeneration

from roc.demo.tiny_model import PRESETS, TinyLlavaConfig, build_tiny_llava

TEXTS = [
    "How would you rate the aesthetics of this photo?",
    "The light is soft and the colours are warm.",
    "The aesthetic score of this photo is high.",
    "The subject is out of focus and off centre.",
]
SMALL = TinyLlavaConfig(
    image_size=32, vision_widths=(8, 8, 16), vision_hidden_size=32, text_hidden_size=32, text_layers=1, text_heads=2
)


@pytest.fixture(scope="module")
def tiny():
    return build_tiny_llava(TEXTS, SMALL, seed=3)


def photo(seed: int, width: int = 40, height: int = 30) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def batch(processor, images):
    messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": TEXTS[0]}]}]
    prompt = processor.apply_chat_template(messages, add_generation_prompt=True)
    return processor(images=images, text=[prompt] * len(images), return_tensors="pt", padding=True)


def test_image_tokens_are_counted_by_hand():
    # 128 pixels, 4 * 2 * 2 times smaller: 8 cells a side. A fourth stage halves them once more.
    assert TinyLlavaConfig(image_size=128).num_image_tokens == 64
    four = {"vision_widths": (8, 8, 8, 8), "vision_depths": (1, 1, 1, 1)}
    assert TinyLlavaConfig(image_size=128, **four).num_image_tokens == 16
    assert SMALL.num_image_tokens == 4


@pytest.mark.parametrize("size", [16, 32, 48, 112, 160])
def test_processor_writes_as_many_image_tokens_as_the_tower_gives(size):
    config = replace(SMALL, image_size=size)
    model, processor = build_tiny_llava(TEXTS, config)
    inputs = batch(processor, [photo(0), photo(1, 20, 70)])
    assert inputs["pixel_values"].shape == (2, 3, size, size)
    written = (inputs["input_ids"] == model.config.image_token_id).sum(1).tolist()
    assert written == [config.num_image_tokens] * 2 == [model.config.image_seq_length] * 2
    with torch.no_grad():
        assert torch.isfinite(model(**inputs).logits).all()


def test_every_weight_before_the_image_tokens_is_trained(tiny):
    model, processor = copy.deepcopy(tiny[0]).train(), tiny[1]
    model(**batch(processor, [photo(0), photo(1)])).logits.square().sum().backward()
    untrained = {name for name, weight in model.named_parameters() if weight.grad is None}
    # LLaVA takes the cells before the tower's last norm, and never its pooled class token.
    tower = "model.vision_tower."
    assert untrained == {
        f"{tower}{part}.{kind}" for part in ("layernorm", "pooler.dense") for kind in ("weight", "bias")
    }


def test_tied_embeddings_share_one_weight_and_keep_its_scale():
    model, _ = build_tiny_llava(TEXTS, replace(SMALL, tie_word_embeddings=True))
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert model.get_input_embeddings().weight.std().item() == pytest.approx(0.02, rel=0.05)


def test_weights_start_with_variance_one_over_the_inputs(tiny):
    weight = tiny[0].model.language_model.layers[0].mlp.gate_proj.weight  # (64, 32)
    assert weight.std().item() == pytest.approx(32**-0.5, rel=0.1)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_build(name):
    model, _ = build_tiny_llava(TEXTS, PRESETS[name])
    assert sum(weight.numel() for weight in model.parameters()) < 5_000_000


def test_seed_decides_the_weights_and_leaves_the_global_state(tiny):
    torch.manual_seed(11)
    expected = torch.rand(4)
    torch.manual_seed(11)
    same, _ = build_tiny_llava(TEXTS, SMALL, seed=3)
    assert torch.equal(torch.rand(4), expected)
    other, _ = build_tiny_llava(TEXTS, SMALL, seed=4)
    first = tiny[0].state_dict()
    assert all(torch.equal(value, first[name]) for name, value in same.state_dict().items())
    name = "model.multi_modal_projector.linear_1.weight"
    assert not torch.equal(other.state_dict()[name], first[name])


def test_the_answer_depends_on_the_image(tiny):
    model, processor = tiny
    inputs = batch(processor, [photo(0), photo(1)])
    with torch.no_grad():
        logits = model(**inputs).logits[:, -1]
    assert not torch.allclose(logits[0], logits[1], atol=1e-6)


def test_stock_classes_reload_the_checkpoint_bit_for_bit(tiny, tmp_path):
    model, processor = tiny
    inputs = batch(processor, [photo(0), photo(1)])
    with torch.no_grad():
        before = model(**inputs).logits
        written = model.generate(**inputs, max_new_tokens=5, do_sample=False)
    assert written.shape[1] <= inputs["input_ids"].shape[1] + 5
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path)
    again = batch(AutoProcessor.from_pretrained(tmp_path), [photo(0), photo(1)])
    assert type(loaded) is LlavaForConditionalGeneration
    assert torch.equal(again["input_ids"], inputs["input_ids"])
    assert torch.equal(again["pixel_values"], inputs["pixel_values"])
    with torch.no_grad():
        assert torch.equal(loaded(**again).logits, before)
        assert torch.equal(loaded.generate(**again, max_new_tokens=5, do_sample=False), written)


def test_chat_template_ends_the_assistant_turn_with_eos(tiny):
    processor = tiny[1]
    question = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Rate it."}]}
    answer = {"role": "assistant", "content": [{"type": "text", "text": "It is 5."}]}
    assert (
        processor.apply_chat_template([question], add_generation_prompt=True)
        == "<s><|user|><image>Rate it.<|assistant|>"
    )
    whole = "<s><|user|><image>Rate it.<|assistant|>It is 5.</s>"
    assert processor.apply_chat_template([question, answer]) == whole
    plain = [{"role": "user", "content": "<image>Rate it."}, {"role": "assistant", "content": "It is 5."}]
    assert processor.apply_chat_template(plain) == whole


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"image_size": 100}, "multiple of 16"),
        ({"vision_widths": (8, 8), "vision_depths": (1, 1)}, "at least three stages"),
        ({"vision_widths": (8, 8, 8, 8)}, "width and a depth for each"),
        ({"vision_hidden_size": 30}, "multiple of 4"),
        ({"text_hidden_size": 100, "text_heads": 3}, "multiple of 6"),
        ({"vocab_size": 200}, "at least 263"),
        ({"max_positions": 16}, "16 tokens"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        TinyLlavaConfig(**wrong)
