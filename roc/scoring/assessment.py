"""`Assessment`: pictures in, scores and words out."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from roc.checkpoint.folder import load
from roc.data.images import open_image
from roc.model.collator import RocCollator
from roc.model.float8 import use_float8
from roc.model.head import LevelReading, read_levels
from roc.prompts import SCORE_TOKEN
from roc.scoring.one_forward import compile_layers, one_forward, to_model
from roc.scoring.results import Assessed, Score

_DTYPES = ("float32", "bfloat16", "float16", "float8")
ImageLike = str | os.PathLike | Image.Image | np.ndarray


class Assessment:
    """A trained model, ready to be shown pictures.

    Args:
        pretrained: folder or hub id of a checkpoint that carries the score head.
        device: "cuda", "mps", "cpu", ...; None = the first of these that is there.
        dtype: of the backbone; None = bfloat16 on a GPU that has it, float32 elsewhere. The head is always float32,
            and so is a vision tower that holds batch normalisation. "float8" = bfloat16 with the linear layers of the
            language model in 8 bits (roc/model/float8.py): for NVIDIA GPUs from Ada and Hopper on.
        batch_size: pictures per forward pass; None = 32 on a GPU, 8 on a CPU.
        compile: compile the layers when they are first run: minutes at the start, faster passes afterwards. Scores
            move by a rounding. Answers that the model writes are not compiled.

    Raises:
        ValueError: where the checkpoint carries no head, the device is not here or has no float8, or there is no
            compiler.
    """

    def __init__(
        self,
        pretrained: str | os.PathLike,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        batch_size: int | None = None,
        compile: bool = False,
    ) -> None:
        device = _checked(_best_device() if device is None else device)
        if dtype is None:
            has_bfloat16 = device.type == "cuda" and torch.cuda.is_bf16_supported()
            dtype = torch.bfloat16 if has_bfloat16 else torch.float32
        dtype = str(dtype).removeprefix("torch.")
        if dtype not in _DTYPES:
            raise ValueError(f"dtype is {dtype}; expected one of {', '.join(_DTYPES)}, or None to let roc choose")
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; expected at least 1, or None to let roc choose")
        self.dtype = dtype
        if dtype == "float8":
            self.model, self.processor = load(pretrained, device="cpu", dtype="bfloat16", scoring=True)
            use_float8(self.model, device)
            self.model.to(device)
        else:
            self.model, self.processor = load(pretrained, device=device, dtype=dtype, scoring=True)
        self.collator = RocCollator(self.processor, self.model.config.roc)
        self.batch_size = batch_size or (8 if device.type == "cpu" else 32)
        self.compiled = compile_layers(self.model) if compile else 0

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of the scores the model gives, in the order it gives them."""
        return tuple(self.model.config.roc["attributes"])

    def __call__(
        self, images: ImageLike | Sequence[ImageLike], precision: int = 4
    ) -> tuple[list[str], list[float | None]]:
        """The published call: generates the answer and reads the first score while it is written.

        Args:
            images: one or several: PIL image, path, or uint8 RGB array (H, W, 3).
            precision: decimals of the scores, in the list and in the texts.

        Returns:
            (texts, scores): the answers with every number in place, and the score of the first attribute on the native
            scale; None where the model wrote no score.
        """
        assessed = self.describe(images, precision=precision)
        values = [next(iter(one.scores.values())) for one in assessed]
        return [one.text for one in assessed], [None if s is None else round(s.value, precision) for s in values]

    def score(self, images: ImageLike | Sequence[ImageLike], attributes: Sequence[str] | None = None) -> list[Assessed]:
        """Scores in one forward pass per batch, no words: the answer is given, the head is read at its places.

        Args:
            images: one or several: PIL image, path, or uint8 RGB array (H, W, 3).
            attributes: which scores, by name; None = all. Fewer may need a shorter pass, never another number.

        Returns:
            One `Assessed` per image, in order, with `text=None`.

        Raises:
            ValueError: for an attribute the checkpoint does not know, or an image that cannot be read.
        """
        wanted = self.wanted(attributes)
        count = self.places(wanted)
        results = []
        for paths, pictures in self._batches(images):
            reading = one_forward(self.model, self.collator.scoring_batch(pictures, count))
            results += self.read_scores(reading, wanted, paths)
        return results

    def describe(
        self, images: ImageLike | Sequence[ImageLike], *, precision: int = 4, max_new_tokens: int = 512
    ) -> list[Assessed]:
        """Lets the model write its answer (greedy) and reads a score at every `[SCORE]` it writes.

        Args:
            images: one or several: PIL image, path, or uint8 RGB array (H, W, 3).
            precision: decimals of the numbers in the text.
            max_new_tokens: longest answer.

        Returns:
            One `Assessed` per image, in order; an attribute whose `[SCORE]` the model did not write is None.
        """
        results = []
        for paths, pictures in self._batches(images):
            batch = self.collator.prompt_batch(pictures)
            results += self.describe_batch(batch, paths, precision=precision, max_new_tokens=max_new_tokens)
        return results

    def read_scores(
        self, reading: LevelReading, wanted: Sequence[str], paths: Sequence[str | None]
    ) -> Iterator[Assessed]:
        """What one forward pass said, image by image.

        Args:
            reading: of the first `places(wanted)` scores of each image.
            wanted: names of the attributes to keep.
            paths: (B,) of the images; None for pictures in memory.
        """
        count = reading.scores.shape[1]
        for row, path in enumerate(paths):
            scores = dict(zip(self.attributes, self._scores(reading, row, count), strict=False))
            yield Assessed({name: scores[name] for name in wanted}, text=None, path=path)

    def describe_batch(
        self, batch: dict[str, torch.Tensor], paths: Sequence[str | None], *, precision: int, max_new_tokens: int
    ) -> Iterator[Assessed]:
        """`describe` for a prepared batch: what `RocCollator.prompt_batch` gives."""
        # A cache that grows word by word would have the layers compiled again and again.
        plain = torch.compiler.set_stance("force_eager") if self.compiled else contextlib.nullcontext()
        with torch.inference_mode(), plain:
            answer = self.model.generate_with_scores(
                **to_model(self.model, batch), max_new_tokens=max_new_tokens, do_sample=False
            )
        for row, path in enumerate(paths):
            reading = read_levels(answer.score_logits[row].float().cpu(), self.model.score_levels())
            text = self.processor.tokenizer.decode(answer.sequences[row], skip_special_tokens=True)
            for value in reading.scores.tolist():
                text = text.replace(SCORE_TOKEN, f"{value:.{precision}f}", 1)
            read = self._scores(LevelReading(*(part.unsqueeze(0) for part in reading)), 0, len(reading.scores))
            scores: dict[str, Score | None] = dict.fromkeys(self.attributes)
            scores |= zip(self.attributes, read, strict=False)
            yield Assessed(scores, text=text.strip(), path=path)

    def places(self, wanted: Sequence[str]) -> int:
        """How many `[SCORE]` of the answer a forward pass has to hold to give these attributes."""
        return max(self.attributes.index(name) for name in wanted) + 1

    def wanted(self, attributes: Sequence[str] | None) -> tuple[str, ...]:
        """The attributes asked for, checked; all of the checkpoint where None.

        Raises:
            ValueError: for an attribute the checkpoint does not know, or none at all.
        """
        if attributes is None:
            return self.attributes
        wanted = (attributes,) if isinstance(attributes, str) else tuple(attributes)
        unknown = [name for name in wanted if name not in self.attributes]
        if unknown or not wanted:
            raise ValueError(
                f"This checkpoint scores {', '.join(self.attributes)}; asked for {', '.join(unknown) or 'nothing'}."
            )
        return wanted

    def _scores(self, reading: LevelReading, row: int, count: int) -> list[Score]:
        space = self.model.score_space
        return [
            Score(
                value=reading.scores[row, k],
                std=reading.stds[row, k],
                distribution=reading.probabilities[row, k].tolist(),
                levels=space.levels,
                range=space.range,
                calibrated=self.model.config.roc["distribution_supervised"],
            )
            for k in range(count)
        ]

    def _batches(self, images: Any) -> Iterator[tuple[list[str | None], list[Image.Image]]]:
        """Paths (None for pictures in memory) and opened pictures, `batch_size` at a time."""
        if isinstance(images, ImageLike):
            images = [images]
        images = list(images)
        for start in range(0, len(images), self.batch_size):
            part = images[start : start + self.batch_size]
            paths = [os.fspath(image) if isinstance(image, str | os.PathLike) else None for image in part]
            yield paths, [open_image(image) for image in part]


def _checked(device: str | torch.device) -> torch.device:
    """The device, if it is one and is here."""
    try:
        device = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device is {device!r}; expected cpu, cuda, cuda:1, mps or the like") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device is {device}, and PyTorch {torch.__version__} finds {torch.cuda.device_count()} GPUs here; give "
            "one of them, or cpu"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError("device is mps, and PyTorch finds none here; expected cpu, or cuda where there is a GPU")
    return device


def _best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
