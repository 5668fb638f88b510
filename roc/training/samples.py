"""Records with their images, as the data loader draws them in training and validation."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from roc.data.augment import Augmentation
from roc.data.images import open_image
from roc.data.pairs import Pair
from roc.data.records import Record

if TYPE_CHECKING:
    from roc.model.collator import RocCollator

Sample = tuple[Record, list[Image.Image]]
"""A record with its opened pictures."""


class Paired(Dataset):
    """Data set whose items are lists of samples: one rated row each, then the two pictures of each pair.

    Args:
        samples: The rated rows, then the pictures of the pairs, two a pair.
        pairs: What was found for each pair.
        width: Delta that spans the whole range of the score.
    """

    def __init__(self, samples: Samples, pairs: Sequence[Pair], width: float) -> None:
        self.samples = samples
        self.pairs = list(pairs)
        self.width = width
        self._rated = len(samples) - 2 * len(self.pairs)

    def set_epoch(self, epoch: int) -> None:
        """Starts an epoch."""
        self.samples.set_epoch(epoch)

    def __len__(self) -> int:
        return self._rated + len(self.pairs)

    def __getitem__(self, index: int) -> PairedItem:
        if index < self._rated:
            return PairedItem([self.samples[index]])
        place = index - self._rated
        pair, first = self.pairs[place], self._rated + 2 * place
        delta = float("nan") if pair.delta is None else pair.delta / self.width
        return PairedItem([self.samples[first], self.samples[first + 1]], pair.wins, delta)


class PairedItem(NamedTuple):
    """What `Paired` draws.

    Attributes:
        samples: One rated row, or the first and the second picture of a pair.
        wins: Of a pair, 1 where the second is better, 0 where the first is, 0.5 for a tie; None for a rated row.
        delta: How much better the second is on the unit scale; NaN where it is not known.
    """

    samples: list[Sample]
    wins: float | None = None
    delta: float = float("nan")


class PairCollator:
    """A collator of such items: the batch of all their samples, and beside it which rows were compared.

    Args:
        collator: Makes the batch of the samples.
    """

    def __init__(self, collator: RocCollator) -> None:
        self.collator = collator

    def __call__(self, items: Sequence[PairedItem]) -> dict[str, torch.Tensor]:
        """Makes the batch, with `pairs` (P, 2), `pair_wins` (P,) and `pair_deltas` (P,) as the forward takes them."""
        samples: list[Sample] = []
        rows, wins, deltas = [], [], []
        for item in items:
            if item.wins is not None:
                rows.append((len(samples), len(samples) + 1))
                wins.append(item.wins)
                deltas.append(item.delta)
            samples += item.samples
        return {
            **self.collator(samples),
            "pairs": torch.tensor(rows, dtype=torch.long).view(-1, 2),
            "pair_wins": torch.tensor(wins, dtype=torch.float32),
            "pair_deltas": torch.tensor(deltas, dtype=torch.float32),
        }


class Samples(Dataset):
    """Data set of `(record, images)` pairs, opened when drawn and, for training, augmented.

    Seed, epoch and record id alone decide every draw, so a resumed run sees the images that an uninterrupted one would
    have seen, whatever the number of workers.

    Args:
        records: Records in the order of the indices.
        augmentation: None leaves images as they are.
        seed: Seed of the augmentation.
        cache: Whether decoded images stay in memory. Worth it where they fit; each worker process keeps its own.
        pixel_limit: Larger images are refused; None takes the default of `open_image`.
    """

    def __init__(
        self,
        records: Sequence[Record],
        *,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        cache: bool = False,
        pixel_limit: int | None = None,
    ) -> None:
        self.records = list(records)
        self.augmentation = augmentation
        self.seed = seed
        self.epoch = 0
        self.limits = {} if pixel_limit is None else {"pixel_limit": pixel_limit}
        self._opened: dict[str, Image.Image] | None = {} if cache else None

    def set_epoch(self, epoch: int) -> None:
        """Starts an epoch. `RocTrainer` calls it, since after resuming the data loader alone does not."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> tuple[Record, list[Image.Image]]:
        record = self.records[index]
        pictures = [self._open(path) for path in record.images]
        if self.augmentation is not None:
            draw = (self.seed, self.epoch, zlib.crc32(record.id.encode()))
            # Pictures of one row are changed alike: two that are compared differ by nothing else.
            pictures = [self.augmentation(picture, np.random.default_rng(draw)) for picture in pictures]
        return record, pictures

    def _open(self, path: str) -> Image.Image:
        if self._opened is not None and path in self._opened:
            return self._opened[path]
        image = open_image(path, **self.limits)
        if self._opened is not None:
            self._opened[path] = image
        return image
