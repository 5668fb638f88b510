"""`Assessment`: a trained model to call from Python, images in, scores and generated answers out."""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np
import torch
from PIL import Image

from roc.checkpoint.fingerprint import weights_fingerprint
from roc.checkpoint.folder import load
from roc.checkpoint.lookups import entries, lookups_of, notes_of
from roc.data.images import ImageError, open_image
from roc.model.collator import RocCollator
from roc.model.device import checked_device, keep_freed_memory, lay_out_convolutions, number_format
from roc.model.families import family
from roc.model.float8 import use_float8
from roc.model.head import LevelReading, read_levels
from roc.model.int8 import use_int8
from roc.prompts import SCORE_TOKEN
from roc.scoring.identity import scorer_text
from roc.scoring.one_forward import compile_layers, one_forward, to_model
from roc.scoring.reasoning import TEMPERATURE, Sampling, reason
from roc.scoring.results import Assessed, Reasoned, Score, combined
from roc.scoring.scales import on_scale
from roc.scoring.sources import Source
from roc.scoring.stamps import digest_in, stamp_of
from roc.scoring.urls import is_url

logger = logging.getLogger(__name__)

ImageLike = str | os.PathLike | Image.Image | np.ndarray | bytes | bytearray | BinaryIO


class Assessment:
    """A trained model, ready to score images.

    On a CPU it also has the C library keep freed memory for the next batch (`roc.model.device.keep_freed_memory`).

    Args:
        pretrained: Folder or hub id of a checkpoint that carries the score head.
        device: "cuda", "mps", "cpu", ...; None takes the first of these that is there.
        dtype: Number format of the backbone; None takes bfloat16 on a GPU or CPU whose hardware multiplies it, float32
            elsewhere. The head is always float32, and so is a vision tower with batch normalisation. "float8" is
            bfloat16 with the linear layers of the language model in 8 bits (roc/model/float8.py), for NVIDIA GPUs from
            Ada and Hopper on. "int8" is float32 with all linear layers in 8 bits (roc/model/int8.py), for CPUs.
        batch_size: Images per forward pass; None takes 32 on a GPU, 8 on a CPU.
        compile: Compile the layers when they first run: minutes at the start, faster passes afterwards. Scores move by
            a rounding. Generation is not compiled.

    Attributes:
        model, processor, collator: Of the checkpoint.
        dtype: Number format, by name.
        lookups: What the checkpoint knows of single pictures (roc/checkpoint/lookups.py); mostly nothing.
        batch_size: Images per forward pass.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: The checkpoint carries no head, the device is not here or does not compute dtype, or there is no
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
        device = checked_device(device)
        self.dtype = number_format(dtype, device)
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; expected at least 1, or None to let roc choose")
        if device.type != "cuda":
            logging.getLogger("transformers.integrations.hub_kernels").addFilter(_no_word_of_gpu_kernels)
        if self.dtype == "float8":
            self.model, self.processor = load(pretrained, device="cpu", dtype="bfloat16", scoring=True)
            use_float8(self.model, device)
            self.model.to(device)
        elif self.dtype == "int8":
            self.model, self.processor = load(pretrained, device=device, dtype="float32", scoring=True)
            use_int8(self.model)
        else:
            self.model, self.processor = load(pretrained, device=device, dtype=self.dtype, scoring=True)
        if device.type == "cpu":
            keep_freed_memory()
            lay_out_convolutions(self.model)
        self.collator = RocCollator(self.processor, self.model.declaration)
        self._pretrained = pretrained
        self.lookups = lookups_of(pretrained)
        for note in notes_of(pretrained):
            logger.info("%s", note)
        self.batch_size = batch_size or (8 if device.type == "cpu" else 32)
        self.compiled = compile_layers(self.model) if compile else 0

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of the model's scores, in the order of its answer."""
        return self.model.declaration.attributes

    @functools.cached_property
    def weights_fingerprint(self) -> str:
        """Hash of all weights as they are held, 16 hexadecimal digits; computed once, at about 1 GB/s and core."""
        return weights_fingerprint(self.model)

    @functools.cached_property
    def scorer(self) -> str:
        """Name and version of what scores: `NAME@FINGERPRINT roc/VERSION` (roc/scoring/identity.py)."""
        return scorer_text(self, self._pretrained)

    def __call__(
        self, images: ImageLike | Sequence[ImageLike], precision: int = 4
    ) -> tuple[list[str], list[float | None]]:
        """Generates the answer and reads the first score on the way, as the published call does.

        Args:
            images: One or several: path, URL that fsspec knows, bytes of a file, open binary file, PIL image, or uint8
                RGB array (H, W, 3).
            precision: Decimals of the scores, in the list and in the texts.

        Returns:
            (texts, scores): The answers with all numbers in place, and the score of the first attribute on the native
            scale; None where the model generated no score.
        """
        assessed = self.describe(images, precision=precision)
        values = [next(iter(one.scores.values())) for one in assessed]
        return [one.text for one in assessed], [None if s is None else round(s.value, precision) for s in values]

    def score(
        self,
        images: ImageLike | Sequence[ImageLike],
        attributes: Sequence[str] | None = None,
        scale: str | None = None,
    ) -> list[Assessed]:
        """Scores images in one forward pass per batch, teacher-forced: nothing is generated.

        Args:
            images: One or several: path, URL that fsspec knows, bytes of a file, open binary file, PIL image, or uint8
                RGB array (H, W, 3).
            attributes: Names of the scores to give; None gives all. Fewer may shorten the pass, and change no number.
            scale: Of a checkpoint that was trained on several data sets, the one on whose scale scores are read
                (docs/mixing.md); None gives the shared score.

        Returns:
            One `Assessed` per image, in order, with `text=None`.

        Raises:
            ValueError: The checkpoint does not know an attribute or a scale, or an image cannot be read.
        """
        wanted = self.wanted(attributes)
        count = self.places(wanted)
        asked = None if scale is None else self.model.declaration.scale(scale, "this checkpoint")
        results = []
        for paths, pictures in self._batches(images):
            batch = self.collator.scoring_batch(pictures, count)
            if self.lookups:
                batch |= entries(self.lookups, [_digest(path) for path in paths])
            reading = one_forward(self.model, batch)
            results += self.read_scores(reading, wanted, paths)
        return results if asked is None else [on_scale(one, asked) for one in results]

    def describe(
        self,
        images: ImageLike | Sequence[ImageLike],
        *,
        samples: int = 1,
        temperature: float = TEMPERATURE,
        seed: int = 0,
        precision: int = 4,
        max_new_tokens: int = 512,
    ) -> list[Assessed]:
        """Generates the answer and reads a score at every `[SCORE]` in it.

        A model that reasons writes a critique first. Its answer counts if it has the form of `roc.model.reasoned`; one
        that has not is written anew once, and if that cannot be read either, the score is None.

        Args:
            images: One or several: path, URL that fsspec knows, bytes of a file, open binary file, PIL image, or uint8
                RGB array (H, W, 3).
            samples: Answers of a model that reasons for each image. One is the likeliest; several are sampled, and
                `scores` is their combination: the mean of their distributions.
            temperature: Of what is sampled; 1 is the model's own distribution.
            seed: Of the sampling; the same images in batches of the same size give the same texts.
            precision: Decimals of the numbers in the text.
            max_new_tokens: Longest answer.

        Returns:
            One `Assessed` per image, in order; an attribute whose `[SCORE]` was not generated is None. Of a model that
            reasons, `answers` holds each text with its score, and `variances` splits the variance of the combination.

        Raises:
            ValueError: An image cannot be read, or several samples are asked of a model that does not reason.
        """
        self.check_samples(samples)
        sampling = Sampling(samples, temperature, max_new_tokens, seed)
        results = []
        for paths, pictures in self._batches(images):

            def make_batch(chosen: Sequence[int], pictures: Sequence[Image.Image] = pictures) -> dict[str, Any]:
                return self.collator.prompt_batch([pictures[i] for i in chosen])

            results += self.describe_batch(make_batch, paths, sampling, precision=precision)
        return results

    def check_samples(self, samples: int) -> None:
        """Makes sure that the model can give several answers for an image.

        Raises:
            ValueError: Several are asked of a model that does not reason.
        """
        if samples > 1 and not self.model.declaration.reasons:
            raise ValueError(
                f"samples is {samples}, but this checkpoint does not reason: it writes the same sentence each time, so "
                "one answer says all; leave samples out"
            )

    def read_scores(
        self, reading: LevelReading, wanted: Sequence[str], paths: Sequence[str | None]
    ) -> Iterator[Assessed]:
        """Gives the results of one forward pass, image by image.

        Args:
            reading: The first `places(wanted)` scores of each image.
            wanted: Names of the attributes to keep.
            paths: (B,) paths of the images; None for images in memory.
        """
        count = reading.scores.shape[1]
        for row, path in enumerate(paths):
            scores = dict(zip(self.attributes, self._scores(reading, row, count), strict=False))
            yield Assessed({name: scores[name] for name in wanted}, text=None, path=path)

    def describe_batch(
        self,
        make_batch: Callable[[Sequence[int]], dict[str, torch.Tensor]],
        paths: Sequence[str | None],
        sampling: Sampling,
        *,
        precision: int,
    ) -> Iterator[Assessed]:
        """Does the work of `describe` for a batch.

        Args:
            make_batch: Gives what `RocCollator.prompt_batch` makes of the images of these indices.
            paths: (B,) paths of the images; None for images in memory.
            sampling: How answers are written.
            precision: Decimals of the numbers in the text.
        """
        # A cache that grows token by token would have the layers compiled again and again.
        plain = torch.compiler.set_stance("force_eager") if self.compiled else contextlib.nullcontext()
        if self.model.declaration.reasons:
            with plain:
                found = reason(self.model, self.processor.tokenizer, make_batch, len(paths), sampling)
            for path, answers in zip(paths, found, strict=True):
                yield self._from_answers(answers, path, precision)
            return
        with torch.inference_mode(), plain:
            answer = self.model.generate_with_scores(
                **to_model(self.model, make_batch(range(len(paths)))),
                max_new_tokens=sampling.max_new_tokens,
                do_sample=False,
            )
        for row, path in enumerate(paths):
            logits = answer.score_logits[row].float().cpu()  # (k, N)
            reading = read_levels(logits, self.model.levels_at(range(len(logits))))
            text = self.processor.tokenizer.decode(answer.sequences[row], skip_special_tokens=True)
            for value in reading.scores.tolist():
                text = text.replace(SCORE_TOKEN, f"{value:.{precision}f}", 1)
            whole = LevelReading(*(part.unsqueeze(0) for part in reading))
            read = self._scores(whole, 0, len(reading.scores), one_pass=not self.model.declaration.answers_apart)
            scores: dict[str, Score | None] = dict.fromkeys(self.attributes)
            scores |= zip(self.attributes, read, strict=False)
            yield Assessed(scores, text=text.strip(), path=path)

    def _from_answers(self, answers: tuple[Reasoned, ...], path: str | None, precision: int) -> Assessed:
        """Combines the answers of a model that reasons; the text is the first good one's, else the first one's."""
        good = [one for one in answers if one.score is not None]
        shown = good[0] if good else answers[0]
        text = shown.text
        if shown.score is not None:
            text = text.replace(self.model.declaration.token, f"{shown.score.value:.{precision}f}", 1)
        scores = {self.attributes[0]: combined([one.score for one in good])}
        return Assessed(scores, text=text, path=path, answers=answers)

    def places(self, wanted: Sequence[str]) -> int:
        """Counts the `[SCORE]` of the answer that a forward pass has to hold to give these attributes."""
        return max(self.attributes.index(name) for name in wanted) + 1

    def wanted(self, attributes: Sequence[str] | None) -> tuple[str, ...]:
        """Checks names of attributes; None stands for all of the checkpoint.

        Raises:
            ValueError: The checkpoint does not know a name, or there is none.
        """
        if attributes is None:
            return self.attributes
        wanted = (attributes,) if isinstance(attributes, str) else tuple(attributes)
        unknown = [name for name in wanted if name not in self.attributes]
        if unknown or not wanted:
            raise ValueError(
                f"this checkpoint scores {', '.join(self.attributes)}; asked for {', '.join(unknown) or 'nothing'}"
            )
        return wanted

    def _scores(self, reading: LevelReading, row: int, count: int, *, one_pass: bool = True) -> list[Score]:
        declaration = self.model.declaration
        return [
            Score.from_reading(LevelReading(*(part[row, k] for part in reading)), declaration, name, one_pass=one_pass)
            for k, name in zip(range(count), declaration.attributes, strict=False)
        ]

    @property
    def one_size(self) -> bool:
        """Whether the pictures of a batch must have one size (`roc.model.families.Family`)."""
        return family(self.model.config.model_type).one_size

    def _batches(self, images: Any) -> Iterator[tuple[list[str | None], list[Image.Image]]]:
        """Opens images, `batch_size` at a time: paths (None for images in memory) and pictures."""
        images = [images] if _is_one(images) else list(images)
        for start in range(0, len(images), self.batch_size):
            part = images[start : start + self.batch_size]
            pictures = [(_path(image), opened(image)) for image in part]
            sizes = itertools.groupby(pictures, lambda one: one[1].size if self.one_size else None)
            for _, same in sizes:
                paths, shown = zip(*same, strict=True)
                yield list(paths), list(shown)


def _is_one(images: Any) -> bool:
    """Tells one image from several; an open file is one, although it could be gone through line by line.

    Raises:
        TypeError: It is neither, or a dict or set, which are in no order.
    """
    one = isinstance(images, str | os.PathLike | Image.Image | np.ndarray | bytes | bytearray | memoryview)
    if (
        not one
        and not hasattr(images, "read")
        and (isinstance(images, dict | set | frozenset) or not isinstance(images, Iterable))
    ):
        raise TypeError(
            "expected an image or a list of them (path, URL, bytes, open file, PIL image, uint8 RGB array), got "
            f"{type(images).__module__}.{type(images).__name__}"
        )
    # An array of one more dimension is a batch of images.
    return (one and not (isinstance(images, np.ndarray) and images.ndim == 4)) or hasattr(images, "read")


def _path(image: ImageLike) -> str | None:
    """Gives the path or URL of an image; None for one in memory. An open file has one where it was opened by name."""
    if isinstance(image, str | os.PathLike):
        return os.fspath(image)
    name = getattr(image, "name", None) if hasattr(image, "read") else None
    return name if isinstance(name, str) else None


def _digest(path: str | None) -> str | None:
    """Takes the digest of a file; None for a picture in memory or behind a URL."""
    return None if path is None else digest_in(stamp_of(Source(path, path)))


def opened(image: ImageLike) -> Image.Image:
    """Opens an image in any of the forms that `Assessment` takes.

    Raises:
        ImageError: It cannot be used.
    """
    if isinstance(image, str) and is_url(image):
        try:
            return Source(image, image).open()
        except ValueError as error:
            raise ImageError(f"{image}: {error}") from error
    return open_image(bytes(image) if isinstance(image, memoryview) else image)


def _no_word_of_gpu_kernels(record: logging.LogRecord) -> bool:
    """Drops the advice to install kernels for GPUs, where there is no such GPU."""
    return "falling back to its reference PyTorch implementation" not in record.getMessage()
