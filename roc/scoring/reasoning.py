"""Critiques of a model that reasons: written in batches, each with the score that the head reads in its answer.

`write_answers` generates one answer for each row of a batch of questions. `reason` does so several times over, and once
more for answers that cannot be read. The entropy of the model's choices is measured on the way where it is asked for.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from transformers import LogitsProcessor, LogitsProcessorList

from roc.model.head import LevelReading, read_levels
from roc.model.reasoned import GOOD, read_answer
from roc.scoring.one_forward import to_model
from roc.scoring.results import Reasoned, Score

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TEMPERATURE = 0.6
"""Temperature of several answers for one image, the published one for inference; 1 is the model's own distribution."""


@dataclass(frozen=True)
class Sampling:
    """How answers are written.

    Attributes:
        samples: Answers for each image. A single one takes the likeliest token each time, unless `greedy` is False.
        temperature: Of what is sampled, above 0.
        max_new_tokens: Longest answer.
        seed: Of the sampling; the same images in the same batches then give the same texts. None draws on.
        retries: How often an answer that cannot be read is written anew, sampled.
        greedy: Whether a single answer takes the likeliest tokens.
    """

    samples: int = 1
    temperature: float = TEMPERATURE
    max_new_tokens: int = 512
    seed: int | None = 0
    retries: int = 1
    greedy: bool = True

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ValueError(f"samples is {self.samples}; expected at least 1 answer for each image")
        if not self.temperature > 0:
            raise ValueError(f"temperature is {self.temperature}; expected a number above 0")
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens is {self.max_new_tokens}; expected at least 1")

    @property
    def is_greedy(self) -> bool:
        """Whether the first answers take the likeliest tokens."""
        return self.samples == 1 and self.greedy


class TokenEntropy(LogitsProcessor):
    """Sums up the entropy of every choice of a generation, over the whole vocabulary and without a temperature.

    Attributes:
        steps: For each step the entropies (B,) in nats; choices after the end of an answer are among them.
    """

    def __init__(self) -> None:
        self.steps: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self.steps.append(torch.special.entr(scores.float().softmax(dim=-1)).sum(dim=-1))
        return scores

    def summed(self, lengths: Sequence[int]) -> tuple[float, int]:
        """Gives (sum of the entropies, number of choices) over answers of these lengths, their ends included."""
        table = torch.stack(self.steps, dim=1)  # (B, S)
        written = (
            torch.arange(table.shape[1], device=table.device) < torch.tensor(lengths, device=table.device)[:, None]
        )
        return float(table[written].double().sum()), int(written.sum())


@dataclass(frozen=True)
class WrittenAnswer:
    """One answer as it was generated.

    Attributes:
        text: Without the marks that end it.
        critique: The words before the score.
        kind: "good", or what is wrong (`roc.model.reasoned.WRONG`).
        reading: The score at its `[SCORE]`, float32 on the CPU; None where the answer is not good.
        tokens: Length, its end included.
    """

    text: str
    critique: str
    kind: str
    reading: LevelReading | None
    tokens: int


def write_answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    batch: dict[str, torch.Tensor],
    *,
    max_new_tokens: int,
    temperature: float | None = None,
    entropy: TokenEntropy | None = None,
) -> list[WrittenAnswer]:
    """Generates one answer for each row of a batch.

    Args:
        model: Carries the head and declares that it reasons; in evaluation mode.
        tokenizer: The model's.
        batch: What `RocCollator.prompt_batch` gives.
        max_new_tokens: Longest answer.
        temperature: None takes the likeliest tokens; above 0 samples from the whole vocabulary.
        entropy: Takes the entropies of the choices.
    """
    # Some checkpoints of others bring a penalty along; it would change the choices that were taught, and their entropy.
    settings: dict[str, Any] = {"do_sample": False, "repetition_penalty": 1.0}
    if temperature is not None:
        settings |= {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
    if entropy is not None:
        settings["logits_processor"] = LogitsProcessorList([entropy])
    with torch.no_grad():  # no inference mode: a model in training may keep what it computes
        found = model.generate_with_scores(**to_model(model, batch), max_new_tokens=max_new_tokens, **settings)
    ends = _ends(model, tokenizer)
    levels, token = model.score_levels(), model.declaration.token
    answers = []
    for ids, logits in zip(found.sequences.tolist(), found.score_logits, strict=True):
        end = next((i for i, one in enumerate(ids) if one in ends), None)
        text = tokenizer.decode(ids if end is None else ids[:end], skip_special_tokens=True).strip()
        answer = read_answer(text, cut=end is None, token=token)
        kind = answer.kind
        if kind == GOOD and len(logits) != 1:  # the mark was spelt in letters, where the head reads nothing
            kind = "no_score"
        reading = None
        if kind == GOOD:
            reading = LevelReading(*(part[0] for part in read_levels(logits.float().cpu(), levels)))
        answers.append(WrittenAnswer(text, answer.critique, kind, reading, len(ids) if end is None else end + 1))
    return answers


def _ends(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Finds the tokens that end an answer."""
    declared = model.generation_config.eos_token_id
    ends = declared if isinstance(declared, list) else [declared]
    return {one for one in (*ends, tokenizer.eos_token_id) if one is not None}


def reason(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    make_batch: Callable[[Sequence[int]], dict[str, torch.Tensor]],
    count: int,
    sampling: Sampling,
) -> list[tuple[Reasoned, ...]]:
    """Has a model reason about images: several answers for each, and another try for those that cannot be read.

    Args:
        model, tokenizer: As for `write_answers`.
        make_batch: Gives the questions about the images of these indices, as `RocCollator.prompt_batch` does.
        count: Number of images.
        sampling: How answers are written.

    Returns:
        For each image its `sampling.samples` answers.

    Raises:
        ValueError: The model does not reason.
    """
    if not model.declaration.reasons:
        raise ValueError("this checkpoint does not reason: its declaration names no question that asks for a critique")
    answers: list[list[Reasoned]] = [[] for _ in range(count)]
    options = {"max_new_tokens": sampling.max_new_tokens}
    everything = list(range(count))
    with seeded(model, sampling.seed):
        # One answer of each image at a time, so that a batch is as large as for one answer.
        for _ in range(sampling.samples):
            batch = make_batch(everything)
            temperature = None if sampling.is_greedy else sampling.temperature
            written = write_answers(model, tokenizer, batch, temperature=temperature, **options)
            drawn = [_reasoned(model, one) for one in written]
            for _ in range(sampling.retries):
                bad = [i for i in everything if drawn[i].score is None]
                if not bad:
                    break
                again = write_answers(model, tokenizer, make_batch(bad), temperature=sampling.temperature, **options)
                for i, one in zip(bad, again, strict=True):
                    drawn[i] = replace(_reasoned(model, one), first_kind=drawn[i].first_kind or drawn[i].kind)
            for i, one in enumerate(drawn):
                answers[i].append(one)
    return [tuple(few) for few in answers]


@contextlib.contextmanager
def seeded(model: PreTrainedModel, seed: int | None) -> Iterator[None]:
    """Starts sampling from a seed inside the block, and leaves the generators of random numbers as they were.

    With None, nothing is done.
    """
    if seed is None:
        yield
        return
    with torch.random.fork_rng([model.device] if model.device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _reasoned(model: PreTrainedModel, written: WrittenAnswer) -> Reasoned:
    declared, score = model.declaration, None
    if written.reading is not None:
        score = Score.from_reading(written.reading, declared, declared.attributes[0], one_pass=False)
    return Reasoned(written.text, written.critique, written.kind, score)
