"""Records as TRL takes them: a data set whose rows hold the question as messages and the pictures as the head is shown
them.

TRL renders the question and tokenises it itself. `check_prompts` makes sure that the model then reads the same tokens
as in scoring; families for which it does not are refused.
"""

from __future__ import annotations

import copy
import logging
import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from roc.data.counts import counted
from roc.data.images import open_image
from roc.data.pictures import shown_path
from roc.data.records import Record
from roc.data.rows import DataError
from roc.model.pictures import shown
from roc.score_space import ScoreSpace
from roc.training.config import OVERALL
from roc.training.run import RunError

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import ProcessorMixin

    from roc.model.collator import RocCollator

logger = logging.getLogger(__name__)

UNPADDED = {
    "mistral3": "its processor makes tensors of prompts before they are padded",
    "paligemma": "it reads its prompt in both directions, which the log-probabilities of TRL do not",
}
"""Families whose prompts TRL cannot make."""


def each_once(path: str | Path, records: Sequence[Record]) -> list[Record]:
    """Leaves one row of each picture: rows that differ in their words alone, such as several critiques, ask the same.

    A picture is asked about once for every data set and every group of edits that it is in.

    Args:
        path: File of the records.
        records: All training rows, with the short answers that `read_data` adds to critiques. Those that do not have
            one picture are all left; `check_rows` refuses them.

    Raises:
        DataError: With every row that is rated otherwise than another one of the same picture and data set.
    """
    edited = {record.group for record in records if record.edit is not None}
    found: dict[tuple[Any, ...], Record] = {}
    faults = []
    for record in records:
        # A file may name a picture in two ways, or give its critiques different ids.
        pictures = tuple(map(os.path.realpath, record.images))
        place = (record.group, repr(record.edit)) if record.group in edited else None
        key = (pictures, record.dataset, place) if len(pictures) == 1 else (record.id, record.line)
        first = found.setdefault(key, record)
        if record.scores and not first.scores:
            found[key] = record
        elif record.scores and record.scores != first.scores:
            faults.append(
                f"{path}:{record.line}: {shown_path(record.images[0])} is rated {_ratings(record)} here and "
                f"{_ratings(first)} in line {first.line}; keep one rating, or tell in the column dataset that they are "
                "of two data sets"
            )
    if faults:
        raise DataError(faults)
    again = len({record.id for record in records}) - len(found)
    if again > 0:
        repeats = counted(again, "row repeats", "rows repeat")
        logger.info("%s: %s the photo of another one; each photo is asked about once", path, repeats)
    return list(found.values())


def _ratings(record: Record) -> str:
    return ", ".join(f"{score:g}" for score in record.scores.values())


class Rows:
    """The rows of a data set by their number, as `datasets` asks for them.

    A generation is dealt several times over, and each picture K times in it. Its pictures are kept until those of the
    next one take their place, so that each is opened once.

    Args:
        records: With one image each.
        collator: Gives the question, and how pictures are shown.
        kept: Pictures to keep: as many as a process has of a generation.
        pixel_limit: Larger images are refused.
    """

    def __init__(self, records: Sequence[Record], collator: RocCollator, *, kept: int, pixel_limit: int) -> None:
        self.records, self.collator = list(records), collator
        self.kept, self.pixel_limit = kept, pixel_limit
        self._opened: OrderedDict[str, Image.Image] = OrderedDict()

    def __call__(self, batch: dict[str, list[int]]) -> dict[str, list[Any]]:
        """Makes rows with `prompt`, `images` and `row`."""
        question = self.collator.declaration.reasoning
        message = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question.strip()}]}
        return {
            "prompt": [[copy.deepcopy(message)] for _ in batch["row"]],
            "images": [[self.picture(self.records[row])] for row in batch["row"]],
            "row": batch["row"],
        }

    def picture(self, record: Record) -> Image.Image:
        """Opens the first image of a record as the model is shown it."""
        path = record.images[0]
        if path not in self._opened:
            image = open_image(path, pixel_limit=self.pixel_limit)
            self._opened[path] = shown(image, self.collator.declaration, self.collator.processor)
            while len(self._opened) > self.kept:
                self._opened.popitem(last=False)
        self._opened.move_to_end(path)
        return self._opened[path]


def make_dataset(rows: Rows) -> Dataset:
    """Makes the data set that the trainer deals from."""
    from datasets import Dataset

    return Dataset.from_dict({"row": list(range(len(rows.records)))}).with_transform(rows)


def policy_processor(collator: RocCollator) -> tuple[ProcessorMixin, dict[str, Any]]:
    """Makes the processor that TRL uses: padding on the left, and the collator's chat template.

    Right padding would shift the positions of some families (Gemma 3) without an error.

    Returns:
        A copy of the collator's processor, and the settings that its template is rendered with.
    """
    processor = copy.deepcopy(collator.processor)
    processor.tokenizer.padding_side = "left"
    template, settings = collator.template
    processor.chat_template = processor.tokenizer.chat_template = template
    return processor, settings


def check_prompts(rows: Rows, processor: ProcessorMixin, settings: dict[str, Any], model_type: str) -> None:
    """Makes sure that TRL's way to a prompt ends in the tokens that the model is asked with elsewhere.

    Args:
        rows: Two of different shapes are tried.
        processor, settings: From `policy_processor`.
        model_type: The family.

    Raises:
        RunError: If it does not.
    """
    reason = UNPADDED.get(model_type)
    if reason is None:
        by_shape = {rows.picture(record).size: row for row, record in enumerate(rows.records[:16])}
        chosen = list(by_shape.values())[:2]
        batch = rows({"row": chosen})
        try:
            found = _prompt_ids(batch, processor, settings)
        except Exception as error:  # of many kinds, out of processors that were never tried
            raise RunError(
                f"{model_type}: TRL cannot make the prompts of this family: its processor fails with {error}. Score "
                "and train it with `roc finetune`; for reinforcement take another family."
            ) from error
        own = rows.collator.prompt_batch([picture[0] for picture in batch["images"]])
        expected = [
            ids[mask.bool()].tolist() for ids, mask in zip(own["input_ids"], own["attention_mask"], strict=True)
        ]
        if found == expected:
            return
        reason = "TRL's prompts are not those that the model is asked with in scoring"
    raise RunError(
        f"{model_type}: reinforcement is not possible with this family: {reason}. Score and train it with `roc "
        "finetune`; for reinforcement take another family."
    )


def _prompt_ids(batch: dict[str, list[Any]], processor: ProcessorMixin, settings: dict[str, Any]) -> list[list[int]]:
    """Tokenises questions as TRL does."""
    from trl.data_utils import prepare_multimodal_messages

    prompts = [
        prepare_multimodal_messages(prompt, images=images)
        for prompt, images in zip(batch["prompt"], batch["images"], strict=True)
    ]
    found = processor.apply_chat_template(
        conversation=prompts, add_generation_prompt=True, tokenize=True, return_dict=True, **settings
    )
    return [list(ids) for ids in found["input_ids"]]


def delta_of(record: Record) -> float | None:
    """Reads how much better a picture of a group is than its source; 0 for the source, None without a group.

    Raises:
        ValueError: If its edit tells no number.
    """
    if record.group is None:
        return None
    if record.edit is None:
        return 0.0
    delta = record.edit.get("delta")
    if isinstance(delta, bool) or not isinstance(delta, int | float):
        raise ValueError(f"the edit has the delta {delta!r}; expected a number, how much better than the source it is")
    return float(delta)


def target_of(record: Record, space: ScoreSpace) -> float | None:
    """Gives the human score on the unit scale; None where nobody rated the picture."""
    score = record.scores.get(OVERALL)
    return None if score is None else space.to_unit(score)
