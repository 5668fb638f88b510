"""From records and pictures to the tensors a roc model takes.

Prompt and answer are tokenised apart and joined as token ids: a tokenizer may merge across the border, and a prompt
that merely *starts with the same text* then is no prefix of the training sequence, so the head would be asked at a
place it never learnt. For the same reason scoring cuts the answer's token ids at `[SCORE]`, never its text.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from transformers import ProcessorMixin

from roc.augment import pad_to_square
from roc.losses import IGNORE_INDEX
from roc.modeling import score_positions
from roc.prompts import IMAGE_PLACEHOLDER
from roc.records import Record, Turn

logger = logging.getLogger(__name__)

# A piece of a row after its prompt: token ids, and whether they are learnt.
_Piece = tuple[list[int], bool]


class RowTooLong(ValueError):
    """A row that cannot be cut to the longest length without losing a `[SCORE]`."""


class RocCollator:
    """Builds batches for training, for one-forward scoring and for generation; all three tokenise the same way.

    Args:
        processor: of the model; its chat template lays out the turns.
        roc: `model.config.roc`; attributes, wordings, token id and `image_aspect_ratio` are read from it.
        max_length: longest row in tokens, image tokens included; None = no limit. Longer answers lose words after
            their last `[SCORE]`; a row that would lose a `[SCORE]` is refused.
        with_comments: whether a record's comment is appended to its answer.
    """

    def __init__(
        self,
        processor: ProcessorMixin,
        roc: dict[str, Any],
        *,
        max_length: int | None = None,
        with_comments: bool = True,
    ) -> None:
        if getattr(processor, "chat_template", None) is None:
            raise ValueError(
                f"{type(processor).__name__} has no chat template, so the turns of a conversation cannot be laid out; "
                "set processor.chat_template (a Jinja string) before training or scoring."
            )
        self.processor = processor
        self.tokenizer = processor.tokenizer
        self.roc = roc
        self.max_length = max_length
        self.with_comments = with_comments
        self.attributes: list[str] = roc["attributes"]
        self.question: str = roc["question"]
        self.answer: str = roc["answer"]
        self._answer_ids: dict[str, list[int]] = {}

    def __call__(self, samples: Sequence[tuple[Record, Sequence[Image.Image]]]) -> dict[str, torch.Tensor]:
        """A training batch: the model's inputs, `labels`, `score_labels` and, if any record has one, histograms.

        Args:
            samples: each record with its pictures, RGB, in the record's order.

        Returns:
            `input_ids`, `attention_mask`, `labels` (B, T), the processor's image tensors, `score_labels` (B, K) native
            scale with NaN where absent, `score_distributions` (B, K, N) with NaN where absent.
        """
        records = [record for record, _ in samples]
        prompts, tails = zip(*map(self._layout, records), strict=True)
        images = [[self._prepare(picture) for picture in pictures] for _, pictures in samples]
        batch = self._assemble(prompts, images, tails, "right", names=[record.id for record in records])
        return {**batch, **self.targets(records)}

    def targets(self, records: Sequence[Record]) -> dict[str, torch.Tensor]:
        """`score_labels` (B, K) and, where any record has a histogram, `score_distributions` (B, K, N)."""
        columns = [self._columns(record) for record in records]
        width = max(map(len, columns), default=0)
        levels = self.roc["num_levels"]
        scores = torch.full((len(records), width), float("nan"))
        votes = torch.full((len(records), width, levels), float("nan"))
        for row, (record, names) in enumerate(zip(records, columns, strict=True)):
            for column, name in enumerate(names):
                if name in record.scores:
                    scores[row, column] = record.scores[name]
                if name in record.histograms:
                    votes[row, column] = torch.tensor(record.histograms[name])
        return {"score_labels": scores} | ({} if votes.isnan().all() else {"score_distributions": votes})

    def scoring_batch(self, images: Sequence[Image.Image], num_scores: int | None = None) -> dict[str, torch.Tensor]:
        """One forward pass reads every score: the prompt and the expected answer, cut at the last `[SCORE]` wanted.

        Args:
            images: one picture per row.
            num_scores: how many of the attributes to read, from the first; None = all.

        Returns:
            The model's inputs and `score_mask` (B, T), True where the next token is `[SCORE]`.
        """
        ids = self._tokenize_answer(self.answer)
        ends = [i for i, token in enumerate(ids) if token == self.roc["token_id"]]
        prefix = ids[: ends[(num_scores or len(ends)) - 1]]
        prompt, count = self.prompt(self.question), len(images)
        pictures = [[self._prepare(image)] for image in images]
        batch = self._assemble([prompt] * count, pictures, [[(prefix, True)]] * count, "right")
        labels = batch.pop("labels")
        # The token after the prefix is [SCORE] by construction; inside it the tokens themselves say so.
        mask = score_positions(labels, self.roc["token_id"])
        last = batch["attention_mask"].long().cumsum(dim=1).argmax(dim=1)
        mask[torch.arange(count), last] = True
        return {**batch, "score_mask": mask}

    def prompt_batch(self, images: Sequence[Image.Image]) -> dict[str, torch.Tensor]:
        """The question alone, padded on the left: what `generate_with_scores` takes."""
        count = len(images)
        pictures = [[self._prepare(image)] for image in images]
        batch = self._assemble([self.prompt(self.question)] * count, pictures, [[]] * count, "left")
        del batch["labels"]
        return batch

    def prompt(self, text: str) -> str:
        """The chat template's rendering of one question about one picture, up to where the answer begins."""
        return self._render([_message(("user", IMAGE_PLACEHOLDER + text))], True)

    def _layout(self, record: Record) -> tuple[str, list[_Piece]]:
        """The prompt text of a record (up to its first answer) and the token pieces that follow it."""
        if record.conversations is None:
            text = self.answer
            if self.with_comments and record.comment:
                text = f"{text} {record.comment.strip()}"
            turns = [("user", IMAGE_PLACEHOLDER * len(record.images) + self.question), ("assistant", text)]
        else:
            turns = list(record.conversations)
        messages = [_message(turn) for turn in turns]
        prompt = self._render(messages[:1], True)
        done, pieces = prompt, []
        for i in range(1, len(turns), 2):
            text = turns[i][1].strip()
            closed = self._render(messages[: i + 1], False)
            closing = closed.removeprefix(done + text)
            if len(closing) == len(closed):
                raise ValueError(
                    f"The chat template changes the text of an earlier turn (record {record.id}, turn {i + 1}), so the "
                    "answer cannot be found again in it; roc needs a template that only appends."
                )
            pieces.append((self._tokenize_answer(text), True))
            # What closes the turn is learnt (the model must stop), white space after it is not.
            ending = closing.rstrip()
            pieces.append((self._tokenize(ending or self.tokenizer.eos_token or ""), True))
            done = done + text + ending
            if i + 1 < len(turns):
                until_next = self._render(messages[: i + 2], True)
                pieces.append((self._tokenize(until_next.removeprefix(done)), False))
                done = until_next
        return prompt, pieces

    def _columns(self, record: Record) -> list[str]:
        """Attribute of each `[SCORE]` of the record's answer, in order."""
        return self.attributes if record.conversations is None else list(record.scores)

    def _render(self, messages: list[dict], add_generation_prompt: bool) -> str:
        return self.processor.apply_chat_template(messages, add_generation_prompt=add_generation_prompt, tokenize=False)

    def _tokenize(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"] if text else []

    def _tokenize_answer(self, text: str) -> list[int]:
        if text not in self._answer_ids:
            if len(self._answer_ids) > 4096:
                self._answer_ids.clear()
            self._answer_ids[text] = self._tokenize(text)
        return self._answer_ids[text]

    def _prepare(self, image: Image.Image) -> Image.Image:
        if self.roc["image_aspect_ratio"] != "pad":
            return image
        mean = getattr(self.processor.image_processor, "image_mean", None) or [0.5] * 3
        return pad_to_square(image, tuple(int(channel * 255) for channel in mean))

    def _assemble(
        self,
        prompts: Sequence[str],
        images: list[list[Image.Image]],
        tails: Sequence[list[_Piece]],
        padding_side: str,
        names: list[str] | None = None,
    ) -> dict[str, torch.Tensor]:
        """One processor call for all prompts (it expands the image tokens), then answers appended and rows padded."""
        bos = self.tokenizer.bos_token
        encoded = self.processor(
            text=list(prompts),
            images=images if any(images) else None,
            padding=True,
            return_tensors="pt",
            add_special_tokens=not (bos and prompts[0].startswith(bos)),
        )
        # Whatever else has one entry per token (token_type_ids, mm_token_type_ids, ...) is cut and padded alike.
        shape = encoded["input_ids"].shape
        per_token = [key for key, value in encoded.items() if torch.is_tensor(value) and value.shape == shape]
        valid = encoded["attention_mask"].bool()
        rows: dict[str, list[torch.Tensor]] = {key: [] for key in [*per_token, "labels"]}
        for row, tail in enumerate(tails):
            tail = self._cut(tail, int(valid[row].sum()), names[row] if names else f"row {row}")
            ids = torch.tensor([token for piece, _ in tail for token in piece], dtype=torch.long)
            learnt = torch.tensor([flag for piece, flag in tail for _ in piece], dtype=torch.bool)
            for key in per_token:
                added = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}.get(key, torch.zeros_like(ids))
                rows[key].append(torch.cat([encoded[key][row][valid[row]], added]))
            prompt_labels = torch.full((int(valid[row].sum()),), IGNORE_INDEX)
            rows["labels"].append(torch.cat([prompt_labels, torch.where(learnt, ids, IGNORE_INDEX)]))
        fill = {"input_ids": self._pad_id(), "labels": IGNORE_INDEX}
        batch = {key: value for key, value in encoded.items() if key not in per_token}
        for key, values in rows.items():
            batch[key] = torch.nn.utils.rnn.pad_sequence(
                values, batch_first=True, padding_value=fill.get(key, 0), padding_side=padding_side
            )
        return batch

    def _pad_id(self) -> int:
        pad = self.tokenizer.pad_token_id
        return pad if pad is not None else self.tokenizer.eos_token_id or 0

    def _cut(self, tail: list[_Piece], prompt_length: int, name: str) -> list[_Piece]:
        """The tail within `max_length`; only words after the last `[SCORE]` may go."""
        room = math.inf if self.max_length is None else self.max_length - prompt_length
        length = sum(len(piece) for piece, _ in tail)
        if length <= room:
            return tail
        flat = [(token, flag) for piece, flag in tail for token in piece]
        needed = max((i + 1 for i, (token, _) in enumerate(flat) if token == self.roc["token_id"]), default=0)
        if needed > room or room <= 0:
            raise RowTooLong(
                f"{name}: {prompt_length} prompt and image tokens and {length} answer tokens exceed model_max_length "
                f"{self.max_length}, and cutting would lose a [SCORE]; raise model_max_length or shorten the text."
            )
        logger.warning("%s: the end of its answer is cut to fit model_max_length %d.", name, self.max_length)
        return [([token], flag) for token, flag in flat[: int(room)]]


def _message(turn: Turn) -> dict:
    """A turn as the chat templates of transformers take it: image and text parts in the order of the text."""
    role, words = turn
    content: list[dict] = []
    for i, text in enumerate(words.split(IMAGE_PLACEHOLDER)):
        if i:
            content.append({"type": "image"})
        if text.strip():
            content.append({"type": "text", "text": text.strip()})
    return {"role": role, "content": content}
