"""The language model's linear layers in 8-bit floating point, for scoring only: no gradient passes.

This takes half the memory of bfloat16 and multiplies faster on NVIDIA GPUs with float8 tensor cores (Ada, Hopper and
later). Each row of a weight and, on the way in, each token's hidden state is divided by a scale of its own so that its
largest value is the largest of `float8_e4m3fn` (448), and rounded; the sum of products is scaled back:
`y_ij = a_i w_j sum_k round(x_ik / a_i) round(W_jk / w_j)`. Vision tower, projector, embeddings, attention, norms and
head stay as they are.

PyTorch's `scaled_mm` computes the product; `torchao`, which wraps the same kernel, refuses machines without such a GPU,
so nothing could be tested there. Its accumulation on tensor cores is coarser than float32 and far finer than the
rounding. On a CPU the same rounded numbers are multiplied in float32, to check scores and not to be fast.
"""

from __future__ import annotations

import logging

import torch
from torch import nn
from transformers import PreTrainedModel

from roc.model.parts import experts_text

logger = logging.getLogger(__name__)

LARGEST = torch.finfo(torch.float8_e4m3fn).max
_MULTIPLE = 16  # the kernel takes weights whose two sides are multiples of it


class Float8Linear(nn.Module):
    """A linear layer that multiplies numbers rounded to float8.

    Args:
        linear: The layer to replace; its weight is (out_features, in_features), both multiples of 16.
        device: Where the rounded weight goes.
    """

    def __init__(self, linear: nn.Linear, device: torch.device) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        weight, scale = rounded(linear.weight.detach().to(device))
        self.register_buffer("weight", weight)  # (out_features, in_features) float8
        self.register_buffer("scale", scale)  # (out_features, 1) float32
        self.bias = linear.bias

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """(..., in_features) to (..., out_features), same dtype."""
        rows, scale = rounded(hidden_states.reshape(-1, self.in_features).contiguous())
        multiply = _on_tensor_cores if rows.is_cuda else _in_float32
        output = multiply(rows, scale, self.weight, self.scale, hidden_states.dtype)
        if self.bias is not None:
            output = output + self.bias
        return output.view(*hidden_states.shape[:-1], self.out_features)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


def rounded(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rounds rows to float8.

    Args:
        values: (R, C) of a floating dtype.

    Returns:
        (R, C) `float8_e4m3fn`, the largest of each row +-448 unless the row is all zeros; (R, 1) float32 scales to
        multiply them by.
    """
    largest = torch.linalg.vector_norm(values, ord=float("inf"), dim=-1, keepdim=True).float()
    # Multiplied by the reciprocal: GPUs and CPUs round a division by a constant differently.
    scale = largest.clamp(min=torch.finfo(torch.float32).tiny * LARGEST) * (1 / LARGEST)
    return (values / scale).to(torch.float8_e4m3fn), scale


def float8_layers(model: PreTrainedModel) -> list[tuple[nn.Module, str, nn.Linear]]:
    """Lists the layers that `use_float8` replaces, each with its parent and its name there: all in the decoder."""
    return [
        (parent, name, layer)
        for parent_name, parent in model.get_decoder().named_modules()
        for name, layer in parent.named_children()
        if type(layer) is nn.Linear and "lora_" not in parent_name
        if layer.in_features % _MULTIPLE == 0 and layer.out_features % _MULTIPLE == 0
    ]


def use_float8(model: PreTrainedModel, device: str | torch.device) -> int:
    """Replaces the language model's linear layers by `Float8Linear`; LoRA matrices beside them stay as they are.

    It goes layer by layer, so that `device` never holds them in the wider format. The rest of the model is not moved.

    Args:
        model: Plain or with an adapter.
        device: Where the rounded weights go.

    Returns:
        Number of layers replaced.

    Raises:
        ValueError: If the device cannot multiply float8, or the model has no such layers.
    """
    device = torch.device(device)
    _check_device(device)
    found = float8_layers(model)
    if not found:
        raise ValueError(
            f"{type(model).__name__} has no linear layers that float8 could hold: they are held in 4 bits already, or "
            f"their sides are no multiples of {_MULTIPLE}; give another dtype"
        )
    if experts := experts_text(model):
        logger.warning("float8 leaves out %s; they stay in %s", experts, str(model.dtype).removeprefix("torch."))
    count = len(found)
    while found:  # each wide weight is released before the next is rounded
        parent, name, layer = found.pop()
        setattr(parent, name, Float8Linear(layer, device))
    return count


def _check_device(device: torch.device) -> None:
    if device.type == "cpu":
        return
    told = device.type
    if device.type == "cuda":
        capability = torch.cuda.get_device_capability(device)
        if torch.version.hip is None and capability >= (8, 9):
            return
        told = torch.cuda.get_device_name(device)
    raise ValueError(
        f"{told} does not multiply float8; expected an NVIDIA GPU of compute capability 8.9 or more (Ada, Hopper and "
        "later), or a CPU to check scores; give another dtype"
    )


def _on_tensor_cores(
    rows: torch.Tensor, row_scale: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor, dtype: torch.dtype
) -> torch.Tensor:
    by_row = nn.functional.ScalingType.RowWise
    return nn.functional.scaled_mm(
        rows, weight.t(), row_scale, by_row, scale.t(), by_row, output_dtype=dtype, use_fast_accum=True
    )


def _in_float32(
    rows: torch.Tensor, row_scale: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor, dtype: torch.dtype
) -> torch.Tensor:
    return ((rows.float() @ weight.float().t()) * row_scale * scale.t()).to(dtype)
