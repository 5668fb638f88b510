"""Linear layers in 8-bit integers, for scoring on a CPU only: no gradient passes.

Each output channel of a weight is divided by a scale of its own and rounded to -127..127. On the way in, each token's
hidden state is divided by its largest value and rounded too, so that a score does not depend on the other pictures of
the batch: `y_ij = a_i (w_j sum_k round(x_ik / a_i) round(W_jk / w_j)) + b_j`. The score head, embeddings, convolutions,
attention, norms and the vocabulary's logits stay in float32.

PyTorch's own kernel multiplies (`quantized::linear_with_input_q_dq_qweight_dq_output_fp32`). Without VNNI instructions
it adds pairs of products in 16 bits, which 7 bits of activation cannot overflow, so that is what they get there.
torchao's 8-bit layers go through `torch._int_mm`, which has no fast kernel on such processors.
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from roc.model.parts import experts_text

logger = logging.getLogger(__name__)

LARGEST = 127
"""Largest integer of a weight; the smallest is its negative."""


class Int8Linear(nn.Module):
    """A linear layer that multiplies rounded numbers.

    Its `state_dict` holds the rounded weight as `weight` (out_features, in_features) int8 and `scale` (out_features,).

    Args:
        linear: The layer to replace, float32 on a CPU.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        weight = linear.weight.detach().float()
        largest = weight.abs().amax(1).clamp(min=torch.finfo(torch.float32).tiny * LARGEST)
        rounded = torch.quantize_per_channel(
            weight, (largest / LARGEST).double(), torch.zeros(self.out_features, dtype=torch.long), 0, torch.qint8
        )
        self.packed = torch.ops.quantized.linear_prepack(rounded, None)
        self.steps = LARGEST if multiplies_pairs_exactly() else LARGEST // 2
        self.bias = linear.bias

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """(..., in_features) to (..., out_features), same dtype."""
        rows = hidden_states.reshape(-1, self.in_features).float()
        largest = rows.abs().amax(-1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
        output = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(
            rows / largest, 1 / self.steps, self.steps + 1, self.packed
        ).mul_(largest)
        if self.bias is not None:
            output += self.bias
        return output.to(hidden_states.dtype).view(*hidden_states.shape[:-1], self.out_features)

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        rounded, _ = torch.ops.quantized.linear_unpack(self.packed)
        destination[f"{prefix}weight"] = rounded.int_repr()
        destination[f"{prefix}scale"] = rounded.q_per_channel_scales()

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


def multiplies_pairs_exactly() -> bool:
    """Tells whether this processor adds products of bytes in 32 bits (VNNI), so that activations may have 8 bits."""
    abilities = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(abilities.get("avx512_vnni") or abilities.get("avx_vnni") or abilities.get("amx_int8"))


def int8_layers(model: PreTrainedModel) -> list[tuple[nn.Module, str, nn.Linear]]:
    """Lists the layers that `use_int8` replaces, each with its parent and its name there.

    All linear layers but those of the score head, the vocabulary's logits and the matrices of LoRA.
    """
    kept = {id(model.get_output_embeddings()), *map(id, model.score_head.modules())}
    return [
        (parent, name, layer)
        for parent_name, parent in model.named_modules()
        for name, layer in parent.named_children()
        if type(layer) is nn.Linear and id(layer) not in kept and "lora_" not in parent_name
    ]


def use_int8(model: PreTrainedModel) -> int:
    """Replaces linear layers by `Int8Linear`, one after the other, so that memory never holds them all twice.

    Args:
        model: Plain or with an adapter, float32 on a CPU.

    Returns:
        Number of layers replaced.

    Raises:
        ValueError: If the model is not on a CPU, has no such layers, or this build of PyTorch lacks the kernel.
    """
    if model.device.type != "cpu":
        raise ValueError(f"int8 is a format for CPUs and the device is {model.device}; give bfloat16, or device cpu")
    if torch.backends.quantized.engine == "none":
        raise ValueError("this build of PyTorch has no 8-bit kernels for its CPU; give float32 or bfloat16")
    found = int8_layers(model)
    if not found:
        raise ValueError(f"{type(model).__name__} has no linear layers that int8 could hold; give another dtype")
    if experts := experts_text(model):
        logger.warning("int8 leaves out %s; they stay in %s", experts, str(model.dtype).removeprefix("torch."))
    count = len(found)
    while found:
        parent, name, layer = found.pop()
        setattr(parent, name, Int8Linear(layer))
    return count
