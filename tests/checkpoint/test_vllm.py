"""Exports for vLLM give the same scores and the same text."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from exports import PICTURES, attached_checkpoint, expectation, tensor_names
from heads import ATTRIBUTES, build
from safetensors.numpy import load_file
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedModel

from roc.checkpoint.folder import load, save
from roc.checkpoint.vllm import vllm_classify, vllm_generate
from roc.model.declaration import declare
from roc.model.processing import load_processor


def test_a_classifier_has_the_stock_names_and_one_more(checkpoint, tmp_path):
    folder, stock, _ = checkpoint
    vllm_classify(folder, tmp_path / "out")
    assert tensor_names(tmp_path / "out") == stock | {"language_model.score.weight"}
    config = AutoConfig.from_pretrained(tmp_path / "out")
    assert not hasattr(config, "roc")
    for part in (config, config.get_text_config()):
        assert part.num_labels == 10 and part.problem_type == "single_label_classification"
        assert part.id2label[0] == "1" and part.id2label[9] == "10"
    _, loading = AutoModelForImageTextToText.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not loading["unexpected_keys"] and not loading["missing_keys"]


def test_a_classifier_in_shards_is_whole(checkpoint, tmp_path, monkeypatch):
    folder, stock, _ = checkpoint
    write = PreTrainedModel.save_pretrained
    monkeypatch.setattr(PreTrainedModel, "save_pretrained", lambda *a, **k: write(*a, **k, max_shard_size="100KB"))
    vllm_classify(folder, tmp_path / "out")
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())["weight_map"]
    assert set(index) == tensor_names(tmp_path / "out") == stock | {"language_model.score.weight"}
    assert len(set(index.values())) > 2 and all((tmp_path / "out" / file).exists() for file in index.values())


def test_what_a_classifying_server_computes_is_the_score(checkpoint, tmp_path):
    """Computes as a server does: chat template, tokens, hidden states before the vocabulary, softmax, mean."""
    folder, _, expected = checkpoint
    vllm_classify(folder, tmp_path / "out")
    about = json.loads((tmp_path / "out" / "roc.json").read_text())
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "out").eval()
    processor = load_processor(tmp_path / "out")
    prompt = processor.apply_chat_template([{"role": "user", "content": [{"type": "image"}]}], tokenize=False)
    assert prompt == about["prompt"]
    assert processor.tokenizer(prompt, add_special_tokens=False)["input_ids"] == about["prompt_token_ids"]
    weight = load_file(tmp_path / "out" / "score.safetensors")["language_model.score.weight"]
    for image, scores in zip(PICTURES, expected, strict=True):
        inputs = processor(text=[prompt], images=[[image]], add_special_tokens=False, return_tensors="pt")
        with torch.no_grad():
            hidden_states = model(**inputs, output_hidden_states=True).hidden_states[-1][0].numpy()  # (T, H)
        found = expectation(hidden_states @ weight.T, about["levels"])
        assert list(about["positions"]) == list(ATTRIBUTES)
        read = [found[position] for position in about["positions"].values()]
        np.testing.assert_allclose(read, scores, atol=1e-5)


def test_the_prompt_is_found_where_the_tokenizer_wants_a_space_before_the_answer(tmp_path):
    folder, _, _ = attached_checkpoint("llava_next", tmp_path)
    vllm_classify(folder, tmp_path / "out")
    prompt = json.loads((tmp_path / "out" / "roc.json").read_text())["prompt"]
    assert "<|assistant|> The aesthetic rate" in prompt and prompt.endswith("is ")


def test_where_no_text_gives_the_tokens_they_are_sent_themselves(tmp_path):
    """The template ends inside a word that the answer continues, so the tokenizer would merge the two."""
    model, processor, _ = build("llava", answer="age rate is [SCORE] and [SCORE].")
    processor.chat_template = (
        "{% for m in messages %}{% for part in m.content %}{% if part.type == 'image' %}<image>{% else %}"
        "{{ part.text }}{% endif %}{% endfor %}{{ ' im' if m.role == 'user' else '</s>' }}{% endfor %}"
    )
    save(model, processor, tmp_path / "roc")
    vllm_classify(tmp_path / "roc", tmp_path / "out")
    about = json.loads((tmp_path / "out" / "roc.json").read_text())
    assert about["prompt"] is None and about["prompt_token_ids"]
    assert load_processor(tmp_path / "out").chat_template == processor.chat_template
    card = (tmp_path / "out" / "README.md").read_text()
    assert "vllm serve" not in card and "prompt_token_ids" in card


@pytest.mark.parametrize(("attributes", "call"), [(("overall",), "/classify"), (ATTRIBUTES, "token_classify")])
def test_the_card_says_how_to_ask(attributes, call, tmp_path):
    model, processor, _ = build("llava", image_aspect_ratio="pad", max_pixels=50_000)
    model.config.roc["attributes"] = list(attributes)
    model.config.roc["answer"] = ", ".join(["[SCORE]"] * len(attributes))
    save(model, processor, tmp_path / "roc")
    vllm_classify(tmp_path / "roc", tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "--runner pooling --convert classify" in card and call in card
    assert card.index("Scale images of more than 50000 pixels (padded) down") < card.index("Pad images")
    assert "mirror image" not in card
    blocks = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    assert len(blocks) == 2
    for code in blocks:
        compile(code, "README.md", "exec")


def test_the_card_reads_an_attribute_on_its_own_range(tmp_path):
    model, processor, _ = build("llava")
    space = replace(model.score_space, attribute_ranges={"light": (-1, 1)})
    declare(model, replace(model.declaration, space=space, score_flip=True))
    save(model, processor, tmp_path / "roc")
    vllm_classify(tmp_path / "roc", tmp_path / "out")
    about = json.loads((tmp_path / "out" / "roc.json").read_text())
    assert about["levels"] == about["attribute_levels"]["overall"] == list(range(1, 11))
    assert (about["attribute_levels"]["light"][0], about["attribute_levels"]["light"][-1]) == (-1, 1)
    card = (tmp_path / "out" / "README.md").read_text()
    assert card.count('about["attribute_levels"][name]') == 2
    assert "# Image scores: overall on 1..10, light on -1..1" in card and "light -1 to 1" in card
    assert (
        "mirror image here (`score_flip`): ask for both, and take the mean" in card
        and about["roc"]["score_flip"] is True
    )


def test_a_prefix_lm_is_refused_as_a_classifier(tmp_path):
    folder, _, _ = attached_checkpoint("paligemma", tmp_path)
    with pytest.raises(ValueError, match="prefix-LM.*roc.Assessment"):
        vllm_classify(folder, tmp_path / "out")


def test_a_generator_is_the_plain_model_and_keeps_its_head_apart(checkpoint, tmp_path):
    folder, stock, _ = checkpoint
    vllm_generate(folder, tmp_path / "out")
    assert tensor_names(tmp_path / "out") == stock
    assert not hasattr(AutoConfig.from_pretrained(tmp_path / "out"), "roc")
    ours, _ = load(folder)
    plain = AutoModelForImageTextToText.from_pretrained(tmp_path / "out")
    assert type(plain) is type(ours).roc_base_class
    assert all(torch.equal(tensor, ours.state_dict()[name]) for name, tensor in plain.state_dict().items())
    weight = load_file(tmp_path / "out" / "score_head" / "score_head.safetensors")["score_head.weight"]
    assert np.array_equal(weight, ours.score_head.weight.detach().numpy())
