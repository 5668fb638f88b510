"""The fast path that every scoring caller uses: one prefill, no decoding, no vocabulary.

The batch holds the prompt and the answer up to its last `[SCORE]` (`RocCollator.scoring_batch`), so every hidden state
that predicts a score is there after one pass, and the language-model head never runs.

`compile_layers` has the layers compiled, each kind of layer for itself: the first passes take minutes in all, the next
are faster. What is between the layers stays as it is, so that every family works.

There is no cache for the part of the prompt that all pictures share: only what stands before the picture is the same
for all, 5 of LLaVA-1.5's 637 tokens and 15 of Qwen-VL's 450, so that 1 to 3% of the language model's work would go.
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
def one_forward(model: PreTrainedModel, batch: dict[str, torch.Tensor]) -> LevelReading:
    """Scores of a prepared batch.

    Args:
        model: carries the head.
        batch: what `RocCollator.scoring_batch` gives: the model's inputs and `score_mask`.

    Returns:
        Float32 on the CPU: `probabilities` (B, K, N), `scores` and `stds` (B, K), native scale.
    """
    return read_levels(_level_logits(model, batch).to("cpu", torch.float32), model.score_levels())


@torch.inference_mode()
def level_logits(model: PreTrainedModel, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """(B, K, N) logits of the levels, on the model's device; a GPU may still be at work on them."""
    return _level_logits(model, batch)


def _level_logits(model: PreTrainedModel, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    inputs = {name: value for name, value in batch.items() if name != "score_mask"}
    device = model.device
    if device.type != "cpu":
        inputs = without_idle_mask(inputs)
    return model.level_logits(batch["score_mask"], **_placed(inputs, device, picture_dtype(model)), use_cache=False)


def without_idle_mask(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The batch, less a mask that hides nothing: to find that out, a model would wait for its GPU."""
    mask = batch.get("attention_mask")
    if mask is None or mask.device.type != "cpu" or not mask.all():
        return batch
    return {name: value for name, value in batch.items() if name != "attention_mask"}


def compile_layers(model: PreTrainedModel) -> int:
    """Has the layers of the language model and the blocks of the vision tower compiled when they are first run.

    Sizes are left open, so that another batch size or another length is not compiled anew; a batch of one is. Vision
    blocks that cut a row into windows and pictures by numbers (`cu_seqlens`: Qwen-VL) stay as they are: each new count
    would be compiled.

    Args:
        model: in evaluation mode, on its device.

    Returns:
        How many layers that are.

    Raises:
        ValueError: there is no compiler on this machine, or nothing to compile in this model.
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
        # Of the forward, not of the whole call: what hooks record around it cannot be compiled.
        layer.forward = torch.compile(layer.forward, dynamic=True)
    return len(layers)


def to_model(model: PreTrainedModel, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The batch on the model's device, pictures in the dtype that the model takes them in."""
    return _placed(batch, model.device, picture_dtype(model))


def _placed(batch: dict[str, torch.Tensor], device: torch.device, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    return {
        key: value.to(device, dtype if value.is_floating_point() else None)
        for key, value in batch.items()
        if torch.is_tensor(value)
    }
