"""Links from a shared score onto the scales of several data sets, while they are learnt.

On 0..1, the link of data set d with K pieces of equal length is

    g_d(u) = b_d + sum_k exp(a_dk) * (the part of 0..u that lies in piece k)

so that it always rises. All parameters start at 0, where g_d(u) = u; weight decay pulls towards that too. A link of
the first data set that rates an attribute stays there for good: without it, any rising change of the shared score could
be undone by the links, and the shared score would be on no scale at all.

The parameters belong to no checkpoint. A saved state keeps them in a file of their own, a finished one in its
declaration (`ScaleLinks.scales`), where nothing but numbers remains of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from roc.model.scales import DataScale

_FLATTEST = -7.0
"""Logarithm of the smallest slope; a flatter piece would not rise in float32."""


class ScaleLinks(nn.Module):
    """The links of D data sets for A attributes.

    Args:
        scales: Name and range of each data set, D.
        attributes: Names of the scores, A.
        learnt: (D, A) which links are learnt; the others stay linear.
        pieces: K, of each link.
    """

    def __init__(
        self, scales: Sequence[DataScale], attributes: Sequence[str], learnt: Sequence[Sequence[bool]], pieces: int
    ) -> None:
        super().__init__()
        self.names = tuple(scale.name for scale in scales)
        self.ranges = tuple(scale.range for scale in scales)
        self.attributes = tuple(attributes)
        self.pieces = pieces
        shape = len(self.names), len(self.attributes)
        self.offsets = nn.Parameter(torch.zeros(shape))
        self.log_slopes = nn.Parameter(torch.zeros(*shape, pieces))
        self.register_buffer("learnt", torch.tensor(learnt, dtype=torch.bool).view(shape), persistent=False)
        self.register_buffer("lows", torch.tensor([low for low, _ in self.ranges]), persistent=False)
        self.register_buffer("widths", torch.tensor([high - low for low, high in self.ranges]), persistent=False)

    def forward(self, units: Tensor, sets: Tensor, columns: Tensor) -> Tensor:
        """Reads shared scores on the scales of data sets.

        Args:
            units: (M,) shared scores on 0..1.
            sets: (M,) number of the data set of each.
            columns: (M,) number of the attribute of each; those past the last one are read as the first.

        Returns:
            (M,) on the native scales, not limited to their ranges.
        """
        columns = self._known(columns)
        learnt = self.learnt[sets, columns]
        offsets = torch.where(learnt, self.offsets[sets, columns], 0.0)
        slopes = _slopes(learnt, self.log_slopes[sets, columns])  # (M, K)
        starts = torch.arange(self.pieces, device=units.device) / self.pieces
        parts = (units.unsqueeze(-1) - starts).clamp(min=0, max=1 / self.pieces)
        return self.lows[sets] + self.widths[sets] * (offsets + (slopes * parts).sum(dim=-1))

    @torch.no_grad()
    def moved_votes(self, votes: Tensor, sets: Tensor, columns: Tensor) -> Tensor:
        """Moves histograms on the native scales onto the levels of the shared score.

        The share of a level goes to the two levels around the shared score that the link gives it, so that the mean is
        that of the levels as moved; what a link does not reach goes to the end. No gradient flows: from moved targets,
        links would learn to crowd them.

        Args:
            votes: (M, N), summing to 1.
            sets, columns: As for `forward`.

        Returns:
            (M, N), summing to 1.
        """
        steps = votes.shape[1] - 1
        knots = self._knots()  # (D, A, K + 1)
        levels = (torch.arange(steps + 1, device=votes.device) / steps).expand(*knots.shape[:2], -1).contiguous()
        right = torch.searchsorted(knots, levels).clamp(1, self.pieces)
        above, below = knots.gather(-1, right), knots.gather(-1, right - 1)
        places = ((right - 1) + (levels - below) / (above - below)) / self.pieces
        places = places.clamp(0, 1).unsqueeze(-1) * steps  # (D, A, N, 1)
        shares = (1 - (places - torch.arange(steps + 1, device=votes.device)).abs()).clamp(min=0)
        shares = torch.where(self.learnt[..., None, None], shares, torch.eye(steps + 1, device=votes.device))
        return torch.einsum("mn,mnk->mk", votes, shares[sets, self._known(columns)].to(votes.dtype))

    def scales(self) -> tuple[DataScale, ...]:
        """Gives the scales with their links as they are now, for a declaration."""
        knots = self._knots().detach().double().cpu()
        found = []
        for number, (name, (low, high)) in enumerate(zip(self.names, self.ranges, strict=True)):
            links = {
                attribute: tuple((low + (high - low) * knots[number, column]).tolist())
                for column, attribute in enumerate(self.attributes)
                if self.learnt[number, column]
            }
            found.append(DataScale(name, (low, high), links))
        return tuple(found)

    def state(self) -> dict[str, Tensor]:
        """Returns the parameters by name, for a file of their own."""
        return {name: parameter.detach().cpu().clone() for name, parameter in self.named_parameters()}

    @torch.no_grad()
    def load(self, state: dict[str, Tensor]) -> None:
        """Goes on from what `state` returned.

        Raises:
            ValueError: If it is that of other data sets, attributes or pieces.
        """
        for name, parameter in self.named_parameters():
            if name not in state or state[name].shape != parameter.shape:
                raise ValueError(
                    f"the saved links are those of other data sets: {name} is "
                    f"{tuple(state[name].shape) if name in state else 'missing'}, expected {tuple(parameter.shape)}; "
                    "resume with the settings that they were saved with"
                )
            parameter.copy_(state[name])

    def _knots(self) -> Tensor:
        """(D, A, K + 1) values of the links on 0..1 at their knots."""
        rises = _slopes(self.learnt, self.log_slopes) / self.pieces
        starts = torch.where(self.learnt, self.offsets, 0.0).unsqueeze(-1)
        return torch.cat([starts, starts + rises.cumsum(dim=-1)], dim=-1)

    def _known(self, columns: Tensor) -> Tensor:
        return torch.where(columns < len(self.attributes), columns, 0)

    # A state dict with these parameters would be that of no model that `load` builds.
    def _save_to_state_dict(self, *args: Any, **kwargs: Any) -> None:
        pass

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        pass


def _slopes(learnt: Tensor, log_slopes: Tensor) -> Tensor:
    return torch.where(learnt.unsqueeze(-1), log_slopes.clamp(min=_FLATTEST), 0.0).exp()
