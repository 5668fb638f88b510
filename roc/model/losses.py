"""The training losses, as plain functions: tensors in, one number out.

The head predicts a distribution over N score levels. Four terms train it and the text around it:

* `text_cross_entropy`: the answer's words, `[SCORE]` among them;
* `smooth_l1`: the score, i.e. the mean of the predicted distribution, against the human mean;
* `soft_cross_entropy`: the whole distribution against a vote histogram, level by level;
* `emd`: the same, but level 6 counts as nearer to 7 than to 1.

Two more train the difference of two scores, where pictures were compared with each other: `smooth_l1` against a known
difference, and `frank`, by which of the two is better.

Every term is the mean over the rows it applies to. A training batch is often split over micro-batches and processes;
then the rows of one call are only a part, and `num_items` says how many rows the whole batch has. Losses computed on
the parts with the same `num_items` add up to the loss of the whole, and so do their gradients.

A call with no rows gives a zero that is still part of the autograd graph, so that every process of a distributed run
reaches the same parameters in the backward pass.

Inputs below 32 bits are computed in float32; float64 stays float64.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORE_INDEX = -100
"""Label of a token that is not supervised."""


def text_cross_entropy(logits: Tensor, labels: Tensor, num_items: Tensor | float | None = None) -> Tensor:
    """Mean cross-entropy over the supervised tokens of the whole batch, not per sample first.

    Args:
        logits: (n, V); row i predicts `labels[i]`, so the caller has shifted them.
        labels: (n,) token ids in 0..V-1; -100 marks a token that is left out.
        num_items: Number of supervised tokens in the whole batch; None counts those here.

    Returns:
        Scalar, in nats per token, at least 0.

    Raises:
        ValueError: if the shapes do not fit.
    """
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise ValueError(
            f"text_cross_entropy got logits {tuple(logits.shape)} and labels {tuple(labels.shape)}; "
            "expected (n, V) and (n,): keep the supervised positions only and flatten"
        )
    logits = _at_least_float32(logits)
    if not len(logits):
        return logits.sum()
    total = F.cross_entropy(logits, labels, ignore_index=IGNORE_INDEX, reduction="sum")
    if num_items is None:
        num_items = (labels != IGNORE_INDEX).sum().clamp(min=1)
    return total / _denominator(num_items, total)


def smooth_l1(
    scores: Tensor,
    labels: Tensor,
    beta: float = 1.0,
    scale: Tensor | float = 1.0,
    weights: Tensor | None = None,
    num_items: Tensor | float | None = None,
) -> Tensor:
    """Mean smooth L1 between predicted and human scores: quadratic below `beta`, linear above.

    Args:
        scores: (M,), predicted scores on the native scale.
        labels: (M,), human scores on the same scale, none of them NaN.
        beta: error at which the quadratic part ends, measured after `scale`; 0 gives the plain absolute error.
        scale: multiplies both scores first. `9 / (max - min)` makes every range train like 1..10; (M,) where the
            scores are on several ranges.
        weights: (M,), importance of each row; None: all 1. Weights with mean 1 keep the size of the loss.
        num_items: rows of the whole batch; None: M.

    Returns:
        Scalar, at least 0, in units of the scaled score.

    Raises:
        ValueError: if the shapes do not fit or `beta` is negative.
    """
    _check_shapes("smooth_l1", scores, labels, ndim=1)
    if beta < 0:
        raise ValueError(f"smooth_l1 got beta {beta}; expected 0 or more")
    scores, labels = _at_least_float32(scores), _at_least_float32(labels)
    per_row = F.smooth_l1_loss(scores * scale, labels * scale, reduction="none", beta=beta)  # (M,)
    return _mean(per_row, weights, num_items)


def soft_cross_entropy(
    logits: Tensor,
    targets: Tensor,
    weights: Tensor | None = None,
    num_items: Tensor | float | None = None,
) -> Tensor:
    """Mean cross-entropy of the level distribution against vote histograms.

    Args:
        logits: (M, N), level logits.
        targets: (M, N), histograms, each row summing to 1.
        weights: (M,), importance of each row; None: all 1.
        num_items: rows of the whole batch; None: M.

    Returns:
        Scalar, in nats. Its lowest possible value is the mean entropy of the targets, not 0.

    Raises:
        ValueError: if the shapes do not fit.
    """
    _check_shapes("soft_cross_entropy", logits, targets, ndim=2)
    logits, targets = _at_least_float32(logits), _at_least_float32(targets)
    per_row = -(targets * F.log_softmax(logits, dim=-1)).sum(dim=-1)  # (M,)
    return _mean(per_row, weights, num_items)


def emd(
    probabilities: Tensor,
    targets: Tensor,
    r: float = 2,
    weights: Tensor | None = None,
    num_items: Tensor | float | None = None,
) -> Tensor:
    """Mean earth mover's distance between predicted and human distributions: one root per sample, then the mean.

    For one sample `(mean_n |P_n - Q_n|^r)^(1/r)`, with P and Q the cumulative distributions over N ordered levels.

    Args:
        probabilities: (M, N), predicted distributions, each row summing to 1.
        targets: (M, N), histograms, each row summing to 1.
        r: exponent, at least 1.
        weights: (M,), importance of each row; None: all 1.
        num_items: rows of the whole batch; None: M.

    Returns:
        Scalar in 0..1; 0 at an exact match, where the gradient is 0 as well.

    Raises:
        ValueError: if the shapes do not fit or `r` is below 1.
    """
    per_row = _root(_cumulative_gaps("emd", probabilities, targets, r).mean(dim=-1), r)  # (M,)
    return _mean(per_row, weights, num_items)


def batch_emd(probabilities: Tensor, targets: Tensor, r: float = 2) -> Tensor:
    """The published form of the earth mover's distance: one root over the whole batch.

    It weighs samples with a large distance more than `emd` does, and a batch of two halves is not the mean of its
    halves; it is kept only to compare with numbers recorded from the published code.

    Args:
        probabilities: (M, N), predicted distributions, each row summing to 1.
        targets: (M, N), histograms, each row summing to 1.
        r: exponent, at least 1.

    Returns:
        Scalar in 0..1; 0 when every row matches exactly, where the gradient is 0 as well.

    Raises:
        ValueError: if the shapes do not fit or `r` is below 1.
    """
    gaps = _cumulative_gaps("batch_emd", probabilities, targets, r)
    if not len(gaps):
        return gaps.sum()
    return _root(gaps.mean(), r)


def frank(
    means: Tensor,
    variances: Tensor,
    wins: Tensor,
    gamma: float = 1e-6,
    num_items: Tensor | float | None = None,
) -> Tensor:
    """Mean FRank loss of pairs: one minus the fidelity of the predicted and the wanted outcome.

    The second picture wins with `p = Phi((mean_2 - mean_1) / sqrt(var_1 + var_2 + gamma))`; the loss of a pair is
    `1 - sqrt(w p) - sqrt((1 - w) (1 - p))`.

    Args:
        means: (P, 2), predicted scores of the first and the second picture, on the unit scale.
        variances: (P, 2), variances of their distributions on that scale, >= 0.
        wins: (P,), 1 where the second is to win, 0 where the first is, 0.5 for a tie.
        gamma: added to the variances.
        num_items: pairs of the whole batch; None: P.

    Returns:
        Scalar in 0..1; 0 where every outcome is predicted with certainty.

    Raises:
        ValueError: if the shapes do not fit.
    """
    if means.shape != variances.shape or means.shape != (len(wins), 2):
        raise ValueError(
            f"frank got means {tuple(means.shape)}, variances {tuple(variances.shape)} and wins {tuple(wins.shape)}; "
            "expected (P, 2), (P, 2) and (P,)"
        )
    means, variances, wins = map(_at_least_float32, (means, variances, wins))
    distances = (means[:, 1] - means[:, 0]) / (variances.sum(dim=1) + gamma).sqrt()
    # From logarithms, because the root of a probability that rounds to 0 has an infinite slope.
    won, lost = (torch.exp(0.5 * torch.special.log_ndtr(side)) for side in (distances, -distances))
    return _mean(1 - wins.sqrt() * won - (1 - wins).sqrt() * lost, None, num_items)


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def _check_shapes(name: str, predicted: Tensor, target: Tensor, ndim: int) -> None:
    # Without this, (M, 1) against (M,) broadcasts to every pair of rows and trains on nonsense.
    if predicted.ndim != ndim or predicted.shape != target.shape:
        expected = {1: "(M,)", 2: "(M, N)"}[ndim]
        raise ValueError(
            f"{name} got shapes {tuple(predicted.shape)} and {tuple(target.shape)}; expected {expected} twice"
        )


def _cumulative_gaps(name: str, probabilities: Tensor, targets: Tensor, r: float) -> Tensor:
    """`|P_n - Q_n|^r` for every sample and level, (M, N)."""
    _check_shapes(name, probabilities, targets, ndim=2)
    if r < 1:
        raise ValueError(f"{name} got exponent r {r}; expected 1 or more")
    difference = _at_least_float32(probabilities) - _at_least_float32(targets)
    return difference.cumsum(dim=-1).abs().pow(r)


def _root(mean_gap: Tensor, r: float) -> Tensor:
    """`mean_gap^(1/r)` whose gradient at 0 is 0 instead of infinite."""
    matched = mean_gap == 0
    # The inner `where` matters: an infinite slope in the branch not taken would still turn the gradient into NaN.
    return torch.where(matched, mean_gap, torch.where(matched, 1.0, mean_gap).pow(1 / r))


def _mean(per_row: Tensor, weights: Tensor | None, num_items: Tensor | float | None) -> Tensor:
    if weights is not None:
        if weights.shape != per_row.shape:
            raise ValueError(f"got {tuple(weights.shape)} weights for {len(per_row)} rows; expected one weight per row")
        per_row = per_row * weights
    total = per_row.sum()
    # Zero rows may come with num_items 0, and 0/0 is NaN.
    if not len(per_row):
        return total
    return total / _denominator(len(per_row) if num_items is None else num_items, total)


def _denominator(num_items: Tensor | float, total: Tensor) -> Tensor | float:
    if isinstance(num_items, Tensor):
        return num_items.to(total.device)
    if num_items <= 0:
        raise ValueError(f"num_items is {num_items}, but there are rows here; give the row count of the whole batch")
    return num_items
