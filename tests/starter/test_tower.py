"""The stock EfficientNetModel computes what EfficientNet-Lite computes, from the same weights, and keeps doing so."""

import pytest
import torch
from starter_parts import STAGES, as_pth, published_forward, published_weights, tower_record
from transformers import EfficientNetModel

from roc.starter.sizes import SIZES
from roc.starter.tower import check_pixels, load_tower, tower_config, tower_difference


@pytest.fixture(scope="module")
def weights():
    return published_weights()


@pytest.fixture
def tower(weights):
    tower = EfficientNetModel(tower_config(STAGES, 64)).eval()
    load_tower(tower, as_pth(weights))
    return tower


@pytest.mark.parametrize("side", [32, 96])
def test_features_are_those_of_the_published_architecture(tower, weights, side):
    pixels = torch.cat([check_pixels(side), torch.randn(1, 3, side, side)])
    with torch.no_grad():
        features, expected = tower(pixels).last_hidden_state, published_forward(weights, pixels)
    assert features.shape == (2, 1280, side // 32, side // 32)
    assert expected.std() > 0.5
    assert torch.allclose(features, expected, atol=1e-5)


def test_a_record_tells_other_weights_and_another_normalisation(tower, weights):
    record = tower_record(weights)
    assert tower_difference(tower, record) < 1e-5
    with torch.no_grad():
        tower.encoder.blocks[3].projection.project_conv.weight[0] *= 1.5
    assert tower_difference(tower, record) > 1e-3


def test_training_leaves_squeeze_and_excitation_open_and_keeps_statistics_of_many_batches(tower):
    assert {module.momentum for module in tower.modules() if isinstance(module, torch.nn.BatchNorm2d)} == {0.1}
    assert {module.p for module in tower.modules() if isinstance(module, torch.nn.Dropout)} == {0.0}
    gates = {name: value.clone() for name, value in tower.named_parameters() if "squeeze_excite" in name}
    optimizer = torch.optim.AdamW(tower.train().parameters(), lr=0.1, weight_decay=0.0)
    tower(check_pixels(32).repeat(2, 1, 1, 1)).last_hidden_state.sum().backward()
    optimizer.step()
    parameters = dict(tower.named_parameters())
    assert len(gates) == 4 * 6 and all(torch.equal(parameters[name], value) for name, value in gates.items())


def test_other_weights_are_refused(weights):
    tower = EfficientNetModel(tower_config(STAGES, 64))
    with pytest.raises(ValueError, match="not those of its architecture.*top_conv"):
        load_tower(tower, as_pth({name: value for name, value in weights.items() if name != "_conv_head.weight"}))
    with pytest.raises(ValueError, match="not those of its architecture"):
        load_tower(EfficientNetModel(tower_config(STAGES[:-1], 64)), as_pth(weights))


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (tmp_path.joinpath("run").touch, ())

    tower = EfficientNetModel(tower_config(STAGES, 64))
    with pytest.raises(ValueError, match="not plain tensors"):
        load_tower(tower, as_pth({"_bn0.weight": Evil()}))
    assert list(tmp_path.iterdir()) == []


def test_the_tower_that_is_built_is_efficientnet_lite0():
    model = EfficientNetModel(tower_config(SIZES["small"].tower.stages, 192))
    convolutions = [module for module in model.modules() if isinstance(module, torch.nn.Conv2d)]
    gates = [module for name, module in model.named_modules() if "squeeze_excite" in name and hasattr(module, "weight")]
    count = sum(m.weight.numel() for m in convolutions) - sum(m.weight.numel() for m in gates)
    # 4,652,008 parameters with a classifier of 1,281,000 and two for each of 21,008 normalised channels.
    assert len(model.encoder.blocks) == 16 and count + 2 * 21_008 == 4_652_008 - 1_281_000
