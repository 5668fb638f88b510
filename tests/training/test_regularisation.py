"""Settings of the modules that hold in training only."""

import pytest
import torch
from heads import ATTRIBUTES, SPACE, build

from roc.demo.tiny_model import build_tiny_llava
from roc.model.adapters import add_lora
from roc.model.attachment import attach
from roc.model.head import ScoreHead
from roc.training.config import load_config
from roc.training.regularisation import regularise
from roc.training.run import RunError


def test_batch_normalisation_follows_as_fast_as_it_is_told_to():
    model, processor = build_tiny_llava(["A question.", "An answer."])
    attach(model, processor, SPACE, attributes=ATTRIBUTES)
    before = {module.momentum for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)}
    regularise(model, load_config(None, {}))
    assert {module.momentum for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)} == before
    regularise(model, load_config(None, {"batch_norm_momentum": 0.25}))
    norm = next(module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d))
    pictures = torch.rand(2, norm.num_features, 3, 3) + 5
    model.train()
    norm(pictures)
    torch.testing.assert_close(norm.running_mean, 0.25 * pictures.mean(dim=(0, 2, 3)))


def test_a_model_without_batch_normalisation_is_refused():
    with pytest.raises(RunError, match="batch_norm_momentum is 0.1, but this model has no batch normalisation"):
        regularise(build("llava")[0], load_config(None, {"batch_norm_momentum": 0.1}))


def test_the_head_of_an_adapter_drops_out_too():
    model = add_lora(build("llava")[0], rank=2)
    regularise(model, load_config(None, {"head_dropout": 0.3}))
    heads = [module for module in model.modules() if isinstance(module, ScoreHead)]
    assert len(heads) == 2 and {head.dropout for head in heads} == {0.3}
