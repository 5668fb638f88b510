"""The rows of the stages: changes as scores of the one head that there is, anchors, groups.

A change is an answer of its own, about two pictures or about one and an instruction, and the head reads it as it reads
a score. Its range is laid over that of the scores (`roc.model.comparison`), so its row is one like any other.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from roc.data.reading import read_records
from roc.data.records import Record, hash_fraction
from roc.data.rows import DataError
from roc.model.comparison import Comparison
from roc.prompts import IMAGE_PLACEHOLDER
from roc.relative.agreement import HIGHEST
from roc.relative.outputs import DELTA
from roc.relative.wording import PAIR_QUESTION, answer, edit_question
from roc.score_space import TOLERANCE, ScoreSpace
from roc.training.reasoning import is_reasoned, reasoning_question

if TYPE_CHECKING:
    from roc.relative.train_config import PairsStage

OVERALL = "overall"


@dataclass(frozen=True)
class Changes:
    """The rows of the first stage.

    Attributes:
        train: Rows to learn from, their changes as scores; those with reasons a second time without, as far as asked.
        val: Pairs to validate on, without reasons.
        comparison: How the model is asked about two pictures from then on.
        counts: Number of pairs, of edits that are only told, and of rows without reasons that were added.
    """

    train: list[Record]
    val: list[Record]
    comparison: Comparison
    counts: tuple[int, int, int]


def read_changes(config: PairsStage, *, decode: bool = False) -> Changes:
    """Reads the files of the first stage.

    Args:
        config: Its settings.
        decode: Whether to decode every picture; False only checks that the files exist.

    Raises:
        DataError: With every fault of a file.
    """
    pairs = _read(config, config.data_path, pictures=2, decode=decode)
    edits = [] if config.edits_path is None else _read(config, config.edits_path, pictures=1, decode=decode)
    comparison, space = comparison_of(pairs), config.score_space
    rows = [_scored(record, comparison, space) for record in _split([*pairs, *edits], config.val_fraction)]
    if not any(record.split == "train" for record in rows):
        raise DataError([f"{config.data_path}: no row to train on; every row is marked as validation or test"])
    train, val = ([record for record in rows if record.split == name] for name in ("train", "val"))
    share = config.short_answers
    short = [
        without
        for record in train
        if hash_fraction(record.id, "short") < share and (without := without_words(record, comparison)) is not None
    ]
    validated = {
        record.id: record if not is_reasoned(record) else without_words(record, comparison)
        for record in val
        if len(record.images) == 2
    }
    counts = sum(len(record.images) == 2 for record in train), sum(len(record.images) == 1 for record in train)
    return Changes([*train, *short], [one for one in validated.values() if one], comparison, (*counts, len(short)))


def comparison_of(pairs: Sequence[Record]) -> Comparison:
    """Words how the model is asked about two pictures: as most rows ask, with the house wording where none do."""
    plain = Counter(
        (_plain(record.conversations[0][1]), record.conversations[1][1])
        for record in pairs
        if not is_reasoned(record) and len(record.conversations) == 2
    )
    question, reply = plain.most_common(1)[0][0] if plain else (_plain(PAIR_QUESTION), answer(None))
    return Comparison(question=question, answer=reply, reasoning=reasoning_question(pairs), low=-HIGHEST, high=HIGHEST)


def without_words(record: Record, comparison: Comparison) -> Record | None:
    """Makes the row that asks for the change at once; None where that is what it does, or nobody knows how to ask."""
    if not is_reasoned(record):
        return None
    if len(record.images) == 2:
        asked = IMAGE_PLACEHOLDER * 2 + comparison.question
    elif isinstance((record.edit or {}).get("instruction"), str):
        asked = edit_question(record.edit["instruction"], words=False)
    else:
        return None
    return replace(record, conversations=(("user", asked), ("assistant", comparison.answer)))


def read_anchors(
    path: str, image_folder: str | None, space: ScoreSpace, *, decode: bool, pixel_limit: int
) -> list[Record]:
    """Reads photos with a score, each a group of one.

    Raises:
        DataError: With every fault of the file.
    """
    records = read_records(path, image_folder, space=space, check_images=decode, pixel_limit=pixel_limit)
    faults = [
        f"{path}:{record.line}: an anchor is one photo with a score; this row has {len(record.images)} photos and "
        f"{'a' if OVERALL in record.scores else 'no'} score"
        for record in records
        if len(record.images) != 1 or OVERALL not in record.scores
    ]
    if faults:
        raise DataError(faults)
    # In its file it belongs to the group of its edits, whose deltas say nothing about its score.
    return [replace(record, group=None, edit=None) for record in records if record.split in (None, "train")]


def _read(config: PairsStage, path: str, *, pictures: int, decode: bool) -> list[Record]:
    records = read_records(
        path,
        config.image_folder,
        space=None,  # the range of a change is fixed: no setting could declare another one
        attributes=(OVERALL, DELTA),
        check_images=decode,
        pixel_limit=config.pixel_limit,
    )
    faults = [f"{path}:{record.line}: {what}" for record in records if (what := _fault(record, pictures))]
    if faults:
        raise DataError(faults)
    return records


def _fault(record: Record, pictures: int) -> str | None:
    """Says what is wrong with a row; None where it is a change of so many pictures."""
    if set(record.scores) != {DELTA}:
        named = ", ".join(record.scores) or "no number"
        return f"a change has a {DELTA} and no other score; this row has {named}"
    if not abs(record.scores[DELTA]) <= HIGHEST + TOLERANCE:
        return f"the delta is {record.scores[DELTA]:g}, outside {-HIGHEST:g}..{HIGHEST:g}; correct it"
    if len(record.images) != pictures:
        expected = "two pictures, before and after" if pictures == 2 else "one picture, the one before"
        return f"{len(record.images)} pictures; expected {expected}"
    if pictures == 2 and len({os.path.realpath(image) for image in record.images}) == 1:
        return f"both pictures are {Path(record.images[0]).name}; a picture is not compared with itself"
    if record.conversations is None:
        return "there are no conversations; a change is one question and its answer, as `roc relative build` writes it"
    return None


def _split(records: Sequence[Record], val_fraction: float) -> list[Record]:
    """Gives every row a split: its own; where no row of the files has one, by a hash of its source."""
    if any(record.split is not None for record in records):
        return [record if record.split is not None else replace(record, split="train") for record in records]
    return [
        replace(record, split="val" if hash_fraction(record.group or record.id, "val") < val_fraction else "train")
        for record in records
    ]


def _scored(record: Record, comparison: Comparison, space: ScoreSpace) -> Record:
    return replace(record, scores={OVERALL: comparison.as_score(record.scores[DELTA], space)})


def _plain(question: str) -> str:
    return question.replace(IMAGE_PLACEHOLDER, "").strip()
