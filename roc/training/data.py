"""The records of a run: read, checked against the settings, and divided into training, validation and test rows."""

from __future__ import annotations

import logging
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from roc.data.reading import read_records
from roc.data.records import Record, few_rated, resolve_splits
from roc.data.rows import DataError
from roc.model.device import usable_cores
from roc.training.backbone import row_faults
from roc.training.config import OVERALL
from roc.training.reasoning import reasoning_faults, reasoning_question, with_short_answers
from roc.training.run import SCENES

if TYPE_CHECKING:
    from roc.training.config import RunConfig

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunData:
    """The records of a run.

    Attributes:
        train: Rows to train on.
        val: Rows that choose the best state.
        test: Rows for the final evaluation, never used to choose anything.
        reasoning: Question that asks for a critique, where training rows hold some; None where they do not.
        rater_ceiling: How well the raters know each attribute (`roc.demo.raters.rater_ceiling`), of demo scenes only.
    """

    train: list[Record]
    val: list[Record]
    test: list[Record]
    reasoning: str | None = None
    rater_ceiling: dict[str, dict[str, float]] | None = None


def read_data(config: RunConfig) -> RunData:
    """Reads the records and checks them against the settings; draws the demo's scenes where no file is given.

    Images have to be there but are not decoded: `check_images` does that, after everything that costs less.

    Raises:
        DataError: With every fault of the rows, those of unreadable images included; or with every row that does not
            fit the settings.
    """
    path, ceiling = (config.data_path, None) if config.data_path is not None else _draw_scenes(config)
    records = _read(config, path, wants_votes=config.ce_weight > 0 or config.emd_weight > 0)
    if config.eval_data_path is None:
        splits = resolve_splits(records, val_fraction=config.val_fraction)
    else:
        splits = resolve_splits(records, val_fraction=0)
        splits["val"] = _read(config, config.eval_data_path)
    faults = [*attribute_faults(config, path, splits), *overlap_faults(config, splits)]
    faults += reasoning_faults(path, (row for rows in splits.values() for row in rows), config.attributes)
    if config.host == "backbone":
        faults += row_faults(path, (row for rows in splits.values() for row in rows))
    if not splits["train"]:
        faults.append(f"{path}: no row to train on; every row is marked as validation or test")
    if faults:
        raise DataError(faults)
    _note_few(config, splits)
    reasoning = reasoning_question(splits["train"])
    if reasoning is not None:
        before = len(splits["train"])
        splits["train"] = with_short_answers(splits["train"], config.short_answers)
        logger.info(
            "rows hold critiques, so the model is taught to reason; %d of %d rows are taught a second time, with a "
            "short answer",
            *(len(splits["train"]) - before, before),
        )
        if not config.short_answers:
            logger.warning("short_answers is 0, so one forward pass is not taught: scores of .score() mean nothing")
    return RunData(**splits, reasoning=reasoning, rater_ceiling=ceiling)


def _note_few(config: RunConfig, splits: dict[str, list[Record]]) -> None:
    """Says what to expect where few photos are rated; drawn scenes are as many as asked for."""
    if config.data_path is None:
        return
    rated = sum(bool(record.scores) for rows in splits.values() for record in rows)
    if (few := few_rated(rated)) is not None:
        logger.warning("%s: %s", config.data_path, few)


def check_images(config: RunConfig) -> None:
    """Decodes every image of the data files; demo scenes, just drawn, are skipped.

    Raises:
        DataError: With every image that cannot be read.
    """
    for path in filter(None, (config.data_path, config.eval_data_path)):
        _read(config, path, decode=True)


def _draw_scenes(config: RunConfig) -> tuple[Path, dict[str, dict[str, float]]]:
    from roc.demo.dataset import read_ceiling, write_dataset

    folder = Path(config.output_dir) / SCENES
    counts = config.demo_train, config.demo_val, config.demo_test
    path = write_dataset(folder, *counts, size=config.demo_size, seed=config.seed, workers=usable_cores())
    return path, read_ceiling(folder)


def _read(config: RunConfig, path: str | Path, *, wants_votes: bool = False, decode: bool = False) -> list[Record]:
    def read(decode: bool) -> list[Record]:
        return read_records(
            path,
            config.image_folder,
            space=config.score_space,
            num_levels=config.num_tokens,
            attributes=config.attributes,
            require_histogram=wants_votes,
            check_images=decode,
            pixel_limit=config.pixel_limit,
        )

    try:
        return read(decode)
    except DataError:
        read(True)  # the file is refused anyway: decoding completes the list of what is wrong with it
        raise


def attribute_faults(config: RunConfig, path: str | Path, splits: dict[str, list[Record]]) -> list[str]:
    """Finds attributes that nobody rated, and conversations whose scores stand in another order than `attributes`."""
    faults = [
        f"{path}:{record.line}: the scores of the conversation are {', '.join(record.scores)} in this order, but "
        f"attributes says {', '.join(config.attributes)}; the k-th [SCORE] has to be the k-th attribute"
        for record in (record for rows in splits.values() for record in rows)
        if record.conversations and tuple(record.scores) != config.attributes[: len(record.scores)]
    ]
    rated = {name for record in splits["train"] for name in record.scores}
    missing = [name for name in config.attributes if name not in rated]
    if missing and splits["train"]:
        there = [name for name in config.attributes if name in rated]
        advice = "Name the attributes to learn with --attributes."
        if there[:1] == [OVERALL]:
            advice = f"Name those that it has: --attributes {shlex.quote(','.join(there))}"
            if config.model_name_or_path is not None and config.new_head is None:
                advice += " (with --new_head false where a checkpoint has a head for more)"
        faults.append(
            f"{path}: no training row has a score for {', '.join(missing)}; the file has "
            f"{', '.join(sorted(rated)) or 'none'}. {advice}"
        )
    return faults


def overlap_faults(config: RunConfig, splits: dict[str, list[Record]]) -> list[str]:
    """Finds images of `eval_data_path` that are trained on or tested on."""
    if config.eval_data_path is None:
        return []
    used = {image: name for name in ("train", "test") for record in splits[name] for image in record.images}
    return [
        f"{config.eval_data_path}:{record.line}: {image} is a {used[image]} picture of data_path as well; remove one"
        for record in splits["val"]
        for image in record.images
        if image in used
    ]
