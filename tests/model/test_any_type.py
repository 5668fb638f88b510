"""Kinds of models beside the thirteen families, each on one tiny type that has it."""

import logging

import pytest
import torch
from any_type import build, tiny_config
from PIL import Image
from tiny_models import tiny_tokenizer
from transformers import AutoModelForImageTextToText
from type_recipes import RECIPES

from roc.checkpoint.fingerprint import base_fingerprint
from roc.doctor.candidate import Unsupported, admit
from roc.doctor.checks import _padded
from roc.model.adapters import add_lora, lora_targets
from roc.model.attachment import attach
from roc.model.collator import RocCollator
from roc.model.float8 import use_float8
from roc.model.int8 import use_int8
from roc.model.processing import load_processor, read_chat_template, save_processor
from roc.score_space import ScoreSpace
from roc.scoring.batches import merge

PICTURES = [Image.new("RGB", (40, 30), colour) for colour in ("teal", "orange")]


def attached(name):
    model, processor = build(name, RECIPES[name])
    attach(model, processor, ScoreSpace(1, 5, 5))
    torch.nn.init.normal_(model.score_head.weight)
    return model, RocCollator(processor, model.declaration)


def model_of(name):
    tokenizer = tiny_tokenizer(**RECIPES[name].tokens)
    return AutoModelForImageTextToText.from_config(tiny_config(name, RECIPES[name], tokenizer)), tokenizer


def test_a_template_that_the_processor_writes_and_does_not_read_is_kept(tmp_path):
    _, processor = build("chameleon", RECIPES["chameleon"])
    save_processor(processor, tmp_path)
    assert type(processor).from_pretrained(tmp_path).chat_template is None
    assert load_processor(tmp_path).chat_template == processor.chat_template


def test_a_chat_template_is_read_from_a_file_or_refused(tmp_path):
    file = tmp_path / "template.jinja"
    file.write_text("{% for message in messages %}{{ message }}{% endfor %}")
    assert read_chat_template(file) == file.read_text()
    for text in ("{% for %}", "no turns at all"):
        file.write_text(text)
        with pytest.raises(ValueError, match="template.jinja.*xpected a Jinja file"):
            read_chat_template(file)
    with pytest.raises(ValueError, match="cannot be read"):
        read_chat_template(tmp_path / "missing")


def test_a_processor_that_takes_one_flat_list_of_pictures(monkeypatch):
    model, collator = attached("got_ocr2")
    asked = []
    call = type(collator.processor).__call__

    def note(self, images, **settings):
        asked.append(isinstance(images[0], list))
        return call(self, images=images, **settings)

    monkeypatch.setattr(type(collator.processor), "__call__", note)
    batch = collator.scoring_batch(PICTURES)
    assert len(batch["pixel_values"]) == 2
    assert model(**batch).scores.shape == (2, 1)
    collator.scoring_batch(PICTURES)
    assert asked == [True, False, False]  # what it took is remembered


def test_a_processor_that_takes_no_list_either_says_why_as_it_did_at_first(monkeypatch):
    _, collator = attached("got_ocr2")
    asked = []

    def refuse(self, images, **settings):
        asked.append(images)
        raise ValueError(f"fault {len(asked)}")

    monkeypatch.setattr(type(collator.processor), "__call__", refuse)
    with pytest.raises(ValueError, match="^fault 1$"):
        collator.scoring_batch(PICTURES)
    assert [isinstance(images[0], list) for images in asked] == [True, False]


def test_masks_that_say_for_each_token_which_pictures_it_looks_at():
    model, collator = attached("idefics")
    model.eval()
    batch = collator.scoring_batch(PICTURES)
    mask = batch["image_attention_mask"]
    assert mask.shape[:2] == batch["input_ids"].shape and mask[:, -1].all()
    alone = merge([collator.scoring_batch([picture]) for picture in PICTURES])
    assert all(torch.equal(batch[name], alone[name]) for name in batch)
    whole = model(**{name: value for name, value in batch.items() if name != "score_mask"}, use_cache=False).logits
    assert whole.shape[:2] == batch["input_ids"].shape
    prompt = collator.prompt_batch(PICTURES)
    with_padding = _padded(prompt, 3, "left", 0)["image_attention_mask"]
    assert not with_padding[:, :3].any() and torch.equal(with_padding[:, 3:], prompt["image_attention_mask"])


def test_a_model_that_adds_positions_of_the_picture_by_itself_is_refused(tmp_path):
    model, processor = build("git", RECIPES["git"])
    model.save_pretrained(tmp_path)
    save_processor(processor, tmp_path)
    with pytest.raises(Unsupported, match="makes a row of .* tokens .* long: it adds the picture by itself"):
        admit(tmp_path)


def test_a_model_that_generates_with_the_language_model_inside_it():
    model, collator = attached("blip-2")
    words = collator.answer_ids
    batch = collator.prompt_batch(PICTURES)
    length = batch["input_ids"].shape[1]
    written = model.generate_with_scores(
        **batch,
        max_new_tokens=len(words),
        do_sample=False,
        prefix_allowed_tokens_fn=lambda row, ids: words[: len(ids) - length + 1][-1:],
    )
    with torch.inference_mode():
        once = model(**collator.scoring_batch(PICTURES)).score_logits
    assert torch.allclose(torch.stack(written.score_logits), once, atol=1e-4)


def test_a_router_that_gives_a_pair_and_pixels_in_half_precision(caplog):
    model, tokenizer = model_of("llama4")
    assert not [name for name in lora_targets(model) if "router" in name]
    attach(model, type("Processor", (), {"tokenizer": tokenizer, "chat_template": "x"})(), ScoreSpace(1, 5, 5))
    pixels = model._cast_pictures({"pixel_values": torch.zeros(1, 3, 28, 28, dtype=torch.bfloat16)})["pixel_values"]
    assert pixels.dtype == torch.float32
    with caplog.at_level(logging.WARNING):
        wrapped = add_lora(model, rank=2)
        use_float8(wrapped, "cpu")
        use_int8(wrapped)
    for name in ("LoRA", "float8", "int8"):
        assert f"{name} leaves out the routed experts" in caplog.text


def test_embeddings_that_normalise_their_rows_and_logits_that_are_cut():
    model, tokenizer = model_of("inkling2")
    attach(model, type("Processor", (), {"tokenizer": tokenizer, "chat_template": "x"})(), ScoreSpace(1, 5, 5))
    ids = torch.tensor([[5, 9, model.declaration.token_id, 7]])
    before = model.eval()(input_ids=ids).logits
    assert before.shape[-1] == model.declaration.token_id + 1
    fingerprint = base_fingerprint(model)
    assert len(fingerprint["score"]) == 2
    wrapped = add_lora(model, rank=2).eval()
    assert torch.equal(wrapped(input_ids=ids).logits, before)  # which LoRA does not change before its first step
    assert base_fingerprint(wrapped) == fingerprint
