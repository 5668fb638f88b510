"""The command: ratings and edits, learning rates, runs; what is finished is left out.

    bash scripts/reproduce_relative.sh                                    scenes: 4 arms x 5 seeds
    bash scripts/reproduce_relative.sh --photos ratings.csv --image_folder photos --min_score 1 --max_score 5
    bash scripts/reproduce_relative.sh --quick                            a few steps of each, to see it work

Each finished run is one file in `output_dir`/results; whatever stops the command, the same one goes on from there.
"""

from __future__ import annotations

import logging
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from claims import PhotosOptions, best_rate, check_same, results_of, versions
from stages import machine, run_script, timed

from roc.files import write_json, write_text
from roc.relative.config import CATEGORIES
from roc.settings import option

from .arms import ARMS

DESCRIPTION = """Trains a plain scorer on edits whose direction is known, and the same scorer on as many human ratings,
over several seeds, on scenes and, where they are given, on rated photos; and compares them on edits of unseen photos,
of other strengths, of a kind that was held out, and on human ratings before and after a calibration."""

RATES = (5e-4, 1e-3, 3e-3)
"""Learning rates that every arm may choose from."""
RATE_SEED = 100
"""Seed of the runs that choose rates, which are not compared."""

SIDES = {"scenes": 48, "photos": 96}
STEPS = {"scenes": 500, "photos": 500}
FLIPS = {"scenes": 0.5, "photos": 0.0}
"""Share of mirrored pictures. The photos' encoder is frozen and its outputs are kept, so that none of them moves."""
QUICK_STEPS = 4
RESAMPLES, QUICK_RESAMPLES = 1000, 50


@dataclass(frozen=True, kw_only=True)
class ClaimOptions(PhotosOptions):
    """What is compared, on which photos, and for how long."""

    held_out: Literal[*CATEGORIES] = option("blur", "kind of edits that is tested on and never learnt from")
    arms: tuple[Literal[*ARMS], ...] | None = option(None, "arms to run", unset="all")
    seeds: int | None = option(None, "number of seeds", low=1, high=50, unset="5, with --quick 1")
    steps: int | None = option(
        None, "optimiser steps of a run", low=2, unset=f"{STEPS['scenes']}, with --quick {QUICK_STEPS}"
    )
    rates: tuple[float, ...] = option(
        (),
        "learning rates that every arm may choose from, by validation; a single one is not chosen",
        above=0,
        unset=" ".join(f"{rate:g}" for rate in RATES) + f", with --quick {RATES[1]:g}",
    )
    jobs: int = option(2, "runs at a time, one thread each", low=1)
    table: bool = option(False, "train nothing; write the table of what is finished")
    quick: bool = option(False, "one seed, few photos, a few steps: shows that it works, tells nothing")
    output_dir: str | None = option(
        None, "folder for everything", unset="checkpoints/relative_claim, with --quick checkpoints/relative_claim_quick"
    )

    @property
    def out(self) -> Path:
        """Folder of the comparison."""
        return Path(self.output_dir or f"checkpoints/relative_claim{'_quick' if self.quick else ''}")

    @property
    def compared(self) -> tuple[str, ...]:
        """Names of the arms, in the order of the table."""
        return tuple(name for name in ARMS if self.arms is None or name in self.arms)

    @property
    def num_seeds(self) -> int:
        """Number of seeds."""
        return self.seeds or (1 if self.quick else 5)

    @property
    def tried_rates(self) -> tuple[float, ...]:
        """Learning rates to choose from."""
        return self.rates or (RATES[1:2] if self.quick else RATES)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the comparison.

    Args:
        argv: Words of the command line; None takes those of the process.

    Returns:
        Exit status: 0 done, 2 bad input or a run that failed, 130 stopped by Ctrl-C.
    """
    example = "--photos ratings.csv --image_folder photos --min_score 1 --max_score 5"
    return run_script("reproduce_relative.sh", DESCRIPTION, example, ClaimOptions, compare, argv)


def compare(options: ClaimOptions, command: str) -> str:
    """Runs what is left to do, and writes results.json and results.md.

    Args:
        options: What is compared.
        command: The command line, for the report.

    Returns:
        The table.

    Raises:
        DataError: With all faults of the file of photos.
        ValueError: If the folder holds another comparison, --table finds no finished run, or a process died.
    """
    out = options.out
    check_same(out, _settings(options))
    logging.getLogger("roc").setLevel(logging.WARNING)  # what a run tells of itself is too much of a hundred runs
    shared = _shared(options)
    chosen = {name: _choose_rates(options, shared, name) for name in shared.data}
    runs = [run for name in shared.data for run in _compared_runs(options, name, chosen[name])]
    _execute_all(options, shared, runs, "comparing")
    report = _report(options, shared, runs, command)
    from .table import markdown

    text = markdown(report)
    write_json(out / "results.json", report)
    write_text(out / "results.md", text)
    return f"{text}\nWritten to {out}/results.md and results.json."


def _settings(options: ClaimOptions) -> dict[str, Any]:
    """Collects what all runs of a folder have to share. Seeds and arms may be added later."""
    return {
        "quick": options.quick,
        "steps": options.steps,
        "rates": list(options.tried_rates),
        "held_out": options.held_out,
        "photos": options.photos_settings,
    }


def _shared(options: ClaimOptions) -> Any:
    """Makes the data, and names the encoders."""
    from agree_claim.parts import Encoder, starter_tower, untrained

    from roc.score_space import ScoreSpace

    from . import data
    from .runs import Budget, Shared

    out, counts = options.out, data.QUICK if options.quick else data.WHOLE
    with timed(out, "data"):
        sets = [data.scenes(out / "scenes", counts, SIDES["scenes"], options.held_out)]
        if options.photos is not None:
            space = ScoreSpace(options.min_score, options.max_score, 10)
            where = Path(options.photos), options.image_folder
            folder = out / "photos" / "data"
            sets.append(data.photos(folder, *where, space, counts, SIDES["photos"], options.held_out))
    encoders = {one.name: untrained(out / one.name / "encoders", SIDES[one.name]) for one in sets}
    if options.photos_model is not None:
        encoders["photos"] = Encoder(f"`{options.photos_model}`, trained whole", Path(options.photos_model))
    elif options.photos is not None and not options.quick:
        tower = starter_tower(out / "photos" / "encoder", SIDES["photos"])
        kept = {"keep_features": True, "features_folder": str(out / "photos" / "features")}
        encoders["photos"] = Encoder(tower.title, tower.folder, settings={**tower.settings, **kept})
    steps = {name: options.steps or (QUICK_STEPS if options.quick else STEPS[name]) for name in STEPS}
    budgets = {name: Budget(steps[name], flip=FLIPS[name]) for name in STEPS}
    return Shared({one.name: one for one in sets}, encoders, budgets, out)


def _choose_rates(options: ClaimOptions, shared: Any, name: str) -> dict[str, float]:
    """Chooses the learning rate of each arm, by validation labels of the kind that it learns from."""
    from .runs import Run, finished

    rates = options.tried_rates
    tried = {
        arm: [Run(name, arm, RATE_SEED, rate, "val") for rate in rates] if len(rates) > 1 else []
        for arm in options.compared
    }
    _execute_all(options, shared, [run for runs in tried.values() for run in runs], f"{name}: choosing rates")
    return {
        arm: best_rate([found for run in runs if (found := finished(shared.out, run))], rates, "chosen_by")
        for arm, runs in tried.items()
    }


def _compared_runs(options: ClaimOptions, name: str, rates: dict[str, float]) -> list[Any]:
    """Lists the runs that are compared, seed by seed."""
    from .runs import Run

    return [Run(name, arm, seed, rates[arm]) for seed in range(options.num_seeds) for arm in options.compared]


def _execute_all(options: ClaimOptions, shared: Any, runs: Sequence[Any], what: str) -> None:
    """Executes those runs that are not finished, some at a time."""
    from .runs import execute, finished

    pending = [run for run in runs if finished(shared.out, run) is None]
    if options.table or not pending:
        return
    print(f"{what}: {len(pending)} runs to do, {len(runs) - len(pending)} finished", flush=True)
    spent: list[float] = []
    for result in results_of(execute, pending, shared, min(options.jobs, len(pending))):
        spent.append(result["cpu_seconds"])
        left = (len(pending) - len(spent)) * statistics.fmean(spent) / 60
        chosen = "" if result.get("chosen_by") is None else f" validation {result['chosen_by']:.3f},"
        print(
            f"[{len(spent)}/{len(pending)}] {result['data']}, {result['arm']}, seed {result['seed']}, rate "
            f"{result['rate']:g}:{chosen} {result['cpu_seconds']:.0f} s; about {left:.0f} minutes of one core left",
            flush=True,
        )


def _report(options: ClaimOptions, shared: Any, runs: Sequence[Any], command: str) -> dict[str, Any]:
    """Collects all that the table says.

    Raises:
        ValueError: If no run is finished.
    """
    from .runs import finished, minutes_of
    from .table import summarise

    resamples = QUICK_RESAMPLES if options.quick else RESAMPLES
    found, results = {}, []
    for name, data in shared.data.items():
        own = [done for run in runs if run.data == name and (done := finished(shared.out, run))]
        if not own:
            continue
        results += own
        wanted = options.num_seeds * len(options.compared)
        found[name] = {
            "title": data.title,
            "encoder": shared.encoders[name].title,
            "budget": asdict(shared.budgets[name]),
            "done": len(own),
            "wanted": wanted,
            **summarise(own, data, shared.data, n_resamples=resamples),
        }
    if not found:
        raise ValueError(f"{options.out} holds no finished run yet; leave --table out")
    tried = [
        done
        for name in shared.data
        for arm in options.compared
        for rate in options.tried_rates
        if (done := finished(shared.out, _rate_run(name, arm, rate)))
    ]
    return {
        "command": command,
        "held_out": options.held_out,
        "machine": machine(),
        "versions": versions(),
        "minutes": minutes_of(options.out, [*results, *tried]),
        "data": found,
    }


def _rate_run(name: str, arm: str, rate: float) -> Any:
    from .runs import Run

    return Run(name, arm, RATE_SEED, rate, "val")


if __name__ == "__main__":
    sys.exit(main())
