"""Linear layers in 8-bit integers: the rounding, the layers it applies to, and how little it moves scores."""

import pytest
import torch
from heads import ATTRIBUTES, SPACE, build, fill_head, picture
from tiny_models import FAMILY_BUILDERS
from torch import nn

from roc.checkpoint.folder import save
from roc.model import int8
from roc.model.adapters import add_lora
from roc.model.attachment import attach
from roc.model.collator import RocCollator
from roc.model.int8 import Int8Linear, int8_layers, use_int8
from roc.scoring.assessment import Assessment
from roc.scoring.one_forward import one_forward

PICTURES = [picture(i) for i in range(6)]
EXACT = int8.multiplies_pairs_exactly()  # conftest.py hides it while tests run

pytestmark = pytest.mark.skipif(
    torch.backends.quantized.engine == "none", reason="this build of PyTorch has no 8-bit kernels"
)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def rounded(rows, steps):
    """(R, C) float64: each row as whole steps of its largest value."""
    scale = rows.double().abs().amax(1, keepdim=True) / steps
    return (rows.double() / scale).round() * scale


def test_a_layer_by_hand():
    # Weights 127, -64 steps of 1/127; 1 and -0.5 are the largest of their tokens, so -1 and 1 after the division.
    linear = nn.Linear(2, 1)
    linear.weight.data, linear.bias.data = torch.tensor([[1.0, -64 / 127]]), torch.tensor([10.0])
    found = Int8Linear(linear)(torch.tensor([[1.0, 0.0], [0.0, -0.5], [0.0, 0.0]]))
    torch.testing.assert_close(found, torch.tensor([[11.0], [10 + 32 / 127], [10.0]]))


@pytest.mark.parametrize(("exact", "steps"), [(True, 127), (False, 63)])
def test_a_layer_multiplies_rounded_numbers(monkeypatch, exact, steps):
    if exact and not EXACT:
        pytest.skip("this processor has no VNNI instructions")
    monkeypatch.setattr(int8, "multiplies_pairs_exactly", lambda: exact)
    linear, hidden_states = nn.Linear(48, 32), random(2, 5, 48)
    layer = Int8Linear(linear)
    weight = rounded(linear.weight.detach(), 127)
    expected = rounded(hidden_states.flatten(0, 1), steps) @ weight.t() + linear.bias.detach()
    torch.testing.assert_close(layer(hidden_states).double(), expected.view(2, 5, 32), atol=1e-5, rtol=1e-5)
    held = layer.state_dict()
    assert held["weight"].dtype == torch.int8 and int(held["weight"].abs().max()) == 127
    torch.testing.assert_close(held["weight"].double() * held["scale"].unsqueeze(1), weight)


def test_a_token_is_rounded_by_itself():
    layer, hidden_states = Int8Linear(nn.Linear(64, 16)), random(4, 64)
    together = layer(torch.cat([hidden_states, 1e4 * random(3, 64, seed=1)]))[:4]
    assert torch.equal(together, layer(hidden_states)) and layer(hidden_states[:0]).shape == (0, 16)


@pytest.mark.parametrize("family", FAMILY_BUILDERS)
def test_scores_stay_close(family):
    model, processor = FAMILY_BUILDERS[family]()
    attach(model, processor, SPACE, attributes=ATTRIBUTES)
    fill_head(model)
    batch = RocCollator(processor, model.config.roc).scoring_batch(PICTURES)
    plain = one_forward(model.eval(), batch).scores
    kept = [model.get_output_embeddings(), *model.score_head.modules()]
    found = use_int8(model)
    assert found == sum(isinstance(layer, Int8Linear) for layer in model.modules()) > 0
    left = [layer for layer in model.modules() if type(layer) is nn.Linear]
    assert all(any(layer is other for other in kept) for layer in left)
    apart = (one_forward(model, batch).scores - plain).abs() / SPACE.width
    # The worst of these untrained models: 0.011 and 0.0047, with VNNI 0.0058 and 0.0027. How far scores of a trained
    # one move is in test_benchmark_scoring.py.
    assert 0 < apart.max() < 0.015 and apart.mean() < 0.006


def test_the_matrices_of_an_adapter_stay():
    model, _, _ = build("llava")
    wrapped = add_lora(model, rank=4, dropout=0.0)
    lora = {layer for name, layer in wrapped.named_modules() if "lora_" in name and type(layer) is nn.Linear}
    assert use_int8(wrapped) > 0 and lora and lora <= set(wrapped.modules())


def test_what_cannot_be_rounded_is_refused(monkeypatch):
    model, _, _ = build("llava")
    use_int8(model)
    assert int8_layers(model) == []
    with pytest.raises(ValueError, match="has no linear layers that int8 could hold"):
        use_int8(model)
    with pytest.raises(ValueError, match="int8 is a format for CPUs and the device is meta; give bfloat16, or device"):
        use_int8(build("llava")[0].to("meta"))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    save(*build("llava")[:2], folder)
    return folder


def test_an_assessment_scores_and_speaks_in_it(checkpoint):
    plain, assessment = (Assessment(checkpoint, device="cpu", dtype=dtype) for dtype in ("float32", "int8"))
    assert assessment.dtype == "int8" and assessment.model.dtype == torch.float32
    one_by_one = [assessment.score(picture)[0] for picture in PICTURES]
    for one, other, alone in zip(plain.score(PICTURES), assessment.score(PICTURES), one_by_one, strict=True):
        for name in ATTRIBUTES:
            assert one.scores[name].value == pytest.approx(other.scores[name].value, abs=5e-3 * SPACE.width)
            assert alone.scores[name].value == pytest.approx(other.scores[name].value, abs=1e-3 * SPACE.width)
    assert assessment.describe(PICTURES[0], max_new_tokens=3)[0].text is not None
