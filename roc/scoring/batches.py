"""Prepared images scored in batches: how they are grouped, how many fit, what comes out.

`by_shape` groups images that make a batch without padding, `merge` joins their inputs, whatever the family, and
`Scorer` runs the model and gives one row per image. Because every image is prepared alone (roc/scoring/prepare.py), the
size of a batch is settled late: it is tried out while scoring (`BatchSize`), and a batch that does not fit into memory
is scored again in halves.
"""

from __future__ import annotations

import itertools
import logging
import math
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from roc.model.head import read_levels
from roc.model.positions import per_token
from roc.model.scales import DataScale
from roc.score_space import ScoreSpace
from roc.scoring.assessment import Assessment
from roc.scoring.one_forward import level_logits
from roc.scoring.prepare import Prepared
from roc.scoring.reasoning import Sampling
from roc.scoring.results import Assessed, about_columns, offered, scale_columns
from roc.scoring.scales import on_scale

logger = logging.getLogger(__name__)

LARGEST_BATCH = 128
WINDOW = 4
"""How many batches an image of rare shape waits for others of its shape."""


class OutOfMemory(RuntimeError):
    """Not even one image fits into memory."""


@dataclass(frozen=True)
class Wanted:
    """The columns that rows should hold.

    Attributes:
        attributes: Names of the scores, in the order of the checkpoint.
        distribution: Whether to give the probability of each level.
        describe: Whether the model generates its answer; the scores are those read while it does.
        sampling: How it is generated.
        scale: Of the data set on whose scale scores are given (docs/mixing.md); None = the declared one. Numbers inside
            generated answers stay those of the declared scale.
    """

    attributes: tuple[str, ...]
    distribution: bool = False
    describe: bool = False
    sampling: Sampling = Sampling()
    scale: DataScale | None = None


def merge(
    inputs: Sequence[dict[str, torch.Tensor]], *, pad_id: int = 0, padding_side: str = "right"
) -> dict[str, torch.Tensor]:
    """Joins the inputs of several images into the batch that the collator would make of all their pictures at once.

    Tensors with one entry per token are padded as the collator does it. All others (pixels, their masks, grids, sizes)
    are joined along their first dimension; where other dimensions differ, zeros are added at the end, as processors do
    for crops and for pictures of different sizes.

    Args:
        inputs: Batches of the same model, at least one.
        pad_id: Fills `input_ids`.
        padding_side: "right" for scoring, "left" for generation.
    """
    merged, of_tokens = {}, per_token(inputs[0])
    for name in inputs[0]:
        tensors = [one[name] for one in inputs]
        largest = [max(sizes) for sizes in zip(*(tensor.shape[1:] for tensor in tensors), strict=True)]
        fill = pad_id if name == "input_ids" else 0
        for i, tensor in enumerate(tensors):
            missing = [size - there for size, there in zip(largest, tensor.shape[1:], strict=True)]
            if any(missing):
                left = name in of_tokens and padding_side == "left"
                # torch counts dimensions from the last, and takes (before, after) for each; tokens are the first here
                sides = [(0, gap) for gap in missing]
                sides[0] = sides[0][::-1] if left else sides[0]
                pads = [pad for side in reversed(sides) for pad in side]
                tensors[i] = torch.nn.functional.pad(tensor, pads, value=fill)
        merged[name] = torch.cat(tensors)
    return merged


def by_shape(images: Iterable[Prepared], size: Callable[[], int]) -> Iterator[list[Prepared]]:
    """Groups images of one shape into batches; an image that has waited long goes with those nearest to it in length.

    Args:
        images: Prepared images with inputs, in order.
        size: Gives the size of the next batch.
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


class BatchSize:
    """Finds a good batch size: doubled as long as that raises throughput, halved when memory runs out.

    Args:
        fixed: A size to keep to; None finds one.

    Attributes:
        size: Size of the next batch.
    """

    def __init__(self, fixed: int | None = None) -> None:
        self.size = fixed or 4
        self._limit = fixed or LARGEST_BATCH
        self._settled = fixed is not None
        self._rates: list[float] = []
        self._best = (0.0, self.size)

    def record(self, images: int, tokens: int, seconds: float) -> None:
        """Records one batch's throughput."""
        if self._settled or images != self.size:
            return
        self._rates.append(tokens / seconds)
        if len(self._rates) < 4:
            return
        # The first batch of a size is left out: it may have paid for memory or compilation.
        rate = statistics.median(self._rates[1:])
        if rate < 1.05 * self._best[0]:
            self.size, self._settled = self._best[1], True
            return
        self._best, self._rates = (rate, self.size), []
        self._settled = self.size >= self._limit
        self.size = min(2 * self.size, self._limit)

    def shrink(self, failed: int) -> None:
        """Halves the size after a batch of `failed` images did not fit, and keeps to it."""
        self._limit = max(1, failed // 2)
        self.size, self._settled = min(self.size, self._limit), True


# A batch, and the function that waits for its results.
_Pass = tuple[Sequence[Prepared], Callable[[], list[Assessed]]]


class Scorer:
    """Scores prepared images in batches and gives one row per image.

    Args:
        assessment: The model.
        wanted: What the rows should hold.
        batch_size: Images per forward pass; None finds a good size while scoring.

    Attributes:
        batch: Current batch size.
        seconds: Time spent scoring, without waiting for images.
    """

    def __init__(self, assessment: Assessment, wanted: Wanted, batch_size: int | None = None) -> None:
        self.assessment = assessment
        self.wanted = wanted
        self.batch = BatchSize(batch_size)
        self.seconds = 0.0
        tokenizer = assessment.processor.tokenizer
        self._pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id or 0

    @property
    def space(self) -> ScoreSpace:
        """Ranges of the scores in the rows."""
        scale, declared = self.wanted.scale, self.assessment.collator.declaration.space
        return declared if scale is None else ScoreSpace(*scale.range, declared.num_levels)

    @property
    def places(self) -> int:
        """Number of `[SCORE]` in a forward pass, as `Preparation` takes it; 0 where the answer is generated."""
        return 0 if self.wanted.describe else self.assessment.places(self.wanted.attributes)

    def score(self, batches: Iterable[Sequence[Prepared]]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Gives index and row of each image, batch by batch; while a GPU works on one, the next is put together.

        A model to which pictures of other sizes make a difference gets the shapes of a batch one after the other.

        Raises:
            OutOfMemory: A batch of one does not fit.
        """
        if self.assessment.one_size:
            batches = (list(same) for batch in batches for _, same in itertools.groupby(batch, lambda one: one.shape))
        # On a GPU the results of a batch are fetched once the next one is on its way; elsewhere that only delays them.
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
        """Cuts the batch into parts, each of the size that is current when it is due."""
        while batch:
            size = self.batch.size
            yield batch[:size]
            batch = batch[size:]

    def _started(self, batch: Sequence[Prepared]) -> _Pass | None:
        """Starts the forward pass; None where the batch does not fit."""
        try:
            return batch, self._start(batch)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            reason = str(error).splitlines()[0]
        # After the handler, so that the error no longer holds the tensors of the failed pass.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if len(batch) == 1:
            raise OutOfMemory(f"not even one image fits into memory: {reason}")
        self.batch.shrink(len(batch))
        logger.warning("%d images do not fit into memory; going on with batches of %d", len(batch), self.batch.size)
        return None

    def _start(self, batch: Sequence[Prepared]) -> Callable[[], list[Assessed]]:
        assessment, wanted = self.assessment, self.wanted
        paths = [None] * len(batch)
        side = "left" if wanted.describe else "right"

        def merged(chosen: Sequence[int]) -> dict[str, torch.Tensor]:
            return merge([batch[i].inputs for i in chosen], pad_id=self._pad_id, padding_side=side)

        if wanted.describe:
            found = list(assessment.describe_batch(merged, paths, wanted.sampling, precision=4))
            return lambda: found
        logits = level_logits(assessment.model, merged(range(len(batch))))
        return lambda: list(
            assessment.read_scores(
                read_levels(logits.float().cpu(), assessment.model.levels_at(range(logits.shape[1]))),
                wanted.attributes,
                paths,
            )
        )

    def _finished(self, waiting: _Pass | None) -> list[tuple[int, dict[str, Any]]]:
        if waiting is None:
            return []
        batch, results = waiting
        return [(prepared.index, self.row(found)) for prepared, found in zip(batch, results(), strict=True)]

    def row(self, assessed: Assessed) -> dict[str, Any]:
        """Gives the columns of an output in order, without `image`; `{"error": reason}` where a score is not finite."""
        declaration, scale = self.assessment.collator.declaration, self.wanted.scale
        one_pass = not (self.wanted.describe and declaration.answers_apart)
        columns: dict[str, Any] = {}
        if scale is not None:
            assessed = on_scale(assessed, scale)
        for name in self.wanted.attributes:
            score = assessed.scores[name]
            if score is not None and not math.isfinite(score.value):
                return {"error": f"the model gave no number for {name}: {score.value}"}
            value = None if score is None else score.value
            keys = offered(declaration, name, one_pass=one_pass, own_scale=scale is None)
            compared = {key: getattr(score, key, None) for key in keys}
            if name != self.assessment.attributes[0]:
                columns[f"prediction.{name}"] = value
                columns |= {f"{key}.{name}": end for key, end in compared.items()}
                continue
            columns |= {"prediction": value, "std": None if score is None else score.std, **compared}
            if self.wanted.distribution:
                probabilities = [None] * declaration.num_levels if score is None else score.distribution
                columns |= {f"p_{n}": probability for n, probability in enumerate(probabilities, start=1)}
        if self.wanted.describe:
            columns |= {"text": assessed.text, **assessed.answer_columns()}
        space = self.space
        others = {name: space.of(name).range for name in self.wanted.attributes}
        columns |= scale_columns(space.range, others, declaration.distribution_supervised)
        if scale is None:
            columns |= about_columns(declaration, self.wanted.attributes, one_pass=one_pass)
        else:
            columns["scale"] = scale.name
        return columns | {"scorer": self.assessment.scorer}


def is_out_of_memory(error: BaseException) -> bool:
    """Tells whether an error says that memory ran out, of a GPU or of the machine."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return any(words in str(error) for words in ("can't allocate memory", "out of memory"))
