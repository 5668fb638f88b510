"""A running mean of the weights while they are trained: often a better model than the weights of any one step.

`mean <- d mean + (1 - d) weights` after every optimiser step, with `d = min(decay, (1 + step) / (10 + step))`, so that
the first steps do not weigh in for ever. Buffers such as the statistics of batch normalisation are averaged like
weights; whole numbers are copied.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn


class WeightAverage:
    """The running mean of a model's weights.

    Args:
        model: Its weights when training begins are the first mean.
        decay: Share of the old mean that stays at a step, 0..1.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.mean: dict[str, torch.Tensor] = {}
        self.reset(model)

    @torch.no_grad()
    def reset(self, model: nn.Module) -> None:
        """Starts again from the model's present weights."""
        self.mean = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Updates the mean after optimiser step `step`, counted from 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                self.mean[name].lerp_(tensor, 1 - decay)
            else:
                self.mean[name].copy_(tensor)

    @contextlib.contextmanager
    def in_place_of(self, model: nn.Module) -> Iterator[None]:
        """Gives the model the mean as its weights inside the context, and its own back afterwards."""
        own = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        self.give_to(model)
        try:
            yield
        finally:
            _assign(model, own)

    def give_to(self, model: nn.Module) -> None:
        """Makes the mean the model's weights."""
        _assign(model, self.mean)


@torch.no_grad()
def _assign(model: nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    for name, tensor in model.state_dict().items():
        tensor.copy_(tensors[name])
