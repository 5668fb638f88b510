"""Records with their pictures: what the data loader draws from while a model is trained or checked."""

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
    """`(record, pictures)` pairs, opened when drawn and, for training, augmented.

    Every draw is decided by seed, epoch and record id alone, so a resumed run sees the pictures an uninterrupted one
    would have seen, whatever the number of workers.

    Args:
        records: in the order of the indices.
        augmentation: None = pictures as they are.
        seed: of the augmentation.
        cache: keep decoded pictures in memory. Worth it where they fit; each worker process keeps its own.
        max_pixels: larger pictures are refused; None = the default of `open_image`.
    """

    def __init__(
        self,
        records: Sequence[Record],
        *,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        cache: bool = False,
        max_pixels: int | None = None,
    ) -> None:
        self.records = list(records)
        self.augmentation = augmentation
        self.seed = seed
        self.epoch = 0
        self.limits = {} if max_pixels is None else {"max_pixels": max_pixels}
        self._opened: dict[str, Image.Image] | None = {} if cache else None

    def set_epoch(self, epoch: int) -> None:
        """Called when an epoch begins, by `RocTrainer` (the data loader alone forgets to after resuming)."""
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
        if self._opened is None:
            return open_image(path, **self.limits)
        if path not in self._opened:
            self._opened[path] = open_image(path, **self.limits)
        return self._opened[path]
