"""Pairs scored with a checkpoint: how often the better picture of two gets the higher score, and how surely.

    found = evaluate_pairs(EvaluateOptions(checkpoint="mine", pairs="pairs.csv", out="evaluation"))
    print(format_pairs(found.metrics))

Pairs of one source are no independent draws, so intervals resample the sources (`group`), not the pairs. A tie of
people has no right order: it leaves the accuracy, and what is told of it is how far the two scores lie apart.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from roc.data.images import ImageError, open_image
from roc.data.pairs import Pair, read_pairs
from roc.data.rows import DataError, Faults, write_rows
from roc.evaluation.bootstrap import Array, Statistic, interval, resample, resamples_for
from roc.evaluation.folder import check_folder, json_text
from roc.evaluation.keys import FEW_ROWS, bounds_text, range_text, value_text
from roc.evaluation.metrics import krcc, plcc, srcc
from roc.files import write_text
from roc.scoring.ranking import win_probability

if TYPE_CHECKING:
    from PIL import Image

    from roc.evaluation.options import EvaluateOptions
    from roc.scoring.results import Score
    from roc.scoring.run import Watch

PAIR_METRICS_FILE = "pairs.json"
SCORES_FILE = "pair_scores.csv"

CHANGE = "delta"
"""Name of what is read in an answer about both pictures."""

FEWEST_RANKED = 3
"""Pictures of a group from which on their order is told; of two the accuracy says it."""


@dataclass(frozen=True)
class ScoredPair:
    """A pair with what a model says of it.

    Attributes:
        pair: The pair.
        first, second: Scores of its pictures, on the native scale.
        win: How likely the second beats the first, from the mean and the spread of both distributions.
        stds: Spreads of both scores; the first None where the second is a change.
    """

    pair: Pair
    first: float
    second: float
    win: float
    stds: tuple[float | None, float | None] = (None, None)

    @property
    def right(self) -> float:
        """1 where the better picture has the higher score, 0.5 where both have the same, 0 otherwise."""
        if self.first == self.second:
            return 0.5
        return float((self.second > self.first) == (self.pair.wins > 0.5))

    @property
    def sure(self) -> float:
        """How likely the better picture wins, by the model; of a tie, that the second one does not."""
        return self.win if self.pair.wins > 0.5 else 1 - self.win

    @property
    def source(self) -> str:
        """What is resampled: the group of the pair, or the pair itself."""
        return self.pair.group or self.pair.id


@dataclass(frozen=True)
class PairEvaluation:
    """The result of an evaluation on pairs.

    Attributes:
        rows: The pairs in the order of the file.
        metrics: What `pair_metrics` found, and what was evaluated.
    """

    rows: list[ScoredPair]
    metrics: dict[str, Any]


def evaluate_pairs(
    options: EvaluateOptions, *, command: str | None = None, watch: Watch = lambda rows, total, done: rows
) -> PairEvaluation:
    """Scores the pictures of a file of pairs or groups; writes pairs.json and pair_scores.csv into `options.out`.

    Args:
        options: What is evaluated.
        command: The command line, kept with the metrics.
        watch: Sees the images as they are scored; it may draw a progress bar.

    Raises:
        ValueError: If the pairs cannot be used, or the checkpoint carries no head.
        OSError: If the results cannot be written.
    """
    from roc.checkpoint.head_file import read_declaration
    from roc.scoring.comparing import check_compares

    check_folder(options.out)
    for name in (PAIR_METRICS_FILE, SCORES_FILE):
        if (Path(options.out) / name).resolve() == Path(options.pairs).resolve():
            raise ValueError(f"--pairs {options.pairs} is a file that --out {options.out} writes; name another folder")
    declaration = read_declaration(options.checkpoint)
    split, pairs = _chosen(options)

    if options.together:
        check_compares(declaration, options.checkpoint)
        rows, attribute = _asked_together(options, pairs, watch), CHANGE
        space = declaration.comparison.space(declaration.num_levels)
    else:
        attribute, space = declaration.attributes[0], declaration.space
        rows = _scored_apart(options, pairs, attribute, watch)
    metrics: dict[str, Any] = {
        "attribute": attribute,
        **dict(zip(("min_score", "max_score"), space.range, strict=True)),
        "calibrated": declaration.distribution_supervised,
        "split": split,
        **({} if command is None else {"command": command}),
        **pair_metrics(rows, n_resamples=options.n_resamples, seed=options.seed),
    }
    write_pairs(options.out, rows, metrics)
    return PairEvaluation(rows, metrics)


def write_pairs(folder: str | os.PathLike[str], rows: Sequence[ScoredPair], metrics: Mapping[str, Any]) -> None:
    """Writes pairs.json and pair_scores.csv into a folder; each file appears once it is whole."""
    write_text(Path(folder) / PAIR_METRICS_FILE, json_text(metrics))
    write_rows(Path(folder) / SCORES_FILE, map(_row, rows))


def _chosen(options: EvaluateOptions) -> tuple[str, list[Pair]]:
    """Reads the pairs of a split: unless one is named, those marked as test, or all where the file marks none."""
    named = None if options.split == "all" else options.split
    pairs = read_pairs(options.pairs, options.image_folder, check_images=False, split=named)
    held_out = [pair for pair in pairs if pair.split == "test"]
    if options.split is None and held_out:
        return "test", held_out
    return options.split or "all", pairs


def _scored_apart(options: EvaluateOptions, pairs: Sequence[Pair], attribute: str, watch: Watch) -> list[ScoredPair]:
    """Scores every picture by itself."""
    from roc.evaluation.scored_records import load_assessment, score_records

    assessed = score_records(
        load_assessment(options.checkpoint, options.device),
        options.checkpoint,
        [record for pair in pairs for record in pair.records()],
        options.pairs,
        batch_size=options.batch_size,
        workers=options.workers,
        watch=watch,
    )
    scores = [one.scores[attribute] for one in assessed]
    return [_scored(pair, *scores[2 * i : 2 * i + 2]) for i, pair in enumerate(pairs)]


def _asked_together(options: EvaluateOptions, pairs: Sequence[Pair], watch: Watch) -> list[ScoredPair]:
    """Asks about the two pictures of each pair; the first counts 0, the second what the answer says."""
    from roc.evaluation.scored_records import load_assessment
    from roc.scoring.comparing import compare

    assessment = load_assessment(options.checkpoint, options.device)
    if options.batch_size is not None:
        assessment.batch_size = options.batch_size

    def found() -> Iterator[ScoredPair]:
        for start in range(0, len(pairs), assessment.batch_size):
            few = pairs[start : start + assessment.batch_size]
            for pair, one in zip(few, compare(assessment, opened_pairs(few, options.pairs)), strict=True):
                win = win_probability(one.change.value, one.change.std, 0.0, 0.0)
                yield ScoredPair(pair, 0.0, one.change.value, win, (None, one.change.std))

    return list(watch(found(), len(pairs), 0))


def opened_pairs(pairs: Sequence[Pair], path: str) -> list[tuple[Image.Image, Image.Image]]:
    """Opens the pictures of pairs.

    Raises:
        DataError: With every picture that cannot be read.
    """
    faults = Faults(Path(path))
    opened = []
    for pair in pairs:
        try:
            first, second = map(open_image, pair.images)
            opened.append((first, second))
        except ImageError as error:
            faults.add(pair.line, str(error))
    if faults:
        raise DataError(faults.texts())
    return opened


def _scored(pair: Pair, first: Score, second: Score) -> ScoredPair:
    win = win_probability(second.value, second.std, first.value, first.std)
    return ScoredPair(pair, first.value, second.value, win, (first.std, second.std))


def _row(row: ScoredPair) -> dict[str, Any]:
    pair = row.pair
    people = {"wins": pair.wins, "delta": pair.delta, "group": pair.group, "category": pair.category}
    model = {"prediction_a": row.first, "prediction_b": row.second}
    model |= {"std_a": row.stds[0], "std_b": row.stds[1], "win_probability": row.win}
    return {"id": pair.id, "image_a": pair.images[0], "image_b": pair.images[1], **people, **model}


def pair_metrics(rows: Sequence[ScoredPair], *, n_resamples: int = 1000, seed: int = 0) -> dict[str, Any]:
    """Computes what scored pairs tell, each number with its 95% interval (`_low`, `_high`).

    Args:
        rows: Scored pairs, at least one.
        n_resamples: Bootstrap resamples of the sources; 0 for no intervals.
        seed: Seed of the resampling.

    Returns:
        `n` (pairs), `decided` (those that are no tie), `sources`; `accuracy`, the share of decided pairs whose better
        picture has the higher score; `confidence`, the mean probability that the model gives the better one; `gap` and
        `tie_gap`, the mean distance of the two scores of decided pairs and of ties; of the pairs with a known delta
        `delta_n`, `delta_srcc` and `delta_plcc` with the difference of the scores; `krcc`, the mean Kendall's tau-b
        within groups of `FEWEST_RANKED` pictures or more, and `krcc_n`, their number; `categories`: category -> `n`
        and `accuracy`. A number that does not exist is None.
    """
    sources = {name: place for place, name in enumerate(dict.fromkeys(row.source for row in rows))}
    places = np.array([sources[row.source] for row in rows])
    decided = np.array([row.pair.wins != 0.5 for row in rows])
    right = np.array([row.right for row in rows])
    sure = np.array([row.sure for row in rows])
    apart = np.array([row.second - row.first for row in rows])

    def mean(values: Array, chosen: Array) -> dict[str, float | None]:
        return _mean(values[chosen], places[chosen], len(sources), n_resamples, seed)

    found: dict[str, Any] = {
        "n": len(rows),
        "decided": int(decided.sum()),
        "sources": len(sources),
        "n_resamples": resamples_for(len(sources), n_resamples),
        "seed": seed,
    }
    for name, values, chosen in (
        ("accuracy", right, decided),
        ("confidence", sure, decided),
        ("gap", np.abs(apart), decided),
        ("tie_gap", np.abs(apart), ~decided),
    ):
        found |= {name + end: value for end, value in mean(values, chosen).items()}
    known = np.array([row.pair.delta is not None for row in rows])
    deltas = [row.pair.delta for row in rows if row.pair.delta is not None]
    found["delta_n"] = len(deltas)
    if deltas:
        found |= {f"delta_{name}": metric(apart[known], deltas) for name, metric in (("srcc", srcc), ("plcc", plcc))}
    taus = group_taus(rows)
    values, owners = np.array(list(taus.values())), np.array([sources[name] for name in taus], dtype=int)
    found |= {f"krcc{end}": value for end, value in _mean(values, owners, len(sources), n_resamples, seed).items()}
    found["krcc_n"] = len(taus)
    names = np.array([row.pair.category or "" for row in rows])
    found["categories"] = {
        str(name): {
            "n": int((decided & (names == name)).sum()),
            **{f"accuracy{end}": value for end, value in mean(right, decided & (names == name)).items()},
        }
        for name in sorted(set(names) - {""})
    }
    return found


def _mean(values: Array, owners: Array, count: int, n_resamples: int, seed: int) -> dict[str, float | None]:
    """The mean of values and its interval, resampled by their owners, of which there are `count`."""
    if not len(values):
        return {"": None}
    found: dict[str, float | None] = {"": float(values.mean())}
    if n_resamples and len(set(owners.tolist())) > 1:
        statistic = mean_statistic(values, owners, count)
        found["_low"], found["_high"] = interval(resample({"": statistic}, count, n_resamples, seed)[""])
    return found


def mean_statistic(values: Array, owners: NDArray[np.int_], count: int) -> Statistic:
    """Makes the mean of values a statistic of resampled sources.

    Args:
        values: (n,) the values.
        owners: (n,) the source of each.
        count: Number of sources.
    """
    sums = np.bincount(owners, weights=values, minlength=count)
    sizes = np.bincount(owners, minlength=count).astype(float)
    return lambda counts: _ratio(counts @ sums, counts @ sizes)


def _ratio(sums: Array, sizes: Array) -> Array:
    return np.divide(sums, sizes, out=np.full_like(sums, np.nan), where=sizes > 0)


def group_taus(rows: Sequence[ScoredPair]) -> dict[str, float]:
    """Kendall's tau-b of each source with enough pictures, of the pairs whose first picture is the source."""
    members: dict[str, list[ScoredPair]] = {}
    for row in rows:
        if row.pair.delta is not None and row.pair.group is not None:
            members.setdefault(row.source, []).append(row)
    taus = {}
    for name, own in members.items():
        shared = own[0].pair.images[0]
        # Pictures by their path, so that the swapped form of a pair is no member of its own.
        scores = {shared: (own[0].first, 0.0)}
        scores |= {row.pair.images[1]: (row.second, row.pair.delta) for row in own if row.pair.images[0] == shared}
        if len(scores) >= FEWEST_RANKED:
            predicted, human = zip(*scores.values(), strict=True)
            tau = krcc(predicted, human)
            if tau is not None:
                taus[name] = tau
    return taus


_SHOWN = {
    "accuracy": ("accuracy", "the better picture has the higher score"),
    "confidence": ("confidence", "mean probability that the model gives the better one"),
    "gap": ("distance", "mean distance of the scores of decided pairs"),
    "tie_gap": ("of ties", "the same where people see a tie"),
    "delta_srcc": ("SRCC, delta", "order of the differences"),
    "delta_plcc": ("PLCC, delta", "linear agreement of the differences"),
    "krcc": ("KRCC in group", "mean Kendall's tau-b within a group"),
}


def shown_numbers(metrics: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Writes what `pair_metrics` found of all pairs: name, value, interval and meaning of each number there is."""
    few = metrics["decided"]
    behind = {"krcc": metrics["krcc_n"], "tie_gap": metrics["n"] - few}
    return [
        (
            name,
            value_text(metrics[key], behind.get(key, few)),
            bounds_text(metrics.get(f"{key}_low"), metrics.get(f"{key}_high"), behind.get(key, few)),
            meaning,
        )
        for key, (name, meaning) in _SHOWN.items()
        if metrics.get(key) is not None
    ]


def format_pairs(metrics: Mapping[str, Any]) -> str:
    """Formats what `pair_metrics` found as plain text for the terminal."""
    few = metrics["decided"]
    scale = metrics["min_score"], metrics["max_score"]
    lines = [
        f"{metrics['attribute']} on {range_text(scale)}: {metrics['n']} pairs of {metrics['sources']} sources, "
        f"{metrics['n'] - few} ties"
    ]
    lines += [
        f"  {name:<14}{value:>8}   {bounds:<19}{meaning}".rstrip()
        for name, value, bounds, meaning in shown_numbers(metrics)
    ]
    if metrics["categories"]:
        width = max(map(len, metrics["categories"]))
        lines += ["", f"  {'':<{width}}  {'pairs':>6}  accuracy"]
        for name, one in metrics["categories"].items():
            bounds = bounds_text(one.get("accuracy_low"), one.get("accuracy_high"), one["n"])
            lines.append(f"  {name:<{width}}  {one['n']:>6}  {value_text(one['accuracy'], one['n'])} {bounds}".rstrip())
    if few < FEW_ROWS:
        lines += ["", f"  caution: {few} decided pairs are few; numbers are rounded to one digit"]
    if metrics["calibrated"] is False:
        lines += ["", "  note: the spread was not trained on votes, so the confidence is uncalibrated"]
    return "\n".join(lines)
