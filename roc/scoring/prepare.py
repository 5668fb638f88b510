"""Images prepared for the model, in worker processes that run ahead of it.

`Preparation` turns an image into the model's inputs for it alone, or into the reason why there are none; it needs the
checkpoint's processor but not its model. `prepare` does so for all images in order, in worker processes
(roc/scoring/readers.py) that may end at any moment.

JPEG's draft mode (decoding straight to a half or a quarter of the size) is not used. With the demo model and scenes of
512 and 1,024 pixels it moved scores by up to 4e-3 of the range, where batching moves them by 1e-6, and saved between a
quarter and a half of the decoding time, which more workers give as well.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from roc.checkpoint.lookups import Lookup, entries
from roc.model.collator import RocCollator
from roc.model.processing import load_processor
from roc.scoring.readers import Readers, set_alarm
from roc.scoring.sources import Source
from roc.scoring.stamps import Stamp, digest_in, stamp_of


class Prepared(NamedTuple):
    """One image, ready for the model.

    Attributes:
        index: Its place among the sources.
        inputs: What the model takes, a batch of one; None where the image cannot be used.
        fault: Why it cannot be used.
        stamp: What binds it to its file; None where that is not asked for, or there is no file.
    """

    index: int
    inputs: dict[str, torch.Tensor] | None
    fault: str | None = None
    stamp: Stamp | None = None

    @property
    def length(self) -> int:
        """Number of tokens in its row."""
        return self.inputs["input_ids"].shape[1]

    @property
    def shape(self) -> tuple[torch.Size, ...]:
        """Shapes of all inputs; images of equal shapes make a batch without padding."""
        return tuple(tensor.shape for tensor in self.inputs.values())


class Preparation:
    """A dataset that gives each source as `Prepared`, by index.

    Args:
        sources: The images.
        pretrained: The checkpoint; a worker that does not inherit the collator loads the processor from there.
        collator: The checkpoint's collator.
        dtype: Number format of pixels (`roc.model.float32_tower.picture_dtype`).
        places: How many `[SCORE]` of the answer are read; 0 prepares the question alone, for generation.
        stamped: Whether images are bound to their files (roc/scoring/stamps.py).
        lookups: What the checkpoint knows of single pictures (`Assessment.lookups`).
    """

    def __init__(
        self,
        sources: Sequence[Source],
        pretrained: str | os.PathLike[str],
        collator: RocCollator,
        dtype: torch.dtype,
        places: int,
        stamped: bool = False,
        lookups: Sequence[Lookup] = (),
    ) -> None:
        self.lookups = tuple(lookups)
        self.stamped = stamped
        self.sources = sources
        self.pretrained = pretrained
        self.declaration = collator.declaration
        self.dtype = dtype
        self.places = places
        self._collator: RocCollator | None = collator

    def __getstate__(self) -> dict[str, Any]:
        # Processors adapted to this machine (without torchvision) have classes that pickle does not find.
        return {**self.__dict__, "_collator": None}

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, index: int) -> Prepared:
        if self._collator is None:
            self._collator = RocCollator(load_processor(self.pretrained), self.declaration)
        stamp = None
        try:
            source = self.sources[index]
            stamp = stamp_of(source) if self.stamped else None
            picture = source.open()
            if self.places:
                inputs = self._collator.scoring_batch([picture], self.places)
                if self.lookups:
                    digest = digest_in(stamp) if self.stamped else source.digest
                    inputs = {**inputs, **entries(self.lookups, [digest])}
            else:
                inputs = self._collator.prompt_batch([picture])
        except Exception as error:
            # One picture never stops a run: whatever is wrong with it stands beside its name at the end.
            return Prepared(index, None, f"{error}" or type(error).__name__, stamp)
        return Prepared(index, tensors_of(inputs, self.dtype), stamp=stamp)


def tensors_of(inputs: Mapping[str, Any], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Gives the tensors of a batch, those of floating-point numbers in `dtype`."""
    tensors = {name: value for name, value in inputs.items() if torch.is_tensor(value)}
    return {name: value.to(dtype) if value.is_floating_point() else value for name, value in tensors.items()}


def prepare(dataset: Preparation, workers: int, image_seconds: float | None = None) -> Iterator[Prepared]:
    """Gives all images of a dataset in order, prepared ahead in worker processes.

    A picture that ends the process reading it (a fault in a decoder, memory), or takes longer than `image_seconds`,
    gets a fault like any other.

    Args:
        dataset: The images.
        workers: How many processes; 0 prepares them in this one, where only a time limit remains, which takes effect
            when a step of the decoder returns, and only in the main thread.
        image_seconds: Longest time for one picture; None for no limit.
    """
    if workers:
        with Readers(dataset, workers, image_seconds) as readers:
            yield from readers.read()
        return
    for index in range(len(dataset)):
        try:
            with _limited(image_seconds):
                prepared = dataset[index]
        except _TooLong:
            fault = f"reading it took longer than {image_seconds:g} seconds (image_seconds)"
            prepared = Prepared(index, None, fault)
        yield prepared


class _TooLong(BaseException):
    """Time is up; no `Exception`, so that no decoder takes it for an error of its own."""


@contextlib.contextmanager
def _limited(seconds: float | None) -> Iterator[None]:
    """Raises `_TooLong` in the block after so many seconds, where this thread and system can be interrupted."""
    main_thread = threading.current_thread() is threading.main_thread() and hasattr(signal, "setitimer")
    if seconds is None or not main_thread or signal.getsignal(signal.SIGALRM) is not signal.SIG_DFL:
        yield
        return

    def stop(*_: Any) -> None:
        raise _TooLong

    signal.signal(signal.SIGALRM, stop)
    set_alarm(seconds)
    try:
        yield
    finally:
        set_alarm(None)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
