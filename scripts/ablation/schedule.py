"""Many runs, some at a time, each in a process of its own; one file per finished run."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from roc.files import write_text
from roc.model.device import keep_freed_memory

from .arms import ARMS
from .data import Data
from .runs import Budget, Pace, Run, execute, rehearse


class AblationError(ValueError):
    """A comparison that cannot start or go on; the message says what to do."""


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
        AblationError: If a process died.
    """
    pending = [run for run in runs if finished(out, run) is None]
    if not pending:
        return
    print(f"{what}: {len(pending)} runs to do, {len(runs) - len(pending)} finished", flush=True)
    jobs = min(jobs, len(pending))
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin, initargs=(data, budget, out)) as pool:
            try:
                waiting = [pool.submit(_execute_one, run, parts) for run in pending]
                for number, done in enumerate(as_completed(waiting), start=1):
                    print(f"[{number}/{len(pending)}] {_described(done.result())}", flush=True)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    except BrokenProcessPool as error:
        raise _died() from error


def _begin(data: Data, budget: Budget, out: Path) -> None:
    """Sets up a new process: keeps what all runs share and freed memory, and ends the process when its parent ends."""
    global _shared
    _shared = data, budget, out
    parent = multiprocessing.parent_process()
    if parent is not None:
        keep_freed_memory()
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def pace_of(run: Run, data: Data, budget: Budget, out: Path, jobs: int) -> Pace:
    """Times a few steps of a run, `jobs` at the same time as later; the slowest of them counts.

    Raises:
        AblationError: If a process died.
    """
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin, initargs=(data, budget, out)) as pool:
            found = [job.result() for job in [pool.submit(_rehearse, run) for _ in range(jobs)]]
    except BrokenProcessPool as error:
        raise _died() from error
    return max(found, key=lambda pace: pace.step)


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


def _rehearse(run: Run) -> Pace:
    data, budget, _ = _shared
    return rehearse(run, data, budget)


def _died() -> AblationError:
    return AblationError(
        "a training process died (out of memory?); the same command goes on, --jobs 1 takes less memory"
    )


def _execute_one(run: Run, parts: tuple[str, ...]) -> dict[str, Any]:
    """Executes a run and writes its result before returning it."""
    data, budget, out = _shared
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
