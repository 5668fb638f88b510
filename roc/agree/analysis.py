"""`roc agree analyse`: do photos that lean on different attributes pull against each other, and who pays for it?

From runs and a table of sensitivities: the common-error set, marginalisation against errors, the cosines between the
gradients of the attributes and the share of conflicts over training, and what AGREE changes on all and on hard photos.
Everything is kept as numbers with 95% intervals in analysis.json; photos.csv has one row a photo.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roc.agree.analysis_options import AnalysisOptions
from roc.agree.attributes import ATTRIBUTES
from roc.agree.common_errors import (
    bands,
    common_errors,
    compared,
    ends_of,
    estimates_of,
    numbers,
    with_intervals,
)
from roc.agree.marginalisation import (
    cohen_d,
    dominant,
    frequencies,
    gradient_marginalisation,
    marginalisation,
    resampled_cohen,
)
from roc.agree.pull import Pull, measure_pulls
from roc.agree.runs import Run, read_runs, train_rows, training_records
from roc.agree.table import SensitivityTable
from roc.data.records import Record
from roc.data.rows import DataError
from roc.evaluation.bootstrap import resample, resampled_pearson
from roc.evaluation.metrics import plcc

logger = logging.getLogger(__name__)

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Analysis:
    """What was found.

    Attributes:
        facts: The content of analysis.json.
        photos: One row a photo for photos.csv: `id`, `score`, `mean_error`, `hard`, and with a table `leans_on`, `m`
            and `m_gradient`.
    """

    facts: dict[str, Any]
    photos: list[dict[str, Any]]


@dataclass(frozen=True)
class _Leanings:
    """Weights and leanings of the tested photos and of the training photos.

    Attributes:
        weights: Attribute -> (n,) weights of the tested photos.
        frequency: (5,) share of the photos that lean on each attribute.
        counted: What the shares were counted on.
        by_attribute: Attribute -> photos that `frequency` was counted on and that lean on it.
        routing: Id of each of these -> its weights, in the order of `ATTRIBUTES`.
    """

    weights: dict[str, Array]
    frequency: Array
    counted: str
    by_attribute: dict[str, list[Record]]
    routing: dict[str, list[float]]


def analyse(options: AnalysisOptions, watch: Any = lambda photos, total: photos) -> Analysis:
    """Analyses runs.

    Args:
        options: Runs, table, and what is computed.
        watch: Sees every photo whose gradient is done.

    Raises:
        ValueError: A run, the table or a checkpoint cannot be used, or they do not fit together.
        DataError: A file has faults.
    """
    every = read_runs([*options.runs, *options.improved, *options.hard_from])
    by_path = {run.path: run for run in every}
    baselines, improved, judges = (
        [_named(by_path, path) for path in paths] for paths in (options.runs, options.improved, options.hard_from)
    )
    judges = judges or baselines
    first = baselines[0]
    leanings = None if options.table is None else _leanings(options, first)
    hard = np.zeros(len(first.ids), dtype=bool)
    hard[common_errors([run.errors for run in judges], options.share)] = True
    mean_error = np.mean([run.errors for run in baselines], axis=0)

    facts: dict[str, Any] = {
        "photos": len(first.ids),
        "range": first.range,
        "hard": {"share": options.share, "from": [run.name for run in judges], "photos": int(hard.sum())},
        "runs": {run.name: _run_facts(run, hard, options) for run in [*baselines, *improved]},
    }
    rows = [
        {"id": identity, "score": score, "mean_error": error, "hard": bool(flag)}
        for identity, score, error, flag in zip(first.ids, first.scores, mean_error, hard, strict=True)
    ]
    pulls: dict[str, Pull] = {}
    if leanings is not None:
        if options.gradients:
            given = leanings.by_attribute, leanings.frequency, leanings.routing
            pulls = measure_pulls(options, [*baselines, *improved], *given, watch)
            facts["gradients"] = {name: pull.facts for name, pull in pulls.items()}
        facts |= _marginalisation_facts(options, leanings, hard, mean_error, pulls.get(first.name), rows)
    if improved:
        facts["comparisons"] = [
            _comparison(before, after, hard, options, pulls) for before, after in zip(baselines, improved, strict=True)
        ]
    facts["caveats"] = _caveats(options, facts, judges, [*baselines, *improved])
    facts["settings"] = options.to_dict()
    return Analysis(facts, rows)


def _named(by_path: Mapping[Path, Run], path: str) -> Run:
    """The run of a path; one that was named twice, in another way of writing it, was read once."""
    found = by_path.get(Path(path))
    return found or next(run for known, run in by_path.items() if known.resolve() == Path(path).resolve())


def _leanings(options: AnalysisOptions, run: Run) -> _Leanings:
    """Looks up the weights of the tested photos, and which training photos lean on what."""
    table = SensitivityTable.read(options.table)
    calibrated = not options.published
    tested = table.route([Record(id=identity, images=()) for identity in run.ids], calibrated=calibrated)
    weights = {name: np.asarray(value) for name, value in tested.weights.items()}
    records, counted = _training_photos(options, run, table), "the training photos in the table"
    if not records:
        if options.gradients:
            raise ValueError(
                f"{options.table} holds none of the training photos, so there is nothing to take gradients of; measure "
                "them too by `roc agree sensitivity`, name their file with --data_path, or give --no_gradients"
            )
        counted = "all photos of the table, since it holds no training photo that is known"
        records = [Record(id=identity, images=()) for identity in table.ids]
    routing = table.route(records, calibrated=calibrated)
    leading = dominant(routing.weights)
    by_attribute: dict[str, list[Record]] = {name: [] for name in ATTRIBUTES}
    for record, place in zip(records, leading, strict=True):
        by_attribute[ATTRIBUTES[place]].append(record)
    rows = np.stack([np.asarray(routing.weights[name]) for name in ATTRIBUTES], axis=1).tolist()  # (n, 5)
    own = dict(zip(routing.ids, rows, strict=True))
    return _Leanings(weights, frequencies(leading), counted, by_attribute, own)


def _training_photos(options: AnalysisOptions, run: Run, table: SensitivityTable) -> list[Record]:
    """The training rows with one picture and a score that the table holds."""
    space = attributes = None
    if options.gradients:
        if run.checkpoint is None:
            raise ValueError(
                f"{run.path} holds no checkpoint, so there is no gradient to take; give the folder of a training "
                "run, or --no_gradients"
            )
        from roc.checkpoint.head_file import read_declaration

        declaration = read_declaration(str(run.checkpoint))
        space, attributes = declaration.space, declaration.attributes
    if options.data_path is not None:
        records = train_rows(options.data_path, options.image_folder, space, attributes, 0.0)
    else:
        try:
            records = training_records(run, space, attributes) or []
        except DataError:
            if options.gradients:
                raise
            records = []
    known, tested = set(table.ids), set(run.ids)
    return [
        record
        for record in records
        if record.id in known and record.id not in tested and len(record.images) == 1 and record.scores
    ]


def _run_facts(run: Run, hard: NDArray[np.bool_], options: AnalysisOptions) -> dict[str, Any]:
    """Metrics of a run on all photos, on the hard ones, and on these within bands of the label."""
    border = float(np.median(run.scores))
    parts = {"all": np.ones(len(hard), dtype=bool), "hard": hard, "others": ~hard}
    for name, band in bands(run.scores, border).items():
        parts |= {f"all_{name}": band, f"hard_{name}": hard & band}
    found: dict[str, Any] = {"path": str(run.path), "border": border}
    for name, chosen in parts.items():
        estimates = estimates_of(run.predictions[chosen], run.scores[chosen])
        found[name] = {"n": estimates.n, **with_intervals(estimates, options.n_resamples, options.seed)}
    return found


def _marginalisation_facts(
    options: AnalysisOptions,
    leanings: _Leanings,
    hard: NDArray[np.bool_],
    errors: Array,
    pull: Pull | None,
    rows: list[dict[str, Any]],
) -> dict[str, Any]:
    """M of each photo, in both readings, by group and against the error; writes them into the rows too."""
    leading = dominant(leanings.weights)
    values = {"m": marginalisation(leanings.weights, leanings.frequency)}
    if pull is not None:
        values["m_gradient"] = gradient_marginalisation(leading, pull.with_all)
    for place, row in enumerate(rows):
        row["leans_on"] = ATTRIBUTES[leading[place]]
        row |= {name: None if np.isnan(column[place]) else float(column[place]) for name, column in values.items()}
    return {
        "leanings": {
            "frequency": dict(zip(ATTRIBUTES, map(float, leanings.frequency), strict=True)),
            "counted_on": leanings.counted,
            "tested": dict(zip(ATTRIBUTES, map(float, frequencies(leading)), strict=True)),
        },
        "marginalisation": {name: _one_reading(column, hard, errors, options) for name, column in values.items()},
    }


def _one_reading(values: Array, hard: NDArray[np.bool_], errors: Array, options: AnalysisOptions) -> dict[str, Any]:
    """Means by group, Cohen's d and the correlation with the error, of the photos that have a value."""
    known = ~np.isnan(values)
    values, hard, errors = values[known], hard[known], errors[known]
    found: dict[str, Any] = {"n": int(known.sum()), "n_hard": int(hard.sum())}
    if not len(values):
        return found
    statistics: dict[str, Any] = {
        "cohen_d": resampled_cohen(values, hard),
        "pearson": lambda counts: resampled_pearson(counts, values, errors),
        **{
            name: lambda counts, chosen=chosen: _mean(counts[:, chosen], values[chosen])
            for name, chosen in (("mean_hard", hard), ("mean_others", ~hard))
        },
    }
    exact = {
        "cohen_d": cohen_d(values[hard], values[~hard]),
        "pearson": plcc(values, errors),
        "mean_hard": float(values[hard].mean()) if hard.any() else None,
        "mean_others": float(values[~hard].mean()) if not hard.all() else None,
    }
    drawn = resample(statistics, len(values), options.n_resamples, options.seed) if options.n_resamples else {}
    return found | {
        name: numbers(value, *(ends_of(drawn.get(name)) if value is not None else (None, None)))
        for name, value in exact.items()
    }


def _mean(counts: Array, values: Array) -> Array:
    drawn = counts.sum(axis=1)
    return np.where(drawn > 0, counts @ values / np.maximum(drawn, 1), np.nan)


def _comparison(
    before: Run, after: Run, hard: NDArray[np.bool_], options: AnalysisOptions, pulls: Mapping[str, Pull]
) -> dict[str, Any]:
    """What a run with AGREE changes against its baseline: improved minus baseline, paired."""
    found: dict[str, Any] = {"baseline": before.name, "improved": after.name}
    for name, chosen in (("all", np.ones(len(hard), dtype=bool)), ("hard", hard)):
        differences = compared(
            after.predictions[chosen],
            before.predictions[chosen],
            before.scores[chosen],
            n_resamples=options.n_resamples,
            seed=options.seed,
        )
        found[name] = {metric: numbers(one.difference, one.low, one.high) for metric, one in differences.items()}
    if before.name in pulls and after.name in pulls:
        found |= _ratios(pulls[before.name], pulls[after.name])
    return found


def _ratios(before: Pull, after: Pull) -> dict[str, Any]:
    """Compares conflict ratios: means over the saved states, or those of the end where either run has no states.

    Intervals are paired: both runs are read with the same photos, drawn again alike.
    """
    of, first, second = "saved states", before.mean_ratio, after.mean_ratio
    if first is None or second is None:
        of, first, second = "end", before.end_ratio, after.end_ratio
    if first is None or second is None:
        return {}
    change, relative = second.value - first.value, None
    ends: tuple[Any, Any] = ((None, None), (None, None))
    if first.value:
        relative = change / first.value
    if first.drawn is not None and second.drawn is not None:
        moved = second.drawn - first.drawn
        over = np.where(first.drawn > 0, first.drawn, np.nan)  # a ratio of 0 has no share of itself
        ends = ends_of(moved), ends_of(moved / over) if relative is not None else (None, None)
    return {
        "conflict_ratio": {
            "of": of,
            "baseline": numbers(first.value, *first.ends),
            "improved": numbers(second.value, *second.ends),
            "absolute": numbers(change, *ends[0]),
            "relative": numbers(relative, *ends[1]),
        }
    }


def _caveats(
    options: AnalysisOptions, facts: Mapping[str, Any], judges: Sequence[Run], shown: Sequence[Run]
) -> list[str]:
    """What must be known before a number is quoted."""
    found = []
    if options.improved and {run.name for run in judges} & {run.name for run in shown}:
        found.append(
            "The hard photos were chosen by errors of the very runs that are compared, so the baselines look bad on "
            "them by choice and anything else looks better. Define them by other seeds: --hard_from."
        )
    if len(judges) == 1:
        found.append("The hard photos are those of one run; common errors take several.")
    count = facts["hard"]["photos"]
    if count < 30:
        found.append(f"There are {count} hard photos; figures on so few prove nothing.")
    found.append(
        "Correlations on hard photos are not comparable with those on all: their labels are spread otherwise. Compare "
        "errors, and correlations within a band of the label."
    )
    for name, pull in facts.get("gradients", {}).items():
        if pull["left_out"]:
            few = ", ".join(f"{attribute} ({number})" for attribute, number in pull["left_out"].items())
            found.append(
                f"{name}: too few training photos lean on {few} for a gradient; the conflict ratio is of the others."
            )
    return found
