"""Images prepared for the model, in worker processes that run ahead of it.

`Preparation` turns an image into the model's inputs for it alone, or into the reason why there are none; it needs the
checkpoint's processor but not its model. `prepare` does so for all images in order, in the workers of a PyTorch
DataLoader, and survives a picture that ends the process reading it.

JPEG's draft mode (decoding straight to a half or a quarter of the size) is not used. With the demo model and scenes of
512 and 1,024 pixels it moved scores by up to 4e-3 of the range, where batching moves them by 1e-6, and saved between a
quarter and a half of the decoding time, which more workers give as well.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader, Dataset

from roc.model.collator import RocCollator
from roc.model.processing import load_processor
from roc.scoring.sources import Source

CHUNK, CHUNKS_AHEAD = 8, 4
"""Images that travel together from a worker, and how many such chunks a worker is ahead."""

_SHARED_MEMORY = "/dev/shm"
_SHARED_MEMORY_NEEDED = 2**30


class Prepared(NamedTuple):
    """One image, ready for the model.

    Attributes:
        index: Its place among the sources.
        inputs: What the model takes, a batch of one; None where the image cannot be used.
        fault: Why it cannot be used.
    """

    index: int
    inputs: dict[str, torch.Tensor] | None
    fault: str | None = None

    @property
    def length(self) -> int:
        """Number of tokens in its row."""
        return self.inputs["input_ids"].shape[1]

    @property
    def shape(self) -> tuple[torch.Size, ...]:
        """Shapes of all inputs; images of equal shapes make a batch without padding."""
        return tuple(tensor.shape for tensor in self.inputs.values())


class Preparation(Dataset):
    """A dataset that gives each source as `Prepared`, by index.

    Args:
        sources: The images.
        pretrained: The checkpoint; a worker that does not inherit the collator loads the processor from there.
        collator: The checkpoint's collator.
        dtype: Number format of pixels (`roc.model.float32_tower.picture_dtype`).
        places: How many `[SCORE]` of the answer are read; 0 prepares the question alone, for generation.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        pretrained: str | os.PathLike[str],
        collator: RocCollator,
        dtype: torch.dtype,
        places: int,
    ) -> None:
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
        try:
            with warnings.catch_warnings():
                # Pillow warns of damaged metadata and large images; either the image is good, or it gets a fault.
                warnings.filterwarnings("ignore", module=r"PIL\.")
                picture = self.sources[index].open()
            if self.places:
                inputs = self._collator.scoring_batch([picture], self.places)
            else:
                inputs = self._collator.prompt_batch([picture])
        except Exception as error:
            # One picture never stops a run: whatever is wrong with it stands beside its name at the end.
            return Prepared(index, None, f"{error}" or type(error).__name__)
        tensors = {name: value for name, value in inputs.items() if torch.is_tensor(value)}
        return Prepared(
            index,
            {name: value.to(self.dtype) if value.is_floating_point() else value for name, value in tensors.items()},
        )


def prepare(dataset: Preparation, workers: int) -> Iterator[Prepared]:
    """Gives all images of a dataset in order, prepared ahead in worker processes.

    A picture that ends the process reading it (a fault in a decoder, memory) is found by reading one at a time, and
    gets a fault like any other.
    """
    start, stop = 0, len(dataset)
    while start < stop:
        try:
            for prepared in _load(dataset, range(start, stop), workers, CHUNK, CHUNKS_AHEAD):
                yield prepared
                start = prepared.index + 1
            return
        except RuntimeError as error:
            if workers == 0 or "DataLoader worker" not in str(error):
                raise
        suspects = range(start, min(start + workers * CHUNK * CHUNKS_AHEAD, stop))
        while start < suspects.stop:
            try:
                for prepared in _load(dataset, range(start, suspects.stop), 1, 1, 1):
                    yield prepared
                    start = prepared.index + 1
            except RuntimeError as error:
                # One worker with one image in hand: it is this one.
                yield Prepared(start, None, f"reading it ended the process that read it: {error}")
                start += 1


def _load(dataset: Preparation, indices: range, workers: int, chunk: int, ahead: int) -> Iterator[Prepared]:
    if workers:  # they are forked, and a tokenizer that has used threads before would warn in each of them
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    with warnings.catch_warnings():
        # Workers do nothing but read and resize: forking beside threads harms none of that, and more workers than
        # cores are told once, by the engine.
        warnings.filterwarnings("ignore", "This DataLoader will create")
        warnings.filterwarnings("ignore", "This process .* is multi-threaded, use of fork")
        loader = DataLoader(
            dataset,
            batch_sampler=[indices[i : i + chunk] for i in range(0, len(indices), chunk)],
            num_workers=workers,
            prefetch_factor=ahead if workers else None,
            collate_fn=_Packer(_through_pipe()) if workers else list,
            worker_init_fn=_end_with_parent,
        )
        chunks = iter(loader)
    # PyTorch has a signal raise an error wherever the main thread is when a worker ends. It also notices that when
    # the worker's images are waited for, which is the place where something can be done about it.
    main_thread = threading.current_thread() is threading.main_thread() and hasattr(signal, "SIGCHLD")
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL) if main_thread else None
    try:
        for packed in chunks:
            yield from _unpacked(packed) if workers else packed
    finally:
        if main_thread:
            signal.signal(signal.SIGCHLD, before)


class _Packer:
    """Packs a chunk into few tensors: each one takes a file handle while it lies in shared memory.

    Args:
        through_pipe: Send bytes instead, where shared memory is too small (a container has 64 MB of it by default).
    """

    def __init__(self, through_pipe: bool) -> None:
        self.through_pipe = through_pipe

    def __call__(self, chunk: list[Prepared]) -> tuple[list[Prepared], dict[str, Any]]:
        good = [prepared.inputs for prepared in chunk if prepared.inputs is not None]
        packed = {}
        for name in good[0] if good else ():
            tensors = [inputs[name] for inputs in good]
            flat = torch.cat([tensor.flatten() for tensor in tensors])
            data = flat.view(torch.uint8).numpy() if self.through_pipe else flat
            packed[name] = (data, flat.dtype, [tensor.shape for tensor in tensors])
        return [prepared._replace(inputs=None) for prepared in chunk], packed


def _unpacked(packed: tuple[list[Prepared], dict[str, Any]]) -> Iterator[Prepared]:
    chunk, tensors = packed
    columns = {}
    for name, (data, dtype, shapes) in tensors.items():
        flat = data if torch.is_tensor(data) else torch.from_numpy(data).view(dtype)
        parts = flat.split([shape.numel() for shape in shapes])
        columns[name] = [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]
    row = 0
    for prepared in chunk:
        if prepared.fault is not None:
            yield prepared
            continue
        yield prepared._replace(inputs={name: column[row] for name, column in columns.items()})
        row += 1


def _through_pipe() -> bool:
    """Tells whether shared memory is too small to pass images through it."""
    if not os.path.isdir(_SHARED_MEMORY):
        return False
    return shutil.disk_usage(_SHARED_MEMORY).free < _SHARED_MEMORY_NEEDED


def _end_with_parent(worker: int) -> None:
    """Makes a worker leave Ctrl-C to its parent, and end when the parent ends, even where that is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
