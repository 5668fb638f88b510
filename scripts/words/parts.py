"""The model to start from: a pretrained tower that was taught scenes, below a pretrained language model."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoModelForImageTextToText, AutoProcessor, PreTrainedModel

from roc.checkpoint.folder import load
from roc.files import write_folder
from roc.model.parts import part_modules
from roc.starter.build import build_starter
from roc.starter.options import StarterOptions
from roc.starter.plan import plan

logger = logging.getLogger("roc.starter")

IMAGE_SIZE = 96
"""Side of a picture in pixels: 3 x 3 cells of the tower, 9 tokens of the language model."""


def build_part(folder: Path, size: str, wheels: Sequence[str] | None) -> None:
    """Builds a starter for small pictures, unless it is there.

    Args:
        folder: Where to.
        size: "small" or "full".
        wheels: Wheels to build from; None fetches them from the index, or finds them in roc's cache.
    """
    if folder.is_dir():
        return
    options = StarterOptions(
        out=str(folder), size=size, image_size=IMAGE_SIZE, from_=None if wheels is None else tuple(wheels)
    )
    found = plan(options)
    for wheel in found:
        logger.info("%s\n    %s", wheel.package.title, wheel.origin)
    build_starter(options, found)


def put_tower(source: Path, taught: Path, folder: Path) -> None:
    """Writes the model of `source` with the vision tower of another one, unless it is there.

    Args:
        source: A stock model.
        taught: Checkpoint with a score head whose tower is of the same kind.
        folder: Where to; whole or not there.

    Raises:
        ValueError: If one of the towers is not one module, or they differ in shape.
    """
    if folder.is_dir():
        return
    model = AutoModelForImageTextToText.from_pretrained(source, dtype=torch.float32)
    tower, other = _tower(model), _tower(load(taught)[0])
    shapes = [{name: tuple(weight.shape) for name, weight in one.state_dict().items()} for one in (tower, other)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"the towers of {source} and {taught} are not of the same kind")
    tower.load_state_dict(other.state_dict())

    def fill(partial: Path) -> None:
        model.save_pretrained(partial)
        AutoProcessor.from_pretrained(source).save_pretrained(partial)

    write_folder(folder, fill)


def _tower(model: PreTrainedModel) -> torch.nn.Module:
    towers = list(part_modules(model, "vision").values())
    if len(towers) != 1:
        raise ValueError(f"the vision tower of a {type(model).__name__} is not one module ({len(towers)} found)")
    return towers[0]
