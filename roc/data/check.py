"""Checking a data file: what it holds, and everything that is wrong with it, before training finds it one by one.

There are two kinds of findings. A *fault* is what training refuses, or what would silently spoil it: a missing image, a
score that is no number, rows on two scales. A *warning* is what training accepts and a person should look at: ids that
differ only by their extension, a score far from the mean of its own votes.

Nothing in a file says which scale its scores are on, so the range is guessed: the narrowest of the usual ranges that
holds all of them. Rows on another scale show as a second cluster of scores with a gap in between, or, where the file
names its data sets, as data sets with different guesses.

Records are counted as they are read and only numbers and names are kept, so a million rows fit into memory.
"""

from __future__ import annotations

import math
import os
from array import array
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from roc.data.counts import counted
from roc.data.limits import DEFAULT_PIXEL_LIMIT
from roc.data.reading import scan_records
from roc.data.records import Record, Repeats, few_rated, plain_id
from roc.data.rows import Faults
from roc.data.survey import check_image_files
from roc.data.usual_ranges import USUAL_RANGES, guess_range
from roc.score_space import ScoreSpace

_BARS = 10
_BAR_WIDTH = 40

# Two clusters of scores are two scales if each has this many different scores and this share of the rows, and if the
# rows between the end of the lower scale and twice that are at most this share of the smaller cluster.
_CLUSTER_VALUES, _CLUSTER_SHARE, _GAP_SHARE = 5, 0.01, 0.2
# Data sets whose guessed ranges differ by this factor cannot be on one scale; by less, one may just lack high scores.
_SCALE_FACTOR = 4
_FEWEST_SCORES = 20


@dataclass
class AttributeScores:
    """Number, lowest and highest of the scores of one attribute."""

    count: int = 0
    low: float = math.inf
    high: float = -math.inf

    def add(self, score: float) -> None:
        """Counts a score."""
        self.count += 1
        self.low = min(self.low, score)
        self.high = max(self.high, score)


@dataclass
class DataReport:
    """What `check_data` found.

    Attributes:
        path: the data file.
        faults: what training refuses or would be spoiled by, "FILE:LINE: fault; remedy", by line; what has one cause in
            many rows is told once, with all their lines in `every_line`.
        every_line: `faults`, with no line left out.
        warnings: what a person should look at, in the same form.
        bad_rows: rows that have faults, from 1; 0 where the file as a whole has one.
        records: number of records that could be read.
        images: number of different image files in them.
        opened: number of images that were opened; None where only their existence was checked.
        splits, datasets: name -> number of records; "" for records that name none.
        attributes: attribute -> its scores, "overall" first.
        histograms: number of levels of the overall histogram -> number of records; 0 for records without one.
        filled: std, n_votes, comment, conversations, group, edit -> number of records that have it.
        scores: overall scores in the order of the file, (n,).
        range: native range that was given; None where it had to be guessed.
        attribute_ranges: attribute -> range that was given for it alone.
        guess: guessed native range; None where none of `USUAL_RANGES` holds all scores.
    """

    path: str
    faults: list[str] = field(default_factory=list)
    every_line: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    bad_rows: set[int] = field(default_factory=set)
    records: int = 0
    images: int = 0
    opened: int | None = None
    splits: Counter[str] = field(default_factory=Counter)
    datasets: Counter[str] = field(default_factory=Counter)
    attributes: dict[str, AttributeScores] = field(default_factory=dict)
    histograms: Counter[int] = field(default_factory=Counter)
    filled: Counter[str] = field(default_factory=Counter)
    scores: np.ndarray = field(default_factory=lambda: np.zeros(0))
    range: tuple[float, float] | None = None
    attribute_ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    guess: tuple[float, float] | None = None

    def summary(self) -> str:
        """Describes the file: counts, range and a histogram of the scores, without faults and warnings."""
        opened = "" if self.opened is None else f", {self.opened} opened"
        lines = [f"{self.path}: {counted(self.records, 'record')}, {counted(self.images, 'image')}{opened}"]
        for title, counts in (("split", self.splits), ("data set", self.datasets)):
            if set(counts) - {""}:
                lines.append(_row(title, [f"{name or '(none)'} {count}" for name, count in sorted(counts.items())]))
        scores = [
            f"{name} {one.count} ({one.low:.4g} .. {one.high:.4g}{self._own(name)})"
            for name, one in self.attributes.items()
        ]
        lines.append(_row("scores", scores or ["none"]))
        votes = [f"{count} of {levels} levels" for levels, count in sorted(self.histograms.items()) if levels]
        lines.append(_row("histograms", [*votes, f"{self.histograms[0]} without"]))
        if self.filled:
            lines.append(_row("also", [f"{name} {count}" for name, count in self.filled.items()]))
        if len(self.scores):
            with np.errstate(over="ignore", invalid="ignore"):  # from scores near the largest float
                lines += ["", *self._scale(), "", *_bars(self.scores, self.range or self.guess)]
        return "\n".join(lines)

    def _own(self, attribute: str) -> str:
        """Names the range that was given for one attribute alone."""
        low, high = self.attribute_ranges.get(attribute, (None, None))
        return "" if low is None else f", on {low:g}..{high:g}"

    def _scale(self) -> list[str]:
        scores = self.scores
        lines = [
            f"overall: {scores.min():.4g} .. {scores.max():.4g}, mean {scores.mean():.4g}, "
            f"standard deviation {scores.std():.3g}"
        ]
        lengths = [levels for levels in self.histograms if levels]
        tokens = f" --num_tokens {lengths[0]}" if len(lengths) == 1 and lengths[0] > 1 else ""
        if self.range is not None:
            lines.append(f"native range, as given: {self.range[0]:g}..{self.range[1]:g}")
        elif self.guess is None:
            usual = ", ".join(f"{low:g}..{high:g}" for low, high in USUAL_RANGES)
            lines.append(f"native range: none of the usual ones ({usual}) holds all scores; give your own")
        else:
            low, high = self.guess
            lines.append(
                f"native range, by guess: {low:g}..{high:g} (--min_score {low:g} --max_score {high:g}{tokens})"
            )
        return lines


def check_data(
    path: str | os.PathLike[str],
    image_folder: str | os.PathLike[str] | None = None,
    *,
    space: ScoreSpace | None = None,
    num_levels: int | None = None,
    attributes: Sequence[str] | None = None,
    open_images: bool = True,
    pixel_limit: int = DEFAULT_PIXEL_LIMIT,
    memory: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    drop: Collection[str] = (),
) -> DataReport:
    """Reads a data file and finds everything that is wrong with it.

    Args:
        path: a `.json`, `.jsonl`, `.csv`, `.tsv` or `.parquet` file, see `roc/data/reading.py`.
        image_folder: folder that the paths in the file are relative to; None for the folder of the file itself.
        space: native scale that every score has to lie on, an attribute with a range of its own on that; None guesses
            the range.
        num_levels: length that every histogram must have; None takes the length of the first one.
        attributes: names for scores that stand in a list, as for `read_records`.
        open_images: whether to decode every image. False only checks that the files exist.
        pixel_limit: an image with more pixels is a fault.
        memory: file that remembers good images, so that a stopped run goes on where it was; see `roc/data/survey.py`.
        workers: threads that open images; None = one for each processor.
        drop: columns to read as if they were not there.

    Returns:
        The report; a file that can be used has no faults.

    Raises:
        DataError: the file cannot be read at all.
        ValueError, OSError: `memory` cannot be used.
    """
    faults, warnings = Faults(Path(path)), Faults(Path(path))
    report = DataReport(os.fspath(path))
    if space is not None:
        report.range, report.attribute_ranges = space.of("overall").range, space.attribute_ranges
    tally = _Tally(report, faults, warnings)
    records = scan_records(
        path, image_folder, faults, space=space, num_levels=num_levels, attributes=attributes, drop=drop
    )
    for record in records:
        tally.see(record)
    tally.close()
    for name in report.attribute_ranges:
        if report.attributes and name not in report.attributes:
            there = ", ".join(report.attributes)
            faults.add(
                None, f"attribute_ranges names {name}, and the scores are {there}; correct the name, or leave it out"
            )
    _check_links(tally.images, Path(path).parent if image_folder is None else Path(image_folder), warnings)
    report.opened = check_image_files(
        tally.images,
        faults,
        folder=Path(path).parent if image_folder is None else image_folder,
        decode=open_images,
        pixel_limit=pixel_limit,
        memory=memory,
        workers=workers,
    )
    report.faults, report.every_line = faults.texts(), faults.texts(all_lines=True)
    report.warnings, report.bad_rows = warnings.texts(), faults.rows()
    return report


class _Tally:
    """Counts records as they are read."""

    def __init__(self, report: DataReport, faults: Faults, warnings: Faults) -> None:
        self.images: dict[str, list[int | None]] = {}  # image -> its lines
        self._report, self._faults, self._warnings = report, faults, warnings
        self._repeats = Repeats(faults)
        self._first: dict[str, tuple[str, int | None, str]] = {}  # plain id -> (id, line, split)
        self._scores = array("d")
        self._lines = array("q")
        self._means = array("d")  # of the overall histogram, 0 for all at the first level, 1 for all at the last
        self._sets = array("l")
        self._set_numbers: dict[str, int] = {}

    def see(self, record: Record) -> None:
        report = self._report
        self._repeats.see(record)
        report.records += 1
        report.splits[record.split or ""] += 1
        report.datasets[record.dataset or ""] += 1
        for name, score in record.scores.items():
            if name not in report.attributes:
                report.attributes[name] = AttributeScores()
            report.attributes[name].add(score)
        votes = record.histograms.get("overall", ())
        report.histograms[len(votes)] += 1
        for name in ("std", "n_votes", "comment", "conversations", "group", "edit"):
            if getattr(record, name) is not None:
                report.filled[name] += 1
        for image in record.images:
            self.images.setdefault(image, []).append(record.line)
        self._see_id(record)
        if "overall" in record.scores:
            self._scores.append(record.scores["overall"])
            self._lines.append(record.line or 0)
            mean = sum(place * share for place, share in enumerate(votes))
            self._means.append(mean / (len(votes) - 1) if len(votes) > 1 else math.nan)
            self._sets.append(self._set_numbers.setdefault(record.dataset or "", len(self._set_numbers)))

    def _see_id(self, record: Record) -> None:
        split, plain = record.split or "train", plain_id(record.id)
        if plain not in self._first:
            self._first[plain] = (record.id, record.line, split)
            return
        identity, line, before = self._first[plain]
        if identity == record.id:
            return  # reported by Repeats
        what = (
            f"the id {record.id!r} and that of line {line}, {identity!r}, differ only by extension, capital letters or "
            "Unicode form"
        )
        if before != split:
            self._faults.add(record.line, f"{what}, but here it is {split} and there {before}; keep both in one split")
        else:
            self._warnings.add(record.line, f"{what}; look whether it is one image twice")

    def close(self) -> None:
        """Adds the findings that need all records."""
        report = self._report
        report.images = len(self.images)
        report.scores = scores = np.array(self._scores)
        if not len(scores):
            return
        if (few := few_rated(len(scores))) is not None:
            self._warnings.add(None, few)
        lengths = [levels for levels in report.histograms if levels]
        num_levels = lengths[0] if len(lengths) == 1 else None
        report.guess = guess_range(scores.min(), scores.max(), num_levels)
        lines, sets = np.array(self._lines), np.array(self._sets)
        for number, name in enumerate(self._set_numbers):
            of_set = sets == number
            self._check_clusters(name, scores[of_set], lines[of_set])
        self._check_sets({name: scores[sets == number] for name, number in self._set_numbers.items()})
        if len(scores) > 1 and scores.min() == scores.max():
            self._warnings.add(None, f"all scores are {scores[0]:g}; there is nothing to learn from them")
        if (scale := report.range or report.guess) is not None:
            self._check_votes(scores, np.array(self._means), lines, scale)

    def _check_clusters(self, name: str, scores: np.ndarray, lines: np.ndarray) -> None:
        """Adds a fault if the scores form two clusters, one within a usual range and one far above it."""
        for _, end in USUAL_RANGES:
            low, high = scores <= end, scores > 2 * end
            between = len(scores) - low.sum() - high.sum()
            smaller = min(low.sum(), high.sum())
            if smaller < max(_CLUSTER_VALUES, _CLUSTER_SHARE * len(scores)) or between > _GAP_SHARE * smaller:
                continue
            if min(len(np.unique(scores[low])), len(np.unique(scores[high]))) < _CLUSTER_VALUES:
                continue
            part, other = (low, high) if low.sum() <= high.sum() else (high, low)
            self._faults.add(
                None,
                f"the scores{f' of {name}' if name else ''} are on two scales: {low.sum()} lie on "
                f"{scores[low].min():.4g} .. {scores[low].max():.4g} and {high.sum()} on {scores[high].min():.4g} .. "
                f"{scores[high].max():.4g}; bring all to one. Lines of the {part.sum()}: {_listed(lines[part])}; "
                f"of the {other.sum()}: {_listed(lines[other])}",
            )
            return

    def _check_sets(self, sets: dict[str, np.ndarray]) -> None:
        """Adds a fault or a warning if the data sets of the file have different guessed ranges."""
        guesses = {
            name: guess_range(scores.min(), scores.max())
            for name, scores in sets.items()
            if len(scores) >= _FEWEST_SCORES
        }
        known = {name: one for name, one in guesses.items() if one is not None}
        if len(set(known.values())) < 2:
            return
        listed = ", ".join(f"{name or '(no name)'} on {low:g}..{high:g}" for name, (low, high) in known.items())
        ends = [high for _, high in known.values()]
        if max(ends) >= _SCALE_FACTOR * min(ends):
            self._faults.add(None, f"the data sets are on different scales, by guess {listed}; bring all to one")
        else:
            self._warnings.add(
                None, f"the data sets may be on different scales, by guess {listed}; see whether they are"
            )

    def _check_votes(
        self, scores: np.ndarray, means: np.ndarray, lines: np.ndarray, scale: tuple[float, float]
    ) -> None:
        """Adds a warning for each score that is not the mean of its histogram, if nearly all others are."""
        low, high = scale
        known = ~np.isnan(means)
        off = np.abs((scores - low) / (high - low) - means)
        if known.sum() < _FEWEST_SCORES or np.median(off[known]) > 0.01:
            return
        for place in np.flatnonzero(known & (off > 0.05)):
            self._warnings.add(
                int(lines[place]),
                f"the score is {scores[place]:.4g}, but its histogram's mean {low + means[place] * (high - low):.4g}",
            )


def _check_links(images: dict[str, list[int | None]], folder: Path, warnings: Faults) -> None:
    """Warns of links that lead out of the folder; whoever keeps the folder made them, so they are followed."""
    border, real_border = (os.path.join(place, "") for place in (os.path.abspath(folder), os.path.realpath(folder)))
    real_folders: dict[str, str] = {}
    outside: dict[str, list[str]] = defaultdict(list)
    for image in images:
        if not image.startswith(border):
            continue
        place = os.path.dirname(image)
        if place not in real_folders:
            real_folders[place] = os.path.realpath(place)
        real = os.path.dirname(os.path.realpath(image)) if os.path.islink(image) else real_folders[place]
        if not os.path.join(real, "").startswith(real_border):
            outside[real].append(image)
    for real, linked in outside.items():
        more = f" and {len(linked) - 1} more" if len(linked) > 1 else ""
        warnings.add(images[linked[0]][0], f"the image {linked[0]}{more} is linked from {real}, out of {folder}")


def _listed(lines: np.ndarray, most: int = 10) -> str:
    """Lists line numbers: "2, 5, 7 ..."."""
    return ", ".join(map(str, lines[:most])) + (" ..." if len(lines) > most else "")


def _row(title: str, parts: Sequence[str]) -> str:
    return f"  {title:<11} {' · '.join(parts)}"


def _bars(scores: np.ndarray, ends: tuple[float, float] | None) -> list[str]:
    """Draws a histogram of the scores in text, over the given range where it holds them all."""
    low, high = ends or (scores.min(), scores.max())
    if scores.min() < low or scores.max() > high or low == high:
        low, high = scores.min() - (low == high) / 2, scores.max() + (low == high) / 2
    if not (np.diff(np.linspace(low, high, _BARS + 1)) > 0).all():
        return []
    counts, edges = np.histogram(scores, bins=_BARS, range=(low, high))
    width = max(len(f"{edge:.4g}") for edge in edges)
    return [
        f"  {edges[i]:>{width}.4g} .. {edges[i + 1]:>{width}.4g} "
        f"{'#' * math.ceil(_BAR_WIDTH * count / counts.max()):<{_BAR_WIDTH}} {count:>8} {count / len(scores):>6.1%}"
        for i, count in enumerate(counts)
    ]
