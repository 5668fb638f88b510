"""One forward pass for both terms of the objective: log-probabilities for the policy, level logits for the head.

TRL puts a forward of its own on the model, which with `fused_lm_head=True` runs the backbone and multiplies by the
weight of the language-model head; the score head is never asked. `read_scores_too` wraps it once more.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel
from trl.trainer.utils import FusedCausalLMOutput

from roc.model.positions import score_positions


@dataclass
class ScoredOutput(FusedCausalLMOutput):
    """TRL's output with the level logits; a class of its own, because DDP rebuilds an output from its fields.

    Attributes:
        score_logits: (B, N) at the only `[SCORE]` of a row; NaN for rows with none or several.
    """

    score_logits: torch.Tensor | None = None


def read_scores_too(model: PreTrainedModel, seen: Callable[[torch.Tensor], None]) -> None:
    """Makes the fused forward of TRL return `ScoredOutput`.

    Args:
        model: Carries the head, and TRL's forward already; not wrapped by PEFT.
        seen: Takes the (B, N) logits of every pass without gradients.
    """
    fused = model.forward

    @functools.wraps(type(model).forward)  # generate looks at the signature
    def forward(self: Any, *args: Any, fused_lm_head: bool = False, labels: Any = None, **kwargs: Any) -> Any:
        if not fused_lm_head:
            return fused(*args, **(kwargs if labels is None else {**kwargs, "labels": labels}))
        hidden: list[torch.Tensor] = []
        handle = self.base_model.register_forward_hook(lambda *found: hidden.append(found[2].last_hidden_state))
        try:
            output = fused(*args, fused_lm_head=True, labels=labels, **kwargs)
        finally:
            handle.remove()
        logits = single_score_logits(self, hidden[0], labels)
        if not torch.is_grad_enabled():
            seen(logits)
        return ScoredOutput(**output, score_logits=logits)

    model.forward = types.MethodType(forward, model)


def single_score_logits(model: PreTrainedModel, hidden_states: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Computes the level logits of rows with exactly one `[SCORE]`.

    Args:
        model: Carries the head.
        hidden_states: (B, T, H) input of the language-model head.
        labels: (B, T) token ids, -100 outside of the completion.

    Returns:
        (B, N), NaN for rows with none or several.
    """
    at_score = score_positions(labels, model.declaration.token_id)  # (B, T)
    single = at_score.sum(dim=1) == 1  # (B,)
    logits = model.score_head(hidden_states[at_score & single.unsqueeze(1)])  # (M, N)
    blank = logits.new_full((len(labels), logits.shape[1]), float("nan"))
    return blank.index_put((single.nonzero().flatten(),), logits)
