"""Two pictures in one question: how much better the second one is, and why, by a model that was taught to compare.

It reads the change at the `[SCORE]` of one answer about both pictures. Its words stand before it, where it was taught
some.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from roc.model.reasoned import GOOD
from roc.scoring.one_forward import one_forward
from roc.scoring.reasoning import write_answers
from roc.scoring.results import Score

if TYPE_CHECKING:
    from PIL import Image

    from roc.model.declaration import Declaration
    from roc.scoring.assessment import Assessment

Pictures = tuple["Image.Image", "Image.Image"]


@dataclass(frozen=True)
class Compared:
    """What a model says about two pictures.

    Attributes:
        change: How much better the second is than the first; None where its answer cannot be read.
        words: The reasons; None where none were asked for, or none can be read.
        kind: "good", or what is wrong with the answer, a key of `roc.model.reasoned.WRONG`.
    """

    change: Score | None
    words: str | None = None
    kind: str = GOOD

    def to_dict(self) -> dict[str, Any]:
        """Gives `change` with its `std` and `distribution`, all None where it cannot be read, `why` and `kind`."""
        one = self.change
        numbers = (None,) * 3 if one is None else (one.value, one.std, list(one.distribution))
        return dict(zip(("change", "std", "distribution"), numbers, strict=True)) | {
            "why": self.words,
            "kind": self.kind,
        }


def check_compares(declaration: Declaration, checkpoint: str, *, words: bool = False) -> None:
    """Makes sure that a checkpoint was taught to compare.

    Raises:
        ValueError: If it was not, or gives no reasons and these are asked for.
    """
    if declaration.comparison is None:
        raise ValueError(
            f"{checkpoint} was not taught to compare two pictures in one question; teach it with `roc relative train` "
            "on pairs, or compare the scores of the two pictures"
        )
    if words and declaration.comparison.reasoning is None:
        raise ValueError(f"{checkpoint} compares two pictures without giving reasons; it was taught on pairs without")


def compare(
    assessment: Assessment, pairs: Sequence[Pictures], *, words: bool = False, max_new_tokens: int = 512
) -> list[Compared]:
    """Asks how much better the second picture of each pair is.

    Args:
        assessment: The model, which declares a comparison.
        pairs: First and second picture of each, as many as fit into one batch at a time (`assessment.batch_size`).
        words: Whether it writes its reasons first; else it answers at once, in one forward pass.
        max_new_tokens: Longest answer.
    """
    found: list[Compared] = []
    inputs = assessment.collator.comparison_prompts if words else assessment.collator.comparison_batch
    for start in range(0, len(pairs), assessment.batch_size):
        part = pairs[start : start + assessment.batch_size]
        sizes = itertools.groupby(part, lambda pair: [one.size for one in pair] if assessment.one_size else None)
        for _, same in sizes:
            found += ask(assessment, inputs(list(same)), words=words, max_new_tokens=max_new_tokens)
    return found


def ask(
    assessment: Assessment, inputs: dict[str, torch.Tensor], *, words: bool, max_new_tokens: int = 512
) -> list[Compared]:
    """Asks about the pairs of one batch.

    Args:
        assessment: The model, which declares a comparison.
        inputs: What `RocCollator.comparison_prompts` gives with `words`, `comparison_batch` without.
        words: Whether it writes its reasons first.
        max_new_tokens: Longest answer.
    """
    model = assessment.model
    if not words:
        reading = one_forward(model, inputs)
        return [Compared(change_of(levels, model.declaration)) for levels in reading.probabilities[:, 0]]
    written = write_answers(model, assessment.processor.tokenizer, inputs, max_new_tokens=max_new_tokens)
    return [
        Compared(
            None if one.reading is None else change_of(one.reading.probabilities, model.declaration),
            one.critique if one.kind == GOOD else None,
            one.kind,
        )
        for one in written
    ]


def change_of(probabilities: torch.Tensor, declaration: Declaration) -> Score:
    """Reads a change from the probabilities of the levels (N,), which lie on the range of the comparison."""
    space = declaration.comparison.space(declaration.num_levels)
    shares = probabilities.double().cpu()
    levels = torch.tensor(space.levels, dtype=torch.float64)
    value = float((shares * levels).sum())
    std = float((shares * (levels - value).square()).sum().sqrt())
    return Score(value, std, shares.tolist(), space.levels, space.range, declaration.distribution_supervised)
