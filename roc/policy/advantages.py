"""Advantages: how much better a completion is than the others of its picture, and the floor below which that is noise.

With a head that sees the picture, the K scores of a picture become nearly equal. Divided by their own spread, as
published, differences in the fifth decimal then push as hard as real ones; the floor keeps them small.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

EPSILON = 1e-4
"""Added to every spread, as published."""


class Advantages(NamedTuple):
    """What the policy learns from.

    Attributes:
        values: (B,) advantage of each completion.
        spreads: (B / K,) standard deviation of the rewards of each picture.
    """

    values: torch.Tensor
    spreads: torch.Tensor


def total_rewards(rewards: torch.Tensor) -> torch.Tensor:
    """Adds the rewards of each completion up, without those that do not apply to it.

    Args:
        rewards: (B, F), NaN where a reward does not apply.

    Returns:
        (B,), NaN where none applies.
    """
    return torch.where(rewards.isnan().all(dim=1), torch.nan, rewards.nansum(dim=1))


def advantages(totals: torch.Tensor, num_generations: int, floor: float) -> Advantages:
    """Centres and scales the rewards within each picture: `(r - mean) / (max(std, floor) + 1e-4)`.

    Args:
        totals: (B,) rewards, K consecutive rows a picture; NaN gets advantage 0 and leaves mean and spread.
        num_generations: K, at least 2.
        floor: Smallest standard deviation that is divided by; 0 is the published form.
    """
    grouped = totals.view(-1, num_generations)
    counts = (~grouped.isnan()).sum(dim=1, keepdim=True)
    centred = grouped - grouped.nanmean(dim=1, keepdim=True)
    squares = centred.square().nansum(dim=1, keepdim=True)
    spreads = (squares / (counts - 1).clamp(min=1)).sqrt()  # (B / K, 1), unbiased
    values = (centred / (spreads.clamp(min=floor) + EPSILON)).nan_to_num(nan=0.0)
    return Advantages(values.flatten(), spreads.flatten())
