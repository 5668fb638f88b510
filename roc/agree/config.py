"""The settings of `roc agree`; light, so that `--help` needs no torch."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from roc.agree.attributes import DELTA
from roc.settings import REQUIRED, Fault, Settings, option

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True, kw_only=True)
class MapsOptions(Settings):
    """Which photo is shown, and how."""

    photo: str = option(REQUIRED, "the photo", positional=True)
    out: str = option(REQUIRED, f"picture to write: {', '.join(_SUFFIXES)}", metavar="PICTURE")
    side: int = option(
        512, "longest side in pixels: a larger photo is scaled down before anything is computed", low=8, high=2048
    )
    delta: float = option(DELTA, "size of the perturbations", above=0, high=0.2)

    def faults(self) -> list[Fault]:
        """An output that is no picture, or the photo itself."""
        if Path(self.out).suffix.lower() not in _SUFFIXES:
            return [("out", f"{self.out}: expected a name that ends in one of {', '.join(_SUFFIXES)}")]
        if os.path.realpath(self.out) == os.path.realpath(self.photo):
            return [("out", f"{self.out} is the photo itself; name another file")]
        return []


@dataclass(frozen=True, kw_only=True)
class DivisionOptions(Settings):
    """A data file and how it is divided into folds."""

    data_path: str = option(
        REQUIRED, "data file of the photos, as for `roc finetune`; photos need not be rated", metavar="FILE"
    )
    image_folder: str | None = option(
        None, "folder that its image paths start from", metavar="DIR", unset="that of data_path"
    )
    seed: int = option(0, "another seed divides the photos otherwise", low=0, metavar="N")


@dataclass(frozen=True, kw_only=True)
class FoldsOptions(DivisionOptions):
    """Which data file is divided, into how many folds, and where the files go."""

    out: str = option(REQUIRED, "folder for train_1, train_2, ... and folds.json", metavar="DIR")
    folds: int = option(2, "how many", low=2, high=20, metavar="K")
    overwrite: bool = option(False, "replace what an earlier division wrote there")


@dataclass(frozen=True, kw_only=True)
class WeightsOptions(Settings):
    """Which checkpoint gets the routing weights of which table, and which anchors."""

    checkpoint: str = option(REQUIRED, "folder of a checkpoint of `roc agree train`", positional=True, metavar="FOLDER")
    table: str | None = option(None, "table of `roc agree sensitivity` with the photos to be scored", metavar="FILE")
    training_table: str | None = option(
        None, "table whose medians the weights are divided by", metavar="FILE", unset="those that the checkpoint keeps"
    )
    anchors: str | None = option(
        None,
        "file of `roc agree anchors` with the photos to be scored, for a checkpoint that was trained with such anchors",
        metavar="FILE",
    )
    remove: bool = option(False, "take weights and anchors out again: predictor and mean anchors stand in for them")

    def faults(self) -> list[Fault]:
        """Finds something to write beside its removal, or neither, and medians without a table."""
        if self.remove == (self.table is not None or self.anchors is not None):
            return [("", "give --table FILE, --anchors FILE or both; or --remove")]
        if self.training_table is not None and self.table is None:
            return [("training_table", "training_table has no meaning without --table FILE; leave it out")]
        return []


@dataclass(frozen=True, kw_only=True)
class SensitivityOptions(DivisionOptions):
    """Photos, the models that score them, and the perturbations."""

    checkpoint: tuple[str, ...] = option(
        REQUIRED,
        "folder or hub id of a model with a score head; with --folds one for each fold",
        metavar="MODEL",
        commas=False,
    )
    out: str = option(REQUIRED, "table to write, .parquet", metavar="FILE")
    folds: int = option(
        1,
        "folds of the photos: the k-th checkpoint scores those that it was not trained on",
        low=1,
        high=20,
        metavar="K",
    )
    allow_seen: bool = option(False, "score photos by a checkpoint that was trained on them too; the table counts them")
    delta: float = option(DELTA, "size of the perturbations", above=0, high=0.2)
    side: int | None = option(
        1024,
        "longest side in pixels at which photos are perturbed and scored; larger ones are scaled down; none keeps them",
        low=8,
        metavar="N",
    )
    score: str | None = option(None, "name of the score to look at", metavar="NAME", unset="the checkpoint's first")
    overwrite: bool = option(False, "start anew, whatever is there")
    retry_failed: bool = option(False, "try photos again that could not be scored before")
    batch_size: int | None = option(None, "pictures per forward pass", low=1, unset="found while scoring", metavar="N")
    workers: int | None = option(
        None, "processes that read and perturb", low=0, unset="as many as fit the machine", metavar="N"
    )
    image_seconds: float = option(60.0, "longest time to read and resize one picture", above=0, metavar="S")
    device: str | None = option(None, "cuda, mps or cpu", unset="the first there is")
    dtype: Literal["float32", "bfloat16", "float16"] = option(
        "float32", "number format of the model; half precision rounds away small differences of scores"
    )

    def faults(self) -> list[Fault]:
        """Finds an output of another kind, and checkpoints that are not one for each fold."""
        found: list[Fault] = []
        if Path(self.out).suffix.lower() != ".parquet":
            found.append(
                ("out", f"out is {self.out}; expected a name that ends in .parquet, which holds its settings too")
            )
        if len(self.checkpoint) != self.folds:
            advice = "give one for each fold" if self.folds > 1 else "give --folds 2 for two"
            found.append(
                ("checkpoint", f"there are {len(self.checkpoint)} checkpoints for {self.folds} folds; {advice}")
            )
        if self.folds > 1 and len(set(map(os.path.realpath, self.checkpoint))) < len(self.checkpoint):
            found.append(("checkpoint", "the same checkpoint is named for two folds; each needs its own"))
        return found
