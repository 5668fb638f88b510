"""The optional loss that draws each branch towards the text of its attribute and branches apart from each other.

The released code has no such term; this is a proposal, off by default: `roc agree train --anchor_loss`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor


def anchor_loss(
    branches: Mapping[str, Tensor], anchors: Mapping[str, Tensor], *, weight: float = 0.1, margin: float = 0.2
) -> Tensor:
    """Computes `mean_k(1 - cos(q_k, a_k)) + weight * mean_{k<l} max(0, cos(q_k, q_l) - margin)`, mean over photos.

    Args:
        branches: Name -> (B, C) pooled features q of each branch, projected to the width of the anchors.
        anchors: Name -> (B, C) text features a, under the same names; no gradient flows into them.
        weight: How much branches that look alike count, at least 0.
        margin: Cosine up to which two branches may be alike, -1..1.

    Returns:
        Scalar, at least 0; float32, or float64 where the features are.

    Raises:
        ValueError: Other names, other shapes, no photo, or values out of range.
    """
    if not branches or set(branches) != set(anchors):
        raise ValueError(
            f"the branches are {', '.join(branches) or 'none'} and the anchors {', '.join(anchors) or 'none'}; "
            "expected the same names"
        )
    if weight < 0 or not -1 <= margin <= 1:
        raise ValueError(f"weight is {weight} and margin {margin}; expected at least 0, and -1..1")
    shapes = {tuple(one.shape) for values in (branches, anchors) for one in values.values()}
    if len(shapes) > 1 or len(next(iter(shapes))) != 2 or 0 in next(iter(shapes)):
        raise ValueError(
            f"the features have the shapes {sorted(shapes)}; expected one (B, C) for all: project the branches to the "
            "width of the anchors"
        )
    names = list(branches)
    own = torch.stack([branches[name] for name in names])  # (K, B, C)
    own = own if own.dtype == torch.float64 else own.float()
    aims = torch.stack([anchors[name] for name in names]).detach().to(own)
    loss = (1 - F.cosine_similarity(own, aims, dim=-1)).mean()
    first, second = torch.triu_indices(len(names), len(names), offset=1, device=own.device)
    if not len(first):
        return loss
    alike = F.cosine_similarity(own[first], own[second], dim=-1)
    return loss + weight * (alike - margin).clamp(min=0).mean()
