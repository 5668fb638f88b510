"""The second term of the objective: what the head learns from the answers that the policy wrote.

With critiques c of the policy and the head's value v(c), the objective J = E[r(v(c))] has two gradients: that of the
policy, E[A(c) grad log pi(c)], and that of the head, E[grad r(v(c))]. TRL computes the first; these functions the
second, exactly ("reward") or by the losses that the head was trained with ("declared"), since a Gaussian has no slope
far away.

Both are means over all rows of a micro-batch, rows that cannot be read included: these count 0, as their reward does.
So the gradient does not depend on how the rows are divided among micro-batches and processes.
"""

from __future__ import annotations

import torch
from transformers import PreTrainedModel

from roc.model.head import read_levels
from roc.policy.rewards import SIGMA
from roc.score_space import ScoreSpace


def declared_loss(
    model: PreTrainedModel,
    level_logits: torch.Tensor,
    score_labels: torch.Tensor,
    distributions: torch.Tensor | None,
) -> torch.Tensor:
    """Computes the losses that the checkpoint declares for its head, with their weights.

    Args:
        model: Carries the head.
        level_logits: (B, N), NaN for rows that cannot be read.
        score_labels: (B,) on the native scale, NaN where there is none.
        distributions: (B, N) histograms that sum to 1, NaN where there is none; None where no row has one.

    Returns:
        Scalar, at least 0.
    """
    read = ~level_logits.isnan().any(dim=1)
    votes = None if distributions is None else distributions[read]
    count = len(level_logits)
    # An answer with a critique holds one score.
    columns = torch.zeros(int(read.sum()), dtype=torch.long, device=level_logits.device)
    losses = model._score_losses(level_logits[read], score_labels[read], votes, count, count, columns=columns)
    return sum(getattr(model.declaration, f"{name}_weight") * loss for name, loss in losses.items())


def reward_loss(
    level_logits: torch.Tensor, score_labels: torch.Tensor, space: ScoreSpace, *, sigma: float = SIGMA
) -> torch.Tensor:
    """Computes minus the mean error reward of the values, with a gradient.

    Args:
        level_logits: (B, N), NaN for rows that cannot be read.
        score_labels: (B,) on the native scale, NaN where there is none.
        space: The native scale.
        sigma: Width of the reward on the unit scale.

    Returns:
        Scalar in -1..0.
    """
    usable = ~level_logits.isnan().any(dim=1) & ~score_labels.isnan()
    levels = torch.tensor(space.levels, dtype=torch.float32)
    values = space.to_unit(read_levels(level_logits[usable], levels).scores)
    return minus_reward(values, space.to_unit(score_labels[usable]), sigma=sigma, count=len(level_logits))


def minus_reward(
    values: torch.Tensor, targets: torch.Tensor, *, sigma: float = SIGMA, count: int | None = None
) -> torch.Tensor:
    """Computes minus the mean of `exp(-0.5 ((value - target) / sigma)^2)`.

    Args:
        values, targets: (M,) on one scale.
        sigma: Width on that scale.
        count: Rows of which these are the ones that count; None: M.
    """
    rewards = (-0.5 * ((values - targets) / sigma).square()).exp()
    return -rewards.sum() / (len(values) if count is None else count)
