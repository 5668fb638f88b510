"""The branches: the recorded numbers of fusion and routing, nothing at first, gradients that follow the weights."""

import pytest
import torch

from roc.agree.attributes import ATTRIBUTES
from roc.agree.branches import BRANCHES, OVERALL, Branches, Router


@pytest.mark.parametrize("name", ["a", "b"])
def test_equations_7_and_8_reference(vectors, name):
    entry = vectors[f"agree.fuse.{name}"]
    given, expected = entry["inputs"], entry["expected"]
    router = Router(2)
    with torch.no_grad():
        for layer, weight, bias in ((router.attributes, "Wa", "ba"), (router.final, "Wf", "bf")):
            layer.weight.copy_(torch.tensor(given[weight]))
            layer.bias.copy_(torch.tensor(given[bias]))
    rows = dict(zip(BRANCHES, [given["h0"], *given["hk"]], strict=True))
    # By name, so the order of the mapping means nothing.
    features = {branch: torch.tensor([[rows[branch]]]) for branch in reversed(BRANCHES)}
    together, final = router(features, torch.tensor([given["alpha"]]))
    assert together.flatten().tolist() == pytest.approx(expected["f_attr"], abs=entry["tol"])
    assert final.flatten().tolist() == pytest.approx(expected["f_final"], abs=entry["tol"])


def encoded(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(2, 6, 8, generator=generator) for name in BRANCHES}


def test_nothing_is_added_at_first_and_every_branch_has_weights_of_the_same_shapes():
    branches = Branches(8, 16, anchor_width=4)
    features = branches.features(encoded(), {name: torch.randn(2, 4) for name in BRANCHES})
    assert torch.equal(branches(features, torch.full((2, 5), 0.2)), torch.zeros(2, 6, 8))
    shapes = {name: [p.shape for p in branches.branches[name].parameters()] for name in ATTRIBUTES}
    assert len({str(one) for one in shapes.values()}) == 1
    assert all(not branches.branches[name].up.weight.any() for name in BRANCHES)


def test_the_gradient_of_a_branch_is_scaled_by_the_weight_of_the_photo():
    branches = Branches(8, 16)
    torch.nn.init.normal_(branches.out.weight)
    for adapter in branches.branches.values():
        torch.nn.init.normal_(adapter.up.weight)
    weights = torch.tensor([[0.0, 1.0, 0.0, 0.0, 0.0]] * 2, requires_grad=True)
    branches(branches.features(encoded()), weights).square().sum().backward()
    moved = {name: bool(adapter.up.weight.grad.any()) for name, adapter in branches.branches.items()}
    assert moved == {name: name in (OVERALL, "contrast") for name in BRANCHES} and weights.grad is None


def test_fusion_reads_the_anchor_of_its_own_branch():
    branches = Branches(8, 16, anchor_width=4)
    anchors = {name: torch.ones(2, 4) for name in BRANCHES}
    before = branches.features(encoded(), anchors)
    after = branches.features(encoded(), {**anchors, "hue": -anchors["hue"]})
    assert [name for name in BRANCHES if not torch.equal(before[name], after[name])] == ["hue"]
