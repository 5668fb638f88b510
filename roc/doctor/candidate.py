"""A model under examination: loaded, with the head attached, and with the images, batches and tolerances of the checks.

Nothing here knows a family: what has to be known is asked of the model, its processor and their outputs.
"""

from __future__ import annotations

import copy
import functools
import math
import os
import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
import transformers
from PIL import Image
from torch import nn
from transformers import PreTrainedModel, ProcessorMixin
from transformers.utils import is_torchvision_available

from roc.checkpoint.folder import is_adapter, load, read_config
from roc.checkpoint.names import check_exists
from roc.checkpoint.weights import load_weights
from roc.data.records import Record
from roc.demo.scenes import render_scene
from roc.model.adapters import lora_state, merged
from roc.model.attachment import attach, check_can_carry, model_class
from roc.model.collator import RocCollator
from roc.model.declaration import declaration_of, declares_head
from roc.model.device import checked_device
from roc.model.processing import load_processor
from roc.score_space import ScoreSpace, ranges_text
from roc.scoring.one_forward import one_forward, to_model

SPACE = ScoreSpace(1, 10, 10)
ATTRIBUTES = ("overall", "light")
"""What an untrained head is attached with: two attributes, so that a second score in one answer is checked as well."""

FULL_PRECISION = (torch.float32, torch.float64)

ROUNDING = {True: 6.0, False: 1.0}
"""Steps of the number format by which one layer may move a score, as a share of the range; by full precision or not.

Two ways to compute one score (other batch, one token at a time) add up the same numbers in another order. In full
precision the sums themselves are rounded to the format, in half precision only their results are. The errors of the
layers are independent, so they grow with the square root of their number. For a model of 30 layers with a vision tower
of 24 that is 5e-6 of the range in float32, where 1e-6 has been seen; a wrong position or a wrong mask moves scores by
1e-3 and more."""

HALF_PRECISION = (0.02, 0.05)
"""Bounds of the same in half precision, where a head turns what is rounded into hundredths of the range."""

MOVED = 1e-4
"""Share of the range above which two scores differ indeed; the same computation done twice never differs so much."""

LARGE = 8 * 2**30
"""Bytes of float32 weights above which weights are neither written to disk nor read a second time unless asked
(`--full`), and the model is checked in the number format it was saved in."""


_MARKS_DIFFER = re.compile(r"Mismatch in `\w+` token count .* ids=\[(?P<read>\d+)\] and text=\[(?P<written>\d+)\]")


class Unsupported(ValueError):
    """A model that cannot carry the head; the message says why."""


class Finding(NamedTuple):
    """The result of one check.

    Attributes:
        name: Name of the check.
        passed: None if the check was not made.
        figure: The number or fact behind it, a short phrase.
        advice: What to do about it, if anything.
        apart: Largest difference of two things that should be equal, if the check compares such; native scale for
            scores.
    """

    name: str
    passed: bool | None
    figure: str
    advice: str = ""
    apart: float | None = None


@dataclass
class Candidate:
    """A model that carries the head, with what the checks need.

    Attributes:
        source: Folder or hub id of the weights; None if they exist only in memory (a merged adapter).
        model: The model, in evaluation mode.
        processor: Its processor.
        full: Whether the weights may be written to disk and read again.
        trained: Whether the model came with a head that had been trained; an untrained one is filled at random.
        lora: What `lora_state` says of the adapter that it came with; None if it came with none.
        findings: Findings so far.
        notes: What to set, `{name: text}`.
    """

    source: str | None
    model: PreTrainedModel
    processor: ProcessorMixin
    full: bool = True
    trained: bool = False
    lora: str | None = None
    findings: list[Finding] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)

    @functools.cached_property
    def collator(self) -> RocCollator:
        """The collator for this model and processor."""
        return RocCollator(self.processor, self.model.declaration)

    @functools.cached_property
    def pictures(self) -> list[Image.Image]:
        """Three images; the first and the last have the same shape."""
        sizes = ((160, 120), (96, 144), (160, 120))
        return [render_scene(i, seed=0, size=160).image.resize(size) for i, size in enumerate(sizes)]

    @functools.cached_property
    def samples(self) -> list[tuple[Record, list[Image.Image]]]:
        """The first two images as training samples, one rated high, one low."""
        declared = self.model.declaration
        ratings = [
            {
                name: space.min_score + share * space.width
                for name, space in zip(declared.attributes, declared.spaces, strict=True)
            }
            for share in (0.8, 0.2)
        ]
        return [
            (Record(id=f"row {i}", images=("picture",), scores=scores), [image])
            for i, (scores, image) in enumerate(zip(ratings, self.pictures, strict=False))
        ]

    @property
    def tolerance(self) -> float:
        """Largest `apart`, on the range of the first attribute, of two scores that should be equal; see `ROUNDING`."""
        dtype = self.model.dtype
        full = dtype in FULL_PRECISION
        # The head computes in float32 whatever the format of the model.
        step = max(torch.finfo(dtype).eps, torch.finfo(torch.float32).eps)
        share = ROUNDING[full] * step * math.sqrt(depth(self.model))
        if not full:
            share = min(max(share, HALF_PRECISION[0]), HALF_PRECISION[1])
        return share * self.model.score_space.width

    def scores(self, model: PreTrainedModel | None = None, *, with_mirror: bool | None = None) -> torch.Tensor:
        """Scores the images in one forward pass.

        Args:
            model: Another model to score with, such as the one wrapped in an adapter.
            with_mirror: As for `one_forward`.

        Returns:
            (3, K) scores on the native scale.
        """
        batch = self.collator.scoring_batch(self.pictures)
        return one_forward(self.model if model is None else model, batch, with_mirror=with_mirror).scores

    def apart(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """Computes the distances (..., K) of scores, each brought from its own range to that of the first attribute."""
        widths = torch.tensor([space.width for space in self.model.declaration.spaces])
        return (first - second).abs() * (widths[0] / widths)

    def same(self, name: str, first: torch.Tensor, second: torch.Tensor, advice: str) -> Finding:
        """Compares two readings of the same scores, within the tolerance."""
        apart = float(self.apart(first, second).max())
        passed = apart <= self.tolerance
        return Finding(name, passed, f"{apart:.1e} apart", "" if passed else advice, apart)


def admit(
    source: str | os.PathLike,
    *,
    device: str | torch.device | None = None,
    dtype: str | None = None,
    full: bool | None = None,
    chat_template: str | None = None,
) -> Candidate:
    """Loads a model and attaches the head; the findings about both are in the candidate.

    Whether the model can carry the head is decided from its configuration, before any weight is read.

    Args:
        source: Folder or hub id: a model without the head, or any checkpoint or adapter of roc.
        device: Where to run the model; None = the fastest device here.
        dtype: Number format; None = float32, for models above 2 billion parameters the format they were saved in.
        full: Whether the weights may be written to disk and read again; None = for models up to 2 billion parameters.
        chat_template: Jinja template; None = the processor's own.

    Raises:
        OSError: If there is no such model.
        ValueError: If there is no such device.
        Unsupported: If the head does not fit.
    """
    source = os.fspath(source)
    check_exists(source)
    device = checked_device(device)
    lora = None
    if is_adapter(source):
        tuned, processor = load(source, dtype=dtype, quantized=False)
        processor.chat_template = chat_template or processor.chat_template
        lora = lora_state(tuned)
        model = merged(tuned).requires_grad_(True).to(device).eval()
        source, planned, parameters = None, None, model.num_parameters()
    else:
        planned = plan(source, chat_template)
        processor, parameters = planned.processor, planned.parameters
        dtype = dtype or ("float32" if 4 * parameters <= LARGE else "auto")
        if declares_head(planned.config):
            model, processor = load(source, device=device, dtype=dtype)
            processor.chat_template = planned.processor.chat_template
        else:
            model = load_weights(model_class(planned.config), source, dtype=dtype).to(device).eval()
    full = 4 * parameters <= LARGE if full is None else full
    trained = declares_head(model.config) and bool(model.score_head.weight.any())
    candidate = Candidate(source, model, processor, full, trained, lora)
    backend = "torchvision" if is_torchvision_available() else "no torchvision"
    number_format = str(model.dtype).removeprefix("torch.")
    figure = f"{type(model).__name__}, {count_text(parameters)} parameters, {number_format}, {backend}"
    candidate.findings += [Finding("loads", True, figure), _attached(candidate, planned)]
    return candidate


class Plan(NamedTuple):
    """A model built without weights, to see whether it can carry the head.

    Attributes:
        config: Configuration of the checkpoint.
        parameters: Number of parameters.
        processor: Processor of the checkpoint.
        collator: Collator of the model with the head.
    """

    config: Any
    parameters: int
    processor: ProcessorMixin
    collator: RocCollator


def plan(source: str, chat_template: str | None = None) -> Plan:
    """Builds the model on the `meta` device, without weights, and attaches the head.

    Args:
        source: Folder or hub id.
        chat_template: Jinja template; None = the processor's own.

    Raises:
        OSError: If there is no such model.
        Unsupported: If its configuration cannot be read, or it cannot carry the head.
    """
    try:
        config = read_config(source)
    except ValueError as error:
        reason = f"its configuration cannot be read: {first_line(error)} (transformers {transformers.__version__})"
        raise Unsupported(reason) from error
    try:
        with torch.device("meta"):
            bare = model_class(config)(copy.deepcopy(config))
        check_can_carry(bare)
    except ValueError as error:
        raise Unsupported(first_line(error)) from error
    try:
        processor = load_processor(source)
    except (ValueError, OSError) as error:
        raise Unsupported(f"it has no processor for images and text: {first_line(error)}") from error
    processor.chat_template = chat_template or getattr(processor, "chat_template", None)
    parameters, with_token = bare.num_parameters(), copy.deepcopy(processor)
    if not declares_head(config):
        try:
            attach(bare, with_token, SPACE, attributes=ATTRIBUTES)
        except Exception as error:
            raise Unsupported(f"attaching fails: {type(error).__name__}: {first_line(error)}") from error
    try:
        collator = RocCollator(with_token, declaration_of(bare.config))
        collator.prompt_batch([Image.new("RGB", (160, 120), "grey")])
    except Exception as error:
        fault = first_line(error)
        if counts := _MARKS_DIFFER.search(fault):  # transformers goes on about cut texts, and nothing is cut here
            fault = (
                f"it writes {counts['written']} marks of the image and its tokenizer reads {counts['read']} of them, "
                "so the two are not made for each other; copy both again from where the model came from"
            )
        raise Unsupported(f"its processor makes no batch of an image and a question: {fault}") from error
    return Plan(config, parameters, processor, collator)


def _attached(candidate: Candidate, planned: Plan | None) -> Finding:
    """Attaches the head if needed, and compares the logits of the old tokens before and after."""
    model = candidate.model
    if declares_head(model.config):
        if not model.score_head.weight.any():
            _fill_head(candidate)
        space = model.score_space
        text = f"carries a head: {space.num_levels} levels, {ranges_text(space.ranges, model.declaration.attributes)}"
        return Finding("attaches", True, f"{text}, [SCORE] is token {model.declaration.token_id}")
    batch = to_model(model, planned.collator.prompt_batch(candidate.pictures[:1]))
    with torch.inference_mode():
        before = model(**batch).logits
    given, seen = batch["input_ids"].shape[1], before.shape[1]
    if seen != given:
        raise Unsupported(
            f"{type(model).__name__} makes a row of {given} tokens {seen} long: it adds the picture by itself, so "
            "nothing says where [SCORE] stands in it; roc needs a model whose input_ids hold a token for each position."
        )
    rows = before.shape[-1]
    attach(model, candidate.processor, SPACE, attributes=ATTRIBUTES)
    with torch.inference_mode():
        after = model(**batch).logits[..., :rows]
    token_id = model.declaration.token_id
    old = torch.arange(rows, device=after.device) != token_id
    apart = float((after - before)[..., old].abs().max())
    _fill_head(candidate)
    row = "a spare row" if token_id < rows else "a new row"
    figure = f"[SCORE] is token {token_id}, {row}; head {tuple(model.score_head.weight.shape)}; old logits {apart:.0e}"
    # A wider matrix may be multiplied in other blocks, so the last bit may differ.
    passed = apart <= 16 * torch.finfo(before.dtype).eps * float(before.abs().max())
    advice = "" if passed else "Please report it: attaching must not change old logits."
    return Finding("attaches", passed, figure, advice, apart)


@torch.no_grad()
def _fill_head(candidate: Candidate) -> None:
    """Fills an untrained head, in memory, so that its scores tell images apart: level logits spread by about 2."""
    model, weight = candidate.model, candidate.model.score_head.weight
    weight.copy_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)))
    batch = to_model(model, candidate.collator.scoring_batch(candidate.pictures))
    weight.mul_(2 / model(**batch, use_cache=False).score_logits.std(dim=-1).mean())


def depth(model: PreTrainedModel) -> int:
    """Counts the layers of a model, those of the vision tower included."""
    lists = {name: len(module) for name, module in model.named_modules() if isinstance(module, nn.ModuleList)}
    outer = [name for name in lists if not any(name.startswith(f"{other}.") for other in lists)]
    return max(1, sum(lists[name] for name in outer))


def count_text(number: int) -> str:
    """Shortens a number of parameters: 812, 65 k, 7.1 M, 8.3 B."""
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.2g} {unit}" if number < 10 * size else f"{number / size:.0f} {unit}"
    return str(number)


def first_line(error: Exception) -> str:
    """Returns the first line of an error's message."""
    return str(error).strip().split("\n")[0]
