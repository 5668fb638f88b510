"""Collator: from records and images to the tensors that a roc model takes.

Prompt and answer are tokenised separately and joined as token ids. A tokenizer may merge tokens across the border; a
prompt with the *same text* as the beginning of a training sequence then need not have the same tokens, and the head
would be read at a position that it was not trained on. For the same reason scoring cuts the token ids of the answer at
`[SCORE]`, never its text.
"""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from transformers import BatchFeature, ProcessorMixin

from roc.data.records import Record, Turn
from roc.model.declaration import Declaration
from roc.model.losses import IGNORE_INDEX
from roc.model.marks import CUT, Marks
from roc.model.pictures import blame_thin, shown
from roc.model.positions import per_token, score_positions
from roc.prompts import IMAGE_PLACEHOLDER

logger = logging.getLogger(__name__)

# A piece of a row after its prompt: token ids, and whether they are supervised.
_Piece = tuple[list[int], bool]

_MOST_KEPT = 4096
"""Texts whose tokens a collator remembers."""

# An answer that no template contains or changes.
_PROBE = "Some answer."

# Fixes the date in templates that state it, so that an image does not score differently tomorrow. Jinja uses the macro
# in place of the function of that name.
_FIRST_OF_JANUARY = (
    "{%- macro strftime_now(format) -%}{{ format | replace('%Y', '2025') | replace('%m', '01') | replace('%d', '01')"
    " | replace('%B', 'January') | replace('%b', 'Jan') }}{%- endmacro -%}"
)


class RowTooLong(ValueError):
    """Raised for a row that cannot be cut to the maximum length without losing a `[SCORE]`."""


class RocCollator:
    """Makes batches for training, for scoring in one forward pass and for generation, all tokenised the same way.

    Args:
        processor: The model's processor; its chat template lays out the turns.
        declaration: `model.declaration` or `model.config.roc`; gives attributes, wordings, the token's id,
            `image_aspect_ratio` and `max_pixels`.
        max_length: Maximum length of a row in tokens, image tokens included; None = no limit. Longer answers lose words
            after their last `[SCORE]`; a row that would lose a `[SCORE]` is refused. `RowLengths` tells both before.

    Raises:
        ValueError: If the processor has no chat template, or the declaration cannot be.
    """

    def __init__(
        self,
        processor: ProcessorMixin,
        declaration: Declaration | Mapping[str, Any],
        *,
        max_length: int | None = None,
    ) -> None:
        if getattr(processor, "chat_template", None) is None:
            raise ValueError(
                f"{type(processor).__name__} has no chat template, so the turns of a conversation cannot be laid out; "
                "name a Jinja file with --chat_template, or set processor.chat_template, before training or scoring."
            )
        self.processor = processor
        self.tokenizer = processor.tokenizer
        # Some published training kept the white space around a turn.
        self._verbatim = getattr(processor, "verbatim_turns", False)
        if not isinstance(declaration, Declaration):
            declaration = Declaration.from_dict(declaration)
        self.declaration = declaration
        self._marks = Marks(processor, declaration.token)
        self.max_length = max_length
        self._flat = False  # whether the processor takes pictures in a flat list alone
        self._answer_ids: dict[str, list[int]] = {}
        self._layouts: dict[tuple, tuple[str, list[_Piece]]] = {}

    def __call__(self, samples: Sequence[tuple[Record, Sequence[Image.Image]]]) -> dict[str, torch.Tensor]:
        """Makes a training batch: the model's inputs, `labels`, `score_labels` and, if any record has one, histograms.

        Args:
            samples: Each record with its RGB images, in the record's order.

        Returns:
            `input_ids`, `attention_mask`, `labels` (B, T), the processor's image tensors, `score_labels` (B, K) on the
            native scale and `score_distributions` (B, K, N), both NaN where absent.
        """
        records = [record for record, _ in samples]
        prompts, tails = zip(*map(self.layout, records), strict=True)
        images = [[self._shown(picture) for picture in pictures] for _, pictures in samples]
        batch = self._assemble(prompts, images, tails, "right", names=[record.id for record in records])
        return {**batch, **self.targets(records)}

    def targets(self, records: Sequence[Record]) -> dict[str, torch.Tensor]:
        """Makes `score_labels` (B, K) and, if any record has a histogram, `score_distributions` (B, K, N)."""
        columns = [self._columns(record) for record in records]
        width = max(map(len, columns), default=0)
        levels = self.declaration.num_levels
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
        """Makes a batch for scoring in one forward pass: prompt and answer, cut at the last `[SCORE]` wanted.

        Args:
            images: One image per row.
            num_scores: Number of attributes to read, from the first; None = all.

        Returns:
            The model's inputs and `score_mask` (B, T), True where the next token is `[SCORE]`.
        """
        ids = self.answer_ids
        ends = [i for i, token in enumerate(ids) if token == self.declaration.token_id]
        prefix = ids[: ends[(num_scores or len(ends)) - 1]]
        (prompt, rest), count = self._question, len(images)
        pictures = [[self._shown(image)] for image in images]
        batch = self._assemble([prompt] * count, pictures, [[*rest, (prefix, True)]] * count, "right")
        labels = batch.pop("labels")
        # Inside the prefix the tokens show where [SCORE] stands; after it comes [SCORE] by construction.
        mask = score_positions(labels, self.declaration.token_id)
        last = batch["attention_mask"].long().cumsum(dim=1).argmax(dim=1)
        mask[torch.arange(count), last] = True
        return {**batch, "score_mask": mask}

    def prompt_batch(self, images: Sequence[Image.Image]) -> dict[str, torch.Tensor]:
        """Makes a batch of the question alone, padded on the left, for `generate_with_scores`.

        A model that reasons is asked for its critique first.
        """
        count = len(images)
        pictures = [[self._shown(image)] for image in images]
        prompt, rest = self._split(self._asked(self.declaration.reasoning or self.declaration.question))
        batch = self._assemble([prompt] * count, pictures, [rest] * count, "left")
        del batch["labels"]
        return batch

    def comparison_batch(self, pairs: Sequence[Sequence[Image.Image]]) -> dict[str, torch.Tensor]:
        """Makes a batch that asks how much better the second of two pictures is, for one forward pass.

        Args:
            pairs: Two images per row.

        Returns:
            The model's inputs and `score_mask` (B, T), as `scoring_batch` gives them.
        """
        comparison, count = self.declaration.comparison, len(pairs)
        ids = self.tokenize_answer(comparison.answer)
        prefix = ids[: ids.index(self.declaration.token_id)]
        prompt, rest = self._split(self._asked(comparison.question, 2))
        pictures = [[self._shown(image) for image in pair] for pair in pairs]
        batch = self._assemble([prompt] * count, pictures, [[*rest, (prefix, True)]] * count, "right")
        mask = torch.zeros_like(batch.pop("labels"), dtype=torch.bool)
        last = batch["attention_mask"].long().cumsum(dim=1).argmax(dim=1)
        mask[torch.arange(count), last] = True
        return {**batch, "score_mask": mask}

    def comparison_prompts(self, pairs: Sequence[Sequence[Image.Image]]) -> dict[str, torch.Tensor]:
        """Makes a batch that asks for reasons and the change between two pictures, padded on the left."""
        count = len(pairs)
        pictures = [[self._shown(image) for image in pair] for pair in pairs]
        prompt, rest = self._split(self._asked(self.declaration.comparison.reasoning, 2))
        batch = self._assemble([prompt] * count, pictures, [rest] * count, "left")
        del batch["labels"]
        return batch

    def prompt(self, text: str) -> str:
        """Renders one question about one image with the chat template, up to where the answer begins."""
        return self._asked(text).replace(CUT, "")

    def prompt_ids(self) -> list[int]:
        """Tokenises the declared question as a prompt, its image mark once and not expanded."""
        head, rest = self._question
        bos = self.tokenizer.bos_token
        ids = self.tokenizer(head, add_special_tokens=not (bos and head.startswith(bos)))["input_ids"]
        return [*ids, *(token for piece, _ in rest for token in piece)]

    def unreadable(self, records: Sequence[Record]) -> list[str]:
        """Names the records with marks of the model in a place where they cannot be read as text.

        Rows without such marks are not looked at, so that this takes next to no time.
        """
        faults = []
        for record in records:
            texts = [text for _, text in record.conversations or ()] or [record.comment or ""]
            if any(CUT in text or self._marks.cut(text) != text for text in texts):
                try:
                    self.layout(record)
                except ValueError as error:
                    faults.append(str(error))
        return faults

    def _asked(self, text: str, pictures: int = 1) -> str:
        return self._render([self._message(("user", IMAGE_PLACEHOLDER * pictures + text))], True)

    @property
    def _question(self) -> tuple[str, list[_Piece]]:
        """The declared question, as `_split` gives it."""
        return self._split(self._asked(self.declaration.question))

    def _split(self, prompt: str) -> tuple[str, list[_Piece]]:
        """Divides a prompt that is cut inside marks: the text for the processor, and the token ids that follow it."""
        head, *rest = prompt.split(CUT)
        return head, [([token for part in rest for token in self._tokenize(part)], False)] if rest else []

    def _message(self, turn: Turn) -> dict:
        """Turns a turn into the form that chat templates take: image and text parts in the order of the text."""
        role, words = turn
        content: list[dict] = []
        for i, part in enumerate(words.split(IMAGE_PLACEHOLDER)):
            if i:
                if any(CUT in before.get("text", "") for before in content):
                    raise ValueError(
                        f"the text {words[:80]!r} holds a mark of the model before an image, where it cannot be read "
                        "as text; put the image first, or remove the mark"
                    )
                content.append({"type": "image"})
            text = self._marks.cut(part if self._verbatim else part.strip())
            if text:
                content.append({"type": "text", "text": text})
        return {"role": role, "content": content}

    def layout(self, record: Record) -> tuple[str, list[_Piece]]:
        """Lays out a record: the text of its prompt, up to the first answer, and the token pieces that follow.

        What was made of a text is kept, as every epoch shows each record again.

        Raises:
            ValueError: For a conversation of several questions that template or model cannot take as one row.
        """
        key = (len(record.images), record.comment, record.conversations)
        if key not in self._layouts:
            if len(self._layouts) > _MOST_KEPT:
                self._layouts.clear()
            self._layouts[key] = self._laid_out(record)
        return self._layouts[key]

    def _laid_out(self, record: Record) -> tuple[str, list[_Piece]]:
        """Does what `layout` promises, keeping nothing.

        Raises:
            ValueError: For a conversation of several questions that template or model cannot take as one row.
        """
        if record.conversations is None:
            text = self.declaration.answer
            if record.comment:
                text = f"{text} {record.comment.strip()}"
            turns = [("user", IMAGE_PLACEHOLDER * len(record.images) + self.declaration.question), ("assistant", text)]
        else:
            turns = list(record.conversations)
        if self.declaration.prefix_lm and len(turns) > 2:
            raise ValueError(
                f"Record {record.id} is a conversation of {len(turns) // 2} questions, but this model is a prefix-LM: "
                "it reads all that stands before an answer in both directions, so one row holds one question and one "
                "answer. Write a record for each question."
            )
        try:
            messages = [self._message(turn) for turn in turns]
            answers = [self.tokenize_answer(text if self._verbatim else text.strip()) for _, text in turns[1::2]]
        except ValueError as error:
            line = f" (line {record.line})" if record.line else ""
            raise ValueError(f"Record {record.id}{line}: {error}.") from error
        gap, ending = self._frame
        done = self._render(messages[:1], True)
        prompt, pieces = self._split(done)
        for i in range(1, len(turns), 2):
            text = turns[i][1] if self._verbatim else turns[i][1].strip()
            pieces.append((answers[i // 2], True))
            pieces.append((self._ending_ids, True))
            done += gap + self._marks.cut(text) + ending
            if i + 1 < len(turns):
                until_next = self._render(messages[: i + 2], True)
                added = _added(until_next, done, f"Record {record.id}: ")
                pieces.append((self._tokenize_behind_ending(added), False))
                done = until_next
        return prompt, pieces

    @functools.cached_property
    def _frame(self) -> tuple[str, str]:
        """Text that the template puts around an answer: white space that the prompt lacks, and the answer's close."""
        question = [self._message(("user", IMAGE_PLACEHOLDER + "?"))]
        asked = self._render(question, False)
        mark = _added(self._render(question, True), asked)
        closed = _added(self._render([*question, self._message(("assistant", _PROBE))], False), asked)
        before, found, ending = closed.partition(_PROBE)
        # The mark that asks for an answer may hold more than the one before a given answer, such as an empty thought.
        gap = before.removeprefix(mark) if not mark.startswith(before) else ""
        if not found or gap.strip():
            raise ValueError(
                f"The chat template opens an answer with {before!r}, but asks for one with {mark!r}; roc needs a "
                "template whose generation prompt is how an answer begins."
            )
        return gap, ending.rstrip()

    @functools.cached_property
    def _ending_ids(self) -> list[int]:
        """Token ids that close an answer; supervised, because the model must stop. White space after it is not."""
        ids = self._tokenize(self._frame[1])
        if self.tokenizer.eos_token_id is None or set(ids) & set(self.tokenizer.added_tokens_decoder):
            return ids
        return [*ids, self.tokenizer.eos_token_id]

    def _tokenize_behind_ending(self, text: str) -> list[int]:
        """Tokenises what follows a closed answer; some tokenizers split a word differently after a special token."""
        text, *more = text.split(CUT)
        if more:
            return [*self._tokenize_behind_ending(text), *(token for part in more for token in self._tokenize(part))]
        ending = self._frame[1]
        close, whole = self._tokenize(ending), self._tokenize(ending + text)
        return whole[len(close) :] if whole[: len(close)] == close else self._tokenize(text)

    @property
    def answer_ids(self) -> list[int]:
        """Token ids of the whole declared answer, as they follow the prompt."""
        return self.tokenize_answer(self.declaration.answer)

    def _columns(self, record: Record) -> Sequence[str]:
        """Names the attribute of each `[SCORE]` in the record's answer, in order."""
        return self.declaration.attributes if record.conversations is None else list(record.scores)

    @property
    def template(self) -> tuple[str, dict[str, Any]]:
        """The chat template with its date fixed, and the settings that it is rendered with."""
        template = self.processor.chat_template
        if isinstance(template, dict):
            template = template["default"]
        if "strftime_now" in template:
            template = _FIRST_OF_JANUARY + template
        # Answers begin at once, so thinking is switched off.
        return template, {"enable_thinking": False} if "enable_thinking" in template else {}

    def _render(self, messages: list[dict], add_generation_prompt: bool) -> str:
        template, settings = self.template
        return self.processor.apply_chat_template(
            messages, chat_template=template, add_generation_prompt=add_generation_prompt, tokenize=False, **settings
        )

    def _tokenize(self, text: str) -> list[int]:
        """Tokenises `text` as the continuation of a row.

        Some tokenizers put a space before any text; after a line feed they put none.
        """
        if not text:
            return []
        feed, whole, alone = self.tokenizer(["\n", "\n" + text, text], add_special_tokens=False)["input_ids"]
        return whole[len(feed) :] if whole[: len(feed)] == feed else alone

    def tokenize_answer(self, text: str) -> list[int]:
        """Tokenises an answer as it follows the prompt."""
        if text not in self._answer_ids:
            if len(self._answer_ids) > _MOST_KEPT:
                self._answer_ids.clear()
            first, *more = self._marks.cut(text).split(CUT)
            ids = self._tokenize(self._frame[0] + first)
            ids += [token for part in more for token in self._tokenize(part)]
            self._marks.check(ids, text)
            self._answer_ids[text] = ids
        return self._answer_ids[text]

    def _shown(self, image: Image.Image) -> Image.Image:
        return shown(image, self.declaration, self.processor)

    def encode(
        self, prompts: Sequence[str], images: list[list[Image.Image]], names: list[str] | None = None
    ) -> BatchFeature:
        """Calls the processor once for all prompts, which expands image tokens.

        Args:
            prompts: Texts as `layout` gives them.
            images: For each prompt its images, scaled down and padded already.
            names: Of the rows, for messages.

        Raises:
            ValueError: If the processor fails on an image that is too thin for it.
        """
        bos = self.tokenizer.bos_token
        settings = {
            "text": list(prompts),
            "padding": True,
            "return_tensors": "pt",
            "add_special_tokens": not (bos and prompts[0].startswith(bos)),
        }
        if "mm_token_type_ids" in getattr(self.processor, "model_input_names", ()):  # some give them only when asked
            settings["return_mm_token_type_ids"] = True
        try:
            encoded = self._encoded(images, settings)
        except Exception as error:
            blame_thin(images, names, error)
            raise
        encoded.pop("labels", None)  # some processors make their own
        return encoded

    def _encoded(self, images: list[list[Image.Image]], settings: dict[str, Any]) -> BatchFeature:
        """Calls the processor with pictures nested by text or, where it takes one per text only, in a flat list.

        The form that it took is tried first from then on.

        Raises:
            ValueError, TypeError: What it said of the form tried first, if it takes neither.
        """
        forms: dict[bool, Any] = {False: images if any(images) else None}
        if all(len(pictures) == 1 for pictures in images):
            forms[True] = [picture for (picture,) in images]
        first: Exception | None = None
        for flat in sorted(forms, key=lambda flat: flat != self._flat):
            try:
                encoded = self.processor(images=forms[flat], **settings)
            except (ValueError, TypeError) as error:
                first = first or error
            else:
                self._flat = flat if len(forms) > 1 else self._flat
                return encoded
        raise first

    def _assemble(
        self,
        prompts: Sequence[str],
        images: list[list[Image.Image]],
        tails: Sequence[list[_Piece]],
        padding_side: str,
        names: list[str] | None = None,
    ) -> dict[str, torch.Tensor]:
        """Encodes all prompts, then appends answers and pads rows."""
        encoded = self.encode(prompts, images, names)
        # All other tensors with an entry per token (token_type_ids, mm_token_type_ids, ...) are cut and padded alike.
        of_tokens = per_token(encoded)
        valid = encoded["attention_mask"].bool()
        ones = {"attention_mask"} | ({"token_type_ids"} if self.declaration.prefix_lm else set())
        rows: dict[str, list[torch.Tensor]] = {key: [] for key in [*of_tokens, "labels"]}
        for row, tail in enumerate(tails):
            if self.declaration.prefix_lm and tail and not tail[0][1]:
                tail = self._with_suffix(tail, encoded["input_ids"][row], valid[row])
            tail = self._cut(tail, int(valid[row].sum()), names[row] if names else f"row {row}")
            ids = torch.tensor([token for piece, _ in tail for token in piece], dtype=torch.long)
            supervised = torch.tensor([flag for piece, flag in tail for _ in piece], dtype=torch.bool)
            for key in of_tokens:
                if key == "input_ids":
                    added = ids
                elif key == "token_type_ids":  # what follows the prompt unsupervised belongs to a prefix-LM's prefix
                    added = supervised.long() if key in ones else torch.zeros_like(ids)
                elif encoded[key].ndim > 2:  # an answer looks at the pictures that the end of its prompt looks at
                    added = encoded[key][row][valid[row]][-1:].expand(len(ids), *encoded[key].shape[2:])
                else:
                    added = torch.full_like(ids, int(key in ones))
                rows[key].append(torch.cat([encoded[key][row][valid[row]], added]))
            prompt_labels = torch.full((int(valid[row].sum()),), IGNORE_INDEX)
            rows["labels"].append(torch.cat([prompt_labels, torch.where(supervised, ids, IGNORE_INDEX)]))
        fill = {"input_ids": self._pad_id(), "labels": IGNORE_INDEX}
        batch = {key: value for key, value in encoded.items() if key not in of_tokens}
        for key, values in rows.items():
            batch[key] = torch.nn.utils.rnn.pad_sequence(
                values, batch_first=True, padding_value=fill.get(key, 0), padding_side=padding_side
            )
        return batch

    def _with_suffix(self, tail: list[_Piece], ids: torch.Tensor, valid: torch.Tensor) -> list[_Piece]:
        """Moves the line feed that PaliGemma's processor puts behind a prompt to the end of a prompt that was cut.

        Args:
            tail: Begins with the rest of the prompt.
            ids, valid: (T,) Row of the processor; `valid` loses the positions of the line feed.
        """
        feed, places = self.tokenizer("\n", add_special_tokens=False)["input_ids"], valid.nonzero().flatten()
        if not feed or ids[places[-len(feed) :]].tolist() != feed:
            raise ValueError("A question holds a mark of the model that cannot be read as text here; remove it.")
        valid[places[-len(feed) :]] = False
        return [([*tail[0][0], *feed], False), *tail[1:]]

    def _pad_id(self) -> int:
        pad = self.tokenizer.pad_token_id
        return pad if pad is not None else self.tokenizer.eos_token_id or 0

    def _cut(self, tail: list[_Piece], prompt_length: int, name: str) -> list[_Piece]:
        """Cuts a tail to `max_length`; only words after the last `[SCORE]` may be dropped."""
        room = math.inf if self.max_length is None else self.max_length - prompt_length
        length = sum(len(piece) for piece, _ in tail)
        if length <= room:
            return tail
        if self.needed(tail) > room:
            raise RowTooLong(
                f"{name}: {prompt_length} prompt and image tokens and {length} answer tokens exceed model_max_length "
                f"{self.max_length}, and cutting would lose a [SCORE]; raise model_max_length or shorten the text."
            )
        logger.debug("%s: the end of its answer is cut to fit model_max_length %d.", name, self.max_length)
        flat = [(token, flag) for piece, flag in tail for token in piece]
        return [([token], flag) for token, flag in flat[: int(room)]]

    def needed(self, tail: list[_Piece]) -> int:
        """Counts the tokens of what follows a prompt up to its last `[SCORE]`, at least one; the rest may be cut."""
        flat = [token for piece, _ in tail for token in piece]
        return max((i + 1 for i, token in enumerate(flat) if token == self.declaration.token_id), default=1)


def _added(whole: str, beginning: str, where: str = "") -> str:
    """Returns what a longer conversation adds to the text of its beginning; `where` begins the error message.

    Raises:
        ValueError: If the beginning reads differently in it.
    """
    if not whole.startswith(beginning):
        at = next((i for i, (a, b) in enumerate(zip(whole, beginning, strict=False)) if a != b), len(whole))
        raise ValueError(
            f"{where}The chat template changes the text of an earlier turn, at {beginning[at : at + 40]!r}, which "
            f"becomes {whole[at : at + 40]!r}: a row would be trained on other text than is read later. roc needs a "
            "template that only appends; or write a record for each question."
        )
    return whole[len(beginning) :]
