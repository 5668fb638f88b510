"""Seven ways of teaching a score: what stands in the answer, what the losses use, and how the answer is read.

All of them answer with the same sentence, "The aesthetic rate of the image is ...", and differ in what follows "is":

    digits     6.4       the number, as text; read by parsing what the model writes
    words      good      one of five level words; read as the mean over the five words' probabilities (Q-Align)
    coupled    (S6)      one of N level tokens, which are words of the vocabulary; the mean over their probabilities is
                         also held against the score (regression inside the text loss, without decoupling)
    l1 ...     [SCORE]   ours: a position token, and a head beside the vocabulary

They share one network: `roc.attach` has been called on every model, and an arm that does not use `[SCORE]` and the head
leaves them idle (they then get no gradient but that of a word that never occurs). The weight of every loss is 1.

The same rule of reading holds for all: the model writes its answer, greedily. If the answer begins as it was taught and
a score stands where one belongs, that is read; otherwise the picture is unscored. Nothing is guessed.

As in Q-Align, a score becomes the word of its fifth of the range, and the five probabilities become a score through
five values spread evenly over the whole range, ends included. The two do not fit together exactly: a picture that is
surely "excellent" gets the top of the range, where the middle of the top fifth was meant. Correlations do not see this,
MAE does; `Words.middles` is the reading that fits.
"""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

import torch
from PIL import Image
from transformers import PreTrainedModel, ProcessorMixin

from roc.data.records import Record
from roc.model.collator import RocCollator
from roc.model.head import read_levels
from roc.model.losses import IGNORE_INDEX, smooth_l1
from roc.model.vocabulary import mean_row
from roc.prompts import IMAGE_PLACEHOLDER, SCORE_TOKEN, answer, question
from roc.score_space import ScoreSpace

SENTENCE = answer()
"""The answer that every arm teaches, `[SCORE]` standing where its score does."""

WORDS = ("bad", "poor", "fair", "good", "excellent")
"""The five levels, lowest first."""

# Tokens a model may write beyond the longest taught answer before it is stopped.
_SPARE_TOKENS = 4


@dataclasses.dataclass(frozen=True)
class Arm:
    """One way of teaching a score.

    Attributes:
        title: Its name in the table.
        weights: `l1_weight, ce_weight, emd_weight` above 0.
    """

    title: str
    weights: dict[str, float] = dataclasses.field(default_factory=dict)

    @property
    def needs_histograms(self) -> bool:
        """Whether a loss uses the votes, not only their mean."""
        return bool({"ce_weight", "emd_weight"} & set(self.weights))

    def texts(self, space: ScoreSpace) -> list[str]:
        """Lists all texts that can stand for a score in an answer; of digits only the longest."""
        raise NotImplementedError

    def text(self, score: float, space: ScoreSpace) -> str:
        """Writes the text that stands for this score in the answer."""
        raise NotImplementedError

    def prepare(self, model: PreTrainedModel, processor: ProcessorMixin) -> None:
        """Adds what the model needs beyond `[SCORE]` and the head."""

    def taught(self, record: Record, space: ScoreSpace, with_comments: bool) -> Record:
        """Makes the record that this arm is trained on: its question, its answer and the scores its losses use."""
        words = SENTENCE.replace(SCORE_TOKEN, self.text(record.scores["overall"], space))
        if with_comments and record.comment:
            words = f"{words} {record.comment.strip()}"
        turns = (("user", IMAGE_PLACEHOLDER + question()), ("assistant", words))
        return dataclasses.replace(record, scores={}, histograms={}, conversations=turns)

    def read(self, model: PreTrainedModel, collator: RocCollator, pictures: list[Image.Image]) -> list[float | None]:
        """Scores pictures from the answers that the model writes, native scale; None where an answer holds none."""
        raise NotImplementedError


class Digits(Arm):
    """The score as a number in the text, nothing else: a plain language model."""

    def texts(self, space: ScoreSpace) -> list[str]:
        return [self.text(score, space) for score in space.range]

    def text(self, score: float, space: ScoreSpace) -> str:
        return f"{score:.{decimals(space)}f}"

    def read(self, model: PreTrainedModel, collator: RocCollator, pictures: list[Image.Image]) -> list[float | None]:
        written, _ = _generate(self, model, collator, pictures)
        texts = collator.tokenizer.batch_decode(written, skip_special_tokens=True)
        return [parse_digits(text, model.score_space) for text in texts]


class Words(Arm):
    """Five level words, read by their probabilities."""

    def texts(self, space: ScoreSpace) -> list[str]:
        return list(WORDS)

    def text(self, score: float, space: ScoreSpace) -> str:
        # Rounded, or 2.8 of 1..10, where the first fifth ends, would be on either side of the border by chance.
        fifth = math.ceil(round(5 * (score - space.min_score) / space.width, 9)) - 1
        return WORDS[min(max(fifth, 0), 4)]

    def read(self, model: PreTrainedModel, collator: RocCollator, pictures: list[Image.Image]) -> list[float | None]:
        space = model.score_space
        return _read_vocabulary(self, model, collator, pictures, ScoreSpace(*space.range, len(WORDS)).levels)

    @staticmethod
    def middles(scores: list[float | None], space: ScoreSpace) -> list[float | None]:
        """Converts scores of `read` to those with each word standing for the middle of its fifth, not an even step."""
        return [None if score is None else space.midpoint + 0.8 * (score - space.midpoint) for score in scores]


class Coupled(Arm):
    """Levels are words of the vocabulary, and the answer's next word is one of them (Eq. 3 of the paper)."""

    def texts(self, space: ScoreSpace) -> list[str]:
        return [f"(S{level})" for level in range(1, space.num_levels + 1)]

    def text(self, score: float, space: ScoreSpace) -> str:
        nearest = min(range(space.num_levels), key=lambda n: abs(space.levels[n] - score))
        return self.texts(space)[nearest]

    @torch.no_grad()
    def prepare(self, model: PreTrainedModel, processor: ProcessorMixin) -> None:
        """Adds N words, each the mean of the old ones, which is how the published score tokens start."""
        names = self.texts(model.score_space)
        processor.tokenizer.add_tokens(names)
        ids = processor.tokenizer.convert_tokens_to_ids(names)
        # The rows may be there already: some vocabularies are padded.
        rows = max(max(ids) + 1, model.get_input_embeddings().num_embeddings)
        model.resize_token_embeddings(rows, mean_resizing=False)
        for weight in (model.get_input_embeddings().weight, model.get_output_embeddings().weight):
            weight[ids] = mean_row(weight[: min(ids)])
        model.level_ids = torch.tensor(ids)
        model.__class__ = type(type(model).__name__, (_RegressionOnWords, type(model)), {})

    def taught(self, record: Record, space: ScoreSpace, with_comments: bool) -> Record:
        taught = super().taught(record, space, with_comments)
        return dataclasses.replace(taught, scores={"overall": record.scores["overall"]})

    def read(self, model: PreTrainedModel, collator: RocCollator, pictures: list[Image.Image]) -> list[float | None]:
        return _read_vocabulary(self, model, collator, pictures, model.score_space.levels)


class Ours(Arm):
    """A position token in the text and a head beside the vocabulary: the package, as it is."""

    def texts(self, space: ScoreSpace) -> list[str]:
        return [SCORE_TOKEN]

    def text(self, score: float, space: ScoreSpace) -> str:
        return SCORE_TOKEN

    def taught(self, record: Record, space: ScoreSpace, with_comments: bool) -> Record:
        return dataclasses.replace(
            record,
            scores={"overall": record.scores["overall"]},
            comment=record.comment if with_comments else None,
            conversations=None,
        )

    def read(self, model: PreTrainedModel, collator: RocCollator, pictures: list[Image.Image]) -> list[float | None]:
        taught = collator.tokenize_answer(SENTENCE)
        step = taught.index(model.declaration.token_id)
        batch = collator.prompt_batch(pictures)
        with torch.inference_mode():
            written = model.generate_with_scores(**batch, max_new_tokens=len(taught) + _SPARE_TOKENS, do_sample=False)
        scores: list[float | None] = []
        for row, logits in zip(written.sequences.tolist(), written.score_logits, strict=True):
            complete = row[: step + 1] == taught[: step + 1]
            scores.append(float(read_levels(logits[0], model.score_levels()).scores) if complete else None)
        return scores


ARMS: dict[str, Arm] = {
    "digits": Digits("score as digits in the text"),
    "words": Words("five level words, by probability"),
    "coupled": Coupled("level tokens, not decoupled", {"l1_weight": 1.0}),
    "l1": Ours("ours, L1", {"l1_weight": 1.0}),
    "ce": Ours("ours, CE", {"ce_weight": 1.0}),
    "emd": Ours("ours, EMD", {"emd_weight": 1.0}),
    "l1_ce": Ours("ours, L1 + CE", {"l1_weight": 1.0, "ce_weight": 1.0}),
}


class _RegressionOnWords:
    """A mixin over a roc model: smooth L1 on the mean of the level words, from the vocabulary's own logits."""

    def _forward(
        self, *args: Any, labels: Any = None, score_labels: Any = None, num_scores_in_batch: Any = None, **kwargs: Any
    ) -> Any:
        outputs = super()._forward(*args, labels=labels, **kwargs)
        if labels is None or score_labels is None:
            return outputs
        targets = labels[:, 1:][labels[:, 1:] != IGNORE_INDEX]  # (n_supervised,), the rows of `logits`
        at_level = torch.isin(targets, self.level_ids)
        predicted = read_levels(outputs.logits[at_level][:, self.level_ids], self.score_levels()).scores
        scale = 9 / self.score_space.width  # as the package's own L1
        outputs.l1_loss = smooth_l1(predicted, score_labels[:, 0], scale=scale, num_items=num_scores_in_batch)
        outputs.loss = outputs.loss + self.declaration.l1_weight * outputs.l1_loss
        return outputs


def decimals(space: ScoreSpace) -> int:
    """Chooses the decimals of a score in digits: the fewest that give 90 steps, 6.4 on 1..10 and 0.64 on 0..1."""
    return max(0, math.ceil(math.log10(90 / space.width) - 1e-9))


def parse_digits(text: str, space: ScoreSpace) -> float | None:
    """Reads the number in an answer.

    Args:
        text: What the model wrote.
        space: The native scale.

    Returns:
        The score; None unless the text begins with the taught sentence, holding one plain number of the range.
    """
    before, after = map(re.escape, SENTENCE.split(SCORE_TOKEN))
    found = re.match(rf"{before}(-?\d+(?:\.\d+)?){after}(?!\S)", text.strip(), flags=re.ASCII)
    if found is None or not space.min_score <= float(found[1]) <= space.max_score:
        return None
    return float(found[1])


def choices(arm: Arm, collator: RocCollator, space: ScoreSpace) -> tuple[list[int], list[int]]:
    """Finds the place in the answer where the model names a level, and the tokens it chooses between.

    Returns:
        The token ids of the answer up to there, and the first token id of each level, lowest first.

    Raises:
        ValueError: If the tokenizer does not tell the levels apart by their first token.
    """
    rows = [collator.tokenize_answer(SENTENCE.replace(SCORE_TOKEN, text)) for text in arm.texts(space)]
    common = next(i for i, tokens in enumerate(zip(*rows, strict=False)) if len(set(tokens)) > 1)
    first = [row[common] for row in rows]
    if len(set(first)) < len(first):
        raise ValueError(f"The tokenizer does not tell {', '.join(arm.texts(space))} apart by their first tokens.")
    return rows[0][:common], first


def expectation(logits: torch.Tensor, values: tuple[float, ...]) -> float:
    """Computes the mean of `values` (N,) under the softmax of `logits` (N,)."""
    return float(read_levels(logits.float(), torch.tensor(values)).scores)


def _generate(
    arm: Arm, model: PreTrainedModel, collator: RocCollator, pictures: list[Image.Image]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Generates greedy answers, long enough for the sentence with a score: ids (B, S) and logits (B, S, V)."""
    taught = [SENTENCE.replace(SCORE_TOKEN, text) for text in arm.texts(model.score_space)]
    longest = max(len(collator.tokenize_answer(text)) for text in taught)
    batch = collator.prompt_batch(pictures)
    with torch.inference_mode():
        written = model.generate(
            **batch,
            max_new_tokens=longest + _SPARE_TOKENS,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
        )
    return written.sequences[:, batch["input_ids"].shape[1] :], torch.stack(written.logits, dim=1)


def _read_vocabulary(
    arm: Arm,
    model: PreTrainedModel,
    collator: RocCollator,
    pictures: list[Image.Image],
    values: tuple[float, ...],
) -> list[float | None]:
    """Computes the mean of `values` under the level words' probabilities, where the answer names a level."""
    before, ids = choices(arm, collator, model.score_space)
    written, logits = _generate(arm, model, collator, pictures)
    step = len(before)
    scores: list[float | None] = []
    for row, steps in zip(written.tolist(), logits, strict=True):
        named = row[:step] == before and row[step : step + 1] and row[step] in ids
        scores.append(expectation(steps[step, ids], values) if named else None)
    return scores
