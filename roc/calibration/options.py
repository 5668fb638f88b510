"""Options of `roc calibrate` and `roc reference`. Light, so that `--help` is quick."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from roc.score_space import range_faults
from roc.settings import REQUIRED, Fault, Settings, option, settings_of


@dataclass(frozen=True, kw_only=True)
class CalibrateOptions(Settings):
    """What is calibrated, on which ratings, and what is fitted to them."""

    checkpoint: str = option(REQUIRED, "folder of the checkpoint or adapter; its config file is changed", metavar="DIR")
    data_path: str | None = option(
        None, "file of rated images that the model was not trained on: image, score, ...", metavar="FILE"
    )
    remove: bool = option(False, "take the calibration back; the model scores as it was trained again")
    image_folder: str | None = option(
        None, "folder that the paths of images start from", metavar="DIR", unset="the folder of the file"
    )
    split: Literal["val", "validation", "test", "all"] | None = option(
        None, "rows of --data_path", unset="validation, or else test, where the file marks any; otherwise all"
    )
    level: float | None = option(
        0.9, "share of ratings that the intervals hold; none for no intervals", above=0, below=1, unset="no intervals"
    )
    scaled: bool = option(
        False, "make the width of an interval follow the standard deviation of its score; of a head trained on votes"
    )
    by_third: bool = option(
        False, "give each third of the scores a width of its own, where each has enough ratings for --level"
    )
    temperature: bool = option(
        False, "also fit a temperature that brings the distributions nearer to the votes, or to the ratings"
    )
    affine: bool = option(
        False, "also move the scores onto the scale of these ratings, named by --min_score and --max_score"
    )
    unit: str | None = option(None, "with --affine: what a step of that scale is called, such as stars", metavar="NAME")
    earlier: Literal["keep", "drop"] | None = option(
        None, "what an earlier --temperature or --affine is to this call: kept under new intervals, or dropped"
    )
    min_score: float | None = option(None, "lowest score of the scale that people rated on")
    max_score: float | None = option(None, "highest score of that scale", unset="both ends of the checkpoint's range")
    attribute_ranges: tuple[str, ...] = option(
        (), "ranges of attributes that people rated on another scale, NAME=LOWEST:HIGHEST each", unset="its own"
    )
    map_range: bool = option(False, "map the ratings from the scale given here linearly onto that of the checkpoint")
    device: str | None = option(None, "device of the model: cuda, mps, cpu", unset="the first of these that is there")
    batch_size: int | None = option(None, "images per forward pass", low=1, unset="found while scoring")
    workers: int | None = option(
        None, "processes that read and resize images", low=0, unset="as many as fit the machine"
    )

    def faults(self) -> list[Fault]:
        """Finds options that contradict each other."""
        if self.remove:
            return _beside_remove(self)
        if self.data_path is None:
            missing = "data_path is missing; give a file of rated images, or --remove to take a calibration back"
            return [("data_path", missing)]
        found: list[Fault] = range_faults(self.attribute_ranges)
        if (self.min_score is None) != (self.max_score is None):
            found.append(("", "--min_score and --max_score go together"))
        elif self.min_score is not None and self.min_score >= self.max_score:
            found.append(("min_score", f"min_score is {self.min_score:g} and max_score {self.max_score:g}; swap them"))
        if self.affine and self.min_score is None:
            found.append(("affine", "--affine needs the scale of the ratings; give its ends, --min_score, --max_score"))
        if self.affine and self.map_range:
            found.append(("map_range", "--map_range keeps the checkpoint's scale and --affine leaves it; give one"))
        if self.map_range and self.min_score is None and not self.attribute_ranges:
            found.append(("map_range", "--map_range needs the scale of the ratings; give --min_score and --max_score"))
        if self.affine and self.temperature:
            found.append(
                (
                    "temperature",
                    "--temperature needs ratings on the scale of the training, --affine has others; give one",
                )
            )
        if self.unit is not None and not self.affine:
            found.append(("unit", "unit needs --affine"))
        if self.earlier == "keep" and (self.affine or self.temperature):
            found.append(("earlier", "--earlier keep leaves scores as they are, --affine and --temperature move them"))
        for name in ("scaled", "by_third"):
            if self.level is None and getattr(self, name):
                found.append((name, f"{name} is about intervals, and level is none"))
        if self.level is None and not (self.temperature or self.affine):
            found.append(("level", "level is none, so nothing would be calibrated; give --temperature or --affine"))
        return found


@dataclass(frozen=True, kw_only=True)
class ReferenceOptions(Settings):
    """A checkpoint, and the photos that its scores are compared with from now on."""

    checkpoint: str = option(
        REQUIRED,
        "folder of the checkpoint or adapter; its config file is changed",
        positional=True,
        metavar="CHECKPOINT",
    )
    photos: tuple[str, ...] = option(
        (), "photos, or folders, patterns, tables and lists of them", positional=True, metavar="PHOTOS"
    )
    remove: bool = option(False, "take the reference back")
    name: str | None = option(
        None,
        "what the set is called in outputs",
        metavar="NAME",
        unset="the name of PHOTOS, of several the folder that holds them",
    )
    device: str | None = option(None, "cuda, mps or cpu", unset="the first there is")
    batch_size: int | None = option(None, "images per forward pass", low=1, unset="found while scoring")
    workers: int | None = option(None, "processes that read and resize", low=0, unset="as many as fit the machine")

    def faults(self) -> list[Fault]:
        """Finds photos that are missing, and options that contradict each other."""
        if self.remove:
            return _beside_remove(self)
        if not self.photos:
            return [("photos", "no photos are named; give some, or --remove to take a reference back")]
        return []


def _beside_remove(options: Settings) -> list[Fault]:
    """Finds options that mean nothing where something is taken back."""
    return [
        (name, f"{name} means nothing beside --remove, which takes back what is there; leave one of them out")
        for name, setting in settings_of(type(options)).items()
        if name not in ("checkpoint", "remove") and getattr(options, name) != setting.default
    ]
