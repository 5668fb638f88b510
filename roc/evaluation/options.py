"""Options of `roc evaluate` and `roc compare`.

They stand apart from the work so that `--help` needs neither numpy nor scipy.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from roc.evaluation.benchmarks import TEST_SETS
from roc.score_space import range_faults
from roc.settings import REQUIRED, Fault, Settings, option

COMPARISON_SUFFIXES = (".html", ".json")


@dataclass(frozen=True, kw_only=True)
class EstimateOptions(Settings):
    """How the metrics and their intervals are computed."""

    threshold: float | None = option(None, "border between bad and good, for the accuracy")
    n_resamples: int = option(1000, "bootstrap resamples; 0 for no intervals", low=0)
    seed: int = option(0, "seed of the bootstrap", low=0)


@dataclass(frozen=True, kw_only=True)
class SubjectOptions(Settings):
    """What is evaluated: a file of predictions, or a checkpoint on a data file."""

    predictions: str | None = option(
        None,
        "file of rows with the columns score and prediction; also read: id, subset, image, std, h_1 .. h_N, "
        "p_1 .. p_N, score.<attribute>, prediction.<attribute>",
        metavar="FILE",
    )
    checkpoint: str | None = option(None, "folder or hub id of a checkpoint to score the rows of --data_path with")
    data_path: str | None = option(
        None, "file of rated images: image, score and whatever else `roc finetune` reads", metavar="FILE"
    )
    pairs: str | None = option(
        None,
        "pairs or groups of pictures to compare the scores of --checkpoint with, in place of --data_path: image_a, "
        "image_b and preferred (a, b or tie) or delta",
        metavar="FILE",
    )
    together: bool = option(
        False, "with --pairs: ask about both pictures in one question, of a checkpoint that was taught to compare"
    )
    image_folder: str | None = option(
        None,
        "folder that the paths of images start from; with --predictions, for the images of the worst rows",
        metavar="DIR",
        unset="the folder of the file",
    )
    split: Literal["train", "val", "validation", "test", "all"] | None = option(
        None, "rows of --data_path", unset="test, where the file marks any; otherwise all"
    )
    min_score: float | None = option(None, "lowest score of the scale that people rated on")
    max_score: float | None = option(
        None, "highest score of that scale", unset="with --checkpoint, both ends of its range"
    )
    attribute_ranges: tuple[str, ...] = option(
        (),
        "ranges of attributes that people rated on another scale, NAME=LOWEST:HIGHEST each",
        unset="with --checkpoint, its own",
    )
    map_range: bool = option(False, "map the ratings from the scales given here linearly onto those of --checkpoint")
    scale: str | None = option(
        None,
        "data set on whose scale --checkpoint is evaluated, of those that it was trained on together (docs/mixing.md)",
        metavar="NAME",
        unset="the scale of its shared score",
    )
    test_set: str | None = option(
        None,
        "public test set that the rows are, for its published numbers and, without --min_score, its scale: "
        + ", ".join(sorted(TEST_SETS)),
        metavar="NAME",
    )


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(SubjectOptions, EstimateOptions):
    """Where the results go, and how a checkpoint scores."""

    out: str = option(REQUIRED, "folder for the results", metavar="DIR")
    report: bool = option(True, "write numbers only; needs no matplotlib")
    reason: bool = option(
        False, "with --checkpoint: the model writes a critique before its score (slow); wrong answers are counted"
    )
    samples: int = option(1, "with --reason: answers for each image, sampled where there are several", low=1)
    temperature: float = option(0.6, "with --reason: temperature of what is sampled", above=0)
    max_new_tokens: int = option(512, "with --reason: longest answer, in tokens", low=1)
    device: str | None = option(None, "device of the model: cuda, mps, cpu", unset="the first of these that is there")
    batch_size: int | None = option(None, "images per forward pass", low=1, unset="found while scoring")
    workers: int | None = option(
        None, "processes that read and resize images", low=0, unset="as many as fit the machine"
    )

    def faults(self) -> list[Fault]:
        """Finds options that contradict each other."""
        found = []
        if (self.checkpoint is None) == (self.predictions is None):
            either = "give either --predictions FILE, or --checkpoint CHECKPOINT and --data_path FILE; see --help"
            return [("", either)]
        if self.pairs is not None:
            return found + self._pair_faults()
        if self.together:
            found.append(("", "--together needs --pairs FILE"))
        if (self.checkpoint is None) != (self.data_path is None):
            found.append(("", "--checkpoint and --data_path go together; a file of predictions alone is --predictions"))
        if (self.min_score is None) != (self.max_score is None):
            found.append(("", "--min_score and --max_score go together; give both ends of the scale"))
        found += range_faults(self.attribute_ranges)
        if self.predictions is not None and self.attribute_ranges and self.min_score is None and not self.test_set:
            found.append(
                ("", "--attribute_ranges needs the range of the first score; give --min_score and --max_score")
            )
        if self.predictions is not None:
            foreign = ("split", "device", "batch_size", "workers", "map_range")
            found += [
                ("", f"--{name} has no meaning for a file of predictions")
                for name in foreign
                if getattr(self, name) not in (None, False)
            ]
        if self.scale is not None and self.predictions is not None:
            found.append(("", "--scale has no meaning for a file of predictions"))
        if self.scale is not None and self.reason:
            found.append(("", "--scale reads scores of one forward pass; leave --reason out"))
        if self.predictions is not None and self.reason:
            found.append(("", "--reason has no meaning for a file of predictions"))
        given = {"samples": 1, "temperature": 0.6, "max_new_tokens": 512}
        found += [
            ("", f"--{name} needs --reason")
            for name, usual in given.items()
            if getattr(self, name) != usual and not self.reason
        ]
        if self.predictions is None and self.map_range and self.min_score is None and not self.attribute_ranges:
            found.append(("", "--map_range needs the scale of the ratings; give its ends, --min_score and --max_score"))
        if self.test_set is not None and self.test_set not in TEST_SETS:
            near = difflib.get_close_matches(self.test_set, TEST_SETS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(sorted(TEST_SETS))}"
            found.append(("test_set", f"there is no test set {self.test_set!r}; {hint}"))
        return found

    def _pair_faults(self) -> list[Fault]:
        """Finds options that mean nothing where pairs are compared."""
        found: list[Fault] = []
        if self.checkpoint is None or self.data_path is not None:
            found.append(("", "--pairs goes with --checkpoint, and takes the place of --data_path and --predictions"))
        usual = {"min_score": None, "attribute_ranges": (), "map_range": False, "test_set": None, "threshold": None}
        usual |= {"max_score": None, "reason": False, "scale": None}
        usual |= {"samples": 1, "temperature": 0.6, "max_new_tokens": 512}
        given = [name for name, value in usual.items() if getattr(self, name) != value]
        return found + [("", f"--{name} has no meaning for pairs; leave it out") for name in given]


@dataclass(frozen=True, kw_only=True)
class CompareOptions(EstimateOptions):
    """Which evaluations are compared, and where the comparison goes."""

    a: str = option(REQUIRED, "folder that `roc evaluate` or a training run wrote", positional=True, metavar="A")
    b: str = option(REQUIRED, "another one, of the same rows or pairs", positional=True, metavar="B")
    out: tuple[str, ...] = option(
        (), "also write all of the comparison as .html or .json; may be given twice", metavar="FILE", commas=False
    )
    full: bool = option(False, "print every metric, not only the main ones")

    def faults(self) -> list[Fault]:
        """Finds files of an unknown kind."""
        unknown = [out for out in self.out if Path(out).suffix.lower() not in COMPARISON_SUFFIXES]
        return [("", f"--out is {out}; expected a name that ends in .html or .json") for out in unknown]
