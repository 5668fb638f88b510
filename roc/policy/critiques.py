"""Critiques of a file, whose text loss is added to the loss of the policy.

The head's loss moves the backbone that the critiques are written with, and sampled ones lose some of their form; the
policy mends that slowly, since few answers are wrong. The text loss of critiques that have the form keeps it, as the
loss on pretraining data does in InstructGPT (PPO-ptx). Their scores are not learnt: those critiques were written with
the score known.
"""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from roc.data.counts import counted
from roc.data.images import open_image
from roc.data.reading import read_records
from roc.data.records import Record
from roc.data.rows import DataError
from roc.prompts import IMAGE_PLACEHOLDER
from roc.training.reasoning import is_reasoned, leak_faults, reasoning_faults

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from roc.model.collator import RocCollator
    from roc.policy.config import PolicyConfig

logger = logging.getLogger(__name__)


def read_critiques(config: PolicyConfig, *, held_out: Collection[str] = (), decode: bool = False) -> list[Record]:
    """Reads the rows of `critiques_path` whose critiques are learnt.

    Rows without a critique, rows marked val or test, and those of held-out images are left out; a note counts them.

    Args:
        config: The settings, with those of the checkpoint.
        held_out: Images that validate or test the run.
        decode: Whether to decode every image, so that none is found broken in the middle of a run.

    Raises:
        DataError: With every fault of the file, or if no row is left.
    """
    path = config.critiques_path
    records = read_records(
        path,
        config.image_folder,
        space=config.score_space,
        num_levels=config.num_tokens,
        attributes=config.attributes,
        check_images=decode,
        pixel_limit=config.pixel_limit,
    )
    faults = reasoning_faults(path, records, config.attributes) + leak_faults(path, records, config.score_space)
    faults += [
        f"{path}:{record.line}: {len(record.images)} pictures; a critique is about one"
        for record in records
        if is_reasoned(record) and len(record.images) != 1
    ]
    if faults:
        raise DataError(faults)
    kept_away = set(map(os.path.realpath, held_out))  # one file may name them another way than the other
    found = [
        record
        for record in records
        if is_reasoned(record)
        and record.split in (None, "train")
        and os.path.realpath(record.images[0]) not in kept_away
    ]
    if not found:
        raise DataError(
            [
                f"{path}: no row to learn from holds a critique, that is one question answered by "
                "<think>...</think><answer>[SCORE]</answer>; give a corpus of `roc reasoning corpus`, or leave "
                "critiques_path out"
            ]
        )
    if len(found) < len(records) and not decode:
        left_out = counted(len(records) - len(found), "row is", "rows are")
        logger.info("%s: %s left out: no critique, or of a photo that is held out", path, left_out)
    return found


class Critiques:
    """Batches of critiques, drawn by the number of a forward pass, so that a resumed run draws what it would have.

    Each is learnt as an answer to the question that the policy is asked, whatever its file asks.

    Args:
        records: With one image and a critique each.
        collator: Of the model.
        size: Critiques of a batch; fewer where there are not so many.
        seed: Of the draws.
        pixel_limit: Larger images are refused.
    """

    def __init__(
        self, records: Sequence[Record], collator: RocCollator, *, size: int, seed: int, pixel_limit: int
    ) -> None:
        question = ("user", IMAGE_PLACEHOLDER + collator.declaration.reasoning)
        self.records = [replace(record, conversations=(question, record.conversations[1])) for record in records]
        self.collator, self.pixel_limit = collator, pixel_limit
        self.size, self.seed = min(size, len(self.records)), seed

    def batch(self, number: int) -> dict[str, torch.Tensor]:
        """Makes the batch of a forward pass: the model's inputs and `labels` (B, T).

        Args:
            number: Of the pass, over all processes.
        """
        drawn = random.Random(f"{self.seed} {number}").sample(self.records, self.size)
        pictures = [[open_image(record.images[0], pixel_limit=self.pixel_limit)] for record in drawn]
        batch = self.collator(list(zip(drawn, pictures, strict=True)))
        return {name: value for name, value in batch.items() if not name.startswith("score_")}


def text_loss(model: PreTrainedModel | Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Computes the mean negative log-likelihood of the tokens of critiques, by the pass that the policy takes.

    Args:
        model: With the fused forward of TRL; DDP and PEFT may wrap it.
        batch: From `Critiques.batch`, on the model's device.

    Returns:
        Scalar, at least 0; log-probabilities are at the temperature of sampling, as those of the policy.
    """
    return model(**batch, fused_lm_head=True).loss
