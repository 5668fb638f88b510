"""The checks: every promise of roc, tried on one model and its processor.

Each check is a function that takes the `Candidate` and yields findings with a figure.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn
from transformers import AutoModelForImageTextToText

from roc.checkpoint.folder import load, save
from roc.doctor.advice import ADVICE, what_to_set
from roc.doctor.candidate import MOVED, Candidate, Finding, count_text, first_line
from roc.doctor.dependence import picture_findings
from roc.doctor.gradients import check_checkpointing, check_gradients, training_batch
from roc.model.adapters import add_lora, merged
from roc.model.collator import RocCollator
from roc.model.extensions import extensions_of, trials
from roc.model.families import family
from roc.model.head import read_levels
from roc.model.losses import IGNORE_INDEX
from roc.model.positions import per_token
from roc.scoring.one_forward import one_forward, to_model


def examine(candidate: Candidate) -> Iterator[Finding]:
    """Makes every check, one after the other, and yields its findings, which the candidate keeps as well.

    A check that raises becomes a failed finding whose figure is the error. The last check puts an adapter on the model
    and merges it, so the model has changed afterwards.
    """
    yield from candidate.findings
    candidate.notes |= what_to_set(candidate)
    for name, check in CHECKS.items():
        try:
            findings = list(check(candidate))
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            findings = [Finding(name, False, reason, _advice(name, candidate))]
        candidate.findings.extend(findings)
        yield from findings


def _advice(name: str, candidate: Candidate) -> str:
    """Says what to do about a check that raised an error."""
    unsaved = any(finding.name == "save and reload" and finding.passed is False for finding in candidate.findings)
    if name == "adapter" and unsaved:
        return "Look at save and reload first: the model cannot be saved with any tuning."
    return ADVICE.get(name, "")


def check_template(candidate: Candidate) -> Iterable[Finding]:
    """Checks what training learns from one rated picture, and that its last token is one that ends a generation."""
    model, tokenizer = candidate.model, candidate.processor.tokenizer
    batch = candidate.collator(candidate.samples[:1])
    learned = batch["labels"][0][batch["labels"][0] != IGNORE_INDEX]
    text = tokenizer.decode(learned)
    expected = model.declaration.answer
    candidate.notes["learns"] = repr(text)
    last = tokenizer.decode(learned[-1:])
    figure = f"{len(learned)} of {batch['labels'].shape[1]} tokens are learned, the last is {last!r}"
    if not text.lstrip().startswith(expected):
        yield Finding("chat template", False, f"learns {text!r}", f"Expected it to begin with {expected!r}.")
        return
    ends = model.generation_config.eos_token_id
    ends = {ends} if isinstance(ends, int) else set(ends or ())
    advice = ""
    if int(learned[-1]) not in ends:
        names = ", ".join(repr(tokenizer.decode([end])) for end in sorted(ends)) or "no token"
        advice = f"Generation stops at {names}: add {int(learned[-1])} to eos_token_id in generation_config.json."
    yield Finding("chat template", not advice, figure, advice)


def check_sight(candidate: Candidate) -> Iterable[Finding]:
    """Checks that two pictures of one shape get different scores, so that the picture reaches the head."""
    scores = candidate.scores()
    apart = float(candidate.apart(scores[0], scores[2]).max())
    passed = apart > MOVED * candidate.model.score_space.width
    advice = "" if passed else "The picture hardly reaches the score; look at the image tokens of the prompt."
    yield Finding("sees the picture", passed, f"two pictures {apart:.1e} apart", advice)
    yield from picture_findings(candidate)


def check_three_ways(candidate: Candidate) -> Iterable[Finding]:
    """Compares the scores of one forward pass, of a teacher-forced training batch and of a generated answer.

    Training and generation see pictures as they are, so no mirror image is read here.
    """
    model, collator = candidate.model, candidate.collator
    fast = candidate.scores(with_mirror=False)
    with torch.inference_mode():
        forced = model(**to_model(model, collator(candidate.samples))).scores.float().cpu()
        generated = _generated(candidate)
    apart = (
        torch.stack([candidate.apart(fast[:2], other) for other in (forced, generated)]).flatten(1).max(dim=1).values
    )
    passed = bool((apart <= candidate.tolerance).all())
    figure = f"teacher-forced {apart[0]:.1e}, generated {apart[1]:.1e} apart (limit {candidate.tolerance:.0e})"
    advice = "" if passed else "roc score and roc finetune would disagree on this model. Please report it."
    yield Finding("scoring = training = generation", passed, figure, advice, float(apart.max()))


def _generated(candidate: Candidate) -> torch.Tensor:
    """Reads (2, K) scores while the model generates; generation is constrained to the answer."""
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
        raise RuntimeError("generation did not follow the prescribed answer")
    logits = torch.stack(written.score_logits).float().cpu()
    return read_levels(logits, model.levels_at(range(logits.shape[1]))).scores


def check_batch(candidate: Candidate) -> Iterable[Finding]:
    """Checks that the score of a picture does not depend on the rest of the batch."""

    def scored(pictures: Sequence[Image.Image]) -> torch.Tensor:
        return one_forward(candidate.model, candidate.collator.scoring_batch(pictures)).scores

    name, pictures, alike = "batch = one by one", candidate.pictures, candidate.pictures[::2]
    alone = torch.cat([scored([picture]) for picture in pictures])
    of_one_size = candidate.same(name, scored(alike), alone[::2], "Score with batch size 1.")
    if family(candidate.model.config.model_type).one_size:
        candidate.notes["sizes"] = "pictures of another size change a score, so roc scores each size by itself"
        yield of_one_size
        return
    finding = candidate.same(name, candidate.scores(), alone, "Score with batch size 1.")
    if not finding.passed and of_one_size.passed:
        finding = finding._replace(advice=_ONE_SIZE)
    yield finding


def check_padding(candidate: Candidate) -> Iterable[Finding]:
    """Checks that padding on the left or right does not change the score."""
    model, batch = candidate.model, candidate.collator.scoring_batch(candidate.pictures[:1])
    reference = one_forward(model, batch).scores
    for side in ("right", "left"):
        scores = one_forward(model, _padded(batch, 5, side, candidate.processor.tokenizer.pad_token_id or 0)).scores
        advice = "Train and score with batch size 1." if side == "right" else "Generate one answer at a time."
        yield candidate.same(f"padding on the {side}", reference, scores, advice)


def _padded(batch: dict[str, torch.Tensor], count: int, side: str, pad_id: int) -> dict[str, torch.Tensor]:
    """Adds `count` positions of padding to a batch."""
    around = (0, count) if side == "right" else (count, 0)
    padded = dict(batch)
    for key in per_token(batch):
        value, fill = batch[key], pad_id if key == "input_ids" else 0
        # torch counts dimensions from the last; the tokens are the second from the front.
        padded[key] = nn.functional.pad(value, (0, 0) * (value.ndim - 2) + around, value=fill)
    return padded


def check_reload(candidate: Candidate) -> Iterable[Finding]:
    """Saves and loads: scores must stay the same to the last bit, and a stock AutoModel must give the old logits."""
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
        yield _reloaded(names[0], model, again, before, after)
        del again
        stock, info = AutoModelForImageTextToText.from_pretrained(folder, dtype=model.dtype, output_loading_info=True)
    left = set(info["unexpected_keys"]) - {"score_head.weight"}
    wrong = [*info["missing_keys"], *info["mismatched_keys"], *left]
    with torch.inference_mode():
        finding = identical(names[1], logits, stock.to(device).eval()(**prompt).logits)
    # Another class may multiply in other blocks, so the last bit may differ.
    if not finding.passed and finding.apart <= _rounding(logits):
        finding = finding._replace(passed=True, advice="")
    if wrong or type(stock) is not type(model).roc_base_class:
        figure = f"{type(stock).__name__}: {len(wrong)} keys do not fit, {wrong[:3]}"
        yield Finding(names[1], False, figure, finding.advice)
    else:
        yield finding


def _reloaded(name: str, model: nn.Module, again: nn.Module, before: torch.Tensor, after: torch.Tensor) -> Finding:
    """Compares scores and weights of a model and of the one that was loaded again.

    Convolutions may add in another order where weights lie elsewhere in memory; then the scores differ by rounding
    although every weight is equal to the last bit.
    """
    finding, weights = identical(name, before, after), again.state_dict()
    if not finding.passed and finding.apart <= _rounding(before):
        own = model.state_dict()
        if own.keys() == weights.keys() and all(torch.equal(value, weights[key]) for key, value in own.items()):
            figure = f"weights bit-identical, scores {finding.apart:.1e} apart"
            return finding._replace(passed=True, advice="", figure=figure)
    return finding


def _rounding(values: torch.Tensor) -> float:
    """Gives the difference that rounding may make."""
    return 16 * torch.finfo(values.dtype).eps * float(values.abs().max())


def identical(name: str, before: torch.Tensor, after: torch.Tensor) -> Finding:
    """Compares two tensors, which should be equal to the last bit."""
    if torch.equal(before, after):
        return Finding(name, True, "bit-identical", apart=0.0)
    apart = float((before - after).abs().max())
    advice = "A saved checkpoint would differ from the trained model."
    return Finding(name, False, f"{apart:.1e} apart", advice, apart)


def check_extensions(candidate: Candidate) -> Iterable[Finding]:
    """Checks whether what methods add beside the head can join the model, and that it changes no score untrained.

    A model that cannot have it carries the head all the same, so that is told and no fault.
    """
    model, there = candidate.model, extensions_of(candidate.model)
    for name, on_trial in trials().items():
        title = f"roc {name}"
        if name in there:
            yield Finding(title, True, "the checkpoint has its parts")
            continue
        before = candidate.scores()
        try:
            with on_trial(model, candidate.processor) as place:
                after = candidate.scores()
        except Exception as error:  # a family may do anything with pixels that it does not expect
            kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
            yield Finding(title, None, f"cannot join: {kind}{first_line(error)}")
            continue
        finding = candidate.same(title, before, after, "Please report it: what is untrained must not change a score.")
        yield finding._replace(figure=f"can join {place}; scores {finding.figure}")


def check_adapter(candidate: Candidate) -> Iterable[Finding]:
    """Trains LoRA for two steps, which must move the scores, then saves, loads and merges it, which must not."""
    if not candidate.model.can_generate():
        yield Finding("LoRA trains", None, "not made: PEFT adapts models that generate", ADVICE["adapter"])
        return
    tuned = add_lora(candidate.model, rank=8, alpha=16, dropout=0.0)
    before = candidate.scores(tuned)
    with training_batch(candidate, tuned) as batch:
        optimizer = torch.optim.AdamW((p for p in tuned.parameters() if p.requires_grad), lr=1e-2)
        for _ in range(2):  # B starts at zero, so A gets its first gradient in the second step
            tuned(**batch).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    tuned.eval()
    yield from adapter_findings(candidate, tuned, before)


def adapter_findings(candidate: Candidate, tuned: Any, before: torch.Tensor) -> Iterator[Finding]:
    """Checks a trained adapter: that it moves the scores, loads on its base, and merges.

    Args:
        candidate: The candidate whose model was wrapped; its `source` is the base.
        tuned: The `peft.PeftModel` in evaluation mode, not quantised; it is merged afterwards.
        before: (3, K) scores before training.
    """
    scores = candidate.scores(tuned)
    moved = float(candidate.apart(scores, before).max())
    trained = sum(parameter.numel() for parameter in tuned.parameters() if parameter.requires_grad)
    figure = f"{count_text(trained)} parameters trained, scores moved by {moved:.1e}"
    passed = moved > MOVED * candidate.model.score_space.width
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
        reason = "it would read the weights again (--full)" if candidate.source else "the model is an adapter itself"
        yield Finding("adapter reloads", None, f"not made: {reason}")
    whole = candidate.scores(merged(tuned))
    yield candidate.same("adapter merges", scores, whole, "Do not merge adapters of this model.")


CHECKS: dict[str, Callable[[Candidate], Iterable[Finding]]] = {
    "chat template": check_template,
    "sees the picture": check_sight,
    "scoring = training = generation": check_three_ways,
    "batch = one by one": check_batch,
    "padding": check_padding,
    "save and reload": check_reload,
    "gradient checkpointing": check_checkpointing,
    "gradients": check_gradients,
    "extensions": check_extensions,
    "adapter": check_adapter,
}
"""Checks by name, in their order; the last one changes the model."""

_ONE_SIZE = (
    "Pictures of one size agree: others are padded to the largest of a batch, and the model sees that. Score with "
    "--batch_size 1, train with --per_device_train_batch_size 1, or give pictures of one size."
)
