"""The blocks (transformer layers) of a model's towers, and the linear layers and norms inside each.

They are read off the modules, so that no family needs a branch. Experts that are no `nn.Linear` are not seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from torch import nn
from transformers import PreTrainedModel
from transformers.activations import QuickGELUActivation


class Block(NamedTuple):
    """One of the equal layers that a tower is made of.

    Attributes:
        part: "language" or "vision".
        width: H, width of the hidden state that it passes on.
        module: The layer itself.
    """

    part: str
    width: int
    module: nn.Module


class LayerGroup(NamedTuple):
    """The layers side by side in one module of a block: attention, an MLP, or the block itself with its norms.

    Attributes:
        inner: Linear layers that widen or project: q, k, v; gate, up; the first of an MLP.
        last: The linear layer that leads back to the hidden state; none in the block itself.
        norms: Each norm with the width it works on; beside linear layers, those of queries and keys.
        activated: How often the activation function keeps a value of the inner width beside its input.
        scales: Number of vectors that the hidden state is multiplied by.
    """

    inner: list[nn.Linear]
    last: list[nn.Linear]
    norms: list[tuple[nn.Module, int]]
    activated: int
    scales: int

    @property
    def end(self) -> int:
        """Width of the last layer's input."""
        return self.last[0].in_features if self.last else 0

    @property
    def is_attention(self) -> bool:
        """Attention has three projections, or one for all three; an MLP has two, or one as wide as its last input."""
        return len(self.inner) > 2 or (len(self.inner) == 1 and self.inner[0].out_features != self.end)


def find_blocks(model: PreTrainedModel, part_of: Mapping[str, str]) -> list[Block]:
    """Finds the blocks of the language model and of the vision tower: lists of several modules with linear layers.

    Args:
        model: On any device.
        part_of: From `roc.model.parts.parameter_parts`.
    """
    blocks: list[Block] = []
    lists: list[str] = []
    for name, module in model.named_modules():
        if not isinstance(module, nn.ModuleList) or len(module) < 2 or name.startswith(tuple(lists)):
            continue
        linears = [inner for inner, child in module.named_modules() if isinstance(child, nn.Linear)]
        part = part_of[f"{name}.{linears[0]}.weight"] if linears else None
        if part in ("language", "vision"):
            lists.append(f"{name}.")
            firsts = [next(layer for layer in child.modules() if isinstance(layer, nn.Linear)) for child in module]
            blocks += [Block(part, first.in_features, child) for first, child in zip(firsts, module, strict=True)]
    return blocks


def layer_groups(block: Block) -> Iterator[LayerGroup]:
    """Groups the linear layers and norms of a block by the module they stand in."""
    chosen_from = [
        next(module.children()) for module in block.module.modules() if _representative(module) is not module
    ]
    for module in block.module.modules():
        if any(module is one for one in chosen_from):
            continue
        children = [_representative(child) for child in module.children()]
        linears = [child for child in children if isinstance(child, nn.Linear)]
        norms = [child for child in children if getattr(getattr(child, "weight", None), "ndim", 0) == 1]
        scales = [p for p in module.parameters(recurse=False) if p.ndim == 1] if children else []
        inner, last = linears[:-1], linears[-1:]
        widths = [linear.out_features for linear in inner] if linears else [block.width] * len(norms)
        activated = len(inner) == 2 or any(isinstance(child, QuickGELUActivation) for child in children)
        if linears or norms:
            yield LayerGroup(inner, last, list(zip(norms, widths, strict=False)), int(activated), len(scales))


def live_values(block: Block) -> int:
    """Counts the values per token that are alive at once inside a block when there is no backward pass."""
    widest = max(sum(linear.out_features for linear in group.inner) + group.end for group in layer_groups(block))
    # The embeddings of the row, the hidden state, the residual beside it, and a norm of it that is taken in float32.
    return 6 * block.width + widest


def _representative(module: nn.Module) -> nn.Module:
    """Returns one of the equal layers that a module chooses from for each token; any other module as it is."""
    children = list(module.children())
    if len(children) == 1 and isinstance(children[0], nn.ModuleList) and len(children[0]):
        first, *others = children[0]
        shapes = [[parameter.shape for parameter in child.parameters()] for child in (first, *others)]
        if not list(first.children()) and shapes.count(shapes[0]) == len(shapes):
            return first
    return module
