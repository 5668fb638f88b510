"""Candidates: what is loaded and attached, and which models are refused and why, before weights are read."""

import json
from pathlib import Path

import pytest
import torch
from tiny_models import tiny_llava, tiny_qwen2_5_vl
from transformers import AutoConfig

from roc.checkpoint.folder import save
from roc.doctor.candidate import Unsupported, admit, depth
from roc.doctor.checks import examine
from roc.model.attachment import attach
from roc.model.collator import RocCollator
from roc.score_space import ScoreSpace


def test_a_checkpoint_with_a_head_is_checked_as_it_is(folder, tmp_path):
    model, processor = tiny_qwen2_5_vl()
    attach(model, processor, ScoreSpace(0, 100, 5))
    with torch.no_grad():
        model.score_head.weight.normal_(generator=torch.Generator().manual_seed(0))
    save(model, processor, tmp_path)
    candidate = admit(tmp_path)
    assert torch.equal(candidate.model.score_head.weight, model.score_head.weight)
    assert "5 levels, overall on 0..100" in candidate.findings[1].figure
    assert 1e-5 < candidate.tolerance / 100 * 9 < 3e-5
    assert {finding.name: finding for finding in examine(candidate)}["save and reload"].passed


def config_folder(path, model_type, **settings):
    AutoConfig.for_model(model_type, **settings).save_pretrained(path)
    return str(path)


def unknown(path):
    (path / "config.json").write_text(json.dumps({"model_type": "nobody_knows"}))
    return str(path)


def tokenizer_only(path):
    model, processor = tiny_llava()
    model.config.save_pretrained(path)
    processor.tokenizer.save_pretrained(path)
    return str(path)


def without_template(path):
    model, processor = tiny_llava()
    processor.chat_template = None
    model.config.save_pretrained(path)
    processor.save_pretrained(path)
    return str(path)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: config_folder(path, "gpt2"), "'gpt2' is no image-text-to-text model"),
        (lambda path: config_folder(path, "florence2"), "is an encoder-decoder"),
        (lambda path: config_folder(path, "blip"), "has no output embeddings"),
        (unknown, "does not recognize this architecture"),
        (tokenizer_only, "no processor for images and text"),
        (without_template, "has no chat template"),
    ],
    ids=["no-pictures", "encoder-decoder", "no-output-embeddings", "unknown", "tokenizer-only", "no-template"],
)
def test_what_does_not_fit_is_refused_before_weights_are_read(make, reason, tmp_path):
    """None of these folders has weights."""
    with pytest.raises(Unsupported, match=reason):
        admit(make(tmp_path))


def test_a_processor_and_a_tokenizer_that_are_not_of_one_model_are_refused_without_talk_of_truncation(
    folder, monkeypatch
):
    def mismatch(*args, **settings):
        raise ValueError(
            "Mismatch in `image` token count between text and `input_ids`. Got ids=[11] and text=[12]. Likely due to "
            "`truncation='max_length'`. Please disable truncation or increase `max_length`."
        )

    monkeypatch.setattr(RocCollator, "prompt_batch", mismatch)
    with pytest.raises(Unsupported, match="writes 12 marks of the image and its tokenizer reads 11 of them") as refusal:
        admit(folder)
    assert "runcation" not in str(refusal.value)


def test_a_folder_that_is_broken_is_named(tmp_path):
    published = json.loads((Path(__file__).parents[1] / "reference/roc4mllm/checkpoint/config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**published, "visual_config": None}))
    reason = f"its configuration cannot be read: {tmp_path}: config.json cannot be used: visual_config is None"
    with pytest.raises(Unsupported, match=reason):
        admit(tmp_path)


def test_the_tolerance_grows_with_range_format_and_depth(candidate):
    model = candidate.model
    shallow = candidate.tolerance
    layers = model.get_decoder().layers
    count = depth(model)
    for _ in range(8 * count):
        layers.append(layers[0])
    assert candidate.tolerance == pytest.approx(3 * shallow)
    model.to(torch.bfloat16)
    half = candidate.tolerance / model.score_space.width
    assert 0.02 <= half <= 0.05


def test_what_a_pretrained_model_of_thirty_layers_rounds_is_no_fault(candidate):
    """1.1e-5 between the generated and the trained score of such a model, on 1..10, was taken for a fault."""
    layers = candidate.model.get_decoder().layers
    while depth(candidate.model) < 30 + 24:
        layers.append(layers[0])
    assert 2 * 1.1e-5 < candidate.tolerance < 1e-3 * candidate.model.score_space.width / 10
