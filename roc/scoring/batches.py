"""Many images: worker processes prepare them ahead, the model scores them in batches, rows come out in input order.

The work is cut where a queue fits, so that another engine can put its own there:

    Preparation    an image -> the model's inputs for it alone, or the reason why there are none; needs no model
    merge          such inputs of several images -> one batch, whatever the family
    Scorer         prepared images -> rows for the outputs; needs the model, and a smaller batch where memory runs out
    score_images   the local engine: the three above, with PyTorch's DataLoader in between

Because an image is prepared alone, how many go into a batch is settled when they are there: images of one shape go
together, the size of a batch is tried out while scoring, and a batch that does not fit is put together anew in halves.

JPEG's draft mode (decoding straight to a half or a quarter of the size) is not used. With the demo model and scenes of
512 and 1,024 pixels it moved scores by up to 4e-3 of the range, where batching moves them by 1e-6, and saved between a
quarter and a half of the decoding time, which more workers give as well.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import math
import os
import shutil
import signal
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader, Dataset

from roc.model.collator import RocCollator
from roc.model.float32_tower import picture_dtype
from roc.model.head import read_levels
from roc.model.processing import load_processor
from roc.scoring.assessment import Assessment
from roc.scoring.one_forward import level_logits
from roc.scoring.results import Assessed
from roc.scoring.sources import Source

logger = logging.getLogger(__name__)

CHUNK, CHUNKS_AHEAD = 8, 4
"""Images that travel together from a worker, and how many such chunks a worker is ahead."""

LARGEST_BATCH = 128
WINDOW = 4
"""How many batches an image of rare shape waits for others of its shape."""

_SHARED_MEMORY = "/dev/shm"
_SHARED_MEMORY_NEEDED = 2**30


class OutOfMemory(RuntimeError):
    """Not even one image fits into memory."""


@dataclass(frozen=True)
class Wanted:
    """What a row shall hold.

    Attributes:
        attributes: names of the scores, in the order of the checkpoint.
        distribution: whether the probabilities of the levels are wanted.
        describe: whether the model shall write its answer; its scores are those it gives while writing.
        max_new_tokens: longest answer.
    """

    attributes: tuple[str, ...]
    distribution: bool = False
    describe: bool = False
    max_new_tokens: int = 512


class Prepared(NamedTuple):
    """One image, ready for the model.

    Attributes:
        index: its place among the sources.
        inputs: what the model takes, a batch of one; None where the image cannot be used.
        fault: why not.
    """

    index: int
    inputs: dict[str, torch.Tensor] | None
    fault: str | None = None

    @property
    def length(self) -> int:
        """Tokens of its row."""
        return self.inputs["input_ids"].shape[1]

    @property
    def shape(self) -> tuple[torch.Size, ...]:
        """Images of one shape make a batch without padding."""
        return tuple(tensor.shape for tensor in self.inputs.values())


class Preparation(Dataset):
    """Sources as `Prepared`, by index.

    Args:
        sources: the images.
        pretrained: the checkpoint; a worker that does not inherit the collator loads its processor from there.
        collator: of the checkpoint.
        dtype: that the model takes pictures in (`roc.model.float32_tower.picture_dtype`).
        places: how many `[SCORE]` of the answer are read; 0 = the question alone, for an answer to be generated.
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
        self.roc = collator.roc
        self.dtype = dtype
        self.places = places
        self._collator: RocCollator | None = collator

    def __getstate__(self) -> dict[str, Any]:
        # Processors made for this machine (without torchvision) have classes that pickle does not find.
        return {**self.__dict__, "_collator": None}

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, index: int) -> Prepared:
        if self._collator is None:
            self._collator = RocCollator(load_processor(self.pretrained), self.roc)
        try:
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


def merge(
    inputs: Sequence[dict[str, torch.Tensor]], *, pad_id: int = 0, padding_side: str = "right"
) -> dict[str, torch.Tensor]:
    """One batch of several, equal to what the collator makes of all their pictures at once.

    What has an entry for each token is padded as the collator does it. Everything else (pixels, their masks, grids,
    sizes) is joined along its first dimension; where other dimensions differ, zeros are added at the end, as the
    processors do it for crops and for pictures of different sizes.

    Args:
        inputs: batches of the same model, at least one.
        pad_id: fills `input_ids`.
        padding_side: "right" for scoring, "left" for generation.
    """
    merged = {}
    for name in inputs[0]:
        tensors = [one[name] for one in inputs]
        of_tokens = tensors[0].shape == inputs[0]["input_ids"].shape
        largest = [max(sizes) for sizes in zip(*(tensor.shape[1:] for tensor in tensors), strict=True)]
        fill = pad_id if name == "input_ids" else 0
        for i, tensor in enumerate(tensors):
            missing = [size - there for size, there in zip(largest, tensor.shape[1:], strict=True)]
            if any(missing):
                left = of_tokens and padding_side == "left"
                # torch counts dimensions from the last, and asks for (before, after) of each
                pads = [pad for gap in reversed(missing) for pad in ((gap, 0) if left else (0, gap))]
                tensors[i] = torch.nn.functional.pad(tensor, pads, value=fill)
        merged[name] = torch.cat(tensors)
    return merged


# A batch, and what waits for its results.
_Pass = tuple[Sequence[Prepared], Callable[[], list[Assessed]]]


class BatchSize:
    """Finds how many images a batch holds best: doubled while that makes scoring faster, halved where memory ends.

    Args:
        fixed: a size to keep to; None = find one.

    Attributes:
        size: of the next batch.
    """

    def __init__(self, fixed: int | None = None) -> None:
        self.size = fixed or 4
        self._limit = fixed or LARGEST_BATCH
        self._settled = fixed is not None
        self._rates: list[float] = []
        self._best = (0.0, self.size)

    def record(self, images: int, tokens: int, seconds: float) -> None:
        """Takes notice of a batch that was scored."""
        if self._settled or images != self.size:
            return
        self._rates.append(tokens / seconds)
        if len(self._rates) < 4:
            return
        # Not the first: it may have paid for memory or compilation.
        rate = statistics.median(self._rates[1:])
        if rate < 1.05 * self._best[0]:
            self.size, self._settled = self._best[1], True
            return
        self._best, self._rates = (rate, self.size), []
        self._settled = self.size >= self._limit
        self.size = min(2 * self.size, self._limit)

    def shrink(self, failed: int) -> None:
        """A batch of `failed` images did not fit."""
        self._limit = max(1, failed // 2)
        self.size, self._settled = min(self.size, self._limit), True


class Scorer:
    """Prepared images to rows.

    Args:
        assessment: the model.
        wanted: what the rows shall hold.
        batch_size: images per forward pass; None = found while scoring.

    Attributes:
        batch: the current size of a batch.
        seconds: spent here, waiting for images not included.
    """

    def __init__(self, assessment: Assessment, wanted: Wanted, batch_size: int | None = None) -> None:
        self.assessment = assessment
        self.wanted = wanted
        self.batch = BatchSize(batch_size)
        self.seconds = 0.0
        tokenizer = assessment.processor.tokenizer
        self._pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id or 0

    @property
    def places(self) -> int:
        """As `Preparation` asks for it."""
        return 0 if self.wanted.describe else self.assessment.places(self.wanted.attributes)

    def score(self, batches: Iterable[Sequence[Prepared]]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Index and row of each image, batch by batch; while a GPU is at one, the next is put together.

        Raises:
            OutOfMemory: where a batch of one does not fit.
        """
        # On a GPU the results of one batch are fetched when the next is on its way; elsewhere that would only be later.
        overlap = self.assessment.model.device.type == "cuda"
        waiting: _Pass | None = None
        for batch in batches:
            start = time.perf_counter()
            started = self._started(batch)
            rows = self._finished(waiting)
            waiting = started
            if not overlap:
                rows, waiting = self._finished(started), None
            seconds = time.perf_counter() - start
            self.seconds += seconds
            if started is not None:
                self.batch.record(len(batch), sum(prepared.length for prepared in batch), seconds)
            yield from rows
            if started is None:
                yield from self.score(self._pieces(batch))
        start = time.perf_counter()
        rows = self._finished(waiting)
        self.seconds += time.perf_counter() - start
        yield from rows

    def _pieces(self, batch: Sequence[Prepared]) -> Iterator[Sequence[Prepared]]:
        """The batch in parts of the size that is current when each part is due."""
        while batch:
            size = self.batch.size
            yield batch[:size]
            batch = batch[size:]

    def _started(self, batch: Sequence[Prepared]) -> _Pass | None:
        """The batch and what waits for its results; None where it does not fit."""
        try:
            return batch, self._start(batch)
        except (RuntimeError, MemoryError) as error:
            if not _out_of_memory(error):
                raise
            reason = str(error).splitlines()[0]
        # Out of the handler, so that the error no longer holds the tensors of the pass that failed.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if len(batch) == 1:
            raise OutOfMemory(f"not even one image fits into memory: {reason}")
        self.batch.shrink(len(batch))
        logger.warning("%d images do not fit into memory; going on with %d.", len(batch), self.batch.size)
        return None

    def _start(self, batch: Sequence[Prepared]) -> Callable[[], list[Assessed]]:
        assessment, wanted = self.assessment, self.wanted
        paths = [None] * len(batch)
        side = "left" if wanted.describe else "right"
        merged = merge([prepared.inputs for prepared in batch], pad_id=self._pad_id, padding_side=side)
        if wanted.describe:
            described = assessment.describe_batch(merged, paths, precision=4, max_new_tokens=wanted.max_new_tokens)
            found = list(described)
            return lambda: found
        logits = level_logits(assessment.model, merged)
        return lambda: list(
            assessment.read_scores(
                read_levels(logits.float().cpu(), assessment.model.score_levels()), wanted.attributes, paths
            )
        )

    def _finished(self, waiting: _Pass | None) -> list[tuple[int, dict[str, Any]]]:
        if waiting is None:
            return []
        batch, results = waiting
        return [(prepared.index, self.row(found)) for prepared, found in zip(batch, results(), strict=True)]

    def row(self, assessed: Assessed) -> dict[str, Any]:
        """The columns of an output, in order, without `image`; `{"error": reason}` where there is no number."""
        roc = self.assessment.model.config.roc
        columns: dict[str, Any] = {}
        for name in self.wanted.attributes:
            score = assessed.scores[name]
            if score is not None and not math.isfinite(score.value):
                return {"error": f"the model gave no number for {name}: {score.value}"}
            value = None if score is None else score.value
            if name != self.assessment.attributes[0]:
                columns[f"prediction.{name}"] = value
                continue
            columns |= {"prediction": value, "std": None if score is None else score.std}
            if self.wanted.distribution:
                shares = [None] * roc["num_levels"] if score is None else score.distribution
                columns |= {f"p_{n}": share for n, share in enumerate(shares, start=1)}
        if self.wanted.describe:
            columns["text"] = assessed.text
        return columns | {
            "min_score": roc["min_score"],
            "max_score": roc["max_score"],
            "calibrated": roc["distribution_supervised"],
        }


def score_images(
    scorer: Scorer,
    sources: Sequence[Source],
    pretrained: str | os.PathLike[str],
    *,
    workers: int | None = None,
) -> Iterator[dict[str, Any]]:
    """Scores sources on this machine.

    Args:
        scorer: the model and what is wanted of it.
        sources: the images.
        pretrained: the checkpoint that the scorer's model comes from.
        workers: processes that read and resize; 0 = none, this one does it; None = as many as fit this machine.

    Yields:
        One row per source, in their order, as soon as it and all before it are done: `image` and the columns of
        `Scorer.row`, or `image` and `error`.

    Raises:
        OutOfMemory: where a single image does not fit into memory.
    """
    assessment = scorer.assessment
    dataset = Preparation(sources, pretrained, assessment.collator, picture_dtype(assessment.model), scorer.places)
    if workers is None:
        workers = default_workers(assessment.model.device.type)
    done: dict[int, dict[str, Any]] = {}
    following = 0

    def good() -> Iterator[Prepared]:
        for prepared in prepare(dataset, workers):
            if prepared.inputs is None:
                done[prepared.index] = {"error": prepared.fault}
            else:
                yield prepared

    for index, row in scorer.score(by_shape(good(), lambda: scorer.batch.size)):
        done[index] = row
        while following in done:
            yield {"image": sources[following].name} | done.pop(following)
            following += 1
    while following < len(sources):
        yield {"image": sources[following].name} | done.pop(following)
        following += 1


def prepare(dataset: Preparation, workers: int) -> Iterator[Prepared]:
    """All images of a dataset in order, prepared ahead in worker processes.

    A picture that ends the process that reads it (a fault in a decoder, memory) is found by reading one at a time, and
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
    chunks = [indices[i : i + chunk] for i in range(0, len(indices), chunk)]
    loader = DataLoader(
        dataset,
        batch_sampler=chunks,
        num_workers=workers,
        prefetch_factor=ahead if workers else None,
        collate_fn=_Packer(_through_pipe()) if workers else list,
        worker_init_fn=_end_with_parent,
    )
    chunks_of = iter(loader)
    # PyTorch has a signal raise an error wherever the main thread is when a worker ends. It also notices that when
    # the worker's images are waited for, which is the place where something can be done about it.
    main_thread = threading.current_thread() is threading.main_thread() and hasattr(signal, "SIGCHLD")
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL) if main_thread else None
    try:
        for packed in chunks_of:
            yield from _unpacked(packed) if workers else packed
    finally:
        if main_thread:
            signal.signal(signal.SIGCHLD, before)


class _Packer:
    """A chunk as few tensors: each takes a file handle while it lies in shared memory.

    Args:
        through_pipe: send bytes instead, where shared memory is too small (a container has 64 MB of it by default).
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


def by_shape(images: Iterable[Prepared], size: Callable[[], int]) -> Iterator[list[Prepared]]:
    """Batches of images of one shape; an image that has waited long goes with those nearest to it in length.

    Args:
        images: in order, with inputs.
        size: how many the next batch holds.
    """
    pool: dict[tuple, list[Prepared]] = {}

    def nearest() -> list[Prepared]:
        everything = [one for same in pool.values() for one in same]
        oldest = min(everything, key=lambda one: one.index)
        everything.sort(key=lambda one: (abs(one.length - oldest.length), one.index))
        batch = everything[: size()]
        taken = {one.index for one in batch}
        for shape, same in list(pool.items()):
            pool[shape] = [one for one in same if one.index not in taken]
            if not pool[shape]:
                del pool[shape]
        return batch

    for image in images:
        same = pool.setdefault(image.shape, [])
        same.append(image)
        count = size()
        while len(same) >= count:
            yield same[:count]
            del same[:count]
            count = size()
        if not same:
            del pool[image.shape]
        while pool and image.index - min(same[0].index for same in pool.values()) >= WINDOW * size():
            yield nearest()
    while pool:
        yield nearest()


def default_workers(device_type: str) -> int:
    """Worker processes that fit this machine: with a GPU most cores, without one a quarter, at most 16."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(16, cores // 4 if device_type == "cpu" else cores - 1))


def fingerprint(model: torch.nn.Module) -> str:
    """Tells one set of weights from another, whatever the folder is called: a hash over some of every tensor."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        some = tensor.detach().flatten()[:16].contiguous().cpu()
        digest.update(name.encode())
        digest.update(some.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _through_pipe() -> bool:
    if not os.path.isdir(_SHARED_MEMORY):
        return False
    return shutil.disk_usage(_SHARED_MEMORY).free < _SHARED_MEMORY_NEEDED


def _end_with_parent(worker: int) -> None:
    """In a worker: leaves Ctrl-C to the parent, and ends when it ends, even where that is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _out_of_memory(error: BaseException) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return any(words in str(error) for words in ("can't allocate memory", "out of memory"))
