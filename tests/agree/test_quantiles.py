"""The quantiles are those of `torch.quantile`, whatever the values are and wherever the sample falls."""

import pytest
import torch

from roc.agree.quantiles import _sample, tail_quantiles

COUNT = 60_000


def planes():
    random = torch.rand(COUNT, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    missed = random.clone()
    missed[torch.from_numpy(_sample(COUNT))] = 0.5
    return {
        "even": random,
        "few": random[:300],
        "two": random[:2],
        "skewed": random**8,
        "sorted": random.sort().values,
        "constant": torch.full_like(random, 0.25),
        "half black, half white": random.round(),
        "black below the tail": torch.where(random < 0.015, 0.0, random),
        "black above the tail": torch.where(random < 0.005, 0.0, random),
        "black at the edge of the sample": random.clamp(0.008, 0.992),
        "all of the sample in the middle": missed,
    }


@pytest.mark.parametrize("kind", planes())
def test_both_quantiles_are_exact(kind):
    plane = planes()[kind]
    found = torch.cat(tail_quantiles(torch.stack([plane, 1 - plane]), 0.01))
    low, high = torch.quantile(plane, torch.tensor([0.01, 0.99], dtype=torch.float64))
    torch.testing.assert_close(found, torch.stack([low, 1 - high, high, 1 - low]))


def test_a_sample_that_lies_below_the_quantile_is_noticed():
    """1% of a million values are more than the sample has, and here the sample has the smallest ones."""
    plane = torch.linspace(0.5, 1, 1_000_000)
    plane[torch.from_numpy(_sample(len(plane)))] = 0
    low, _ = tail_quantiles(plane[None], 0.01)
    assert low.item() == pytest.approx(plane.sort().values[9999].item(), abs=1e-6) and low > 0.5


@pytest.mark.parametrize("count", [500, COUNT])
def test_gradients_go_to_the_values_between_which_a_quantile_lies(count):
    plane = planes()["even"][:count].clone().requires_grad_()
    low, high = tail_quantiles(plane[None], 0.01)
    (low + 2 * high).sum().backward()
    ours, plane.grad = plane.grad, None
    both = torch.quantile(plane, torch.tensor([0.01, 0.99], dtype=torch.float64))
    (both[0] + 2 * both[1]).backward()
    assert ours.count_nonzero() == 4
    torch.testing.assert_close(ours, plane.grad)
