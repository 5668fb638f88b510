"""The checks of gradients: which parameters they reach, and whether checkpointing changes them."""

from __future__ import annotations

import contextlib
import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from roc.doctor.advice import ADVICE
from roc.doctor.candidate import FULL_PRECISION, Candidate, Finding, first_line
from roc.model.parts import parameter_parts
from roc.scoring.one_forward import to_model


def check_checkpointing(candidate: Candidate) -> Iterable[Finding]:
    """Checks that gradient checkpointing recomputes layers and changes neither loss nor gradients."""
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
        yield Finding(name, None, f"fails: {type(error).__name__}: {first_line(error)}", ADVICE[name])
        return
    finally:
        disable()
        model.disable_input_require_grads()  # `enable` switched it on
    recomputed = sum(calls_again[module] > count for module, count in calls.items())
    if gradients.keys() != gradients_again.keys():
        lost = sorted(gradients.keys() - gradients_again.keys())
        yield Finding(name, False, f"{len(lost)} parameters lose their gradient, {lost[:2]}", ADVICE[name])
        return
    # Relative to the largest gradient of the model: a tensor of zeros has no scale of its own.
    scale = max(float(sketch.abs().max()) for sketch in gradients.values())
    apart = max(float((gradients[key] - gradients_again[key]).abs().max()) for key in gradients) / scale
    off = abs(loss - loss_again)
    exact = model.dtype in FULL_PRECISION
    passed = bool(recomputed) and off <= (1e-5 if exact else 0.05) and apart <= (1e-5 if exact else 0.05)
    figure = f"loss {off:.0e}, gradients {apart:.0e} apart; {recomputed} linear layers recomputed"
    yield Finding(name, passed, figure, "" if passed else ADVICE[name], max(off, apart))


def check_gradients(candidate: Candidate) -> Iterable[Finding]:
    """Checks that every parameter is trained, but the vocabulary not by the score loss and the head not by the text."""
    model = candidate.model
    parts = parameter_parts(model)
    with training_batch(candidate) as batch:
        outputs = model(**batch)
        with _gradients(model) as of_text:
            if outputs.text_loss is not None:
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
    untrained = sorted(set(parts.values()) - {parts[name] for name in trained})
    coded = [part for part in untrained if _gives_codes(candidate, [named[n] for n in parts if parts[n] == part])]
    # Layers of a vision tower behind the one whose output is used get no gradient; that is no fault. Nor is it if no
    # value of a parameter changes what the model computes from images and text.
    lost = [name for name in unused if parts[name] not in ("vision", *coded)]
    idle = _without_effect(candidate, [named[name] for name in lost]) if lost else set()
    lost = [name for name in lost if id(named[name]) not in idle]
    if outputs.text_loss is None:  # nor does a vocabulary that no words are taught to
        lost = [name for name in lost if named[name] is not vocabulary]
    if lost:
        faults.append(f"{len(lost)} parameters get no gradient, {lost[:2]}")
    if coded:
        candidate.notes["codes"] = (
            f"no gradient reaches {', '.join(coded)} by design: pictures become codes of a fixed book, and training "
            "changes what the language model makes of them"
        )
    missed = [part for part in untrained if part not in coded]
    if missed:
        faults.append(f"no gradient reaches {', '.join(missed)}")
    if unused and not lost:
        candidate.notes["unused"] = f"{len(unused)} tensors get no gradient and stay as they are, such as {unused[-1]}"
    figure = f"{len(reached)} of {len(parts)} tensors reached" + (f", {len(unused)} unused" if unused else "")
    yield Finding("gradients", not faults, "; ".join(faults) or figure, ADVICE["gradients"] if faults else "")


@torch.no_grad()
def _without_effect(candidate: Candidate, parameters: list[nn.Parameter]) -> set[int]:
    """Finds the parameters that no gradient can reach by design, by their `id`.

    These are parts that scoring does not run (the generation of images), or that choose among parts and enter no
    product (the indexer of sparse attention): a small step in any direction leaves the scores as they are, to the bit.
    """
    idle = set()
    reference = candidate.scores()
    for parameter in parameters:
        kept = parameter.clone()
        # Relative to each weight, so that no choice among parts is turned over.
        parameter.mul_(1 + 1e-3 * torch.rand_like(parameter.float()).to(parameter.dtype))
        parameter.add_(1e-5 * (parameter == 0))
        try:
            if torch.equal(candidate.scores(), reference):
                idle.add(id(parameter))
        finally:
            parameter.copy_(kept)
    return idle


def _nudged(value: torch.Tensor, by: float) -> torch.Tensor:
    """Moves each weight by about the share `by` of itself."""
    return value * (1 + by * torch.randn_like(value))


@torch.no_grad()
def _gives_codes(candidate: Candidate, parameters: list[nn.Parameter]) -> bool:
    """Tells whether a part hands on choices from a codebook, through which no gradient passes.

    Then a step so small that no choice is turned over leaves the scores as they are, to the bit; in any other part it
    changes them. A part that nothing depends on gives no codes: setting it to zero changes nothing either.
    """
    reference, kept = candidate.scores(), [parameter.clone() for parameter in parameters]

    def unchanged(step: Callable[[torch.Tensor], torch.Tensor]) -> bool:
        for parameter, value in zip(parameters, kept, strict=True):
            parameter.copy_(step(value))
        return torch.equal(candidate.scores(), reference)

    try:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            # The second step is for codes that lie at the border of two choices.
            steps = (functools.partial(_nudged, by=by) for by in (1e-4, 1e-5))
            still = any(map(unchanged, steps))
        return still and not unchanged(torch.zeros_like)
    finally:
        for parameter, value in zip(parameters, kept, strict=True):
            parameter.copy_(value)


@contextlib.contextmanager
def training_batch(candidate: Candidate, model: Any = None) -> Iterator[dict[str, torch.Tensor]]:
    """Sets training mode with fixed random numbers, gives a batch, and restores buffers (running means) at the end."""
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
    """Collects the norm and some thousand entries of every gradient in the block; no gradient is kept whole."""
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
    """Makes one training pass; returns loss, gradients and how often each linear layer ran."""
    calls: Counter = Counter()
    layers = [(name, module) for name, module in candidate.model.named_modules() if isinstance(module, nn.Linear)]
    handles = [module.register_forward_pre_hook(lambda *_, name=name: calls.update([name])) for name, module in layers]
    try:
        with training_batch(candidate) as batch, _gradients(candidate.model) as gradients:
            loss = candidate.model(**batch).loss
            loss.backward()
    finally:
        for handle in handles:
            handle.remove()
    return float(loss.detach()), gradients, calls
