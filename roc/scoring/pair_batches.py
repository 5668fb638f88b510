"""Pairs of pictures prepared one by one and compared in batches, whoever asks about them.

`PairPreparation` and `PairScorer` are for pairs what `Preparation` and `Scorer` are for pictures; what is asked stands
in roc/scoring/comparing.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from roc.scoring.assessment import Assessment
from roc.scoring.batches import Scorer, Wanted, merge
from roc.scoring.comparing import ask
from roc.scoring.prepare import Prepared, tensors_of

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from roc.model.collator import RocCollator


class Opened(Protocol):
    """What can be opened as a picture."""

    def open(self) -> Image.Image:
        """Decodes the picture."""
        ...


class PairPreparation:
    """Makes inputs of the model of two pictures.

    Args:
        collator: Of a checkpoint that compares.
        dtype: Number format of pixels (`roc.model.float32_tower.picture_dtype`).
        words: Whether the model gives its reasons first.
    """

    def __init__(self, collator: RocCollator, dtype: torch.dtype, *, words: bool) -> None:
        self._batch = collator.comparison_prompts if words else collator.comparison_batch
        self._dtype = dtype

    def prepared(self, pair: Sequence[Opened], index: int = 0) -> Prepared:
        """Makes the inputs of a pair, or gives the reason why there are none.

        Args:
            pair: First and second picture.
            index: Of the pair.
        """
        try:
            first, second = (one.open() for one in pair)
            return Prepared(index, tensors_of(self._batch([(first, second)]), self._dtype))
        except Exception as error:  # as of a single picture: one pair never stops the others
            return Prepared(index, None, f"{error}" or type(error).__name__)


class PairScorer(Scorer):
    """A scorer of pairs, with reasons where the checkpoint has some.

    Args:
        assessment: A model that compares.
        batch_size: Pairs per forward pass; None finds a good size while scoring.
        max_new_tokens: Longest answer.
    """

    def __init__(self, assessment: Assessment, batch_size: int | None = None, max_new_tokens: int = 512) -> None:
        super().__init__(assessment, Wanted(assessment.attributes[:1]), batch_size)
        self._words = assessment.model.declaration.comparison.reasoning is not None
        self._longest = max_new_tokens

    def _start(self, batch: Sequence[Prepared]) -> Callable[[], list[Any]]:
        side = "left" if self._words else "right"
        inputs = merge([one.inputs for one in batch], pad_id=self._pad_id, padding_side=side)
        found = ask(self.assessment, inputs, words=self._words, max_new_tokens=self._longest)
        return lambda: found

    def row(self, compared: Any) -> dict[str, Any]:
        """Gives `Compared.to_dict`; or `error`, where a number of it is not finite."""
        change = compared.change
        if change is not None and not all(map(math.isfinite, (change.value, change.std, *change.distribution))):
            return {"error": f"the model gave no number for the change: {change.value}"}
        return compared.to_dict()
