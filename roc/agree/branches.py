"""The branches of AGREE on features of any encoder: one for each attribute, routed, joined as a residual (Eq. 2 to 8).

    h_k = r(E(I_k)) + up_k gelu(down_k r(E(I_k)))          decoupling, k = 0 (the picture itself) and the attributes
    h_k = relu(A_k [h_k ; B_k a_k])                         fusion with the anchor a_k, where there are some
    F_attr = relu(W_a [alpha_1 h_1 ; ... ; alpha_5 h_5])    routing
    F = relu(W_f [h_0 ; F_attr])
    E(I_0) + W_out F                                        what the host goes on with; W_out starts at zero

The reduction r to the width of the branches is shared; all else belongs to one attribute. Features are rows of cells
(B, T, C), so that a convolution of 1 x 1 is a linear layer and tokens of a transformer do as well as a map.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from roc.agree.anchor_text import NAMES, OVERALL
from roc.agree.attributes import ATTRIBUTES

BRANCHES = NAMES
"""The branch of the picture itself, and those of the attributes."""


class Adapter(nn.Module):
    """Adds `up(gelu(down(h)))` to its input; `up` starts at zero, so at first nothing is added.

    Args:
        width: C, that of the input.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.down = nn.Linear(width, max(1, width // 4))
        self.up = nn.Linear(max(1, width // 4), width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Computes (..., C) from (..., C)."""
        return features + self.up(nn.functional.gelu(self.down(features)))


class Fusion(nn.Module):
    """Joins the features of a branch with its anchor (Eq. 3 and 4).

    Args:
        width: C, that of the features.
        anchor_width: D, that of the anchor.
    """

    def __init__(self, width: int, anchor_width: int) -> None:
        super().__init__()
        self.anchor = nn.Linear(anchor_width, width)
        self.joined = nn.Linear(2 * width, width)

    def forward(self, features: Tensor, anchor: Tensor) -> Tensor:
        """Computes (B, T, C) from (B, T, C) and the anchors (B, D)."""
        beside = self.anchor(anchor).unsqueeze(1).expand_as(features)
        return self.joined(torch.cat([features, beside], dim=-1)).relu()


class Router(nn.Module):
    """Weighs the attributes and joins them with the features of the picture itself (Eq. 7 and 8).

    Args:
        width: C, that of the features.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attributes = nn.Linear(len(ATTRIBUTES) * width, width)
        self.final = nn.Linear(2 * width, width)

    def forward(self, features: Mapping[str, Tensor], weights: Tensor) -> tuple[Tensor, Tensor]:
        """Computes the features of the attributes together, and those with the picture's.

        Args:
            features: Branch -> (B, T, C), all of `BRANCHES`.
            weights: (B, 5) in the order of `ATTRIBUTES`; no gradient goes through them.

        Returns:
            `F_attr` and `F_final`, (B, T, C) each.
        """
        shares = weights.detach().to(features[OVERALL].dtype)[:, :, None, None].unbind(dim=1)
        routed = [share * features[name] for name, share in zip(ATTRIBUTES, shares, strict=True)]
        together = self.attributes(torch.cat(routed, dim=-1)).relu()
        return together, self.final(torch.cat([features[OVERALL], together], dim=-1)).relu()


class Branches(nn.Module):
    """All of it: features of a picture and of its five maps in, the picture's features with a residual out.

    Args:
        channels: Width of the encoder's features.
        width: C, that of the branches.
        anchor_width: D, that of the anchors; None = there is no fusion.

    Attributes:
        branches: Branch -> its adapter; equal shapes.
    """

    def __init__(self, channels: int, width: int, anchor_width: int | None = None) -> None:
        super().__init__()
        self.reduce = nn.Linear(channels, width)
        self.branches = nn.ModuleDict({name: Adapter(width) for name in BRANCHES})
        fused = BRANCHES if anchor_width is not None else ()
        self.fusions = nn.ModuleDict({name: Fusion(width, anchor_width) for name in fused})
        self.router = Router(width)
        self.out = nn.Linear(width, channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def features(self, encoded: Mapping[str, Tensor], anchors: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Computes the features of every branch (Eq. 2 to 4).

        Args:
            encoded: Branch -> (B, T, channels): the encoder's features of the picture and of each map.
            anchors: Branch -> (B, D), where there is fusion.

        Returns:
            Branch -> (B, T, C).
        """
        return self.fused(self.visual(encoded), anchors)

    def visual(self, encoded: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Computes what each branch sees, before it is joined with an anchor (Eq. 2)."""
        return {name: self.branches[name](self.reduce(encoded[name])) for name in BRANCHES}

    def fused(self, features: Mapping[str, Tensor], anchors: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
        """Joins what `visual` gives with the anchors, where there is fusion (Eq. 3 and 4)."""
        if not len(self.fusions):
            return dict(features)
        return {name: self.fusions[name](features[name], anchors[name]) for name in BRANCHES}

    def forward(self, features: Mapping[str, Tensor], weights: Tensor) -> Tensor:
        """Computes the residual (B, T, channels) from what `features` gives and weights (B, 5)."""
        return self.out(self.router(features, weights)[1])
