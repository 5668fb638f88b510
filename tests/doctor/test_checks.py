"""The checks: each one can fail, and one that raises becomes a finding."""

import copy
import dataclasses

import torch
from backbones import backbone
from plain_models import save_plain

from roc.checkpoint.folder import save
from roc.demo.tiny_model import build_tiny_llava
from roc.doctor import checks
from roc.doctor.candidate import admit
from roc.doctor.checks import examine
from roc.model.adapters import add_lora
from roc.model.declaration import declare
from roc.model.extensions import add_extension
from roc.model.families import FAMILIES, Family
from roc.prompts import QUESTIONS


def failed(candidate, check):
    """Names of the failed findings of a check."""
    candidate.findings.clear()
    return [finding.name for finding in check(candidate) if finding.passed is False]


def decoder_layer(candidate):
    return candidate.model.get_decoder().layers[0]


def on_output(module, change):
    """Changes the output of a module."""

    def hook(_, args, output):
        first = output[0] if isinstance(output, tuple) else output
        changed = change(first)
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

    module.register_forward_hook(hook)


def test_template_that_never_ends(candidate):
    candidate.model.generation_config.eos_token_id = 7
    assert failed(candidate, checks.check_template) == ["chat template"]


def test_the_three_ways_are_of_the_picture_as_it_is(candidate):
    """What reads mirror images too is the fast path alone."""
    declare(candidate.model, dataclasses.replace(candidate.model.declaration, score_flip=True))
    apart = (candidate.scores() - candidate.scores(with_mirror=False)).abs().max()
    assert apart > 100 * candidate.tolerance
    assert failed(candidate, checks.check_three_ways) == []


def test_blind_model(candidate):
    on_output(candidate.model.model.multi_modal_projector, torch.zeros_like)
    assert failed(candidate, checks.check_sight) == ["sees the picture"]


def test_training_that_scores_otherwise(candidate):
    length = candidate.collator(candidate.samples)["input_ids"].shape[1]
    on_output(decoder_layer(candidate), lambda hidden: hidden * (1.01 if hidden.shape[1] == length else 1))
    assert failed(candidate, checks.check_three_ways) == ["scoring = training = generation"]


def deepened(candidate, count=54):
    """Makes the candidate as deep as a pretrained model for the tolerance; the further layers are never run."""
    candidate.model.never_run = torch.nn.ModuleList(torch.nn.Identity() for _ in range(count))
    return candidate


def test_a_wrong_position_is_found_in_a_deep_model_too(candidate, monkeypatch):
    """The score is read one token before its place."""
    model = deepened(candidate).model
    read = type(model).generate_with_scores
    collator = candidate.collator
    words = collator.answer_ids

    def wrong(self, **inputs):
        inputs["input_ids"] = inputs["input_ids"].roll(1, dims=1)
        inputs["prefix_allowed_tokens_fn"] = lambda row, so_far: [words[len(so_far) - inputs["input_ids"].shape[1]]]
        return read(self, **inputs)

    assert failed(candidate, checks.check_three_ways) == []
    monkeypatch.setattr(type(model), "generate_with_scores", wrong)
    assert failed(candidate, checks.check_three_ways) == ["scoring = training = generation"]


def test_small_faults_are_found_in_a_deep_model_too(candidate):
    on_output(decoder_layer(deepened(candidate)), lambda hidden: hidden * (1 + 1e-3 * hidden.shape[1]))
    assert failed(candidate, checks.check_padding) == ["padding on the right", "padding on the left"]


def test_scores_that_depend_on_the_batch(candidate):
    on_output(decoder_layer(candidate), lambda hidden: hidden * (1 + 1e-3 * hidden.shape[0]))
    assert failed(candidate, checks.check_batch) == ["batch = one by one"]


def test_scores_that_depend_on_the_sizes_of_the_others_are_told_apart(candidate, monkeypatch):
    scores = candidate.scores()
    monkeypatch.setattr(candidate, "scores", lambda: scores + 1)  # of the batch that has two sizes
    (finding,) = checks.check_batch(candidate)
    assert not finding.passed and finding.advice.startswith("Pictures of one size agree")
    monkeypatch.setitem(FAMILIES, candidate.model.config.model_type, Family(one_size=True))
    assert failed(candidate, checks.check_batch) == [] and "each size by itself" in candidate.notes["sizes"]


def test_scores_that_depend_on_the_padding(candidate):
    on_output(decoder_layer(candidate), lambda hidden: hidden * (1 + 1e-3 * hidden.shape[1]))
    assert failed(candidate, checks.check_padding) == ["padding on the right", "padding on the left"]


def test_something_that_is_not_saved(candidate):
    on_output(decoder_layer(candidate), lambda hidden: 1.01 * hidden)
    assert failed(candidate, checks.check_reload) == ["save and reload", "stock AutoModel"]


def test_checkpointing_that_computes_something_else(candidate):
    calls = []
    on_output(decoder_layer(candidate).mlp, lambda out: calls.append(0) or out * (1 + 1e-3 * len(calls)))
    assert failed(candidate, checks.check_checkpointing) == ["gradient checkpointing"]


def test_checkpointing_that_does_nothing(candidate, monkeypatch):
    for name in ("activation_checkpointing_enable", "gradient_checkpointing_enable"):
        monkeypatch.setattr(candidate.model, name, lambda: None, raising=False)
    assert failed(candidate, checks.check_checkpointing) == ["gradient checkpointing"]


def test_checkpointing_that_breaks_is_left_off_and_spoils_nothing(candidate, monkeypatch):
    def enable_input_require_grads():
        raise AttributeError("'tuple' object has no attribute 'requires_grad_'")

    monkeypatch.setattr(candidate.model, "enable_input_require_grads", enable_input_require_grads)
    (finding,) = checks.check_checkpointing(candidate)
    assert finding.passed is None and "fails" in finding.figure and "off" in finding.advice
    assert failed(candidate, checks.check_gradients) == []


def test_a_tower_whose_embeddings_return_no_tensor_can_be_checkpointed(tmp_path):
    """The model of the demo; transformers alone would ask for a gradient of what the embeddings return."""
    candidate = admit(save_plain(tmp_path, lambda: build_tiny_llava(QUESTIONS)))
    assert failed(candidate, checks.check_checkpointing) == []


def test_a_part_without_gradient(candidate):
    on_output(candidate.model.model.multi_modal_projector, torch.detach)
    finding = next(iter(checks.check_gradients(candidate)))
    assert not finding.passed and "no gradient reaches projector, vision" in finding.figure


def test_pictures_that_become_codes_are_no_fault(candidate):
    on_output(candidate.model.model.multi_modal_projector, lambda features: features.detach().sign())
    finding = next(iter(checks.check_gradients(candidate)))
    assert finding.passed
    assert candidate.notes["codes"].startswith("no gradient reaches projector, vision by design")


def test_a_head_that_the_text_trains(candidate):
    head = candidate.model.score_head
    on_output(candidate.model.get_output_embeddings(), lambda logits: logits + head.weight.sum())
    finding = next(iter(checks.check_gradients(candidate)))
    assert not finding.passed and finding.figure == "the text loss trains the head"


def test_equal_weights_may_score_apart_by_rounding(candidate):
    model, before = candidate.model, candidate.scores()
    again, after = copy.deepcopy(model), before * (1 + torch.finfo(torch.float32).eps)
    finding = checks._reloaded("save and reload", model, again, before, after)
    assert finding.passed and finding.figure.startswith("weights bit-identical")
    again.score_head.weight.data[0, 0] += 1e-6
    assert not checks._reloaded("save and reload", model, again, before, after).passed
    assert not checks._reloaded("save and reload", model, copy.deepcopy(model), before, before + 0.01).passed


def test_an_adapter_that_does_not_come_back(candidate):
    on_output(decoder_layer(candidate), lambda hidden: 1.01 * hidden)
    assert failed(candidate, checks.check_adapter) == ["adapter reloads"]


def test_an_adapter_is_merged_and_checked(folder, tmp_path):
    candidate = admit(folder)
    save(add_lora(candidate.model, rank=4), candidate.processor, tmp_path)
    findings = {finding.name: finding for finding in examine(admit(tmp_path))}
    assert not [finding for finding in findings.values() if finding.passed is False]
    assert findings["adapter reloads"].passed is None


def test_a_check_that_raises_is_a_finding(candidate, monkeypatch):
    def broken(candidate):
        raise RuntimeError("no such thing\nat all")

    monkeypatch.setattr(checks, "CHECKS", {"batch = one by one": broken})
    last = list(examine(candidate))[-1]
    assert (last.name, last.passed, last.figure) == ("batch = one by one", False, "RuntimeError: no such thing")
    monkeypatch.setattr(checks, "CHECKS", {"save and reload": broken, "adapter": broken})
    assert list(examine(candidate))[-1].advice.startswith("Look at save and reload first")


def test_a_model_that_is_taught_no_words_learns_from_the_score_alone(candidate):
    """Its vocabulary gets no gradient, which is no fault; another part without one is."""
    declare(candidate.model, dataclasses.replace(candidate.model.declaration, text_weight=0.0))
    assert failed(candidate, checks.check_gradients) == []
    on_output(candidate.model.model.multi_modal_projector, torch.Tensor.detach)
    assert failed(candidate, checks.check_gradients) == ["gradients"]


def test_a_vision_backbone_fits(tmp_path):
    model, processor, _ = backbone()
    save(model, processor, tmp_path)
    findings = {finding.name: finding.passed for finding in examine(admit(tmp_path))}
    assert False not in findings.values() and findings["gradients"] and findings["LoRA trains"] is None
    assert findings["roc agree"]


def test_what_methods_add_is_tried_and_taken_out_again(candidate, monkeypatch):
    before, config = candidate.scores(), candidate.model.config.to_dict()
    (found,) = checks.check_extensions(candidate)
    assert (found.name, found.passed, found.apart) == (
        "roc agree",
        True,
        0.0,
    ) and "at the visual tokens" in found.figure
    assert not hasattr(candidate.model, "extensions") and candidate.model.config.to_dict() == config
    assert torch.equal(candidate.scores(), before)
    with monkeypatch.context() as patch:  # a family that has no such method
        patch.delattr(type(candidate.model.model), "get_image_features")
        patch.setattr(candidate, "scores", lambda: before)
        (found,) = checks.check_extensions(candidate)
    assert found.passed is None and found.figure.startswith("cannot join: AGREE joins the features of pictures, and a ")
    with monkeypatch.context() as patch:  # one that gives something else than tokens
        patch.setattr(type(candidate.model.model), "get_image_features", lambda self, *_, **__: [torch.zeros(3)])
        patch.setattr(candidate, "scores", lambda: before)
        (found,) = checks.check_extensions(candidate)
    assert found.passed is None and "AGREE expects the tokens (T, H)" in found.figure
    assert not hasattr(candidate.model, "extensions") and torch.equal(candidate.scores(), before)
    add_extension(candidate.model, "agree", {"width": 8, "mean": [0.5] * 3, "std": [0.5] * 3})
    assert [finding.figure for finding in checks.check_extensions(candidate)] == ["the checkpoint has its parts"]
