"""Positions of a batch: which tensors have them, where `[SCORE]` stands, and the columns that scores have in rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch


def per_token(batch: Mapping[str, Any]) -> list[str]:
    """Lists the tensors of a batch that have an entry for each token.

    Beside `input_ids` and those of its shape (B, T) these are masks of more dimensions, which say for each token which
    pictures it may look at.
    """
    shape = batch["input_ids"].shape
    return [
        name
        for name, value in batch.items()
        if torch.is_tensor(value)
        if value.shape == shape or (value.shape[:2] == shape and not value.is_floating_point())
    ]


def score_positions(labels: torch.Tensor, token_id: int) -> torch.Tensor:
    """Marks the positions whose hidden states predict `[SCORE]`.

    The label at position t is predicted at t - 1, so the mask is that of the labels, shifted left by one.

    Args:
        labels: (B, T) or (T,) token ids, -100 where unsupervised.
        token_id: Id of `[SCORE]`.

    Returns:
        Boolean mask of the shape of `labels`; the last position is always False.
    """
    mask = torch.zeros_like(labels, dtype=torch.bool)
    mask[..., :-1] = labels[..., 1:] == token_id
    return mask


def rows_and_columns(mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Lists for each True of a (B, T) mask, in reading order, its row and the number of True before it in that row."""
    columns = mask.long().cumsum(dim=1) - 1
    return mask.nonzero()[:, 0], columns[mask]


def check_length(hidden_states: torch.Tensor, mask: torch.Tensor) -> None:
    """Makes sure that a mask has one entry per position that the language-model head sees.

    Args:
        hidden_states: (B, T, H).
        mask: (B, T).

    Raises:
        ValueError: If the shapes differ.
    """
    if hidden_states.shape[:2] != mask.shape:
        raise ValueError(
            f"The language-model head saw positions {tuple(hidden_states.shape[:2])}, but labels or score_mask "
            f"have shape {tuple(mask.shape)}; give them the length of input_ids after image tokens are expanded, and "
            "no logits_to_keep."
        )


def check_columns(rows: torch.Tensor, score_labels: torch.Tensor | None, batch_size: int) -> None:
    """Makes sure that every score has its `[SCORE]` and vice versa, so that a truncated answer loses none silently.

    Args:
        rows: Row of each `[SCORE]`, from `rows_and_columns`.
        score_labels: (B, K), NaN where absent, or None.
        batch_size: B.

    Raises:
        ValueError: Naming the rows where they do not match.
    """
    if score_labels is None:
        return
    found = torch.bincount(rows, minlength=batch_size)
    numbers = torch.arange(1, score_labels.shape[1] + 1, device=score_labels.device)
    given = torch.where(score_labels.isnan(), 0, numbers).amax(dim=1) if len(numbers) else torch.zeros_like(found)
    wrong = ((found > score_labels.shape[1]) | (given > found)).nonzero().flatten().tolist()
    if wrong:
        counts = ", ".join(f"row {i}: {int(found[i])} [SCORE], last score in column {int(given[i])}" for i in wrong[:5])
        raise ValueError(
            f"Scores and [SCORE] tokens do not match ({counts}; score_labels has {score_labels.shape[1]} columns). "
            "The k-th [SCORE] of a row belongs to column k; look for answers cut off by model_max_length."
        )
