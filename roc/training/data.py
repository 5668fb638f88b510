"""The records of a run: read, checked against the settings, and divided into training, validation and test rows."""

from __future__ import annotations

import functools
import logging
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roc.data.counts import counted
from roc.data.pairs import Pair, pair_records, read_pairs
from roc.data.reading import read_records
from roc.data.records import Record, few_rated, resolve_splits
from roc.data.rows import DataError
from roc.model.device import usable_cores
from roc.training.backbone import row_faults
from roc.training.config import OVERALL
from roc.training.mixed_data import file_of, read_data_sets
from roc.training.reasoning import leak_faults, reasoning_faults, reasoning_question, with_short_answers
from roc.training.run import SCENES

if TYPE_CHECKING:
    from roc.score_space import ScoreSpace
    from roc.training.config import RunConfig
    from roc.training.mixing_config import DataSet

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunData:
    """The records of a run.

    Attributes:
        train: Rows to train on.
        val: Rows that choose the best state.
        test: Rows for the final evaluation, never used to choose anything.
        reasoning: Question that asks for a critique, where training rows hold some; None where they do not.
        pairs: Pairs to train on; the last rows of `train` are their pictures, two a pair, without a score.
        val_pairs: Pairs that choose the best state of a run that learns from pairs alone; none of them is a tie.
        rater_ceiling: How well the raters know each attribute (`roc.demo.raters.rater_ceiling`), of demo scenes only.
    """

    train: list[Record]
    val: list[Record]
    test: list[Record]
    reasoning: str | None = None
    rater_ceiling: dict[str, dict[str, float]] | None = None
    pairs: tuple[Pair, ...] = ()
    val_pairs: tuple[Pair, ...] = ()

    @property
    def validated(self) -> list[Record]:
        """The rows that a validation scores: `val`, or the pictures of `val_pairs`, two a pair."""
        return pair_records(self.val_pairs) if self.val_pairs else self.val

    @property
    def rated(self) -> list[Record]:
        """The training rows without those of the pairs."""
        return self.train[: len(self.train) - 2 * len(self.pairs)]


def read_data(config: RunConfig) -> RunData:
    """Reads the records and checks them against the settings; draws the demo's scenes where no file is given.

    Images have to be there but are not decoded: `check_images` does that, after everything that costs less.

    Raises:
        DataError: With every fault of the rows, those of unreadable images included; or with every row that does not
            fit the settings.
    """
    path, ceiling = config.data_path, None
    if path is None and config.pairs_path is None and not config.mix:
        path, ceiling = _draw_scenes(config)
    splits = _read_splits(config, path)
    pairs, held_out = _read_pairs(config)
    path = path or config.pairs_path or config.data_sets[0].path
    faults = [*attribute_faults(config, path, splits), *overlap_faults(config, splits)]
    faults += pair_faults(config, splits, pairs, held_out)
    for file, rows in _by_file(config, path, splits):
        faults += reasoning_faults(file, rows, config.attributes) + leak_faults(file, rows, config.score_space)
        if config.host == "backbone":
            faults += row_faults(file, rows)
    if not splits["train"] and not pairs:
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
    chosen_by = _chosen_by(held_out) if pairs and not splits["train"] and not splits["val"] else []
    splits["train"] += pair_records(pairs)
    return RunData(**splits, reasoning=reasoning, rater_ceiling=ceiling, pairs=tuple(pairs), val_pairs=tuple(chosen_by))


def _read_splits(config: RunConfig, path: str | Path | None) -> dict[str, list[Record]]:
    """Reads the rated rows: of several data sets, or of one file with its validation rows."""
    votes = config.ce_weight > 0 or config.emd_weight > 0
    if config.mix:
        splits = read_data_sets(config, functools.partial(_read_set, config, wants_votes=votes and not config.mixes))
        if votes and not any(record.histograms for record in splits["train"]):
            raise DataError(
                [
                    "no training row of mix has a histogram; give the columns h_1 .. h_N (JSON: target), or set the ce "
                    "and emd weights to 0"
                ]
            )
        return splits
    records = _read(config, path, wants_votes=votes) if path is not None else []
    if config.eval_data_path is None:
        return resolve_splits(records, val_fraction=config.val_fraction)
    splits = resolve_splits(records, val_fraction=0)
    splits["val"] = _read(config, config.eval_data_path)
    return splits


def _read_set(
    config: RunConfig, one: DataSet, space: ScoreSpace, *, wants_votes: bool = False, decode: bool = False
) -> list[Record]:
    """Reads one data set of several, whose histograms may have another number of levels."""
    return _read(
        config,
        one.path,
        image_folder=one.image_folder,
        space=space,
        num_levels=None if config.mixes else config.num_tokens,
        wants_votes=wants_votes,
        decode=decode,
        declared=lambda low, high: f"{one.name}={low}:{high}:{one.path} in mix",
    )


def check_learnable(config: RunConfig, data: RunData) -> None:
    """Makes sure that every training row teaches something by itself, as the members of a group of edits do not.

    Raises:
        DataError: With every row that has neither a score nor a conversation.
    """
    faults = [
        f"{file_of(config, record)}:{record.line}: there is no score and no conversation to learn from; give a "
        "score, remove the row, or give groups of edits as --pairs_path"
        for record in data.rated
        if not record.scores and record.conversations is None
    ]
    if faults:
        raise DataError(faults)


def _note_few(config: RunConfig, splits: dict[str, list[Record]]) -> None:
    """Says what to expect where few photos are rated; drawn scenes are as many as asked for."""
    if not config.data_files or config.pairs_path is not None:
        return
    rated = sum(bool(record.scores) for rows in splits.values() for record in rows)
    if (few := few_rated(rated)) is not None:
        logger.warning("%s: %s", " and ".join(config.data_files), few)


def check_images(config: RunConfig) -> None:
    """Decodes every image of the data files; demo scenes, just drawn, are skipped.

    Raises:
        DataError: With every image that cannot be read.
    """
    for path in filter(None, (config.data_path, config.eval_data_path)):
        _read(config, path, decode=True)
    for one in config.data_sets:
        low, high = one.range
        _read_set(config, one, replace(config.score_space, min_score=low, max_score=high), decode=True)
    if config.pairs_path is not None:
        read_pairs(config.pairs_path, config.image_folder, width=config.pair_width, pixel_limit=config.pixel_limit)


def _draw_scenes(config: RunConfig) -> tuple[Path, dict[str, dict[str, float]]]:
    from roc.demo.dataset import read_ceiling, write_dataset

    folder = Path(config.output_dir) / SCENES
    counts = config.demo_train, config.demo_val, config.demo_test
    path = write_dataset(folder, *counts, size=config.demo_size, seed=config.seed, workers=usable_cores())
    return path, read_ceiling(folder)


def _read(
    config: RunConfig,
    path: str | Path,
    *,
    wants_votes: bool = False,
    decode: bool = False,
    **of_the_set: Any,
) -> list[Record]:
    asked = {"image_folder": config.image_folder, "space": config.score_space, "num_levels": config.num_tokens}

    def read(decode: bool) -> list[Record]:
        return read_records(
            path,
            **{**asked, **of_the_set},
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


def _by_file(
    config: RunConfig, path: str | Path, splits: dict[str, list[Record]]
) -> list[tuple[str | Path, list[Record]]]:
    """Divides the rows by the file that they come from: all validation rows are those of `eval_data_path`, if given."""
    apart = "val" if config.eval_data_path is not None else None
    found = [(path, [row for split, rows in splits.items() if split != apart for row in rows])]
    return found if apart is None else [*found, (config.eval_data_path, splits[apart])]


def _file(config: RunConfig, path: str | Path, record: Record) -> str | Path:
    return file_of(config, record) if config.mix else path


def attribute_faults(config: RunConfig, path: str | Path, splits: dict[str, list[Record]]) -> list[str]:
    """Finds attributes that nobody rated, and conversations whose scores stand in another order than `attributes`."""
    faults = [
        f"{_file(config, file, record)}:{record.line}: the scores of the conversation are "
        f"{', '.join(record.scores)} in this order, but attributes says {', '.join(config.attributes)}; the k-th "
        "[SCORE] has to be the k-th attribute"
        for file, rows in _by_file(config, path, splits)
        for record in rows
        if record.conversations and tuple(record.scores) != config.attributes[: len(record.scores)]
    ]
    rated = {name for record in splits["train"] for name in record.scores}
    missing = [name for name in config.attributes if name not in rated]
    # Groups of edits have no score at all; whether that is enough is for the method to say (`check_learnable`).
    grouped = all(record.group is not None and not record.scores for record in splits["train"])
    if missing and not grouped:
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


def _read_pairs(config: RunConfig) -> tuple[list[Pair], list[Pair]]:
    """Reads the pairs: those to train on, and those that are marked as validation or test."""
    if config.pairs_path is None:
        return [], []
    found = read_pairs(
        config.pairs_path,
        config.image_folder,
        width=config.pair_width,
        check_images=False,
        pixel_limit=config.pixel_limit,
    )
    pairs = [pair for pair in found if pair.split in (None, "train")]
    held_out = [pair for pair in found if pair.split not in (None, "train")]
    if not pairs:
        raise DataError([f"{config.pairs_path}: no pair to train on; every pair is marked as validation or test"])
    known = sum(pair.delta is not None for pair in pairs)
    logger.info(
        "%s to train on, %d of them with a known difference; %d held out",
        counted(len(pairs), "pair"),
        known,
        len(held_out),
    )
    return pairs, held_out


def _chosen_by(held_out: Sequence[Pair]) -> list[Pair]:
    """Picks the pairs to validate on: those marked val that somebody decided, each in one of its two orders."""
    found = {frozenset(pair.images): pair for pair in held_out if pair.split == "val" and pair.wins != 0.5}
    return list(found.values())


def pair_faults(
    config: RunConfig, splits: dict[str, list[Record]], pairs: Sequence[Pair], held_out: Sequence[Pair] = ()
) -> list[str]:
    """Finds pictures of training pairs that are validated or tested on, and attributes that no row teaches."""
    held = {image: f"{pair.split} picture of another pair" for pair in held_out for image in pair.images}
    held |= {
        image: f"{name} picture of the rated rows"
        for name in ("val", "test")
        for record in splits[name]
        for image in record.images
    }
    faults = [
        f"{config.pairs_path}:{pair.line}: {image} is a {held[image]} as well; remove the pair, or give it that split"
        for pair in pairs
        for image in pair.images
        if image in held
    ]
    others = config.attributes[1:]
    if pairs and others and not splits["train"]:
        faults.append(
            f"{config.pairs_path}: pairs teach the first score alone, and nobody rated {', '.join(others)}; give rated "
            "rows with --data_path, or --attributes overall"
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
