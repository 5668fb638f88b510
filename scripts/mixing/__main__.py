"""The command: data, runs, table; what is finished is left out.

bash scripts/reproduce_mixing.sh
bash scripts/reproduce_mixing.sh --quick
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stages import check_settings, machine, note_settings, run_script

from roc.files import write_json, write_text
from roc.settings import Settings, option

from .halves import write_halves
from .runs import WAYS, Budget, Run, execute, finished
from .table import compare, format_results

DESCRIPTION = """Trains a small scorer anew on two halves of the demo's raters, who use scales of their own, with
as many steps each time: each half alone, both with links between the scales, and both with range mapped onto range.
Differences are paired by photo and seed."""

COUNTS = {"train": 400, "val": 20, "test": 500}
QUICK_COUNTS = {"train": 24, "val": 4, "test": 30}
SIDE, SCENES_SEED = 48, 7


@dataclass(frozen=True, kw_only=True)
class MixingOptions(Settings):
    """What is compared, and for how long."""

    ways: tuple[Literal[*WAYS], ...] = option(tuple(WAYS), "ways to train")
    seeds: int = option(5, "number of seeds", low=1, high=50)
    steps: int = option(600, "optimiser steps of every run, 16 photos each", low=1)
    link_learning_rate: float = option(0.01, "learning rate of the links", above=0)
    quick: bool = option(False, "one seed, few photos and steps: shows that it works, tells nothing")
    output_dir: str | None = option(
        None, "folder for everything", unset="checkpoints/mixing, with --quick checkpoints/mixing_quick"
    )

    @property
    def out(self) -> Path:
        """Folder of the comparison."""
        return Path(self.output_dir or f"checkpoints/mixing{'_quick' if self.quick else ''}")


def work(options: MixingOptions, command: str) -> str:
    """Does what is left to do; returns the table."""
    out = options.out
    counts = QUICK_COUNTS if options.quick else COUNTS
    settings = {"counts": counts, "steps": 4 if options.quick else options.steps, "link": options.link_learning_rate}
    check_settings(out, settings)
    note_settings(out, settings)
    files = write_halves(out / "scenes", **counts, side=SIDE, seed=SCENES_SEED)
    budget = Budget(settings["steps"], link_rate=options.link_learning_rate)
    results = []
    for seed in range(1 if options.quick else options.seeds):
        for way in options.ways:
            run = Run(way, seed)
            result = finished(out, run)
            if result is None:
                result = execute(run, files, budget, out)
                told = ", ".join(f"{half} {found['srcc']:.4f}" for half, found in result["halves"].items())
                print(f"{run.name}: SRCC {told}; {result['cpu_seconds']:.0f} s", file=sys.stderr, flush=True)
            results.append(result)
    found = compare(results)
    seconds = sum(result["cpu_seconds"] for result in results)
    about = (
        f"`{command}`: {counts['test']} test photos, {counts['train']} training photos of each half, {budget.steps} "
        f"steps of {budget.batch_size}; {seconds / 60:.0f} minutes of one core of {machine()}."
    )
    write_json(out / "results.json", {"settings": settings, "results": found})
    text = format_results(found, about)
    write_text(out / "results.md", text + "\n")
    return text


if __name__ == "__main__":
    sys.exit(run_script("reproduce_mixing.sh", DESCRIPTION, "--quick", MixingOptions, work))
