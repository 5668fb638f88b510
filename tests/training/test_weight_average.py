"""The running mean is computed as documented, and the model gets its own weights back."""

import pytest
import torch
from torch import nn

from roc.training.weight_average import WeightAverage


def test_the_mean_by_hand():
    model = nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(0.0)
    average = WeightAverage(model, decay=0.5)
    expected = 0.0
    for step, weight in enumerate((1.0, 2.0, 4.0, 8.0), start=1):
        model.weight.data.fill_(weight)
        average.update(model, step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * weight
    assert average.mean["weight"].item() == pytest.approx(expected)


def test_buffers_are_averaged_and_counts_copied():
    model = nn.BatchNorm1d(2)
    average = WeightAverage(model, decay=0.5)
    model.running_mean.fill_(3.0)
    model.num_batches_tracked.fill_(7)
    average.update(model, 100)
    assert average.mean["running_mean"].tolist() == [1.5, 1.5]
    assert average.mean["num_batches_tracked"].item() == 7


def test_the_model_has_its_own_weights_back_afterwards():
    model = nn.Linear(2, 2)
    average = WeightAverage(model, decay=0.9)
    start = model.weight.detach().clone()
    model.weight.data.add_(1.0)
    own = model.weight.detach().clone()
    with pytest.raises(KeyError), average.in_place_of(model):
        assert torch.equal(model.weight, start)
        raise KeyError
    assert torch.equal(model.weight, own)
