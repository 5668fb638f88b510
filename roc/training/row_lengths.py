"""Rows that do not fit into `model_max_length`: all found before the first step, with what would take them."""

from __future__ import annotations

import bisect
import heapq
import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from roc.data.faults import DataError, Faults
from roc.data.images import ImageError, image_size
from roc.data.limits import FEWEST_PIXELS
from roc.data.survey import survey
from roc.demo.dataset import RATINGS_FILE
from roc.model.lengths import RowLength, RowLengths
from roc.model.pictures import Size
from roc.training.mixed_data import file_of
from roc.training.run import SCENES

if TYPE_CHECKING:
    from roc.data.records import Record
    from roc.model.collator import RocCollator
    from roc.training.config import RunConfig
    from roc.training.data import RunData

logger = logging.getLogger(__name__)

_LONGEST_ROWS = 8
# Of how many rows a limit is first tried on, and how many lower ones are tried where it does not do for all.
_WORST = 32
_STEPS_DOWN = 5


@dataclass(frozen=True)
class LengthReport:
    """What is known of the lengths of a run's rows.

    Attributes:
        longest: Tokens of the longest row if none were cut.
        longest_rows: Places of the longest training rows, the longest first.
        faults: Of the rows that do not fit.
        remedy: Settings that would take them all.
    """

    longest: int
    longest_rows: list[int]
    faults: list[str] = field(default_factory=list)
    remedy: str | None = None


class _Row(NamedTuple):
    file: Path
    record: Record
    sizes: list[Size]


def check_lengths(config: RunConfig, data: RunData, collator: RocCollator, *, validates: bool) -> LengthReport:
    """Computes how many tokens every row takes, from texts and the sizes of the pictures.

    The first process does so for all. A note says how many rows lose words after their last `[SCORE]`.

    Args:
        config: The settings.
        data: Its training rows, and its validation rows where they are used.
        collator: What will make the batches.
        validates: Whether there is validation.

    Raises:
        DataError: With every row that does not fit, and what would take all of them.
    """
    from accelerate import PartialState
    from accelerate.utils import gather_object

    first = PartialState().is_main_process
    (report,) = gather_object([_report(config, data, collator, validates)] if first else [])
    if report.faults:
        raise DataError(report.faults, report.remedy)
    return report


def _report(config: RunConfig, data: RunData, collator: RocCollator, validates: bool) -> LengthReport:
    path = Path(config.data_path or config.pairs_path or Path(config.output_dir) / SCENES / RATINGS_FILE)
    paired, val = data.train[len(data.rated) :], data.validated if validates else []
    of_file = [
        (path, data.rated),
        (Path(config.pairs_path or path), paired),
        (Path(config.eval_data_path or path), val),
    ]
    if config.mix:
        of_file = [(Path(file_of(config, record)), [record]) for record in (*data.train, *val)]
    sizes = _picture_sizes(record for _, records in of_file for record in records)
    rows = [_Row(file, one, [sizes[image] for image in one.images]) for file, records in of_file for one in records]
    counter = RowLengths(collator)
    counter.learn(sizes.values(), config.dataloader_num_workers)
    limit, faults = config.model_max_length, {file: Faults(file) for file, _ in of_file}
    lengths: list[RowLength] = []
    impossible = False
    for row in rows:
        try:
            length = counter.of(row.record, row.sizes)
        except ValueError as error:
            faults[row.file].add(row.record.line, str(error))
            impossible = True
            continue
        lengths.append(length)
        if length.needed > limit:
            count = len(row.sizes)
            faults[row.file].add(
                row.record.line,
                f"{row.record.id} needs {length.needed} tokens, {length.pictures} of them for its "
                f"{'picture' if count == 1 else f'{count} pictures'}; model_max_length is {limit}",
            )
    found = [text for one in faults.values() for text in one.texts()]
    if found:
        return LengthReport(0, [], found, None if impossible else _remedy(rows, lengths, counter, limit))
    _note_cuts(lengths, limit)
    longest = heapq.nlargest(_LONGEST_ROWS, range(len(data.train)), key=lambda place: lengths[place].total)
    return LengthReport(max(length.total for length in lengths), longest)


def _picture_sizes(records: Iterable[Record]) -> dict[str, Size]:
    """Reads the sizes of all pictures from the headers of their files.

    Raises:
        ImageError: If a header, which could be read before, no longer can be.
    """
    paths = list(dict.fromkeys(image for record in records for image in record.images))
    sizes = dict(survey(paths, image_size, "size"))
    for found in sizes.values():
        if isinstance(found, ImageError):
            raise found
    return sizes


def _note_cuts(lengths: Sequence[RowLength], limit: int) -> None:
    cut = [length.total for length in lengths if length.total > limit]
    if cut:
        rows = "1 row loses" if len(cut) == 1 else f"{len(cut)} rows lose"
        logger.warning(
            "%s words after the last [SCORE] to fit model_max_length %d; %d would cut none", rows, limit, max(cut)
        )


def _remedy(rows: Sequence[_Row], lengths: Sequence[RowLength], counter: RowLengths, limit: int) -> str:
    """Says which settings would take all rows."""
    needed, whole = (max(getattr(length, name) for length in lengths) for name in ("needed", "total"))
    text = f"--model_max_length {whole} takes all rows"
    if whole > needed:
        text += f" ({needed} with words lost after their last [SCORE])"
    by_need = sorted(zip(rows, lengths, strict=True), key=lambda pair: -pair[1].needed)
    pixels = _fitting_max_pixels([row for row, _ in by_need], counter, limit)
    if pixels is None:
        return text
    limited = counter.limited(pixels)
    scaled = [size for row in rows for size in row.sizes if limited.scaled(size) != size]
    largest = max(scaled, key=lambda size: size[0] * size[1])
    pictures = "1 picture" if len(scaled) == 1 else f"{len(scaled)} pictures, the largest"
    before, after = (f"{width} x {height}" for width, height in (largest, limited.scaled(largest)))
    return f"{text}; or --max_pixels {pixels}, which scales {pictures} from {before} to {after}, here and in scoring"


def _fitting_max_pixels(rows: Sequence[_Row], counter: RowLengths, limit: int) -> int | None:
    """Finds the largest `max_pixels` of two digits and zeros with which all rows fit; None where there is none.

    Args:
        rows: The one that needs most comes first.
    """

    def fits(pixels: int, some: Sequence[_Row]) -> bool:
        limited = counter.limited(pixels)
        limited.learn(size for row in some for size in row.sizes)
        try:
            return all(limited.of(row.record, row.sizes).needed <= limit for row in some)
        except ValueError:  # so small that the processor cannot take it
            return False

    areas = [math.prod(counter.shown_size(size)) for row in rows for size in row.sizes]
    round_numbers = (digits * 10**zeros for zeros in range(1, 8) for digits in range(10, 100))
    choices = [number for number in round_numbers if FEWEST_PIXELS <= number < max(areas, default=0)]
    # Nearly always, fewer pixels are fewer tokens. Where they are not, the whole check below steps further down.
    best = bisect.bisect_left(choices, True, key=lambda number: not fits(number, rows[:_WORST])) - 1
    for place in range(best, max(-1, best - _STEPS_DOWN), -1):
        if fits(choices[place], rows):
            return choices[place]
    return None
