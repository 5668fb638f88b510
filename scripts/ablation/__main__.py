"""The command: plans the runs, executes those that are not finished, and writes the table.

    bash scripts/reproduce_ablation.sh                                     the demo's scenes
    bash scripts/reproduce_ablation.sh --quick                             one minute, to see it work; tells nothing
    bash scripts/reproduce_ablation.sh --data_path ratings.csv --image_folder photos --min_score 1 --max_score 5
    bash scripts/reproduce_ablation.sh --starter full --freeze vision --short --data_path ...   a pretrained model

Each finished run is one file in `output_dir`/runs; whatever stops the command, the same one goes on from there.
"""

from __future__ import annotations

import hashlib
import shutil
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from claims import versions
from stages import check_settings, held_settings, machine, note_settings, run_script

from roc import __version__
from roc.demo import dataset
from roc.files import write_json, write_text
from roc.score_space import ScoreSpace
from roc.settings import Fault, Settings, option
from roc.starter.kept import keep_starter, kept_folder

from .arms import ARMS
from .base import FREEZABLE, Base
from .data import Data, demo, own
from .runs import Budget, Run
from .schedule import execute_all, expected_hours, finished, pace_of
from .table import markdown, summarise

DESCRIPTION = """Trains one model in seven ways that differ in nothing but how the score is taught, with and without
comments, over several seeds, and writes a table beside the paper's own. The model is a tiny one that is built from
nothing, or any pretrained one."""

RATES = (2.5e-4, 5e-4, 1e-3)
"""Learning rates of a tiny model; `SHORT_RATES` and `PRETRAINED_RATES` are those of a pretrained one."""
PRETRAINED_RATES = (1e-4, 2e-4, 4e-4)
SHORT_RATES = (2e-4,)
SHORT_ARMS = ("digits", "words", "coupled", "l1")
RATE_SEED = 100
"""Seed of the runs that choose the learning rates; no reported run has it."""

DEMO_COUNTS = (4000, 300, 500)
QUICK_COUNTS = (64, 20, 20)


@dataclass(frozen=True, kw_only=True)
class AblationOptions(Settings):
    """What is compared, on which data, and for how long."""

    data_path: str | None = option(None, "rated file of your own; without it, the demo's scenes", metavar="FILE")
    image_folder: str | None = option(None, "folder that the paths in that file start from", metavar="DIR")
    min_score: float | None = option(None, "lowest score of that file's scale")
    max_score: float | None = option(None, "highest score of that file's scale")
    num_tokens: int | None = option(None, "its levels, and bins of its histograms", low=2, unset="10")
    model: Literal["demo", "photos"] = option("demo", "size of the small model")
    model_name_or_path: str | None = option(
        None, "pretrained model to teach in place of the small one: a hub name or a folder, without a score head"
    )
    starter: Literal["small", "full"] | None = option(
        None, "or the model of docs/starter.md, built at first use and then kept"
    )
    freeze: tuple[Literal[*FREEZABLE], ...] = option(
        (), "parts of it that no arm trains; outputs of a frozen vision tower are computed once for all runs"
    )
    bf16: bool = option(False, "train it in bfloat16 mixed precision")
    arms: tuple[Literal[*ARMS], ...] | None = option(
        None, "ways of teaching to compare", unset=f"all, with --short {' '.join(SHORT_ARMS)}"
    )
    no_comments: bool = option(False, "leave out the arms with comments")
    rates: tuple[float, ...] = option(
        (),
        "learning rates that every arm may choose from, by validation; a single one is not chosen",
        above=0,
        unset="2.5e-4 5e-4 1e-3, of a pretrained model 1e-4 2e-4 4e-4, with --short 2e-4",
    )
    seeds: int | None = option(None, "number of seeds", low=1, unset="5, with --short 3, with --quick 1")
    steps: int | None = option(
        None, "steps of each run", low=1, unset=f"{Budget().steps}, with --short 100, with --quick 30"
    )
    batch_size: int | None = option(
        None, "pictures of a step", low=1, unset=f"{Budget().batch_size}, with --short 16, with --quick 8"
    )
    short: bool = option(
        False,
        "the small honest form: 4 arms, each a second time with comments where the file has them, 3 seeds, 100 steps "
        "of 16 pictures, one learning rate for all",
    )
    jobs: int = option(2, "runs at a time, one thread each", low=1)
    table: bool = option(False, "train nothing; write the table of what is finished")
    output_dir: str | None = option(
        None, "folder for runs and table", unset="checkpoints/ablation, with --quick checkpoints/ablation_quick"
    )
    quick: bool = option(False, "one seed, 30 steps: shows that it works, tells nothing")

    def faults(self) -> list[Fault]:
        """Finds a file without its scale, a scale without a file, two models, and settings of a model that is not."""
        if self.starter is not None and self.model_name_or_path is not None:
            return [("starter", "--starter and --model_name_or_path name two models; give one of them")]
        if self.starter is self.model_name_or_path is None and (self.freeze or self.bf16):
            return [("", "--freeze and --bf16 are for a pretrained model; name one, or leave them out")]
        if self.short and self.quick:
            return [("", "--short and --quick are two sizes; give one of them")]
        if self.data_path is None:
            names = ("image_folder", "min_score", "max_score", "num_tokens")
            alone = [f"--{name}" for name in names if getattr(self, name) is not None]
            text = f"{', '.join(alone)}: these belong to a --data_path; give one, or leave them out"
            return [("", text)] if alone else []
        if self.min_score is None or self.max_score is None:
            text = f"the scale of {self.data_path} is not guessed; give --min_score and --max_score"
            return [("", text)]
        return []

    @property
    def out(self) -> Path:
        """Folder of the comparison."""
        return Path(self.output_dir or ("checkpoints/ablation_quick" if self.quick else "checkpoints/ablation"))

    @property
    def base(self) -> Base:
        """The model that every arm starts from."""
        source = str(kept_folder(self.starter)) if self.starter is not None else self.model_name_or_path
        return Base(self.model, source, self.freeze, self.bf16, self.starter)

    @property
    def budget(self) -> Budget:
        """What each run gets."""
        steps, batch_size = (30, 8) if self.quick else (100, 16) if self.short else (Budget.steps, Budget.batch_size)
        return Budget(steps=self.steps or steps, batch_size=self.batch_size or batch_size)

    @property
    def tried_rates(self) -> tuple[float, ...]:
        """Learning rates to choose from."""
        if self.rates:
            return self.rates
        pretrained = self.base.source is not None
        if self.short:
            return SHORT_RATES if pretrained else RATES[1:2]
        rates = PRETRAINED_RATES if pretrained else RATES
        return rates[1:2] if self.quick else rates

    @property
    def compared(self) -> tuple[str, ...]:
        """Ways of teaching to compare."""
        return self.arms or (SHORT_ARMS if self.short else tuple(ARMS))

    @property
    def num_seeds(self) -> int:
        """Number of seeds."""
        return self.seeds or (1 if self.quick else 3 if self.short else 5)

    @property
    def counts(self) -> tuple[int, int, int]:
        """Demo scenes for training, validation and test."""
        return QUICK_COUNTS if self.quick else DEMO_COUNTS


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the comparison.

    Args:
        argv: Words of the command line; None takes those of the process.

    Returns:
        Exit status: 0 done, 2 bad input or a run that died, 130 stopped by Ctrl-C.
    """
    example = "--data_path ratings.csv --image_folder photos --min_score 1 --max_score 5"
    return run_script("reproduce_ablation.sh", DESCRIPTION, example, AblationOptions, compare, argv)


def compare(options: AblationOptions, command: str) -> str:
    """Runs everything: data, runs, results.json and results.md.

    Args:
        options: What is compared.
        command: The command line, for the report.

    Returns:
        The table.

    Raises:
        ValueError: If the folder holds another comparison, or a run died.
    """
    out, budget, rates = options.out, options.budget, options.tried_rates
    if options.table:
        if not held_settings(out):
            raise ValueError(f"{out} holds no run yet; leave out --table to train")
    else:
        if options.starter is not None:
            keep_starter(options.starter)
        options.base.check()
    settings = _settings(options)
    check_settings(out, settings)
    data = _data(options)
    note_settings(out, settings)
    cells, notes = _cells(options, data)

    trials = [Run(*cell, RATE_SEED, rate) for cell in cells for rate in rates] if len(rates) > 1 else []
    if not (options.table or options.quick):
        _tell_time(options, data, trials, cells)
    if not options.table:
        execute_all(trials, data, budget, out, options.jobs, "choosing learning rates", ("validation",))
    tried = [trial for trial_run in trials if (trial := finished(out, trial_run))]
    chosen = {cell: best_rate([t for t in tried if (t["arm"], t["comments"]) == cell], rates) for cell in cells}
    runs = [Run(*cell, seed, chosen[cell]) for seed in range(options.num_seeds) for cell in cells]
    if not options.table:
        execute_all(runs, data, budget, out, options.jobs, "training", ("test",))

    results = [result for one in runs if (result := finished(out, one))]
    if not results:
        raise ValueError(f"{out} holds no finished run yet (of {len(runs)}); leave out --table to train")
    if len(results) < len(runs):
        notes.append(f"Not finished: {len(results)} of {len(runs)} runs are there.")
    report = {"command": command, **_report(data, settings, tried, results), "notes": notes}
    text = markdown(report)
    if len(results) == len(runs) and data.features is not None:
        shutil.rmtree(data.features, ignore_errors=True)
    write_json(out / "results.json", report)
    write_text(out / "results.md", text)
    return f"{text}\nWritten to {out}/results.md and results.json."


def _tell_time(options: AblationOptions, data: Data, trials: Sequence[Run], cells: Sequence[tuple[str, bool]]) -> None:
    """Times a few steps and says how long what is left to do will take."""
    out, budget, rates = options.out, options.budget, options.tried_rates
    left = [trial for trial in trials if finished(out, trial) is None]
    seeds = [(cell, seed) for seed in range(options.num_seeds) for cell in cells]
    open_ = [(*cell, seed) for cell, seed in seeds if not any(finished(out, Run(*cell, seed, rate)) for rate in rates)]
    if not left and not open_:
        return
    first = Run(*cells[-1], RATE_SEED, rates[0])
    pace = pace_of(first, data, budget, min(options.jobs, len(left) + len(open_)))
    hours = sum(
        expected_hours(pace, runs, budget, len(data.records[split]), options.jobs)
        for runs, split in ((len(left), "val"), (len(open_), "test"))
    )
    print(
        f"expected: {len(left) + len(open_)} runs of {budget.steps} steps, {options.jobs} at a time, about "
        f"{hours:.1f} hours ({pace.step:.2g} s a step, {pace.row:.2g} s to read a score, timed just now)",
        flush=True,
    )


def _report(
    data: Data, settings: dict[str, Any], tried: list[dict[str, Any]], results: list[dict[str, Any]]
) -> dict[str, Any]:
    """Collects all that the table says, from the trials of the rates and the finished runs."""
    seconds = [result["cpu_seconds"] for result in results]
    parameters = min(result["parameters"] for result in results)
    return {
        "machine": machine(),
        "versions": versions(),
        "data": {
            "name": data.name,
            **{split: len(records) for split, records in data.records.items()},
            **data.space.to_dict(),
        },
        "settings": {
            **settings["budget"],
            "model": settings["model"],
            "rates": settings["rates"],
            "rate_seed": RATE_SEED,
        },
        "model": data.base.title(parameters),
        "pretrained": data.base.source is not None,
        "parameters": parameters,
        "seconds": {"median": statistics.median(seconds), "longest": max(seconds)},
        "constant_mae": constant_mae(data),
        "summary": summarise(results),
        "rate_runs": [_short(result) for result in tried],
        "runs": [_short(result) for result in results],
    }


def _short(result: dict[str, Any]) -> dict[str, Any]:
    """Copies a result without its predictions, which stay in the run's own file."""
    short = {}
    for name in ("validation", "test"):
        if name in result:
            short[name] = {key: value for key, value in result[name].items() if key != "predictions"}
    return {**result, **short}


def best_rate(trials: Sequence[dict[str, Any]], rates: Sequence[float]) -> float:
    """Chooses the learning rate of an arm, by the same rule for all of them.

    Args:
        trials: Runs of that arm at different rates, same seed.
        rates: Rates to choose from; a single one needs no trials.

    Returns:
        The rate with the highest validation SRCC times share of scored answers; of equal ones the lowest.
    """
    if not trials:
        return rates[0]

    def worth(trial: dict[str, Any]) -> tuple[float, float]:
        found = trial["validation"]
        return (found["srcc"] or 0.0) * (1 - found["unscored"]), -trial["rate"]

    return max(trials, key=worth)["rate"]


def constant_mae(data: Data) -> float:
    """Computes the MAE on the test rows of always predicting the mean training score, native scale."""
    mean = statistics.fmean(record.scores["overall"] for record in data.records["train"])
    return statistics.fmean(abs(record.scores["overall"] - mean) for record in data.records["test"])


def _settings(options: AblationOptions) -> dict[str, Any]:
    """Collects what all runs of a folder have in common."""
    if options.data_path is None:
        data = {"demo": dataset.VERSION, "counts": list(options.counts)}
    else:
        data = {
            "sha256": hashlib.sha256(Path(options.data_path).read_bytes()).hexdigest(),
            "images": str(options.image_folder or Path(options.data_path).parent),
            "range": [options.min_score, options.max_score, options.num_tokens],
        }
    own = {"model": _model(options), "budget": asdict(options.budget), "rates": list(options.tried_rates)}
    return {"roc": __version__, "data": data, **own}


def _model(options: AblationOptions) -> Any:
    """Says which model it is. The table needs none, and takes the folder's word for one that is not here any more."""
    model, held = options.base.identity(), held_settings(options.out).get("model")
    if options.table and isinstance(model, dict) and isinstance(held, dict) and not Path(options.base.source).is_dir():
        return model | {"files": held["files"]} if isinstance(held["files"], dict) else model
    return model


def _data(options: AblationOptions) -> Data:
    if options.data_path is None:
        data = demo(options.out / "scenes", options.counts, options.base, draw=not options.table)
    else:
        space = ScoreSpace(options.min_score, options.max_score, options.num_tokens or 10)
        folder = None if options.image_folder is None else Path(options.image_folder)
        pictures = None if options.table else options.out / "pictures"
        data = own(Path(options.data_path), folder, space, pictures, options.base)
    return replace(data, features=options.out / "features") if "vision" in options.freeze else data


def _cells(options: AblationOptions, data: Data) -> tuple[list[tuple[str, bool]], list[str]]:
    """Lists the arms to compare, with and without comments, and notes on what is left out and why."""
    notes = []
    arms = [name for name in ARMS if name in options.compared]
    if not data.has_histograms:
        without = [name for name in arms if ARMS[name].needs_histograms]
        arms = [name for name in arms if name not in without]
        if without:
            titles = "; ".join(ARMS[name].title for name in without)
            notes.append(f"Left out, because the file has no votes (h_1 .. h_{data.space.num_levels}): {titles}.")
    if not arms:
        raise ValueError("the arms asked for learn from votes, and the file has none; add columns h_1 .. h_N")
    if not data.has_comments:
        notes.append("Nothing was taught with comments: the file has none.")
    ways = [False, True] if data.has_comments and not options.no_comments else [False]
    return [(arm, comments) for comments in ways for arm in arms], notes


if __name__ == "__main__":
    sys.exit(main())
