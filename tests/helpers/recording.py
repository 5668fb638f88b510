"""The recording of the published ROC4MLLM in `tests/reference/roc4mllm`, as inputs and outputs of our model.

Recorded ids hold -200 once per image; here every position of an image gets its own.
"""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText

import roc.model.mplug_owl2  # noqa: F401  the Auto classes know the model from here on

FOLDER = Path(__file__).parents[1] / "reference" / "roc4mllm"
CASES = ("single", "padded", "multi", "multi_turn", "no_score", "mixed")
IMAGE_ID = -200
POSITIONS = 7  # six queries and the mark that ends them

# Float32 noise of hidden states and logits, as suggested with the recording.
TOLERANCE = {"atol": 1e-4, "rtol": 0}


@functools.cache
def expected() -> dict[str, torch.Tensor]:
    """The recorded tensors by name."""
    return load_file(FOLDER / "expected.safetensors")


@functools.cache
def facts() -> dict:
    """The recorded scalars."""
    return json.loads((FOLDER / "expected.json").read_text(encoding="utf-8"))


@functools.cache
def generated() -> dict:
    """The recorded greedy answers, float32."""
    return json.loads((FOLDER / "generate.json").read_text(encoding="utf-8"))


def load(folder: str = "checkpoint", **kwargs):
    """The model of a folder of the recording in eval mode, loaded as it was published."""
    return AutoModelForImageTextToText.from_pretrained(FOLDER / folder, **kwargs).eval()


@functools.cache
def checkpoint():
    """The trained model, shared: tests that change it take a copy."""
    return load().requires_grad_(False)


def pixels(*indices: int) -> torch.Tensor:
    """(N, 3, 56, 56) of the recorded images, in the order of their file names."""
    return expected()["images.pixel_values"][list(indices)]


def expand(ids) -> list[int]:
    """Ids with every position of an image written out."""
    return [copy for token in list(ids) for copy in [int(token)] * (POSITIONS if token == IMAGE_ID else 1)]


def batch(rows: list[list[int]], side: str = "right") -> dict[str, torch.Tensor]:
    """Rows of unequal length, padded with 0."""
    length = max(map(len, rows))
    ids = [[0] * (length - len(row)) + row if side == "left" else row + [0] * (length - len(row)) for row in rows]
    seen = [[0] * (length - len(row)) + [1] * len(row) for row in rows]
    mask = torch.tensor(seen if side == "left" else [row[::-1] for row in seen])
    return {"input_ids": torch.tensor(ids), "attention_mask": mask}


def case(name: str) -> dict[str, torch.Tensor]:
    """Inputs of a recorded case, images as many as the case really has."""
    recorded = expected()
    ids, mask = recorded[f"case.{name}.input_ids"], recorded[f"case.{name}.attention_mask"]
    files = facts()["images"]["files"]
    images = [files.index(file) for file in facts()["cases"][name]["images"] if file]
    rows = [expand(row[valid].tolist()) for row, valid in zip(ids, mask, strict=True)]
    return {**batch(rows), "pixel_values": pixels(*images)}


def published_name(name: str) -> str:
    """What a parameter of ours is called in published checkpoints."""
    return re.sub(r"^model\.language_model\.", "model.", name)


def truths(name: str) -> dict[str, torch.Tensor]:
    """Labels, scores and histograms of a recorded case, as a model with the head takes them."""
    recorded = {key.removeprefix(f"case.{name}."): value for key, value in expected().items() if f"case.{name}." in key}
    found = {"labels": recorded["expanded_labels"]}
    if "gt_score" in recorded:
        rows, levels = len(recorded["labels"]), recorded["target"].shape[-1]
        found["score_labels"] = recorded["gt_score"].reshape(rows, -1)
        found["score_distributions"] = recorded["target"].reshape(rows, -1, levels)
    return found
