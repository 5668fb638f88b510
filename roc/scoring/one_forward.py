"""Scores from one forward pass, the fast path of all scoring: no generation, no vocabulary logits.

A checkpoint that declares `score_flip` takes two, the second over mirror images (roc/model/mirror.py).

The batch holds the prompt and the answer up to its last `[SCORE]` (`RocCollator.scoring_batch`), so that the hidden
states that predict the scores are all there after one pass, and the language-model head never runs.

`compile_layers` compiles each kind of layer by itself: the first passes take minutes in all, later ones are faster.
Whatever runs between the layers is not compiled, so that every family works.

The part of the prompt that all images share is not cached: only the tokens before the image are the same for all, 5 of
LLaVA-1.5's 637 and 15 of Qwen-VL's 450, so that a cache would save 1 to 3% of the language model's work.
"""

from __future__ import annotations

import importlib.util
import inspect
import os
import shutil
import sys

import torch
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from roc.model.float32_tower import picture_dtype
from roc.model.head import LevelReading, read_levels


@torch.inference_mode()
def one_forward(
    model: PreTrainedModel, batch: dict[str, torch.Tensor], *, with_mirror: bool | None = None
) -> LevelReading:
    """Scores a prepared batch.

    Args:
        model: Carries the head.
        batch: What `RocCollator.scoring_batch` gives: the model's inputs and `score_mask`.
        with_mirror: Whether to read the mirror images too; None = as the model declares (`score_flip`).

    Returns:
        Float32 on the CPU: `probabilities` (B, K, N), `scores` and `stds` (B, K) on the native scale.
    """
    logits = level_logits(model, batch, with_mirror=with_mirror).to("cpu", torch.float32)
    return read_levels(logits, model.levels_at(range(logits.shape[1])))


@torch.inference_mode()
def level_logits(
    model: PreTrainedModel, batch: dict[str, torch.Tensor], *, with_mirror: bool | None = None
) -> torch.Tensor:
    """Computes the logits (B, K, N) of the levels, on the model's device; a GPU may still be at work on them."""
    inputs = {name: value for name, value in batch.items() if name != "score_mask"}
    if model.device.type != "cpu":
        inputs = without_idle_mask(inputs)
    return model.level_logits(batch["score_mask"], with_mirror=with_mirror, **to_model(model, inputs), use_cache=False)


def without_idle_mask(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Drops an attention mask that masks nothing: to find that out, the model would wait for its GPU."""
    mask = batch.get("attention_mask")
    if mask is None or mask.device.type != "cpu" or not mask.all():
        return batch
    return {name: value for name, value in batch.items() if name != "attention_mask"}


def compile_layers(model: PreTrainedModel) -> int:
    """Has the layers of the language model and the blocks of the vision tower compiled when they first run.

    Sizes are left open, so that another batch size or length is not compiled again; a batch of one is. Vision blocks
    that split a row into windows and images by numbers (`cu_seqlens`: Qwen-VL) are not compiled, since each new count
    would be compiled again.

    Args:
        model: In evaluation mode, on its device.

    Returns:
        The number of such layers.

    Raises:
        ValueError: There is no compiler on this machine, or nothing to compile in this model.
    """
    if model.device.type == "cpu":
        compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
        if shutil.which(compiler) is None:
            raise ValueError(
                f"compiling for a CPU needs a C++ compiler, and {compiler} is not found; install it, name one in the "
                "variable CXX, or go without compile"
            )
    elif model.device.type == "cuda" and importlib.util.find_spec("triton") is None:
        raise ValueError("compiling for a GPU needs the package triton; install it, or go without compile")
    layers = [
        layer
        for layer in model.modules()
        if isinstance(layer, GradientCheckpointingLayer)
        and "cu_seqlens" not in inspect.signature(layer.forward).parameters
    ]
    if not layers:
        raise ValueError(f"{type(model).__name__} has no layers that could be compiled; go without compile")
    for layer in layers:
        # The forward alone, not the whole call: what hooks record around it cannot be compiled.
        layer.forward = torch.compile(layer.forward, dynamic=True)
    return len(layers)


def to_model(model: PreTrainedModel, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Moves a batch to the model's device, pixels in the number format that the model takes."""
    device, dtype = model.device, picture_dtype(model)
    return {
        key: value.to(device, dtype if value.is_floating_point() else None)
        for key, value in batch.items()
        if torch.is_tensor(value)
    }
