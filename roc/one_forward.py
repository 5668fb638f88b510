"""The fast path that every scoring caller uses: one prefill, no decoding, no vocabulary.

The batch holds the prompt and the answer up to its last `[SCORE]` (`RocCollator.scoring_batch`), so every hidden state
that predicts a score is there after one pass, and the language-model head never runs.
"""

from __future__ import annotations

import torch
from transformers import PreTrainedModel

from roc.head import LevelReading, read_levels


@torch.inference_mode()
def one_forward(model: PreTrainedModel, batch: dict[str, torch.Tensor]) -> LevelReading:
    """Scores of a prepared batch.

    Args:
        model: carries the head.
        batch: what `RocCollator.scoring_batch` gives: the model's inputs and `score_mask`.

    Returns:
        Float32 on the CPU: `probabilities` (B, K, N), `scores` and `stds` (B, K), native scale.
    """
    return read_levels(level_logits(model, batch).float().cpu(), model.score_levels())


@torch.inference_mode()
def level_logits(model: PreTrainedModel, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """(B, K, N) logits of the levels, on the model's device; a GPU may still be at work on them."""
    return model(**to_model(model, batch), use_cache=False).score_logits


def to_model(model: PreTrainedModel, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The batch on the model's device, pictures in the model's dtype."""
    return {
        key: value.to(model.device, model.dtype if value.is_floating_point() else None)
        for key, value in batch.items()
        if torch.is_tensor(value)
    }
