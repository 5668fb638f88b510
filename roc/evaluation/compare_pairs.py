"""Two evaluations on the same pairs compared: the work of `roc compare` on folders of `roc evaluate --pairs`.

Both are resampled with the same draws of the sources, as pairs of one source are no independent draws. Pictures that
one model scored by themselves may be compared with those that another one saw in one question.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from roc.data.cells import as_number, as_text
from roc.data.counts import counted
from roc.data.pairs import Pair
from roc.data.rows import DataError, Faults, iter_rows
from roc.evaluation.bootstrap import Array, resamples_for
from roc.evaluation.estimates import Difference, Estimates, compare_estimates
from roc.evaluation.folder import METRICS_FILE
from roc.evaluation.pairs import PAIR_METRICS_FILE, SCORES_FILE, ScoredPair, group_taus, mean_statistic
from roc.evaluation.verdict import verdict

_SHOWN = 10
"""How many of the pairs that differ are named."""


def holds_pairs(folder: str | os.PathLike[str]) -> bool:
    """Tells whether a folder holds an evaluation on pairs, and none on rated rows."""
    folder = Path(folder)
    there = [(folder / name).is_file() for name in (PAIR_METRICS_FILE, SCORES_FILE, METRICS_FILE)]
    return there == [True, True, False]


def compare_pair_folders(
    a: str | os.PathLike[str], b: str | os.PathLike[str], *, n_resamples: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Compares two folders that `roc evaluate --pairs` wrote.

    Args:
        a: Folder of the first model.
        b: Folder of the second model.
        n_resamples: Bootstrap resamples of the sources; 0 leaves intervals and shares out.
        seed: Seed of the resampling.

    Returns:
        As `roc.evaluation.compare.compare_evaluations`: `n` counts decided pairs, `counts` those of each prefix of the
        metrics, and `sources` what was resampled. The metrics are `accuracy`, `confidence`, `krcc` within groups, and
        `<category>/accuracy`.

    Raises:
        ValueError: If a folder cannot be read, or the two are not of the same pairs.
    """
    rows_a, rows_b = _read(a), _read(b)
    _check_same(a, b, rows_a, rows_b)
    of_b = {row.pair.id: row for row in rows_b}
    both = [(row, of_b[row.pair.id]) for row in rows_a]
    sources = {name: place for place, name in enumerate(dict.fromkeys(row.source for row in rows_a))}
    decided = [pair for pair in both if pair[0].pair.wins != 0.5]
    groups = {"": decided}
    for name in sorted({row.pair.category for row, _ in decided} - {None}):
        groups[f"{name}/"] = [pair for pair in decided if pair[0].pair.category == name]
    metrics: dict[str, Difference] = {}
    lone = len(sources) < 2
    for prefix, chosen in groups.items():
        estimates = [_shares([pair[place] for pair in chosen], sources, alone=bool(prefix)) for place in (0, 1)]
        if not prefix:
            taus = [group_taus([pair[place] for pair in both]) for place in (0, 1)]
            names = [name for name in taus[0] if name in taus[1]]
            for one, own in zip(estimates, taus, strict=True):
                _add(one, "krcc", [own[name] for name in names], [sources[name] for name in names], len(sources))
        single = len({pair[0].source for pair in chosen}) < 2  # no draw of one source differs from another
        drawn = 0 if single else n_resamples
        found = compare_estimates(*estimates, n_resamples=drawn, seed=seed)
        metrics |= {prefix + key: one for key, one in found.items()}
    return {
        "a": str(a),
        "b": str(b),
        "n": len(decided),
        "sources": len(sources),
        "unscored_a": 0,
        "unscored_b": 0,
        "n_resamples": 0 if lone else resamples_for(len(sources), n_resamples),
        "seed": seed,
        "verdict": verdict(metrics, len(decided), of="decided pair"),
        "counts": {prefix: len(chosen) for prefix, chosen in groups.items()},
        "caveats": ["all pairs are of one source, so there is nothing to resample"] if lone else [],
        "metrics": metrics,
        "notes": {},
    }


def _shares(rows: Sequence[ScoredPair], sources: Mapping[str, int], *, alone: bool) -> Estimates:
    """Estimates the share of decided pairs that comes out right and, unless `alone`, how sure the model is."""
    found = Estimates(len(sources), {}, {}, {})
    owners = [sources[row.source] for row in rows]
    _add(found, "accuracy", [row.right for row in rows], owners, len(sources))
    if not alone:
        _add(found, "confidence", [row.sure for row in rows], owners, len(sources))
    return found


def _add(found: Estimates, name: str, values: Sequence[float], owners: Sequence[int], count: int) -> None:
    """Adds a mean whose values belong to sources."""
    array: Array = np.asarray(values, dtype=float)
    found.values[name] = float(array.mean()) if len(array) else None
    if len(array):
        found.statistics[name] = mean_statistic(array, np.asarray(owners, dtype=int), count)


def _read(folder: str | os.PathLike[str]) -> list[ScoredPair]:
    """Reads the scored pairs of a folder.

    Raises:
        ValueError: If a file is missing, or is none that `roc evaluate --pairs` wrote.
    """
    try:
        json.loads((Path(folder) / PAIR_METRICS_FILE).read_text(encoding="utf-8"))["decided"]
        path = Path(folder) / SCORES_FILE
        faults = Faults(path)
        rows = [_scored(row) for _, row in iter_rows(path, faults)]
        if faults:
            raise DataError(faults.texts())
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder} holds no evaluation on pairs that can be read ({error}); evaluate again") from error
    return rows


def _scored(row: Mapping[str, Any]) -> ScoredPair:
    wins, first, second, win = (
        as_number(row[name]) for name in ("wins", "prediction_a", "prediction_b", "win_probability")
    )
    if None in (wins, first, second, win):
        raise ValueError(f"the pair {row['id']!r} has no scores")
    pair = Pair(
        as_text(row["id"]), (as_text(row["image_a"]), as_text(row["image_b"])), wins, as_number(row.get("delta")),
        as_text(row.get("group")), as_text(row.get("category")),
    )  # fmt: skip
    return ScoredPair(pair, first, second, win)


def _check_same(a: Any, b: Any, rows_a: Sequence[ScoredPair], rows_b: Sequence[ScoredPair]) -> None:
    faults = []
    by_id = [{row.pair.id: row.pair for row in rows} for rows in (rows_a, rows_b)]
    for folder, here, there in ((a, *by_id), (b, *by_id[::-1])):
        alone = [name for name in here if name not in there]
        if alone:
            faults.append(f"{counted(len(alone), 'pair is', 'pairs are')} in {folder} only: {_named(alone)}")
    if not faults:
        of_b = by_id[1]
        moved = [name for name, pair in by_id[0].items() if _judged(pair) != _judged(of_b[name])]
        if moved:
            faults.append(f"{counted(len(moved), 'pair is', 'pairs are')} judged otherwise: {_named(moved)}")
    if faults:
        told = "\n  ".join(faults)
        raise ValueError(
            f"these are not two evaluations on the same pairs:\n  {told}\nEvaluate both models on the same file."
        )


def _judged(pair: Pair) -> tuple[float, float | None, str | None]:
    return pair.wins, pair.delta, pair.group


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
