"""The records of several data sets that a run learns from together, each read on its own scale.

A record keeps its native scores and names its data set (`Record.dataset`); its id begins with that name, because two
data sets may use the same ids. With one data set, the records are those that `data_path` would give, to the letter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from roc.data.records import Record, resolve_splits
from roc.data.rows import DataError
from roc.score_space import ScoreSpace

if TYPE_CHECKING:
    from roc.training.config import RunConfig
    from roc.training.mixing_config import DataSet

Read = Callable[["DataSet", ScoreSpace], list[Record]]
"""Reads the file of a data set on its scale."""


def read_data_sets(config: RunConfig, read: Read) -> dict[str, list[Record]]:
    """Reads all data sets of a run, each divided into its own training, validation and test rows.

    Args:
        config: With `mix`.
        read: Reads one file and checks it.

    Returns:
        {"train": ..., "val": ..., "test": ...}, the data sets one after the other in each.

    Raises:
        DataError: With all faults of all files, or with images that are trained on in one and held out in another.
    """
    splits: dict[str, list[Record]] = {"train": [], "val": [], "test": []}
    faults: list[str] = []
    for one in config.data_sets:
        try:
            records = read(one, replace(config.score_space, **_ends(one)))
        except DataError as error:
            faults += error.faults
            continue
        if config.mixes:
            records = [_named(record, one.name, config.num_tokens) for record in records]
        own = resolve_splits(records, val_fraction=config.val_fraction)
        if config.mixes:
            faults += _set_faults(one, own["train"])
        for split, rows in own.items():
            splits[split] += rows
    faults = faults or _leaks(config, splits)
    if faults:
        raise DataError(faults)
    return splits


def file_of(config: RunConfig, record: Record) -> str:
    """Names the file of a record of `data_path` or `mix`, for messages."""
    if not config.mix:
        return str(config.data_path)
    return next((one.path for one in config.data_sets if one.name == record.dataset), config.data_sets[0].path)


def respread(histogram: Sequence[float], num_levels: int) -> tuple[float, ...]:
    """Gives a histogram another number of levels over the same range; its mean stays.

    The share of a level goes to the two new levels around it, more to the nearer one.
    """
    if len(histogram) == num_levels:
        return tuple(histogram)
    found = [0.0] * num_levels
    for number, share in enumerate(histogram):
        place = number * (num_levels - 1) / (len(histogram) - 1)
        left = min(int(place), num_levels - 2)
        found[left] += share * (1 - (place - left))
        found[left + 1] += share * (place - left)
    return tuple(found)


def _ends(one: DataSet) -> dict[str, float]:
    return {"min_score": one.range[0], "max_score": one.range[1]}


def _named(record: Record, name: str, num_levels: int) -> Record:
    votes = {attribute: respread(histogram, num_levels) for attribute, histogram in record.histograms.items()}
    return replace(record, id=f"{name}/{record.id}", dataset=name, histograms=votes)


def _set_faults(one: DataSet, rows: Sequence[Record]) -> list[str]:
    """Finds a data set that has nothing to rank, and words that belong to one scale."""
    if not rows:
        return [f"{one.path}: no row to train on; every row of {one.name} is marked as validation or test"]
    faults = [
        f"{one.path}:{record.line}: there is a critique, and several data sets are learnt together without any; train "
        "on this file alone, or remove the conversation"
        for record in rows
        if record.conversations and any("<think>" in text for _, text in record.conversations)
    ]
    scores = {record.scores["overall"] for record in rows if "overall" in record.scores}
    if len(scores) < 2:
        given = (
            f"all training rows of {one.name} are rated {min(scores):g}"
            if scores
            else f"no training row of {one.name} has an overall score"
        )
        faults.append(f"{one.path}: {given}, so there is no order to link with the others; leave this data set out")
    return faults


def _leaks(config: RunConfig, splits: dict[str, list[Record]]) -> list[str]:
    """Finds images of one data set that another one is validated or tested on."""
    trained = {image: record for record in splits["train"] for image in record.images}
    return [
        f"{file_of(config, record)}:{record.line}: {image} is a {name} picture of {record.dataset} and a training "
        f"picture of {trained[image].dataset} (line {trained[image].line}); give it one split in both"
        for name in ("val", "test")
        for record in splits[name]
        for image in record.images
        if image in trained and trained[image].dataset != record.dataset
    ]
