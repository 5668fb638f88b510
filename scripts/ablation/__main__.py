"""The command: plans the runs, executes what is not finished yet, and writes the table.

    bash scripts/reproduce_ablation.sh                                     the demo's scenes
    bash scripts/reproduce_ablation.sh --quick                             one minute, to see it work; tells nothing
    bash scripts/reproduce_ablation.sh --data_path ratings.csv --image_folder photos --min_score 1 --max_score 5

Each finished run is one file in `output_dir`/runs; whatever stops the command, the same one goes on from there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shlex
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from roc import __version__
from roc.data.images import ImageError
from roc.data.rows import DataError
from roc.demo import dataset
from roc.demo.tiny_model import PRESETS
from roc.files import write_text
from roc.score_space import ScoreSpace

from .arms import ARMS
from .data import Data, demo, own
from .runs import Budget, Run
from .schedule import AblationError, execute_all, finished
from .table import markdown, summarise

RATES = (2.5e-4, 5e-4, 1e-3)
RATE_SEED = 100
"""Of the runs that choose the learning rates; none of the reported ones."""

DEMO_COUNTS = (4000, 300, 500)
QUICK_COUNTS = (64, 20, 20)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the comparison.

    Args:
        argv: words of the command line; None takes those of the process.

    Returns:
        Exit status: 0 done, 2 bad input or a run that died.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    options = _parser().parse_args([_underscored(word) for word in words])
    try:
        print(compare(options, shlex.join(["bash", "scripts/reproduce_ablation.sh", *words])))
    except (AblationError, DataError, ImageError, ValueError, OSError) as error:
        print(f"ablation: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("ablation: stopped; the same command goes on.", file=sys.stderr)
        return 130
    return 0


def compare(options: argparse.Namespace, command: str) -> str:
    """Everything: data, runs, results.json and results.md.

    Returns:
        The table.

    Raises:
        AblationError: where the folder holds another comparison, or a run died.
    """
    out = Path(options.output_dir or ("checkpoints/ablation_quick" if options.quick else "checkpoints/ablation"))
    budget = Budget(steps=30, batch_size=8) if options.quick else Budget()
    budget = replace(budget, steps=options.steps) if options.steps else budget
    rates = RATES[1:2] if options.quick else RATES
    _check_options(options)
    settings = _settings(options, budget, rates)
    _check_same(out, settings)
    data = _data(options, out)
    write_text(out / "settings.json", json.dumps(settings, indent=1) + "\n")
    cells, notes = _cells(options.arms, data)
    seeds = range(1 if options.quick else options.seeds)

    trials = [Run(*cell, RATE_SEED, rate) for cell in cells for rate in rates] if len(rates) > 1 else []
    if not options.table:
        execute_all(trials, data, budget, out, options.jobs, "choosing learning rates")
    tried = [trial for run in trials if (trial := finished(out, run))]
    chosen = {cell: best_rate([t for t in tried if (t["arm"], t["comments"]) == cell], rates) for cell in cells}
    runs = [Run(*cell, seed, chosen[cell]) for seed in seeds for cell in cells]
    if not options.table:
        execute_all(runs, data, budget, out, options.jobs, "training")

    results = [result for run in runs if (result := finished(out, run))]
    if not results:
        raise AblationError(f"{out} holds no finished run yet (of {len(runs)}); leave out --table to train")
    if len(results) < len(runs):
        notes.append(f"Not finished: {len(results)} of {len(runs)} runs are there.")
    seconds = [run["cpu_seconds"] for run in results]
    report = {
        "command": command,
        "machine": machine(),
        "versions": {"roc": __version__}
        | {name: version(name) for name in ("torch", "transformers")}
        | {"Python": platform.python_version()},
        "data": {
            "name": data.name,
            **{split: len(records) for split, records in data.records.items()},
            **data.space.to_dict(),
        },
        "settings": {**asdict(budget), "model": data.preset, "rates": list(rates), "rate_seed": RATE_SEED},
        "parameters": min(run["parameters"] for run in results),
        "seconds": {"median": statistics.median(seconds), "longest": max(seconds)},
        "constant_mae": constant_mae(data),
        "notes": notes,
        "summary": summarise(results),
        "rate_runs": [_short(run) for run in tried],
        "runs": [_short(run) for run in results],
    }
    text = markdown(report)
    write_text(out / "results.json", json.dumps(report, indent=1) + "\n")
    write_text(out / "results.md", text)
    return f"{text}\nWritten to {out}/results.md and results.json."


def _short(result: dict[str, Any]) -> dict[str, Any]:
    """A run without its predictions, which stay in its own file."""
    parts = {name: result[name].copy() for name in ("validation", "test")}
    for part in parts.values():
        part.pop("predictions")
    return {**result, **parts}


def best_rate(trials: Sequence[dict[str, Any]], rates: Sequence[float]) -> float:
    """The learning rate of an arm, by the rule that holds for all of them.

    Args:
        trials: runs of that arm at different rates, same seed.
        rates: those that could be chosen; the only one where nothing was tried.

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
    """MAE on the test rows of always saying the mean of the training scores, native scale."""
    mean = statistics.fmean(record.scores["overall"] for record in data.records["train"])
    return statistics.fmean(abs(record.scores["overall"] - mean) for record in data.records["test"])


def machine() -> str:
    """The processor, its cores and the system."""
    named = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        named = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{named}, {os.cpu_count()} cores, {platform.system()}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bash scripts/reproduce_ablation.sh",
        description="Trains one small model in seven ways that differ in nothing but how the score is taught, with and "
        "without comments, over several seeds, and writes a table beside the paper's own.",
        epilog="example: bash scripts/reproduce_ablation.sh --output_dir checkpoints/ablation\n"
        "example: bash scripts/reproduce_ablation.sh --data_path ratings.csv --image_folder photos --min_score 1 "
        "--max_score 5\nThe same command again goes on where it was stopped.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--data_path", type=Path, help="a rated file of one's own; without it, the demo's scenes")
    parser.add_argument("--image_folder", type=Path, help="where the paths in that file start from")
    parser.add_argument("--min_score", type=float, help="lowest score of that file's scale")
    parser.add_argument("--max_score", type=float, help="highest score of that file's scale")
    parser.add_argument("--num_tokens", type=_positive, help="its levels, and bins of its histograms (default 10)")
    parser.add_argument("--model", choices=PRESETS, default="demo", help="the tiny model's size (default demo)")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS), help="some of the seven")
    parser.add_argument("--seeds", type=_positive, default=5, help="how many (default 5)")
    parser.add_argument("--steps", type=_positive, help=f"of each run (default {Budget().steps})")
    parser.add_argument("--jobs", type=_positive, default=2, help="runs at a time, one thread each (default 2)")
    parser.add_argument("--table", action="store_true", help="train nothing; write the table of what is finished")
    parser.add_argument("--output_dir", help="default checkpoints/ablation, with --quick checkpoints/ablation_quick")
    parser.add_argument("--quick", action="store_true", help="one seed, 30 steps: shows that it works, tells nothing")
    return parser


def _underscored(word: str) -> str:
    name, equals, value = word.partition("=")
    return f"--{name[2:].replace('-', '_')}{equals}{value}" if word.startswith("--") else word


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return number


def _check_options(options: argparse.Namespace) -> None:
    """Raises AblationError where a file comes without its range, or a range without a file."""
    given = {name: getattr(options, name) for name in ("image_folder", "min_score", "max_score", "num_tokens")}
    if options.data_path is None:
        alone = [f"--{name}" for name, value in given.items() if value is not None]
        if alone:
            raise AblationError(f"{', '.join(alone)}: these belong to a --data_path; give one, or leave them out")
    elif options.min_score is None or options.max_score is None:
        raise AblationError(f"the scale of {options.data_path} is not guessed; give --min_score and --max_score")


def _counts(options: argparse.Namespace) -> tuple[int, int, int]:
    return QUICK_COUNTS if options.quick else DEMO_COUNTS


def _settings(options: argparse.Namespace, budget: Budget, rates: Sequence[float]) -> dict[str, Any]:
    """What all runs of a folder have in common."""
    if options.data_path is None:
        data = {"demo": dataset.VERSION, "counts": list(_counts(options))}
    else:
        data = {
            "sha256": hashlib.sha256(options.data_path.read_bytes()).hexdigest(),
            "images": str(options.image_folder or options.data_path.parent),
            "range": [options.min_score, options.max_score, options.num_tokens],
        }
    return {"roc": __version__, "data": data, "model": options.model, "budget": asdict(budget), "rates": list(rates)}


def _check_same(out: Path, settings: dict[str, Any]) -> None:
    """Raises AblationError where the folder holds runs of something else."""
    path = out / "settings.json"
    if not path.exists():
        return
    held = json.loads(path.read_text(encoding="utf-8"))
    differences = [
        f"{name}: there {held.get(name)}, asked for {value}"
        for name, value in settings.items()
        if held.get(name) != value
    ]
    if differences:
        raise AblationError(
            f"{out} holds runs with other settings:\n  " + "\n  ".join(differences) + "\n"
            "Choose another --output_dir, or remove that one."
        )


def _data(options: argparse.Namespace, out: Path) -> Data:
    if options.data_path is None:
        return demo(out / "scenes", _counts(options), options.model)
    space = ScoreSpace(options.min_score, options.max_score, options.num_tokens or 10)
    return own(options.data_path, options.image_folder, space, out / "pictures", options.model)


def _cells(names: Sequence[str], data: Data) -> tuple[list[tuple[str, bool]], list[str]]:
    """The arms to compare, with and without comments, and what has to be left out and why."""
    notes = []
    arms = [name for name in ARMS if name in names]
    if not data.has_histograms:
        without = [name for name in arms if ARMS[name].needs_histograms]
        arms = [name for name in arms if name not in without]
        if without:
            titles = "; ".join(ARMS[name].title for name in without)
            notes.append(f"Left out, because the file has no votes (h_1 .. h_{data.space.num_levels}): {titles}.")
    if not arms:
        raise AblationError("the arms asked for learn from votes, and the file has none; add columns h_1 .. h_N")
    if not data.has_comments:
        notes.append("Nothing was taught with comments: the file has none.")
    return [(arm, comments) for comments in ([False, True] if data.has_comments else [False]) for arm in arms], notes


if __name__ == "__main__":
    sys.exit(main())
