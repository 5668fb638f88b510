"""Whether a trained checkpoint looks at the picture: found where it does not, and an untrained head is no fault."""

import pytest
import torch
from heads import build
from PIL import Image

from roc.checkpoint.folder import save
from roc.commands.doctor import main
from roc.doctor.candidate import admit
from roc.doctor.dependence import picture_findings
from roc.model.adapters import add_lora, lora_state


def findings_of(candidate):
    return {finding.name: finding for finding in picture_findings(candidate)}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A tiny model whose head is filled, as a folder."""
    folder = tmp_path_factory.mktemp("trained")
    model, processor, _ = build("llava")
    save(model, processor, folder)
    return folder


def blind(model):
    """Makes the projector give zeros, so that every picture of one size looks alike."""
    with torch.no_grad():
        for parameter in model.model.multi_modal_projector.parameters():
            parameter.zero_()


def constant(model):
    """Makes all levels equally likely whatever is shown, with a head that is not zero."""
    with torch.no_grad():
        model.score_head.weight[1:] = model.score_head.weight[0]


def test_a_model_that_looks_passes_with_a_figure(trained):
    finding = findings_of(admit(trained))["score depends on the picture"]
    assert finding.passed and finding.figure.startswith("scores move by ") and "when all is black" in finding.figure


@pytest.mark.parametrize("spoil", [blind, constant])
def test_a_trained_model_that_does_not_look_fails(spoil, tmp_path, capsys):
    model, processor, _ = build("llava")
    spoil(model)
    save(model, processor, tmp_path)
    assert main([str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert "FAILED  score depends on the picture" in printed and "0.00% of the range" in printed


def test_an_untrained_head_is_no_fault_and_that_is_said(candidate):
    finding = findings_of(candidate)["score depends on the picture"]
    assert finding.passed is None and "the head is untrained" in finding.figure


def lora(trained, tmp_path, change):
    candidate = admit(trained)
    tuned = add_lora(candidate.model, rank=4)
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if ".lora_" in name:
                change(name, parameter)
    save(tuned, candidate.processor, tmp_path)
    return lora_state(tuned), admit(tmp_path)


def test_an_adapter_of_zeros_fails(trained, tmp_path):
    state, candidate = lora(trained, tmp_path, lambda name, parameter: parameter.zero_())
    finding = findings_of(candidate)["adapter changes the model"]
    assert state == "zero" and finding.passed is False and "scores as its base does" in finding.figure


def test_an_adapter_before_its_first_step_is_said_to_be(trained, tmp_path):
    state, candidate = lora(trained, tmp_path, lambda name, parameter: None)
    finding = findings_of(candidate)["adapter changes the model"]
    assert state == "initial" and finding.passed is None and "untrained" in finding.figure


def test_a_trained_adapter_needs_no_word(trained, tmp_path):
    state, candidate = lora(trained, tmp_path, lambda name, parameter: parameter.fill_(0.01))
    assert state == "trained" and list(findings_of(candidate)) == ["score depends on the picture"]


def test_sensitivity_of_a_blind_model_is_not_taken_for_robustness(tmp_path, capsys):
    model, processor, _ = build("llava")
    blind(model)
    save(model, processor, tmp_path / "model")
    for n, colour in enumerate(("red", "navy", "white")):
        Image.new("RGB", (40, 30), colour).save(tmp_path / f"{n}.png")
    words = [str(tmp_path / f"{n}.png") for n in range(3)]
    assert main([str(tmp_path / "model"), "--sensitivity", *words]) == 0
    assert "The scores do not depend on the picture" in capsys.readouterr().out
