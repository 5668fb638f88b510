"""How far a trained score moves when only the size, shape or compression of a picture changes, not what it shows.

A squeezed or cropped picture may deserve another score; one that is merely smaller hardly does. The numbers say how
much of what the model tells apart could be due to the way a picture was stored.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image
from transformers import PreTrainedModel

from roc.data.augment import pad_to_square
from roc.data.images import ImageError
from roc.demo.scenes import render_scene
from roc.doctor.dependence import first_scores
from roc.evaluation.image_effect import SAMPLE, effect_text, image_effect
from roc.evaluation.metrics import srcc
from roc.model.collator import RocCollator
from roc.scoring.sources import find_sources

DRAWN = 24
"""Scenes that are drawn where no pictures are given."""


class Shift(NamedTuple):
    """How far scores move when every picture is changed in one way; native scale.

    Attributes:
        change: Name of the change.
        mean: Mean absolute difference.
        largest: Largest absolute difference.
        of_range: `mean` as a share of the range.
        of_spread: `mean` as a share of the standard deviation of the unchanged scores; None if that is 0.
        srcc: Rank correlation with the unchanged scores; None for fewer than three pictures.
    """

    change: str
    mean: float
    largest: float
    of_range: float
    of_spread: float | None
    srcc: float | None


def _resized(scale_x: float, scale_y: float) -> Callable[[Image.Image], Image.Image]:
    def change(picture: Image.Image) -> Image.Image:
        width, height = round(picture.width * scale_x), round(picture.height * scale_y)
        return picture.resize((max(1, width), max(1, height)), Image.Resampling.LANCZOS)

    return change


def _cropped(share_x: float, share_y: float) -> Callable[[Image.Image], Image.Image]:
    def change(picture: Image.Image) -> Image.Image:
        width, height = max(1, round(picture.width * share_x)), max(1, round(picture.height * share_y))
        left, top = (picture.width - width) // 2, (picture.height - height) // 2
        return picture.crop((left, top, left + width, top + height))

    return change


def _banded(scale_x: float, scale_y: float) -> Callable[[Image.Image], Image.Image]:
    def change(picture: Image.Image) -> Image.Image:
        size = round(picture.width * scale_x), round(picture.height * scale_y)
        larger = Image.new("RGB", size, _mean_colour(picture))
        larger.paste(picture, ((size[0] - picture.width) // 2, (size[1] - picture.height) // 2))
        return larger

    return change


def _compressed(quality: int) -> Callable[[Image.Image], Image.Image]:
    def change(picture: Image.Image) -> Image.Image:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=quality)
        return Image.open(file).convert("RGB")

    return change


def _mean_colour(picture: Image.Image) -> tuple[int, ...]:
    return tuple(np.asarray(picture).mean(axis=(0, 1)).round().astype(int).tolist())


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    **{f"resized to {scale:g} x": _resized(scale, scale) for scale in (0.25, 0.5, 0.75, 1.5, 2.0)},
    "squeezed to 3/4 of its width": _resized(0.75, 1),
    "squeezed to 3/4 of its height": _resized(1, 0.75),
    "cropped to 3/4 of its width": _cropped(0.75, 1),
    "cropped to 3/4 of its height": _cropped(1, 0.75),
    "padded to 4/3 of its width": _banded(4 / 3, 1),
    "padded to 4/3 of its height": _banded(1, 4 / 3),
    "padded to a square": lambda picture: pad_to_square(picture, _mean_colour(picture)),
    "JPEG of quality 75": _compressed(75),
    "JPEG of quality 30": _compressed(30),
}
"""The changes by name; padding has the mean colour of the picture."""


def find_pictures(paths: Sequence[str]) -> list[Image.Image]:
    """Opens the pictures in files and folders, or draws scenes where none are given.

    Args:
        paths: What `roc.scoring.sources.find_sources` takes.

    Raises:
        ValueError: If a path holds no picture, or one cannot be read.
    """
    if not paths:
        return [render_scene(index, seed=1, size=128).image for index in range(DRAWN)]
    pictures = []
    for source in find_sources(paths).sources:
        try:
            pictures.append(source.open())
        except ImageError as error:
            raise ImageError(f"{source.name}: {error}") from error
    return pictures


def sensitivity(model: PreTrainedModel, collator: RocCollator, pictures: Sequence[Image.Image]) -> list[Shift]:
    """Measures how far the first score moves under each of `CHANGES`.

    Args:
        model: A model with a trained head.
        collator: Its collator.
        pictures: RGB pictures, at least one.

    Returns:
        One row per change, in their order.

    Raises:
        ValueError: If the head is untrained, or there is no picture.
    """
    if not pictures:
        raise ValueError("No picture to change; give at least one.")
    if not any(bool(parameter.any()) for parameter in model.score_head.parameters()):
        raise ValueError(
            f"The head is untrained (all its weights are 0), so every picture scores {model.score_space.midpoint:g} "
            "however it is changed; train it first."
        )

    def scores(changed: Iterable[Image.Image]) -> np.ndarray:
        return first_scores(model, collator, list(changed))

    before = scores(pictures)
    spread = float(before.std())
    shifts = []
    for name, change in CHANGES.items():
        after = scores(map(change, pictures))
        apart = np.abs(after - before)
        mean = float(apart.mean())
        of_spread = mean / spread if spread > 0 else None
        rank = srcc(after, before) if len(before) >= 3 else None
        shifts.append(Shift(name, mean, float(apart.max()), mean / model.score_space.width, of_spread, rank))
    return shifts


def sight_text(model: PreTrainedModel, collator: RocCollator, pictures: Sequence[Image.Image]) -> str:
    """Says how far the first score moves when something else is shown; a blind model is robust to every change."""
    effect = image_effect(lambda images: first_scores(model, collator, images), pictures[:SAMPLE])
    width = model.score_space.width
    verdict = "\nThe scores do not depend on the picture, so no change of it can move them." * effect.is_blind(width)
    return f"For comparison, {effect_text(effect.to_metrics(), width)}.{verdict}"


def shift_table(shifts: Sequence[Shift]) -> str:
    """Formats the rows as text, one line each, under a heading."""
    lines = [f"{'change':<30} {'mean':>7} {'largest':>8} {'of range':>9} {'of spread':>10} {'SRCC':>6}"]
    for shift in shifts:
        moved = f"{shift.mean:>7.3f} {shift.largest:>8.3f} {shift.of_range:>9.1%}"
        spread = "-" if shift.of_spread is None else f"{shift.of_spread:.0%}"
        rank = "-" if shift.srcc is None else f"{shift.srcc:.3f}"
        lines.append(f"{shift.change:<30} {moved} {spread:>10} {rank:>6}")
    return "\n".join(lines)
