"""Whether the score head fits a model: every promise of the package, tried on one model and its processor.

Each check is a function that takes the `Candidate` and gives findings with a figure. Nothing here knows a family: what
has to be known is asked of the model, its processor and what comes out of them. `roc doctor MODEL` prints the findings
and what to set; with `--sensitivity` how far a trained score moves when the picture's size or shape changes; with
`--memory` what training the model takes.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import functools
import os
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from PIL import Image
from torch import nn
from transformers import AutoModelForImageTextToText, PreTrainedModel, ProcessorMixin
from transformers.utils import is_torchvision_available

from roc.checkpoint.folder import check_exists, load, read_config, save
from roc.data.images import open_image
from roc.data.records import Record
from roc.demo.scenes import render_scene
from roc.doctor.sensitivity import sensitivity, shift_table
from roc.model.adapters import LORA_PARTS, add_lora, is_adapter, layer_kind, lora_targets, merged
from roc.model.attachment import attach, check_can_carry, model_class
from roc.model.collator import RocCollator
from roc.model.declaration import declaration_of, declares_head
from roc.model.head import read_levels
from roc.model.losses import IGNORE_INDEX
from roc.model.memory import memory_table
from roc.model.parts import PARTS, parameter_parts
from roc.model.processing import load_processor
from roc.score_space import ScoreSpace
from roc.scoring.one_forward import one_forward, to_model

# What an untrained head is attached with: two attributes, so that a second score in one answer is checked as well.
_SPACE = ScoreSpace(1, 10, 10)
_ATTRIBUTES = ("overall", "light")

# Largest difference of two scores that should be one, as a share of the range: 1e-5 on the paper's 1..10 in float32.
# Half precision rounds hidden states to 1 part in 256 (bfloat16), and a head turns that into hundredths of the range.
_TOLERANCE = {torch.float32: 1e-5 / 9, torch.float64: 1e-5 / 9}
_HALF_TOLERANCE = 0.02

# Scores that differ by more than this share of the range differ indeed; of one computation done twice, nothing does.
_MOVED = 1e-4

# Weights above this many bytes are neither written to disk nor read a second time unless asked (--full), and models
# above it in float32 are checked in the number format they were saved in.
_LARGE = 8 * 2**30


class Unsupported(ValueError):
    """A model that cannot carry the head; the message says why."""


class Finding(NamedTuple):
    """What one check found.

    Attributes:
        name: of the check.
        passed: None where it was not made.
        figure: the number or fact behind it, a short phrase.
        advice: what to do, where something is to be done.
        apart: largest difference of two things that should be one, where the check is about such; native scale for
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
        source: folder or hub id of the weights; None where they were put together in memory (a merged adapter).
        model: in evaluation mode.
        processor: of the model.
        full: whether the weights may be written to disk and read again.
        findings: made so far.
        notes: what to set, as lines of `name: text`.
    """

    source: str | None
    model: PreTrainedModel
    processor: ProcessorMixin
    full: bool = True
    findings: list[Finding] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)

    @functools.cached_property
    def collator(self) -> RocCollator:
        """Of model and processor."""
        return RocCollator(self.processor, self.model.declaration)

    @functools.cached_property
    def pictures(self) -> list[Image.Image]:
        """Three pictures; the first and the last have one shape."""
        sizes = ((160, 120), (96, 144), (160, 120))
        return [render_scene(i, seed=0, size=160).image.resize(size) for i, size in enumerate(sizes)]

    @functools.cached_property
    def samples(self) -> list[tuple[Record, list[Image.Image]]]:
        """The first two pictures as training rows, one rated high, one low."""
        space, attributes = self.model.score_space, self.model.declaration.attributes
        ratings = [space.min_score + share * space.width for share in (0.8, 0.2)]
        return [
            (Record(id=f"row {i}", images=("picture",), scores=dict.fromkeys(attributes, rating)), [picture])
            for i, (rating, picture) in enumerate(zip(ratings, self.pictures, strict=False))
        ]

    @property
    def tolerance(self) -> float:
        """Largest difference, on the native scale, of two scores that should be one."""
        return _TOLERANCE.get(self.model.dtype, _HALF_TOLERANCE) * self.model.score_space.width

    def scores(self, model: PreTrainedModel | None = None) -> torch.Tensor:
        """(3, K) one-forward scores of the pictures; of `model` where one is given."""
        batch = self.collator.scoring_batch(self.pictures)
        return one_forward(self.model if model is None else model, batch).scores

    def same(self, name: str, first: torch.Tensor, second: torch.Tensor, advice: str) -> Finding:
        """Whether two readings of the same scores agree."""
        apart = float((first - second).abs().max())
        passed = apart <= self.tolerance
        return Finding(name, passed, f"{apart:.1e} apart", "" if passed else advice, apart)


def admit(
    source: str | os.PathLike,
    *,
    device: str | torch.device | None = None,
    dtype: str | None = None,
    full: bool | None = None,
) -> Candidate:
    """Loads a model and makes it carry the head; the findings about both are in the candidate.

    Whether it can carry one is told from its configuration, before any weight is read.

    Args:
        source: folder or hub id: a model without the head, or any checkpoint or adapter of roc.
        device: None = the GPU where there is one.
        dtype: None = float32, for models above 2 billion parameters the format they were saved in.
        full: whether the weights may be written to disk and read again; None = for models up to 2 billion parameters.

    Raises:
        OSError: where there is no such model.
        Unsupported: where the head does not fit it.
    """
    source = os.fspath(source)
    check_exists(source)
    device = device or _best_device()
    if is_adapter(source):
        tuned, processor = load(source, dtype=dtype, quantized=False)
        model = merged(tuned).requires_grad_(True).to(device).eval()
        source, plan, parameters = None, None, model.num_parameters()
    else:
        plan = _plan(source)
        processor, parameters = plan.processor, plan.parameters
        dtype = dtype or ("float32" if 4 * parameters <= _LARGE else "auto")
        if not declares_head(plan.config):
            model = model_class(plan.config).from_pretrained(source, dtype=dtype).to(device).eval()
        else:
            model, processor = load(source, device=device, dtype=dtype)
    full = 4 * parameters <= _LARGE if full is None else full
    candidate = Candidate(source, model, processor, full)
    backend = "torchvision" if is_torchvision_available() else "no torchvision"
    figure = f"{type(model).__name__}, {_count(parameters)} parameters, {_name(model.dtype)}, {backend}"
    candidate.findings += [Finding("loads", True, figure), _attached(candidate, plan)]
    return candidate


def examine(candidate: Candidate) -> Iterator[Finding]:
    """Every check, one after the other; findings are kept in the candidate as well.

    A check that breaks is a finding too: its figure is the error. The last check puts an adapter on the model and
    merges it, so the model is not what it was afterwards.
    """
    yield from candidate.findings
    candidate.notes |= what_to_set(candidate)
    for name, check in CHECKS.items():
        try:
            findings = list(check(candidate))
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            findings = [Finding(name, False, reason, ADVICE.get(name, ""))]
        candidate.findings.extend(findings)
        yield from findings


# --- loading and attaching -------------------------------------------------------------------------------------------


class _Plan(NamedTuple):
    """A model that was put together without weights, to see whether it can carry the head.

    Attributes:
        config: as it is in the checkpoint.
        parameters: how many there are.
        processor: as it is in the checkpoint.
        collator: as it is with the head.
    """

    config: Any
    parameters: int
    processor: ProcessorMixin
    collator: RocCollator


def _plan(source: str) -> _Plan:
    """Attaches to a model without weights, on the `meta` device.

    Raises:
        OSError: where there is no such model.
        Unsupported: where its configuration cannot be read, or it cannot carry the head.
    """
    try:
        config = read_config(source)
    except ValueError as error:
        reason = f"its configuration cannot be read: {_first_line(error)} (transformers {transformers.__version__})"
        raise Unsupported(reason) from error
    try:
        with torch.device("meta"):
            bare = model_class(config)(copy.deepcopy(config))
        check_can_carry(bare)
    except ValueError as error:
        raise Unsupported(_first_line(error)) from error
    try:
        processor = load_processor(source)
    except (ValueError, OSError) as error:
        raise Unsupported(f"it has no processor for images and text: {_first_line(error)}") from error
    parameters, with_token = bare.num_parameters(), copy.deepcopy(processor)
    if not declares_head(config):
        try:
            attach(bare, with_token, _SPACE, attributes=_ATTRIBUTES)
        except Exception as error:
            raise Unsupported(f"attaching breaks: {type(error).__name__}: {_first_line(error)}") from error
    try:
        collator = RocCollator(with_token, declaration_of(bare.config))
        collator.prompt_batch([Image.new("RGB", (160, 120), "grey")])
    except Exception as error:
        reason = f"its processor makes no batch of a picture and a question: {_first_line(error)}"
        raise Unsupported(reason) from error
    return _Plan(config, parameters, processor, collator)


def _attached(candidate: Candidate, plan: _Plan | None) -> Finding:
    """Attaches where needed, and compares the logits of the old tokens before and after."""
    model = candidate.model
    if declares_head(model.config):
        if not model.score_head.weight.any():
            _wake(candidate)
        space = model.score_space
        text = f"carries a head: {space.num_levels} levels on {space.min_score:g}..{space.max_score:g}"
        return Finding("attaches", True, f"{text}, [SCORE] is token {model.declaration.token_id}")
    batch = to_model(model, plan.collator.prompt_batch(candidate.pictures[:1]))
    with torch.inference_mode():
        before = model(**batch).logits
    rows = before.shape[-1]
    attach(model, candidate.processor, _SPACE, attributes=_ATTRIBUTES)
    with torch.inference_mode():
        after = model(**batch).logits[..., :rows]
    token_id = model.declaration.token_id
    old = torch.arange(rows, device=after.device) != token_id
    apart = float((after - before)[..., old].abs().max())
    _wake(candidate)
    row = "a spare row" if token_id < rows else "a new row"
    figure = f"[SCORE] is token {token_id}, {row}; head {tuple(model.score_head.weight.shape)}; old logits {apart:.0e}"
    # A wider matrix may be multiplied in other blocks, so the last bit may differ.
    passed = apart <= 16 * torch.finfo(before.dtype).eps * float(before.abs().max())
    advice = "" if passed else "Report it: attaching must not change old logits."
    return Finding("attaches", passed, figure, advice, apart)


@torch.no_grad()
def _wake(candidate: Candidate) -> None:
    """Fills an untrained head, in memory, so that its scores tell pictures apart: level logits spread by about 2."""
    model, weight = candidate.model, candidate.model.score_head.weight
    weight.copy_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)))
    batch = to_model(model, candidate.collator.scoring_batch(candidate.pictures))
    weight.mul_(2 / model(**batch, use_cache=False).score_logits.std(dim=-1).mean())


# --- the checks ------------------------------------------------------------------------------------------------------


def check_template(candidate: Candidate) -> Iterable[Finding]:
    """What roc learns from one rated picture, and that its last token is one that ends a generation."""
    model, tokenizer = candidate.model, candidate.processor.tokenizer
    batch = candidate.collator(candidate.samples[:1])
    learnt = batch["labels"][0][batch["labels"][0] != IGNORE_INDEX]
    text = tokenizer.decode(learnt)
    expected = model.declaration.answer
    candidate.notes["learns"] = repr(text)
    last = tokenizer.decode(learnt[-1:])
    figure = f"{len(learnt)} of {batch['labels'].shape[1]} tokens are learnt, the last is {last!r}"
    if not text.lstrip().startswith(expected):
        yield Finding("chat template", False, f"learns {text!r}", f"Expected it to begin with {expected!r}.")
        return
    ends = model.generation_config.eos_token_id
    ends = {ends} if isinstance(ends, int) else set(ends or ())
    advice = ""
    if int(learnt[-1]) not in ends:
        names = ", ".join(repr(tokenizer.decode([end])) for end in sorted(ends)) or "no token"
        advice = f"Generation stops at {names}: add {int(learnt[-1])} to eos_token_id in generation_config.json."
    yield Finding("chat template", not advice, figure, advice)


def check_sight(candidate: Candidate) -> Iterable[Finding]:
    """Two pictures of one shape get different scores: the picture reaches the head."""
    scores = candidate.scores()
    apart = float((scores[0] - scores[2]).abs().max())
    passed = apart > _MOVED * candidate.model.score_space.width
    advice = "" if passed else "The picture hardly reaches the score; look at the image tokens of the prompt."
    yield Finding("sees the picture", passed, f"two pictures {apart:.1e} apart", advice)


def check_three_ways(candidate: Candidate) -> Iterable[Finding]:
    """One forward, teacher-forced as in training, and while the answer is generated: one score."""
    model, collator = candidate.model, candidate.collator
    fast = candidate.scores()
    with torch.inference_mode():
        taught = model(**to_model(model, collator(candidate.samples))).scores.float().cpu()
        spoken = _spoken(candidate)
    apart = torch.stack([(fast[:2] - taught).abs(), (fast[:2] - spoken).abs()]).flatten(1).max(dim=1).values
    passed = bool((apart <= candidate.tolerance).all())
    figure = f"teacher-forced {apart[0]:.1e}, generated {apart[1]:.1e} apart"
    advice = "" if passed else "roc score and roc finetune would disagree on this model; report it."
    yield Finding("one forward = taught = generated", passed, figure, advice, float(apart.max()))


def _spoken(candidate: Candidate) -> torch.Tensor:
    """(2, K) scores read while the model writes the answer, whose words are put into its mouth."""
    model, collator = candidate.model, candidate.collator
    words = collator.answer_ids
    batch = to_model(model, collator.prompt_batch(candidate.pictures[:2]))
    prompt_length = batch["input_ids"].shape[1]
    written = model.generate_with_scores(
        **batch,
        max_new_tokens=len(words),
        do_sample=False,
        prefix_allowed_tokens_fn=lambda row, so_far: [words[len(so_far) - prompt_length]],
    )
    if written.sequences.tolist() != [words] * 2:
        raise RuntimeError("generation did not write the words it was held to")
    logits = torch.stack(written.score_logits).float().cpu()
    return read_levels(logits, model.score_levels()).scores


def check_batch(candidate: Candidate) -> Iterable[Finding]:
    """A picture's score does not depend on what else is in the batch."""
    alone = [
        one_forward(candidate.model, candidate.collator.scoring_batch([picture])).scores
        for picture in candidate.pictures
    ]
    yield candidate.same("batch = one by one", candidate.scores(), torch.cat(alone), "Score with batch size 1.")


def check_padding(candidate: Candidate) -> Iterable[Finding]:
    """Padding on the left or on the right gives the score without padding."""
    model, batch = candidate.model, candidate.collator.scoring_batch(candidate.pictures[:1])
    reference = one_forward(model, batch).scores
    for side in ("right", "left"):
        scores = one_forward(model, _padded(batch, 5, side, candidate.processor.tokenizer.pad_token_id or 0)).scores
        advice = "Train and score with batch size 1." if side == "right" else "Generate one answer at a time."
        yield candidate.same(f"padding on the {side}", reference, scores, advice)


def _padded(batch: dict[str, torch.Tensor], count: int, side: str, pad_id: int) -> dict[str, torch.Tensor]:
    """`batch` with `count` more positions of padding."""
    shape = batch["input_ids"].shape
    around = (0, count) if side == "right" else (count, 0)
    padded = dict(batch)
    for key, value in batch.items():
        if value.shape == shape:
            padded[key] = nn.functional.pad(value, around, value=pad_id if key == "input_ids" else 0)
    return padded


def check_reload(candidate: Candidate) -> Iterable[Finding]:
    """Saved and loaded again: the same scores to the last bit; a stock AutoModel opens the folder as its own model."""
    names = ("save and reload", "stock AutoModel")
    if not candidate.full:
        yield from (Finding(name, None, "not made: it would write the weights to disk (--full)") for name in names)
        return
    model, device = candidate.model, candidate.model.device
    before = candidate.scores()
    prompt = to_model(model, candidate.collator.prompt_batch(candidate.pictures[:1]))
    with torch.inference_mode():
        logits = model(**prompt).logits
    with tempfile.TemporaryDirectory() as folder:
        save(model, candidate.processor, folder)
        again, processor = load(folder, device=device, dtype=model.dtype)
        after = one_forward(again, RocCollator(processor, again.declaration).scoring_batch(candidate.pictures)).scores
        yield identical(names[0], before, after)
        del again
        stock, info = AutoModelForImageTextToText.from_pretrained(folder, dtype=model.dtype, output_loading_info=True)
    left = set(info["unexpected_keys"]) - {"score_head.weight"}
    wrong = [*info["missing_keys"], *info["mismatched_keys"], *left]
    with torch.inference_mode():
        finding = identical(names[1], logits, stock.to(device).eval()(**prompt).logits)
    if wrong or type(stock) is not type(model).roc_base_class:
        figure = f"{type(stock).__name__}: {len(wrong)} keys do not fit, {wrong[:3]}"
        yield Finding(names[1], False, figure, finding.advice)
    else:
        yield finding


def identical(name: str, before: torch.Tensor, after: torch.Tensor) -> Finding:
    """Whether two tensors are equal to the last bit."""
    if torch.equal(before, after):
        return Finding(name, True, "bit-identical", apart=0.0)
    apart = float((before - after).abs().max())
    advice = "A checkpoint of this model would not be what was trained."
    return Finding(name, False, f"{apart:.1e} apart", advice, apart)


def check_checkpointing(candidate: Candidate) -> Iterable[Finding]:
    """Gradient checkpointing computes layers again and changes neither loss nor gradients."""
    model, name = candidate.model, "gradient checkpointing"
    if not model.supports_gradient_checkpointing:
        yield Finding(name, None, "the model does not support it", "Leave gradient_checkpointing off.")
        return
    # The newer name is not in every supported version; the older one goes with version 6 of transformers.
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    disable = getattr(model, "activation_checkpointing_disable", None) or model.gradient_checkpointing_disable
    loss, gradients, calls = _training_pass(candidate)
    try:
        enable()
        loss_again, gradients_again, calls_again = _training_pass(candidate)
    except Exception as error:
        yield Finding(name, None, f"breaks: {type(error).__name__}: {_first_line(error)}", ADVICE[name])
        return
    finally:
        disable()
        model.disable_input_require_grads()  # which switching it on brought along
    recomputed = sum(calls_again[module] > count for module, count in calls.items())
    if gradients.keys() != gradients_again.keys():
        lost = sorted(gradients.keys() - gradients_again.keys())
        yield Finding(name, False, f"{len(lost)} parameters lose their gradient, {lost[:2]}", ADVICE[name])
        return
    # Relative to the largest gradient of the model: a tensor of zeros has no scale of its own.
    scale = max(float(sketch.abs().max()) for sketch in gradients.values())
    apart = max(float((gradients[key] - gradients_again[key]).abs().max()) for key in gradients) / scale
    off = abs(loss - loss_again)
    exact = model.dtype in _TOLERANCE
    passed = bool(recomputed) and off <= (1e-5 if exact else 0.05) and apart <= (1e-5 if exact else 0.05)
    figure = f"loss {off:.0e}, gradients {apart:.0e} apart; {recomputed} linear layers run again"
    yield Finding(name, passed, figure, "" if passed else ADVICE[name], max(off, apart))


def check_gradients(candidate: Candidate) -> Iterable[Finding]:
    """Every parameter is trained, the score loss leaves the vocabulary alone and the text loss the head."""
    model = candidate.model
    parts = parameter_parts(model)
    with _training(candidate) as batch:
        outputs = model(**batch)
        with _gradients(model) as of_text:
            outputs.text_loss.backward(retain_graph=True)
        with _gradients(model) as of_score:
            outputs.l1_loss.backward()
    reached = of_text.keys() | of_score.keys()
    trained = {name for name in reached if any(float(of.get(name, [0])[0]) for of in (of_text, of_score))}
    named = dict(model.named_parameters())
    unused = [name for name, parameter in named.items() if parameter.requires_grad and name not in reached]
    vocabulary = model.get_output_embeddings().weight
    tied = vocabulary is model.get_input_embeddings().weight
    faults = []
    if "score_head.weight" in of_text and not model.declaration.published_losses:
        faults.append("the text loss trains the head")
    if not tied and any(parameter is vocabulary for name, parameter in named.items() if name in of_score):
        faults.append("the score loss trains the output embeddings")
    # Layers of a tower behind the one whose output is taken are no fault.
    lost = [name for name in unused if parts[name] != "vision"]
    if lost:
        faults.append(f"{len(lost)} parameters get no gradient, {lost[:2]}")
    untrained = sorted(set(parts.values()) - {parts[name] for name in trained})
    if untrained:
        faults.append(f"no gradient reaches {', '.join(untrained)}")
    if unused and not lost:
        candidate.notes["unused"] = (
            f"{len(unused)} tensors of the vision tower get no gradient and stay as they are, such as {unused[-1]}"
        )
    figure = f"{len(reached)} of {len(parts)} tensors reached" + (f", {len(unused)} unused" if unused else "")
    yield Finding("gradients", not faults, "; ".join(faults) or figure, ADVICE["gradients"] if faults else "")


def check_adapter(candidate: Candidate) -> Iterable[Finding]:
    """LoRA: one step moves the scores; saved, loaded on the base and merged, they stay where they are."""
    tuned = add_lora(candidate.model, rank=8, alpha=16, dropout=0.0)
    before = candidate.scores(tuned)
    with _training(candidate, tuned) as batch:
        optimizer = torch.optim.AdamW((p for p in tuned.parameters() if p.requires_grad), lr=1e-2)
        for _ in range(2):  # the first step moves only one of each pair of matrices, the other is still zero
            tuned(**batch).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    tuned.eval()
    yield from adapter_findings(candidate, tuned, before)


def adapter_findings(candidate: Candidate, tuned: Any, before: torch.Tensor) -> Iterator[Finding]:
    """What becomes of a trained adapter: what it holds, whether it loads on its base, whether it merges.

    Args:
        candidate: whose model was wrapped; `source` is the base.
        tuned: the `peft.PeftModel` in evaluation mode, in full weights; merged afterwards.
        before: scores before it was trained.
    """
    scores = candidate.scores(tuned)
    moved = float((scores - before).abs().max())
    trained = sum(parameter.numel() for parameter in tuned.parameters() if parameter.requires_grad)
    figure = f"{_count(trained)} parameters trained, scores moved by {moved:.1e}"
    passed = moved > _MOVED * candidate.model.score_space.width
    yield Finding("LoRA trains", passed, figure, "" if passed else "Look at lora_targets and lora_parts.")
    if candidate.full and candidate.source is not None:
        with tempfile.TemporaryDirectory() as folder:
            save(tuned, candidate.processor, folder)
            size = sum(file.stat().st_size for file in Path(folder).glob("*.safetensors"))
            again, processor = load(folder, device=tuned.device, dtype=tuned.dtype)
        collator = RocCollator(processor, again.declaration)
        loaded = one_forward(again, collator.scoring_batch(candidate.pictures)).scores
        finding = identical("adapter reloads", scores, loaded)
        yield finding._replace(figure=f"{finding.figure}, {size / 1e3:.0f} kB")
        del again
    else:
        reason = "it would read the weights again (--full)" if candidate.source else "MODEL is an adapter itself"
        yield Finding("adapter reloads", None, f"not made: {reason}")
    whole = candidate.scores(merged(tuned))
    yield candidate.same("adapter merges", scores, whole, "Keep the adapter apart from the base on this model.")


CHECKS: dict[str, Callable[[Candidate], Iterable[Finding]]] = {
    "chat template": check_template,
    "sees the picture": check_sight,
    "one forward = taught = generated": check_three_ways,
    "batch = one by one": check_batch,
    "padding": check_padding,
    "save and reload": check_reload,
    "gradient checkpointing": check_checkpointing,
    "gradients": check_gradients,
    "adapter": check_adapter,
}
"""In this order; the last one uses the model up."""

ADVICE = {
    "chat template": "Set a chat template that only appends turns (processor.chat_template) and save the processor.",
    "gradient checkpointing": "Leave gradient_checkpointing off for this model.",
    "gradients": "Full tuning would leave these as they are; LoRA (--tuning lora) does not need them.",
    "adapter": "Use --tuning full on this model.",
}
"""What to do where a check breaks."""


@contextlib.contextmanager
def _training(candidate: Candidate, model: Any = None) -> Iterator[dict[str, torch.Tensor]]:
    """Training mode with the same random numbers each time; gives a batch. Buffers (running means) are put back."""
    model = candidate.model if model is None else model
    kept = {name: buffer.clone() for name, buffer in model.named_buffers()}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model.train()
        try:
            yield to_model(model, candidate.collator(candidate.samples))
        finally:
            model.eval()
            with torch.no_grad():
                for name, buffer in model.named_buffers():
                    if name in kept and buffer.shape == kept[name].shape:
                        buffer.copy_(kept[name])


@contextlib.contextmanager
def _gradients(model: PreTrainedModel) -> Iterator[dict[str, torch.Tensor]]:
    """Norm and some thousand entries of every gradient of the backward passes inside; no gradient is kept whole."""
    seen: dict[str, torch.Tensor] = {}

    def note(name: str, parameter: nn.Parameter) -> None:
        gradient = parameter.grad.detach().float().flatten()
        sketch = torch.cat([gradient.norm()[None], gradient[:: max(1, len(gradient) // 4096)]]).cpu()
        seen[name] = seen[name] + sketch if name in seen else sketch
        parameter.grad = None

    handles = [
        parameter.register_post_accumulate_grad_hook(functools.partial(note, name))
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _training_pass(candidate: Candidate) -> tuple[float, dict[str, torch.Tensor], Counter]:
    """Loss, gradients and how often each linear layer ran."""
    calls: Counter = Counter()
    layers = [(name, module) for name, module in candidate.model.named_modules() if isinstance(module, nn.Linear)]
    handles = [module.register_forward_pre_hook(lambda *_, name=name: calls.update([name])) for name, module in layers]
    try:
        with _training(candidate) as batch, _gradients(candidate.model) as gradients:
            loss = candidate.model(**batch).loss
            loss.backward()
    finally:
        for handle in handles:
            handle.remove()
    return float(loss.detach()), gradients, calls


# --- what to set -----------------------------------------------------------------------------------------------------


def what_to_set(candidate: Candidate) -> dict[str, str]:
    """What the checks cannot fail on but a run has to know: `{name: text}`, to be printed line by line."""
    model, collator = candidate.model, candidate.collator
    sizes = {(640, 480): 0, (1920, 1440): 0}
    for size in sizes:
        sizes[size] = _picture_positions(collator, size)
    large = max(sizes)
    prompt = collator.scoring_batch([Image.new("RGB", large, "grey")])["input_ids"].shape[1]
    fit = picture_fit(collator)
    parts = parameter_parts(model)
    counts: Counter = Counter()
    for name, parameter in model.named_parameters():
        counts[parts[name]] += parameter.numel()
    layers = []
    for part in LORA_PARTS:
        with contextlib.suppress(ValueError):  # none there
            found = lora_targets(model, (part,))
            kinds = Counter(map(layer_kind, found))
            shown = ", ".join(kind for kind, _ in kinds.most_common(8)) + (", ..." if len(kinds) > 8 else "")
            layers.append(f"{part} {len(found)} ({shown})")
    return {
        "image tokens": ", ".join(f"{width} x {height} takes {n}" for (width, height), n in sizes.items()),
        "image_aspect_ratio": _ASPECT_ADVICE[fit],
        "model_max_length": f"at least {-(-(prompt + 32) // 64) * 64}, more with comments: question, picture of "
        f"{large[0]} x {large[1]} and answer take {prompt}",
        "parts": ", ".join(f"{part} {_count(counts[part])}" for part in PARTS if counts[part]),
        "lora_parts": "; ".join(layers),
        "attention": str(model.config._attn_implementation),
    }


_ASPECT_ADVICE = {
    "keeps": "keep: the processor keeps the shape of a picture",
    "pads": "keep: the processor pads every picture to one shape",
    "squeezes": "the processor squeezes every picture to one shape; pad keeps proportions, keep keeps resolution",
    "crops": "pad: the processor cuts off what does not fit its shape, so the borders would not be seen",
}


def picture_fit(collator: RocCollator) -> str:
    """What the processor does with a picture that has not its shape: "keeps", "pads", "squeezes" or "crops".

    Found out by showing it pictures: a wide and a tall one, one with a black edge, a white one.
    """

    def shown(size: tuple[int, int], edge: bool = False) -> dict[str, torch.Tensor]:
        picture = Image.new("RGB", size, "white")
        if edge:
            picture.paste("black", (0, 0, size[0] // 32, size[1]))
        batch = collator.prompt_batch([picture])
        return {key: value for key, value in batch.items() if torch.is_tensor(value)}

    wide, tall = shown((640, 320)), shown((320, 640))
    pixels = {key for key, value in wide.items() if value.is_floating_point()}
    if any(wide[key].shape != tall[key].shape for key in wide) or any(
        not torch.equal(wide[key], tall[key]) for key in wide.keys() - pixels
    ):
        return "keeps"
    edged = shown((640, 320), edge=True)
    if all(torch.equal(wide[key], edged[key]) for key in pixels):
        return "crops"
    # White alone becomes one value per channel, unless something was put around it.
    values = {len(wide[key].unique()) for key in pixels}
    return "pads" if max(values) > 3 else "squeezes"


def _picture_positions(collator: RocCollator, size: tuple[int, int]) -> int:
    """Positions of the prompt that stand for one picture, its marks included."""
    whole = collator.prompt_batch([Image.new("RGB", size, "grey")])["input_ids"].shape[1]
    prompt, mark = collator.prompt(collator.declaration.question), getattr(collator.processor, "image_token", None)
    if mark is None or mark in collator.tokenizer.get_vocab() or mark not in prompt:
        return whole - len(collator.tokenizer(prompt, add_special_tokens=False)["input_ids"]) + 1
    # The mark is no token: the processor cuts the text there and writes positions of its own.
    words = collator.tokenizer(prompt.split(mark), add_special_tokens=False)["input_ids"]
    return whole - sum(map(len, words)) - collator.tokenizer.num_special_tokens_to_add()


# --- the command -----------------------------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> int:
    """`roc doctor MODEL`.

    Args:
        argv: words after `roc doctor`; None takes those of the process.

    Returns:
        0 where every check passed, 1 where one failed or the model cannot carry the head, 2 for bad input.
    """
    words = [_dashed(word) for word in (sys.argv[1:] if argv is None else argv)]
    options = _parser().parse_args(words)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the libraries; what matters is among the findings
            if options.memory:
                check_exists(options.model)
                print(memory_table(read_config(options.model)))
                return 0
            if options.sensitivity is not None:
                return _print_sensitivity(options)
            return _print_findings(options)
    except Unsupported as error:
        print(f"The head does not fit {options.model}: {error}")
        return 1
    except (ValueError, OSError) as error:
        print(f"roc doctor: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="roc doctor",
        description="Tells whether the score head fits a model: loads it, attaches the head in memory, tries every "
        "promise with a figure each, and says what to set. Nothing is kept on disk.",
        epilog="example: roc doctor org/model          example: roc doctor checkpoints/demo --sensitivity photos/\n"
        "Exit status: 0 all passed, 1 a check failed or the head does not fit, 2 bad input.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("model", metavar="MODEL", help="folder or hub id: any model, or a checkpoint of roc")
    parser.add_argument("--full", action="store_true", help="also write and reload the weights of a large model")
    parser.add_argument("--device", help='"cpu", "cuda", ...; default: a GPU where there is one')
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16", "float16"),
        help="number format of the weights; default: float32, above 2 billion parameters the one they are saved in",
    )
    parser.add_argument(
        "--sensitivity",
        nargs="*",
        metavar="IMAGES",
        help="how far a trained score moves when these pictures (files or folders; none: drawn scenes) are resized, "
        "squeezed, cropped, padded, compressed",
    )
    parser.add_argument("--memory", action="store_true", help="what training takes; reads no weights")
    return parser


def _print_findings(options: argparse.Namespace) -> int:
    start = time.perf_counter()
    candidate = admit(options.model, device=options.device, dtype=options.dtype, full=options.full or None)
    print(options.model)
    for finding in examine(candidate):
        print(line(finding), flush=True)
    print("\nwhat to set")
    for name, text in candidate.notes.items():
        print(f"  {name:<19} {text}")
    failed = [finding.name for finding in candidate.findings if finding.passed is False]
    verdict = f"failed: {', '.join(failed)}" if failed else "The head fits."
    print(f"\n{verdict} ({time.perf_counter() - start:.0f} s)")
    return 1 if failed else 0


def line(finding: Finding) -> str:
    """A finding as it is printed."""
    mark = {True: "ok", False: "FAILED", None: "-"}[finding.passed]
    text = f"  {mark:<7} {finding.name:<32}  {finding.figure}"
    return f"{text}\n{'':10}{finding.advice}" if finding.advice else text


def _print_sensitivity(options: argparse.Namespace) -> int:
    pictures = [open_image(path) for path in _files(options.sensitivity)]
    kind = "pictures"
    if not options.sensitivity:
        pictures, kind = [render_scene(index, seed=1, size=128).image for index in range(24)], "drawn scenes"
    model, processor = load(options.model, device=options.device or _best_device(), dtype=options.dtype)
    shifts = sensitivity(model, RocCollator(processor, model.declaration), pictures)
    low, high = model.score_space.range
    print(f"{options.model}: {model.declaration.attributes[0]} on {low:g}..{high:g}, {len(pictures)} {kind}\n")
    print(shift_table(shifts))
    print("\nChange of the score, mean and largest; spread: the standard deviation of the unchanged scores.")
    return 0


def _files(paths: Sequence[str]) -> list[str]:
    """The given files, and the pictures in the given folders by name."""
    known = Image.registered_extensions()
    files = []
    for path in paths:
        if os.path.isdir(path):
            inside = sorted(entry.path for entry in os.scandir(path) if Path(entry.name).suffix.lower() in known)
            if not inside:
                raise ValueError(f"{path} holds no picture")
            files.extend(inside)
        else:
            files.append(path)
    return files


def _best_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _dashed(word: str) -> str:
    """A flag with `-` for `_`."""
    return word.replace("_", "-") if word.startswith("--") else word


def _count(number: int) -> str:
    """A number of parameters for reading: 812, 65 k, 7.1 M, 8.3 B."""
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.2g} {unit}" if number < 10 * size else f"{number / size:.0f} {unit}"
    return str(number)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
