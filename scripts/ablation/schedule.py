"""Many runs, some at a time, each in a process of its own; one file per finished run."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stages import side_by_side

from roc.files import write_text

from .arms import ARMS
from .data import Data
from .runs import Budget, Pace, Run, execute, rehearse


def finished(out: Path, run: Run) -> dict[str, Any] | None:
    """Reads the result of a run; None where it is not finished."""
    path = _file(out, run)
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def execute_all(
    runs: Sequence[Run],
    data: Data,
    budget: Budget,
    out: Path,
    jobs: int,
    what: str,
    parts: tuple[str, ...],
) -> None:
    """Executes those of `runs` that are not finished, `jobs` at a time.

    Args:
        runs: All runs.
        data, budget, parts: As for `execute`.
        out: Folder of the comparison.
        jobs: Processes at a time.
        what: What the runs are for, as the log says it.

    Raises:
        ValueError: If a process died.
    """
    pending = [run for run in runs if finished(out, run) is None]
    if not pending:
        return
    print(f"{what}: {len(pending)} runs to do, {len(runs) - len(pending)} finished", flush=True)
    results = side_by_side(_execute_one, pending, (data, budget, out, parts), min(jobs, len(pending)))
    for number, result in enumerate(results, start=1):
        print(f"[{number}/{len(pending)}] {_described(result)}", flush=True)


def pace_of(run: Run, data: Data, budget: Budget, jobs: int) -> Pace:
    """Times a few steps of a run, `jobs` at the same time as later; the slowest of them counts.

    Raises:
        ValueError: If a process died.
    """
    return max(side_by_side(_rehearse, [run] * jobs, (data, budget), jobs), key=lambda pace: pace.step)


def expected_hours(pace: Pace, runs: int, budget: Budget, rows: int, jobs: int) -> float:
    """Computes how long runs take.

    Args:
        pace: From `pace_of`.
        runs: Number of runs.
        budget: What each gets.
        rows: Pictures that each scores in the end.
        jobs: Runs at a time.
    """
    one = pace.ready + budget.steps * pace.step + rows * pace.row
    return math.ceil(runs / jobs) * one / 3600


def _rehearse(run: Run, shared: tuple[Data, Budget]) -> Pace:
    return rehearse(run, *shared)


def _execute_one(run: Run, shared: tuple[Data, Budget, Path, tuple[str, ...]]) -> dict[str, Any]:
    """Executes a run and writes its result before returning it."""
    data, budget, out, parts = shared
    result = execute(run, data, budget, parts)
    write_text(_file(out, run), json.dumps(result) + "\n")
    return result


def _file(out: Path, run: Run) -> Path:
    return out / "runs" / f"{run.name}.json"


def _described(result: dict[str, Any]) -> str:
    part = "test" if "test" in result else "validation"
    found = result[part]
    srcc = "-" if found["srcc"] is None else f"{found['srcc']:.3f}"
    where = "with comments" if result["comments"] else "without comments"
    return (
        f"{ARMS[result['arm']].title}, {where}, seed {result['seed']}, rate {result['rate']:g}: {part} SRCC {srcc}, "
        f"unscored {found['unscored']:.1%}, {result['train_seconds']:.0f} s"
    )
