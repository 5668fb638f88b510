"""Records with their images, as the data loader draws them in training and validation."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from PIL import Image
from torch.utils.data import Dataset

from roc.data.augment import Augmentation
from roc.data.images import open_image
from roc.data.records import Record


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
            rng = np.random.default_rng((self.seed, self.epoch, zlib.crc32(record.id.encode())))
            pictures = [self.augmentation(picture, rng) for picture in pictures]
        return record, pictures

    def _open(self, path: str) -> Image.Image:
        if self._opened is not None and path in self._opened:
            return self._opened[path]
        image = open_image(path, **self.limits)
        if self._opened is not None:
            self._opened[path] = image
        return image
