"""The doctor: what it says of a model that fits, that every check can fail, and which models it refuses and why."""

import json
from pathlib import Path

import pytest
import torch
from tiny_models import tiny_llava, tiny_qwen2_5_vl
from transformers import AutoConfig

from roc.checkpoint.folder import save
from roc.demo.tiny_model import build_tiny_llava
from roc.doctor import checks as doctor
from roc.doctor.checks import admit, examine, main, picture_fit
from roc.model.adapters import add_lora
from roc.model.attachment import attach
from roc.model.collator import RocCollator
from roc.prompts import QUESTIONS
from roc.score_space import ScoreSpace


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("llava"), tiny_llava)


def saved(path, builder):
    model, processor = builder()
    model.save_pretrained(path)
    processor.save_pretrained(path)
    return str(path)


@pytest.fixture
def candidate(folder):
    return admit(folder)


def test_a_model_that_fits(folder, capsys):
    assert main([folder]) == 0
    out = capsys.readouterr().out
    assert "FAILED" not in out and "The head fits." in out
    for name in ("attaches", *(name for name in doctor.CHECKS if name != "adapter"), "adapter reloads"):
        assert f"  ok      {name}" in out
    assert "640 x 480 takes 16" in out  # the tower's 4 x 4 patches
    assert "language 14 (q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj)" in out
    assert "is [SCORE].</s>" in out
    assert "vision_tower.post_layernorm.bias" in out  # LLaVA takes the tower's last layer but one


def test_a_checkpoint_with_a_head_is_checked_as_it_is(folder, tmp_path):
    model, processor = tiny_qwen2_5_vl()
    attach(model, processor, ScoreSpace(0, 100, 5))
    with torch.no_grad():
        model.score_head.weight.normal_(generator=torch.Generator().manual_seed(0))
    save(model, processor, tmp_path)
    candidate = admit(tmp_path)
    assert torch.equal(candidate.model.score_head.weight, model.score_head.weight)
    assert "5 levels on 0..100" in candidate.findings[1].figure
    assert candidate.tolerance == pytest.approx(1e-5 * 100 / 9)
    assert {finding.name: finding for finding in examine(candidate)}["save and reload"].passed


def test_an_adapter_is_merged_and_checked(folder, tmp_path):
    candidate = admit(folder)
    save(add_lora(candidate.model, rank=4), candidate.processor, tmp_path)
    findings = {finding.name: finding for finding in examine(admit(tmp_path))}
    assert not [finding for finding in findings.values() if finding.passed is False]
    assert findings["adapter reloads"].passed is None


def test_a_large_model_is_not_written_to_disk(folder, monkeypatch, capsys):
    monkeypatch.setattr(doctor, "_LARGE", 1000)
    monkeypatch.setattr(doctor, "save", lambda *_: pytest.fail("wrote the weights"))
    assert main([folder]) == 0
    assert capsys.readouterr().out.count("(--full)") == 3


def test_half_precision_has_its_own_tolerance(folder, capsys):
    assert main([folder, "--dtype", "bfloat16"]) == 0
    assert "bfloat16" in capsys.readouterr().out


# --- every check can fail --------------------------------------------------------------------------------------------


def failed(candidate, check):
    """Names of what a check finds wrong; a broken check counts."""
    candidate.findings.clear()
    return [finding.name for finding in check(candidate) if finding.passed is False]


def decoder_layer(candidate):
    return candidate.model.get_decoder().layers[0]


def on_output(module, change):
    """Changes what a module returns."""

    def hook(_, args, output):
        first = output[0] if isinstance(output, tuple) else output
        changed = change(first)
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

    module.register_forward_hook(hook)


def test_template_that_never_ends(candidate):
    candidate.model.generation_config.eos_token_id = 7
    assert failed(candidate, doctor.check_template) == ["chat template"]


def test_blind_model(candidate):
    on_output(candidate.model.model.multi_modal_projector, torch.zeros_like)
    assert failed(candidate, doctor.check_sight) == ["sees the picture"]


def test_training_that_scores_otherwise(candidate):
    length = candidate.collator(candidate.samples)["input_ids"].shape[1]
    on_output(decoder_layer(candidate), lambda hidden: hidden * (1.01 if hidden.shape[1] == length else 1))
    assert failed(candidate, doctor.check_three_ways) == ["one forward = taught = generated"]


def test_scores_that_depend_on_the_batch(candidate):
    on_output(decoder_layer(candidate), lambda hidden: hidden * (1 + 1e-3 * hidden.shape[0]))
    assert failed(candidate, doctor.check_batch) == ["batch = one by one"]


def test_scores_that_depend_on_the_padding(candidate):
    on_output(decoder_layer(candidate), lambda hidden: hidden * (1 + 1e-3 * hidden.shape[1]))
    assert failed(candidate, doctor.check_padding) == ["padding on the right", "padding on the left"]


def test_something_that_is_not_saved(candidate):
    on_output(decoder_layer(candidate), lambda hidden: 1.01 * hidden)
    assert failed(candidate, doctor.check_reload) == ["save and reload", "stock AutoModel"]


def test_checkpointing_that_computes_something_else(candidate):
    calls = []
    on_output(decoder_layer(candidate).mlp, lambda out: calls.append(0) or out * (1 + 1e-3 * len(calls)))
    assert failed(candidate, doctor.check_checkpointing) == ["gradient checkpointing"]


def test_checkpointing_that_does_nothing(candidate, monkeypatch):
    for name in ("activation_checkpointing_enable", "gradient_checkpointing_enable"):
        monkeypatch.setattr(candidate.model, name, lambda: None, raising=False)
    assert failed(candidate, doctor.check_checkpointing) == ["gradient checkpointing"]


def test_checkpointing_that_breaks_is_left_off_and_spoils_nothing(candidate, monkeypatch):
    def enable_input_require_grads():
        raise AttributeError("'tuple' object has no attribute 'requires_grad_'")

    monkeypatch.setattr(candidate.model, "enable_input_require_grads", enable_input_require_grads)
    (finding,) = doctor.check_checkpointing(candidate)
    assert finding.passed is None and "breaks" in finding.figure and "off" in finding.advice
    assert failed(candidate, doctor.check_gradients) == []


def test_a_tower_whose_embeddings_return_no_tensor_can_be_checkpointed(tmp_path):
    """The demo's; transformers by itself would ask for a gradient of what they return."""
    candidate = admit(saved(tmp_path, lambda: build_tiny_llava(QUESTIONS)))
    assert failed(candidate, doctor.check_checkpointing) == []


def test_a_part_without_gradient(candidate):
    on_output(candidate.model.model.multi_modal_projector, torch.detach)
    finding = next(iter(doctor.check_gradients(candidate)))
    assert not finding.passed and "no gradient reaches projector, vision" in finding.figure


def test_a_head_that_the_text_trains(candidate):
    head = candidate.model.score_head
    on_output(candidate.model.get_output_embeddings(), lambda logits: logits + head.weight.sum())
    finding = next(iter(doctor.check_gradients(candidate)))
    assert not finding.passed and finding.figure == "the text loss trains the head"


def test_an_adapter_that_does_not_come_back(candidate):
    on_output(decoder_layer(candidate), lambda hidden: 1.01 * hidden)
    assert failed(candidate, doctor.check_adapter) == ["adapter reloads"]


def test_a_check_that_breaks_is_a_finding(candidate, monkeypatch, folder, capsys):
    def broken(candidate):
        raise RuntimeError("no such thing\nat all")

    monkeypatch.setattr(doctor, "CHECKS", {"batch = one by one": broken})
    assert main([folder]) == 1
    out = capsys.readouterr().out
    assert "RuntimeError: no such thing" in out and "\nfailed: batch = one by one" in out


# --- what does not fit -----------------------------------------------------------------------------------------------


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
def test_what_does_not_fit_is_told_before_weights_are_read(make, reason, tmp_path, capsys):
    """None of these folders has weights."""
    assert main([make(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "The head does not fit" in out and reason in out


@pytest.mark.parametrize("words", [["/nowhere/model"], ["/nowhere/model", "--memory"], ["/nowhere", "--sensitivity"]])
def test_a_model_that_is_not_there_is_bad_input(words, capsys):
    assert main(words) == 2
    assert f"There is no folder {words[0]}" in capsys.readouterr().err


def test_a_folder_that_is_broken_is_named(tmp_path, capsys):
    published = json.loads((Path(__file__).parents[1] / "reference/roc4mllm/checkpoint/config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**published, "visual_config": None}))
    assert main([str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert f"its configuration cannot be read: {tmp_path}: config.json cannot be used: visual_config is None" in out


# --- the other tables ------------------------------------------------------------------------------------------------


def test_memory_reads_no_weights(tmp_path, capsys):
    model, _ = tiny_llava()
    model.config.save_pretrained(tmp_path)
    assert main([str(tmp_path), "--memory"]) == 0
    assert "qlora" in capsys.readouterr().out


def test_sensitivity_of_files_and_folders(folder, tmp_path, capsys):
    candidate = admit(folder)
    save(candidate.model, candidate.processor, tmp_path / "model")
    (tmp_path / "photos").mkdir()
    for i, picture in enumerate(candidate.pictures):
        picture.save(tmp_path / "photos" / f"{i}.png")
    (tmp_path / "photos" / "notes.txt").write_text("no picture")
    words = [str(tmp_path / "photos"), str(tmp_path / "photos" / "0.png")]
    assert main([str(tmp_path / "model"), "--sensitivity", *words]) == 0
    out = capsys.readouterr().out
    assert "overall on 1..10, 4 pictures" in out and "resized to 0.25 x" in out


def test_sensitivity_of_an_untrained_head_is_refused(folder, tmp_path, capsys):
    model, processor = tiny_llava()
    attach(model, processor, ScoreSpace(1, 10, 10))
    save(model, processor, tmp_path)
    assert main([str(tmp_path), "--sensitivity"]) == 2
    assert "the head is untrained" in capsys.readouterr().err.lower()


@pytest.mark.parametrize(
    ("fit", "builder", "aspect_ratio"),
    [
        ("squeezes", tiny_llava, "keep"),
        ("pads", tiny_llava, "pad"),
        ("keeps", tiny_qwen2_5_vl, "keep"),
        ("crops", lambda: cropping(*tiny_llava()), "keep"),
    ],
    ids=["squeezes", "pads", "keeps", "crops"],
)
def test_what_the_processor_does_with_shapes(fit, builder, aspect_ratio):
    model, processor = builder()
    attach(model, processor, ScoreSpace(1, 10, 10), image_aspect_ratio=aspect_ratio)
    assert picture_fit(RocCollator(processor, model.config.roc)) == fit


def cropping(model, processor):
    processor.image_processor.do_center_crop = True
    processor.image_processor.size = {"shortest_edge": 28}
    processor.image_processor.crop_size = {"height": 28, "width": 28}
    return model, processor
