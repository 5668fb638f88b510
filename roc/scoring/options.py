"""Options of a scoring run: images, checkpoint, output, choice, speed. Light, so that `--help` is quick."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

from roc.settings import REQUIRED, Fault, Settings, option

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet", ".xlsx")
"""Kinds of output."""

PERCENTILES = (10.0, 35.0, 65.0, 90.0)
"""Where 2, 3, 4 and 5 stars begin, in percent of the photos of a run."""

NEW_RAY = "local"
"""`ray_address` that starts a Ray of its own instead of joining a cluster; Ray's own word for it."""


@dataclass(frozen=True, kw_only=True)
class EngineOptions(Settings):
    """Where the models run."""

    TITLE = "engine"

    engine: Literal["local", "ray"] = option("local", "ray: actors, on many machines too", matters=False)
    ray_address: str = option(
        NEW_RAY,
        f"cluster to join: auto, HOST:PORT or ray://HOST:PORT; {NEW_RAY} starts a Ray here",
        metavar="ADDRESS",
        matters=False,
    )
    actors: int | None = option(
        None, "with --engine ray, how many load the model", low=1, unset="one per GPU", metavar="N", matters=False
    )

    def faults(self) -> list[Fault]:
        """Finds settings of the cluster where there is none, and a device that Ray does not lend."""
        if self.engine != "ray":
            given = {"ray_address": self.ray_address != NEW_RAY, "actors": self.actors is not None}
            return [(name, f"{name} needs --engine ray") for name, is_given in given.items() if is_given]
        device = getattr(self, "device", None)
        if device not in (None, "cuda", "cpu"):
            return [("device", f"device is {device}; expected cuda or cpu with --engine ray")]
        return []


@dataclass(frozen=True, kw_only=True)
class ScoreOptions(EngineOptions):
    """Images, checkpoint, output, what is chosen by the scores, and how fast."""

    paths: tuple[str, ...] = option(REQUIRED, "what to score", positional=True, metavar="PATH")
    checkpoint: str = option(REQUIRED, "folder or hub id of a model that carries the score head", metavar="MODEL")
    out: str | None = option(
        None, f"file to write, {', '.join(SUFFIXES)}", metavar="FILE", unset="print the scores instead"
    )
    overwrite: bool = option(False, "start anew, whatever is there")
    retry_failed: bool = option(False, "try images again that could not be scored before")
    column: str = option("image", "in a table, the column that holds the paths", metavar="NAME")
    image_folder: str | None = option(
        None, "where paths in lists and tables start from", metavar="DIR", unset="the folder of the list"
    )
    attributes: tuple[str, ...] | None = option(
        None, "scores to give, by name", metavar="NAME", unset="all of the checkpoint"
    )
    scale: str | None = option(
        None,
        "data set on whose scale the scores are, of those that the checkpoint was trained on together (docs/mixing.md)",
        metavar="NAME",
        unset="the scale of its shared score",
    )
    distribution: bool = option(False, "also p_1 .. p_N, the probability of each level")
    describe: bool = option(False, "let the model generate its answer too, as text (much slower)")
    reason: bool = option(
        False, "let a model that was taught to reason write a critique first; the score is read given it (slow)"
    )
    samples: int = option(
        1, "with --reason: answers for each image, sampled where there are several, then combined", low=1, metavar="K"
    )
    temperature: float = option(
        0.6, "with --reason: temperature of what is sampled; 1 is the model's own distribution", above=0, metavar="T"
    )
    seed: int = option(0, "with --reason: seed of the sampling", low=0, metavar="N")
    max_new_tokens: int = option(512, "longest answer of --describe and --reason, in tokens", low=1, metavar="N")
    at_least: float | None = option(None, "choose the images that score S or more", metavar="S")
    top: int | None = option(None, "choose the K best", low=1, metavar="K")
    group_by: Literal["looks", "time"] | None = option(
        None, "choose only the best of near-duplicates (looks) or of each burst (time of capture), before --top"
    )
    group_seconds: float = option(
        2.0, "with --group_by time: longest time between two photos of a burst", above=0, metavar="S"
    )
    copy_to: str | None = option(None, "copy the chosen images, names beginning with their rank", metavar="DIR")
    move_to: str | None = option(None, "move them there instead; none is ever lost or replaced", metavar="DIR")
    gallery: str | None = option(None, "write a page of thumbnails, of the chosen images or of all", metavar="HTML")
    xmp: Literal["stars"] | None = option(
        None, "stars: write 1 to 5 stars into XMP sidecars of all scored photos, never into a photo"
    )
    xmp_at: tuple[float, ...] | None = option(
        None,
        "with --xmp: where 2, 3, 4 and 5 stars begin",
        metavar="X",
        unset="10 35 65 90 by percentile",
    )
    xmp_by: Literal["percentile", "score"] = option(
        "percentile", "what --xmp_at compares: percent of these photos that score lower, or the score"
    )
    xmp_name: Literal["full", "stem"] = option(
        "full", "name of new sidecars: a.jpg.xmp (darktable, digiKam) or a.xmp (Lightroom, Capture One)"
    )
    xmp_overwrite: bool = option(False, "with --xmp: also photos that somebody has rated or rejected")
    batch_size: int | None = option(None, "images per forward pass", low=1, unset="found while scoring", metavar="N")
    workers: int | None = option(
        None, "processes that read and resize", low=0, unset="as many as fit the machine", metavar="N"
    )
    image_seconds: float = option(
        60.0,
        "longest time to read and resize one picture; what takes longer is an error",
        above=0,
        metavar="S",
    )
    device: str | None = option(None, "cuda, mps or cpu", unset="the first there is")
    dtype: Literal["float32", "bfloat16", "float16", "float8", "int8"] | None = option(
        None, "number format of the model", unset="bfloat16 where hardware multiplies it, else float32"
    )
    compile: bool = option(False, "compile the layers: minutes at the start, then faster")

    @property
    def chooses(self) -> bool:
        """Tells whether images are to be chosen by their scores."""
        return self.top is not None or self.at_least is not None or self.group_by is not None

    @property
    def xmp_thresholds(self) -> tuple[float, ...]:
        """Where 2, 3, 4 and 5 stars begin."""
        return PERCENTILES if self.xmp_at is None else self.xmp_at

    def faults(self) -> list[Fault]:
        """Finds settings that contradict each other."""
        return [*self._answer_faults(), *self._output_faults(), *self._xmp_faults(), *self._engine_faults()]

    def _xmp_faults(self) -> list[Fault]:
        given = {
            "xmp_at": self.xmp_at is not None,
            "xmp_by": self.xmp_by != "percentile",
            "xmp_name": self.xmp_name != "full",
            "xmp_overwrite": self.xmp_overwrite,
        }
        if self.xmp is None:
            return [(name, f"{name} needs --xmp stars") for name, is_given in given.items() if is_given]
        if self.move_to is not None:
            return [("xmp", "xmp and move_to exclude each other: a moved photo would leave its sidecar behind")]
        if self.xmp_by == "score" and self.xmp_at is None:
            return [("xmp_at", "xmp_by score needs the four scores where 2 to 5 stars begin: --xmp_at 3 5 7 8.5")]
        at = self.xmp_thresholds
        if len(at) != 4 or any(low >= high for low, high in pairwise(at)):
            shown = " ".join(f"{one:g}" for one in at) or "empty"
            return [("xmp_at", f"xmp_at is {shown}; expected four rising numbers, where 2, 3, 4 and 5 stars begin")]
        if self.xmp_by == "percentile" and not 0 <= at[0] < at[3] <= 100:
            return [("xmp_at", f"xmp_at is {' '.join(f'{one:g}' for one in at)}; expected percentiles, 0 to 100")]
        return []

    def _answer_faults(self) -> list[Fault]:
        if self.reason and self.describe:
            return [("describe", "--reason writes an answer already; leave --describe out")]
        if self.scale is not None and (self.reason or self.describe):
            odd = "reason" if self.reason else "describe"
            return [("scale", f"--scale reads scores of one forward pass; leave --{odd} or --scale out")]
        given = {"samples": self.samples != 1, "temperature": self.temperature != 0.6, "seed": self.seed != 0}
        return [(name, f"{name} needs --reason") for name, is_given in given.items() if is_given and not self.reason]

    def _output_faults(self) -> list[Fault]:
        found: list[Fault] = []
        if self.group_seconds != 2.0 and self.group_by != "time":
            found.append(("group_seconds", "group_seconds needs --group_by time"))
        for name in ("copy_to", "move_to"):
            if getattr(self, name) is not None and not self.chooses:
                found.append((name, f"{name} says where, but not what; add --top K, --at_least S or --group_by"))
        if self.copy_to is not None and self.move_to is not None:
            found.append(("move_to", "copy_to and move_to exclude each other; give one"))
        if self.out is None:
            for name in ("gallery", "copy_to", "move_to", "overwrite", "top", "at_least", "group_by", "xmp"):
                if getattr(self, name) not in (None, False):
                    found.append((name, f"{name} needs --out"))
        elif Path(self.out).suffix.lower() not in SUFFIXES:
            found.append(("out", f"out is {self.out}; expected a file that ends in {', '.join(SUFFIXES)}"))
        return found

    def _engine_faults(self) -> list[Fault]:
        found: list[Fault] = []
        if self.engine == "ray" and self.out is None:
            found.append(("engine", "engine ray needs --out"))
        if self.engine == "ray" and self.workers == 0:
            found.append(("workers", "workers is 0; expected 1 or more with --engine ray"))
        return found


@dataclass(frozen=True, kw_only=True)
class RankOptions(Settings):
    """Which photos are ranked, and by what."""

    photos: tuple[str, ...] = option(
        REQUIRED, "photos, or folders, patterns and lists of them", positional=True, metavar="PHOTO"
    )
    checkpoint: str = option(REQUIRED, "folder or hub id of a model that carries the score head", metavar="MODEL")
    attribute: str | None = option(None, "the score to rank by", metavar="NAME", unset="the first of the checkpoint")
    scale: str | None = option(
        None,
        "data set on whose scale the scores are shown, of those that the checkpoint was trained on together "
        "(docs/mixing.md); order and chances stay",
        metavar="NAME",
        unset="the scale of its shared score",
    )
    describe: bool = option(False, "let the model say why: it generates its answer about each photo (slower)")
    compare: bool = option(
        False,
        "let a model that was taught to compare (roc relative train) say of each two neighbours how much better the "
        "first is, and why, both in one question",
    )
    out: str | None = option(None, "also write all of it as JSON: scores, the order, who beats whom", metavar="FILE")
    device: str | None = option(None, "cuda, mps or cpu", unset="the first there is")

    def faults(self) -> list[Fault]:
        """Finds a file of another kind, and words that hold the numbers of another scale."""
        if self.scale is not None and (self.describe or self.compare):
            odd = "describe" if self.describe else "compare"
            return [("scale", f"--scale reads scores of one forward pass; leave --{odd} or --scale out")]
        if self.out is None or Path(self.out).suffix.lower() == ".json":
            return []
        return [("out", f"out is {self.out}; expected a name that ends in .json")]
