"""How many tokens rows take, found from their texts and the sizes of their pictures, none of which is opened.

The processor counts a row's prompt with a small blank picture in each place. What a picture of another size takes more
is counted once for each size, again with a blank one. Where there are many sizes, transformers' own arithmetic is taken
for most of them, if it agrees with the processor on a sample.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import logging
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch.utils.data import DataLoader
from transformers import BatchFeature
from transformers.image_utils import make_flat_list_of_images

from roc.data.records import Record
from roc.model.collator import RocCollator
from roc.model.pictures import Size, scaled, shown_size

logger = logging.getLogger(__name__)

_SMALL: Size = (56, 56)
_SAMPLED = 16
_REMEMBERED = 4096
# Sizes from which on showing them takes so long that it is said, and other processes help.
_MANY = 200


class RowLength(NamedTuple):
    """Tokens of a row.

    Attributes:
        question: Up to where the first answer begins, without those of pictures.
        pictures: Of all pictures, their marks included.
        answer: All that follows.
        needed: Smallest limit that loses no `[SCORE]`.
    """

    question: int
    pictures: int
    answer: int
    needed: int

    @property
    def total(self) -> int:
        """The whole row."""
        return self.question + self.pictures + self.answer


class RowLengths:
    """Counts the tokens of rows as the collator will lay them out.

    Args:
        collator: Its `max_length` is not regarded.
    """

    def __init__(self, collator: RocCollator) -> None:
        self._collator = collator
        self._declaration = collator.declaration
        self._text_collator = copy.copy(collator)
        self._text_collator.processor = copy.copy(collator.processor)
        self._text_collator.processor.image_processor = _OnceForEachNumber(collator.processor.image_processor)
        self._question = collator.prompt(collator.declaration.question)
        self._texts: dict[Any, tuple[int, int, int]] = {}
        self._prompts: dict[tuple[str, int], int] = {}
        self._with_size: dict[Size, int | ValueError] = {}
        self._arithmetic_agrees: bool | None = None
        self._add_measured([_SMALL])
        self._of_small = self._with_size[_SMALL] - _question_tokens(collator)

    def of(self, record: Record, sizes: Sequence[Size]) -> RowLength:
        """Counts the tokens of one row.

        Args:
            record: The row; its pictures are not opened.
            sizes: Width and height of each of its pictures, as `open_image` gives them.

        Raises:
            ValueError: If the processor cannot take a picture of such a size, or the text cannot be laid out.
        """
        prompt, answer, needed = self._text(record)
        pictures = len(sizes) * self._of_small + sum(map(self._more_than_small, sizes))
        question = prompt - len(sizes) * self._of_small
        return RowLength(question, pictures, answer, question + pictures + needed)

    def learn(self, sizes: Iterable[Size], workers: int = 0) -> None:
        """Finds what pictures of many sizes take at once, which is faster than one by one.

        Args:
            sizes: As for `of`.
            workers: Processes that show pictures to the processor, where that is needed for many sizes.
        """
        shown = {self.shown_size(size) for size in sizes} - self._with_size.keys()
        sizes = sorted(shown, key=lambda size: (size[0] * size[1], size))
        if self._arithmetic_agrees is None and len(sizes) > 2 * _SAMPLED:
            self._arithmetic_agrees = self._try_arithmetic(sizes)
        if self._arithmetic_agrees:
            unknown = [size for size in sizes if size not in self._with_size]
            self._with_size.update(zip(unknown, self._computed(unknown), strict=False))
        self._add_measured([size for size in sizes if size not in self._with_size], workers)

    def scaled(self, size: Size) -> Size:
        """Computes the size that a picture is scaled down to."""
        return scaled(size, self._declaration)

    def shown_size(self, size: Size) -> Size:
        """Computes the size at which the processor gets a picture."""
        return shown_size(size, self._declaration)

    def limited(self, max_pixels: int) -> RowLengths:
        """Returns the counter for the same rows where pictures are scaled down to `max_pixels`."""
        other = copy.copy(self)
        other._declaration = dataclasses.replace(self._declaration, max_pixels=max_pixels)
        return other

    def _text(self, record: Record) -> tuple[int, int, int]:
        """Counts a row's prompt with small pictures, its answer, and what is needed of the answer."""
        key = (len(record.images), record.conversations, record.comment)
        if key not in self._texts:
            if len(self._texts) > _REMEMBERED:
                self._texts.clear()
            prompt, tail = self._collator.layout(record)
            answer = sum(len(piece) for piece, _ in tail)
            self._texts[key] = self._prompt(prompt, len(record.images)), answer, self._collator.needed(tail)
        return self._texts[key]

    def _prompt(self, prompt: str, pictures: int) -> int:
        key = prompt, pictures
        if key not in self._prompts:
            if len(self._prompts) > _REMEMBERED:
                self._prompts.clear()
            encoded = self._text_collator.encode([prompt], [[Image.new("RGB", _SMALL)] * pictures])
            self._prompts[key] = int(encoded["attention_mask"].sum())
        return self._prompts[key]

    def _more_than_small(self, size: Size) -> int:
        shown = self.shown_size(size)
        if shown not in self._with_size:
            self.learn([size])
        found = self._with_size[shown]
        if isinstance(found, ValueError):
            raise found
        return found - self._with_size[_SMALL]

    def _add_measured(self, sizes: Sequence[Size], workers: int = 0) -> None:
        """Has the processor expand the question with a blank picture of each size."""
        measure = functools.partial(_measured, self._collator, self._question)
        if len(sizes) < _MANY:
            found = map(measure, sizes)
        else:
            logger.info("Counting the tokens that pictures of %d sizes take.", len(sizes))
            own = torch.Generator()  # the loader would draw from the global one
            found = DataLoader(sizes, batch_size=None, collate_fn=measure, num_workers=workers, generator=own)
        self._with_size.update(zip(sizes, found, strict=True))

    def _try_arithmetic(self, ordered: Sequence[Size]) -> bool:
        """Compares the arithmetic with the processor on sizes of all areas, and on the most stretched ones."""
        sample = {ordered[i * (len(ordered) - 1) // (_SAMPLED - 1)] for i in range(_SAMPLED)}
        sample |= {choose(ordered, key=lambda size: size[0] / size[1]) for choose in (min, max)}
        self._add_measured(sorted(sample - self._with_size.keys()))
        return self._computed(sorted(sample)) == [self._with_size[size] for size in sorted(sample)]

    def _computed(self, sizes: Sequence[Size]) -> list[int]:
        """Gives what `_add_measured` finds, by the processor's arithmetic; nothing where it has none for them."""
        try:
            heights_and_widths = [size[::-1] for size in (_SMALL, *sizes)]
            found = self._collator.processor._get_num_multimodal_tokens(image_sizes=heights_and_widths)
            small, *others = found["num_image_tokens"]
        except Exception:  # private to transformers, made for other callers, missing in some processors
            return []
        return [self._with_size[_SMALL] + count - small for count in others]


def _measured(collator: RocCollator, question: str, size: Size) -> int | ValueError:
    try:
        return int(collator.encode([question], [[Image.new("RGB", size)]])["attention_mask"].sum())
    except ValueError as error:
        return error


class _OnceForEachNumber:
    """An image processor for pictures that are all alike: it processes each number of them once."""

    def __init__(self, image_processor: Any) -> None:
        self._image_processor = image_processor
        self._made: dict[int, BatchFeature] = {}

    def __call__(self, images: Any, **settings: Any) -> BatchFeature:
        number = len(make_flat_list_of_images(images))
        if number not in self._made:
            self._made[number] = self._image_processor(images, **settings)
        return copy.copy(self._made[number])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._image_processor, name)


def picture_tokens(collator: RocCollator, size: Size) -> int:
    """Counts the tokens of the declared prompt that one picture of a size takes, its marks included."""
    whole = collator.prompt_batch([Image.new("RGB", size, "grey")])["input_ids"].shape[1]
    return whole - _question_tokens(collator)


def _question_tokens(collator: RocCollator) -> int:
    """Counts the tokens of the declared prompt without a picture."""
    prompt, mark = collator.prompt(collator.declaration.question), getattr(collator.processor, "image_token", None)
    mark = getattr(mark, "content", mark)  # some processors hold a token with its settings
    if mark is None or mark in collator.tokenizer.get_vocab() or mark not in prompt:
        return len(collator.tokenizer(prompt, add_special_tokens=False)["input_ids"]) - 1
    # The mark is no token: the processor splits the text there and inserts positions of its own.
    words = collator.tokenizer(prompt.split(mark), add_special_tokens=False)["input_ids"]
    return sum(map(len, words)) + collator.tokenizer.num_special_tokens_to_add()
