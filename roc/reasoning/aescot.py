"""Critiques that others wrote, in the shape of AesCoT and of similar files, become a corpus.

A row is a conversation (`messages` with role and content, or `conversations` with from and value) whose last answer is
`<think>critique</think><answer>0.62</answer>`, or has the critique and the score in columns of their own. The number in
the answer gives way to `[SCORE]`; it has to be one plain decimal within the scale, and is never guessed. Rows that
cannot be read and critiques that give the score away are kept beside the corpus, each with its reason.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roc.data.faults import DataError, Faults
from roc.data.records import SPLITS, Record
from roc.data.rows import iter_rows, write_rows
from roc.model.reasoned import take_apart
from roc.prompts import SCORE_TOKEN
from roc.reasoning.config import ConvertOptions
from roc.reasoning.filters import Rejection, check_form, check_leak
from roc.reasoning.outputs import Outputs, corpus_row
from roc.reasoning.tiers import tier_of
from roc.score_space import ScoreSpace

TURN_COLUMNS = ("messages", "conversations")
IMAGE_COLUMNS = ("image", "images", "image_path", "image_file")
SCORE_COLUMNS = ("gt_score", "score", "mos", "mean", "label", "ground_truth")
CRITIQUE_COLUMNS = ("critique", "reasoning", "think", "thinking", "cot", "rationale")
ANSWER_COLUMNS = ("answer", "response", "output", "completion", "solution")
"""Names under which other files keep these, the first that is there counts."""

_DECIMAL = re.compile(r"-?\d+(?:\.\d+)?")
_AGREE = 0.006
"""Largest difference, on the unit scale, between a row's score and its answer: answers are rounded to two digits."""


@dataclass(frozen=True)
class Converted:
    """What came of a file.

    Attributes:
        kept: Number of texts in the corpus.
        rejected: Reason -> number of rows.
    """

    kept: int
    rejected: Mapping[str, int]


class _Unread(ValueError):
    """A row without an image, a critique or a score."""


def convert(options: ConvertOptions) -> Converted:
    """Writes the critiques of a file as a corpus, and the rejected ones beside it.

    Raises:
        DataError: The file cannot be read.
        ValueError: A file is in the way, or no row is of use.
    """
    source, files = Path(options.file), Outputs(options.out)
    if not options.overwrite:
        for path in (files.corpus, files.rejected):
            if path.exists():
                raise ValueError(f"{path} is there; name another --out, or give --overwrite")
    faults = Faults(source)
    folder = source.parent if options.image_folder is None else Path(options.image_folder)
    kept: list[dict[str, Any]] = []
    rejected: list[dict[str, Any]] = []
    ids: set[str] = set()
    for line, row in iter_rows(source, faults):
        read, rejection = _judged(row, int(line), folder, options.space)
        if rejection is None:
            record, score, critique = read
            name = record.id if record.id not in ids else f"{record.id} (line {int(line)})"
            ids.add(name)
            record = Record(
                name, record.images, group=record.group or _written(row), split=record.split, dataset=record.dataset
            )
            kept.append(corpus_row(record, score, critique, options.space.range, files))
        else:
            rejected.append(_rejected(row, int(line), rejection, read, options.space))
    if faults:
        raise DataError(faults.texts())
    if not kept:
        first = f"; the first: line {rejected[0]['line']}, {rejected[0]['detail']}" if rejected else ""
        raise ValueError(f"{source}: no row is of use as a critique with a score{first}")
    write_rows(files.rejected, rejected)
    write_rows(files.corpus, kept)
    reasons = [row["reason"] for row in rejected]
    return Converted(len(kept), {reason: reasons.count(reason) for reason in dict.fromkeys(reasons)})


def _judged(
    row: Mapping[str, Any], line: int, folder: Path, space: ScoreSpace
) -> tuple[tuple[Record, float, str] | None, Rejection | None]:
    try:
        record, score, critique = read_row(row, line, folder, space)
    except _Unread as error:
        return None, Rejection("unread", str(error))
    rejection = check_form(critique, aspects=()) or check_leak(critique, score, space)
    return (record, score, critique), rejection


def _rejected(
    row: Mapping[str, Any],
    line: int,
    rejection: Rejection,
    read: tuple[Record, float, str] | None,
    space: ScoreSpace,
) -> dict[str, Any]:
    shown: dict[str, Any] = {"line": line, "reason": rejection.reason, "detail": rejection.detail}
    if read is None:
        return {**shown, "row": dict(row)}
    record, score, critique = read
    tier = tier_of(space.to_unit(score))
    return {**shown, "id": record.id, "image": record.images[0], "score": score, "tier": tier, "critique": critique}


def read_row(row: Mapping[str, Any], line: int, folder: Path, space: ScoreSpace) -> tuple[Record, float, str]:
    """Reads one row.

    Args:
        row: Column -> value.
        line: Its line, for an id where it has none.
        folder: Where relative image paths start.
        space: The scale of its score.

    Returns:
        (its photo, the score on that scale, the critique).

    Raises:
        ValueError: With what is missing.
    """
    image = _image(row, folder)
    critique, stated = _critique(row)
    score = _score(row, stated, space)
    split = str(row.get("split") or "").lower()
    if split and split not in SPLITS:
        raise _Unread(f"the split is {row['split']!r}; expected one of {', '.join(SPLITS)}")
    identity = row.get("id")
    record = Record(
        str(identity) if identity not in (None, "") else _written(row),
        (image,),
        group=str(row["group"]) if row.get("group") else None,
        split=SPLITS.get(split),
        dataset=str(row["dataset"]) if row.get("dataset") else None,
        line=line,
    )
    return record, score, critique


def _written(row: Mapping[str, Any]) -> str:
    value = next((row[name] for name in IMAGE_COLUMNS if row.get(name)), None)
    value = value[0] if isinstance(value, list) and len(value) == 1 else value
    value = value.get("path") if isinstance(value, Mapping) else value
    if not isinstance(value, str) or not value:
        raise _Unread(f"there is no path of one image under {', '.join(IMAGE_COLUMNS)}")
    return value


def _image(row: Mapping[str, Any], folder: Path) -> str:
    written = _written(row)
    path = os.path.normpath(os.path.join(os.path.abspath(folder), written))
    if not os.path.isabs(written) and not path.startswith(os.path.join(os.path.abspath(folder), "")):
        raise _Unread(f"the image {written!r} lies outside of {folder}; set --image_folder")
    if not os.path.isfile(path):
        raise _Unread(f"the image {written!r} is not in {folder}; set --image_folder")
    return path


def _critique(row: Mapping[str, Any]) -> tuple[str, str | None]:
    """The critique and what stands as the answer, if it is there."""
    turns = next((row[name] for name in TURN_COLUMNS if row.get(name)), None)
    text = _last_answer(turns) if turns is not None else None
    if text is None:
        text = next((row[name] for name in ANSWER_COLUMNS if isinstance(row.get(name), str)), None)
    plain = next((row[name] for name in CRITIQUE_COLUMNS if isinstance(row.get(name), str)), None)
    read = None if text is None else take_apart(text)
    if read is not None:
        return read
    if plain is not None:
        inside = re.fullmatch(r"\s*<think>(.*)</think>\s*", plain, re.DOTALL)
        answer = re.fullmatch(r"\s*<answer>(.*)</answer>\s*", text, re.DOTALL) if text else None
        return (inside[1] if inside else plain).strip(), answer[1] if answer else text
    if text is None:
        raise _Unread(f"there is no conversation, and no text under {', '.join((*CRITIQUE_COLUMNS, *ANSWER_COLUMNS))}")
    raise _Unread("the answer is not <think>...</think><answer>...</answer>, each once and nothing outside")


def _last_answer(turns: Any) -> str:
    last = turns[-1] if isinstance(turns, list) and turns else None
    if not isinstance(last, Mapping) or (last.get("role") or last.get("from")) not in ("assistant", "gpt"):
        raise _Unread("the conversation does not end with an answer of the assistant")
    content = last.get("content", last.get("value"))
    if isinstance(content, list):
        content = "".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
    if not isinstance(content, str):
        raise _Unread("the last answer of the conversation is no text")
    return content


def _score(row: Mapping[str, Any], stated: str | None, space: ScoreSpace) -> float:
    values = []
    given = next((row[name] for name in SCORE_COLUMNS if row.get(name) not in (None, "")), None)
    given = given[0] if isinstance(given, list) and len(given) == 1 else given
    for value, what in ((given, "score"), (None if stated == SCORE_TOKEN else stated, "answer")):
        if value is None:
            continue
        if isinstance(value, bool) or not _DECIMAL.fullmatch(str(value).strip()):
            raise _Unread(f"the {what} is {str(value)[:60]!r}; expected one plain decimal")
        number = float(value)
        if not math.isfinite(number) or not space.min_score <= number <= space.max_score:
            raise _Unread(
                f"the {what} is {number:g}, outside of {space.min_score:g}..{space.max_score:g}; set --min_score and "
                "--max_score"
            )
        values.append(number)
    if not values:
        raise _Unread(f"there is no score, in the answer or under {', '.join(SCORE_COLUMNS)}")
    if len(values) == 2 and abs(space.to_unit(values[0]) - space.to_unit(values[1])) > _AGREE:
        raise _Unread(f"the score is {values[0]:g} and the answer {values[1]:g}; one of them is wrong")
    return values[0]
