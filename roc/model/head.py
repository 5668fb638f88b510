"""The score head: from the hidden state that predicts `[SCORE]` to a distribution over score levels.

ROC4MLLM (AAAI 2026) appends N score tokens to the vocabulary and reads the score off their logits (Eq. 5). Here the
N rows are a small parameter beside the vocabulary: the text loss never reaches them, the model can never emit them, and
padding or quantising the vocabulary leaves them alone.

The equation as printed applies a softmax to probabilities, which hardly moves away from the midpoint of the range. Like
the published code, we apply it to the raw logits.
"""

from __future__ import annotations

import contextlib
from typing import NamedTuple

import torch
from torch import nn


class LevelReading(NamedTuple):
    """A distribution over score levels, with its mean and its spread.

    Attributes:
        probabilities: (..., N), non-negative, sums to 1 over the last dimension, float32 or wider.
        scores: (...) expectation of the levels, in the units of the levels.
        stds: (...) standard deviation of the levels, in the units of the levels, >= 0.
    """

    probabilities: torch.Tensor
    scores: torch.Tensor
    stds: torch.Tensor


def read_levels(logits: torch.Tensor, levels: torch.Tensor) -> LevelReading:
    """Computes softmax, expectation and standard deviation of N level logits (Eq. 5 of ROC4MLLM, on raw logits).

    `p = softmax(logits)`, `score = sum_n p_n s_n`, `std = sqrt(sum_n p_n (s_n - score)^2)`.

    Args:
        logits: (..., N) level logits of any floating dtype; the computation is in float32 or wider.
        levels: (N,) score value of each level, ascending; (..., N) where attributes have ranges of their own.

    Returns:
        The distribution, its mean and its standard deviation; the mean lies between the lowest and the highest level.
    """
    dtype = torch.promote_types(logits.dtype, torch.float32)
    probabilities = logits.to(dtype).softmax(dim=-1)  # (..., N)
    levels = levels.to(device=logits.device, dtype=dtype)
    scores = (probabilities * levels).sum(dim=-1)  # (...); as a matrix product autocast would halve its precision
    variances = (probabilities * (levels - scores.unsqueeze(-1)).square()).sum(dim=-1)
    return LevelReading(probabilities, scores, variances.sqrt())


class ScoreHead(nn.Module):
    """N level rows, no bias: `logits = hidden_states @ weight.T`.

    The weight is a raw float32 `nn.Parameter` instead of an `nn.Linear`, because quantisers replace linear layers and
    "all-linear" LoRA targets adapt them. It starts at zero, so that a new head scores exactly the midpoint.

    Args:
        hidden_size: H, width of the language-model head's input.
        num_levels: N, at least 2.

    Attributes:
        dropout: Share of its input that is hidden in training mode, 0..1; not part of a checkpoint.
        temperature: Divides the logits, above 0; 1 unless the declaration names another one.
    """

    dropout: float = 0.0
    temperature: float = 1.0

    def __init__(self, hidden_size: int, num_levels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_levels, hidden_size, dtype=torch.float32))

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Computes level logits, in float32 or wider even under autocast.

        Args:
            hidden_states: (..., H) input of the language-model head, at positions whose next token is `[SCORE]`.

        Returns:
            (..., N) level logits.
        """
        if self.training and self.dropout:
            hidden_states = nn.functional.dropout(hidden_states, self.dropout)
        device_type = hidden_states.device.type
        # Some devices, such as "meta", have no autocast.
        on = torch.amp.is_autocast_available(device_type) and torch.is_autocast_enabled(device_type)
        if not on and hidden_states.dtype == self.weight.dtype == torch.float32:
            logits = nn.functional.linear(hidden_states, self.weight)
        else:
            with torch.autocast(device_type, enabled=False) if on else contextlib.nullcontext():
                dtype = torch.promote_types(torch.promote_types(hidden_states.dtype, self.weight.dtype), torch.float32)
                logits = nn.functional.linear(hidden_states.to(dtype), self.weight.to(dtype))
        return logits if self.temperature == 1 else logits / self.temperature

    def extra_repr(self) -> str:
        return f"hidden_size={self.weight.shape[1]}, num_levels={self.weight.shape[0]}"
