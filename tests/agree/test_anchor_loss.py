"""The anchor loss by arithmetic: towards the own text, apart from each other beyond a margin."""

import pytest
import torch

from roc.agree.anchor_loss import anchor_loss

X, Y = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])


def test_a_branch_on_its_anchor_costs_nothing():
    assert anchor_loss({"hue": 3 * X, "blur": Y}, {"hue": X, "blur": 2 * Y}) == pytest.approx(0, abs=1e-7)


def test_both_terms_add_up():
    # cosines with the anchors 1 and 0; the branches are alike (cosine 1), 0.8 above the margin
    found = anchor_loss({"hue": X, "blur": X}, {"hue": X, "blur": Y}, weight=0.1, margin=0.2)
    assert found == pytest.approx((0 + 1) / 2 + 0.1 * 0.8)
    # three branches, two pairs of cosine 0 and one of 1; margin 0
    found = anchor_loss({"a": X, "b": X, "c": Y}, {"a": X, "b": X, "c": Y}, weight=0.3, margin=0.0)
    assert found == pytest.approx(0.3 / 3)


def test_the_mean_is_over_photos_and_names_decide():
    branches = {"hue": torch.cat([X, Y]), "blur": torch.cat([Y, X])}
    anchors = {"blur": torch.cat([Y, Y]), "hue": torch.cat([X, X])}
    assert anchor_loss(branches, anchors, weight=0.0) == pytest.approx(0.5)


def test_gradients_reach_the_branches_alone():
    branch, anchor = X.clone().requires_grad_(), Y.clone().requires_grad_()
    anchor_loss({"hue": branch}, {"hue": anchor}).backward()
    assert anchor.grad is None and branch.grad[0, 1] < 0  # a step leads towards the anchor


@pytest.mark.parametrize(
    ("branches", "anchors", "named", "expected"),
    [
        ({"hue": X}, {"blur": X}, {}, "the branches are hue and the anchors blur; expected the same names"),
        ({}, {}, {}, "the branches are none"),
        ({"hue": X}, {"hue": torch.ones(1, 3)}, {}, "project the branches to the width of the anchors"),
        ({"hue": X[0]}, {"hue": X[0]}, {}, "expected one \\(B, C\\) for all"),
        ({"hue": X}, {"hue": X}, {"margin": 2}, "margin 2"),
    ],
)
def test_what_cannot_be_used(branches, anchors, named, expected):
    with pytest.raises(ValueError, match=expected):
        anchor_loss(branches, anchors, **named)
