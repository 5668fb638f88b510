"""Critiques of a file, whose words are learnt beside the policy.

The head's loss moves the backbone that the critiques are written with, and sampled ones lose some of their form; the
policy mends that slowly, since few answers of a step are wrong. The text loss of critiques that have the form keeps it,
as the loss on pretraining data does in InstructGPT (PPO-ptx). Their scores are not learnt: those critiques were written
with the score known.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from roc.data.images import open_image
from roc.data.reading import read_records
from roc.data.records import Record
from roc.data.rows import DataError
from roc.training.reasoning import is_reasoned

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from roc.model.collator import RocCollator
    from roc.policy.config import PolicyConfig


def read_critiques(config: PolicyConfig, *, decode: bool = False) -> list[Record]:
    """Reads the training rows of `critiques_path` that hold a critique.

    Args:
        config: The settings, with those of the checkpoint.
        decode: Whether to decode every image, so that none is found broken in the middle of a run.

    Raises:
        DataError: With every fault of the file, or if none of its training rows holds a critique.
    """
    records = read_records(
        config.critiques_path,
        config.image_folder,
        space=config.score_space,
        num_levels=config.num_tokens,
        attributes=config.attributes,
        check_images=decode,
        pixel_limit=config.pixel_limit,
    )
    found = [record for record in records if record.split in (None, "train") and is_reasoned(record)]
    if not found:
        raise DataError(
            [
                f"{config.critiques_path}: no training row holds a critique, that is one question answered by "
                "<think>...</think><answer>[SCORE]</answer>; give a corpus of `roc reasoning corpus`, or leave "
                "critiques_path out"
            ]
        )
    return found


class Critiques:
    """Batches of critiques, drawn by the number of a forward pass, so that a resumed run draws what it would have.

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
        self.records, self.collator = list(records), collator
        self.size, self.seed, self.pixel_limit = min(size, len(self.records)), seed, pixel_limit

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
