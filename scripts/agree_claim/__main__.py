"""The command: data, fold models, sensitivities, anchors, learning rates, runs; what is finished is left out.

    bash scripts/reproduce_agree.sh                                    scenes: 9 rows x 5 seeds
    bash scripts/reproduce_agree.sh --photos ratings.csv --image_folder photos --min_score 1 --max_score 5
    bash scripts/reproduce_agree.sh --quick                            two epochs of each, to see it work

Each finished run is one file in `output_dir`/results; whatever stops the command, the same one goes on from there.
"""

from __future__ import annotations

import json
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
from roc.settings import option

from .arms import ARMS, REFERENCE

DESCRIPTION = """Trains a plain scorer and the rows of AGREE's published ablation with the same budget, over several
seeds, on scenes whose leading attribute is known and, where they are given, on rated photos, and compares them photo by
photo: on all test photos and on those that plain scorers of other seeds get wrong together."""

RATES = (1e-3, 2e-3, 3e-3)
"""Learning rates that every row may choose from."""
RATE_SEED, HARD_SEEDS, FOLD_SEEDS = 100, (200, 201, 202), (300, 301)
"""Seeds of the runs that choose rates, that define the common-error set, and of the fold models; none is compared."""

SIDES = {"scenes": 48, "photos": 64}
COUNTS = {
    "scenes": {"train": 600, "val": 100, "test": 500},
    "photos": {"train": 600, "val": 100, "test": 400},
}
QUICK_COUNTS = {"train": 40, "val": 8, "test": 24}
EPOCHS = {"scenes": 10, "photos": 4}
QUICK_EPOCHS = 2
RESAMPLES, QUICK_RESAMPLES = 1000, 50


@dataclass(frozen=True, kw_only=True)
class ClaimOptions(PhotosOptions):
    """What is compared, on which photos, and for how long."""

    text_model: str | None = option(
        None,
        "multimodal LLM whose hidden states are the text anchors",
        metavar="MODEL",
        unset="the starter `full`; with --quick an untrained one",
    )
    arms: tuple[Literal[*ARMS], ...] | None = option(None, "rows to run", unset="all")
    seeds: int | None = option(None, "number of seeds", low=1, high=50, unset="5, with --quick 1")
    epochs: int | None = option(
        None,
        "passes over the training photos",
        low=2,
        unset=f"{EPOCHS['scenes']} for scenes and {EPOCHS['photos']} for photos, with --quick {QUICK_EPOCHS}",
    )
    rates: tuple[float, ...] = option(
        (),
        "learning rates that every row may choose from, by validation; a single one is not chosen",
        above=0,
        unset=" ".join(f"{rate:g}" for rate in RATES) + f", with --quick {RATES[0]:g}",
    )
    jobs: int = option(2, "runs at a time, one thread each", low=1)
    table: bool = option(False, "train nothing; write the table of what is finished")
    quick: bool = option(False, "one seed, few photos, two epochs: shows that it works, tells nothing")
    output_dir: str | None = option(
        None, "folder for everything", unset="checkpoints/agree_claim, with --quick checkpoints/agree_claim_quick"
    )

    @property
    def out(self) -> Path:
        """Folder of the comparison."""
        return Path(self.output_dir or f"checkpoints/agree_claim{'_quick' if self.quick else ''}")

    @property
    def compared(self) -> tuple[str, ...]:
        """Names of the rows, in the order of the table."""
        return tuple(name for name in ARMS if self.arms is None or name in self.arms)

    @property
    def num_seeds(self) -> int:
        """Number of seeds."""
        return self.seeds or (1 if self.quick else 5)

    @property
    def tried_rates(self) -> tuple[float, ...]:
        """Learning rates to choose from."""
        return self.rates or (RATES[:1] if self.quick else RATES)

    @property
    def hard_seeds(self) -> tuple[int, ...]:
        """Seeds of the plain runs that define the common-error set."""
        return HARD_SEEDS[:1] if self.quick else HARD_SEEDS


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the comparison.

    Args:
        argv: Words of the command line; None takes those of the process.

    Returns:
        Exit status: 0 done, 2 bad input or a run that failed, 130 stopped by Ctrl-C.
    """
    example = "--photos ratings.csv --image_folder photos --min_score 1 --max_score 5"
    return run_script("reproduce_agree.sh", DESCRIPTION, example, ClaimOptions, compare, argv)


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
    shared = _shared(options)
    logging.getLogger("roc").setLevel(logging.WARNING)  # what a run tells of itself is too much of a hundred runs
    chosen = {name: _choose_and_prepare(options, shared, name) for name in shared.parts}
    runs = [run for name in shared.parts for run in _compared_runs(options, name, chosen[name])]
    _execute_all(options, shared, runs, "comparing")
    report = _report(options, shared, runs, command)
    from .table import markdown

    text = markdown(report)
    write_json(out / "results.json", report)
    write_text(out / "results.md", text)
    return f"{text}\nWritten to {out}/results.md and results.json."


def _settings(options: ClaimOptions) -> dict[str, Any]:
    """Collects what all runs of a folder have to share. Seeds and rows may be added later, and so may photos."""
    return {
        "quick": options.quick,
        "epochs": options.epochs,
        "rates": list(options.tried_rates),
        "photos": options.photos_settings,
        "text_model": options.text_model,
    }


def _shared(options: ClaimOptions) -> Any:
    """Draws and reads the data, and names the encoders."""
    from roc.score_space import ScoreSpace

    from . import data
    from .parts import Parts, starter_tower, untrained
    from .runs import Budget, Shared

    out = options.out
    counts = dict.fromkeys(COUNTS, QUICK_COUNTS) if options.quick else COUNTS
    with timed(out, "data"):
        sets = [data.demo_scenes(out / "scenes" / "data", counts["scenes"], SIDES["scenes"])]
        if options.photos is not None:
            space = ScoreSpace(options.min_score, options.max_score, 10)
            folder, side = out / "photos" / "data", SIDES["photos"]
            sets.append(data.photos(folder, Path(options.photos), options.image_folder, space, counts["photos"], side))
    encoders = {name: untrained(out / name / "encoders", SIDES[name]) for name in SIDES}
    if options.photos_model is not None:
        encoders["photos"] = data_encoder(options.photos_model)
    elif options.photos is not None and not options.quick:
        encoders["photos"] = starter_tower(out / "photos" / "encoder", SIDES["photos"])
    budgets = {name: Budget(options.epochs or (QUICK_EPOCHS if options.quick else EPOCHS[name])) for name in EPOCHS}
    parts = {one.name: Parts(one, encoders[one.name], out / one.name) for one in sets}
    return Shared(parts, budgets, out)


def data_encoder(model: str) -> Any:
    """Gives an encoder that the user names; all of it is trained."""
    from .parts import Encoder

    return Encoder(f"`{model}`, trained whole", Path(model))


def _choose_and_prepare(options: ClaimOptions, shared: Any, name: str) -> dict[str, float]:
    """Chooses the rate of the plain scorer, makes what routing and fusion need with it, then chooses the others'.

    Returns:
        Row -> learning rate.
    """
    from .parts import write_anchors
    from .runs import Run, finished

    rates = options.tried_rates

    def tried(arm: str) -> list[Run]:
        return [Run(name, arm, RATE_SEED, rate, "val") for rate in rates] if len(rates) > 1 else []

    def chosen(arm: str) -> float:
        return best_rate([found for run in tried(arm) if (found := finished(shared.out, run))], rates, "srcc")

    _execute_all(options, shared, tried(REFERENCE), f"{name}: choosing the rate of {REFERENCE}")
    rows = options.compared
    if not options.table:
        if any("W" in row for row in rows) or name == "photos":
            _prepare_routing(options, shared, name, chosen(REFERENCE))
        if any("F" in row for row in rows):
            write_anchors(shared.out, options.text_model, quick=options.quick)
    others = [row for row in rows if row != REFERENCE]
    _execute_all(options, shared, [run for row in others for run in tried(row)], f"{name}: choosing rates")
    return {row: chosen(row) for row in (REFERENCE, *others)}


def _prepare_routing(options: ClaimOptions, shared: Any, name: str, rate: float) -> None:
    """Trains the models of the folds and measures sensitivities with them."""
    from .runs import Run, train_fold

    parts = shared.parts[name]
    if parts.learn_table.is_file() and parts.test_table.is_file():
        return
    print(f"{name}: models of the folds", flush=True)
    parts.divide()
    with timed(shared.out, f"{name}: models of the folds"):
        for number, seed in enumerate(FOLD_SEEDS, start=1):
            train_fold(number, Run(name, REFERENCE, seed, rate, "val"), shared)
    parts.measure_sensitivities(shared.out)


def _compared_runs(options: ClaimOptions, name: str, rates: dict[str, float]) -> list[Any]:
    """Lists the runs that are compared, seed by seed, behind the plain ones that define the common-error set."""
    from .runs import Run

    hard = [Run(name, REFERENCE, seed, rates[REFERENCE]) for seed in options.hard_seeds]
    seeds = range(options.num_seeds)
    return hard + [Run(name, row, seed, rates[row]) for seed in seeds for row in options.compared]


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
        srcc = "-" if result["srcc"] is None else f"{result['srcc']:.3f}"
        print(
            f"[{len(spent)}/{len(pending)}] {result['data']}, {result['arm']}, seed {result['seed']}, rate "
            f"{result['rate']:g}: {result['part']} SRCC {srcc}, {result['cpu_seconds']:.0f} s; about {left:.0f} "
            "minutes of one core left",
            flush=True,
        )


def _report(options: ClaimOptions, shared: Any, runs: Sequence[Any], command: str) -> dict[str, Any]:
    """Collects all that the table says."""
    from .runs import finished, minutes_of
    from .table import summarise

    done = [(run, found) for run in runs if (found := finished(shared.out, run))]
    plain = {name: [found for run, found in done if run.data == name] for name in shared.parts}
    data, notes = {}, []
    for name, parts in shared.parts.items():
        compared = [one for one in plain[name] if one["seed"] < min(HARD_SEEDS)]
        wanted = options.num_seeds * len(options.compared)
        if not compared:
            notes.append(f"No run on {name} is finished (of {wanted}).")
            continue
        tested = parts.data.tested()
        leading, agreement = _leading(parts, tested)
        budget = shared.budgets[name]
        data[name] = {
            "title": parts.data.title,
            "encoder": parts.encoder.title,
            "settings": f"{budget.epochs} epochs in steps of {budget.batch_size}, branches of width "
            f"{budget.branch_width}; rates {', '.join(f'{rate:g}' for rate in options.tried_rates)}.",
            "wanted": wanted,
            "agreement": agreement,
            "budget": asdict(budget),
            **summarise(
                compared,
                [one for one in plain[name] if one["seed"] >= min(HARD_SEEDS)],
                [record.scores["overall"] for record in tested],
                leading,
                n_resamples=QUICK_RESAMPLES if options.quick else RESAMPLES,
            ),
        }
        if sum(len(row["seeds"]) for row in data[name]["rows"].values()) < wanted:
            notes.append(f"Not all runs on {name} are finished; the same command without --table goes on.")
    if not data:
        raise ValueError(f"{shared.out} holds no finished run yet; leave out --table to train")
    everything = [json.loads(file.read_text("utf-8")) for file in sorted((shared.out / "results").glob("*.json"))]
    return {
        "command": command,
        "machine": machine(),
        "versions": versions(),
        "minutes": minutes_of(shared.out, everything),
        "anchors": f"a sentence for each attribute, read by {options.text_model or _text_model(options)}",
        "data": data,
        "notes": notes,
    }


def _text_model(options: ClaimOptions) -> str:
    return "an untrained model, so they mean nothing" if options.quick else "SmolLM2-135M (the starter `full`)"


def _leading(parts: Any, tested: Sequence[Any]) -> tuple[list[str], str]:
    """Names the leading attribute of each test photo: the known one, or that of the largest calibrated weight.

    Returns:
        One for each photo, and how well the table finds those that are known.
    """
    import torch

    from roc.agree.attributes import ATTRIBUTES
    from roc.agree.table import SensitivityTable

    known = parts.data.leading()
    names = None if known is None else [known[record.id] for record in tested]
    if not (parts.learn_table.is_file() and parts.test_table.is_file()):
        return names or [""] * len(tested), "No sensitivities were measured."
    medians = SensitivityTable.read(parts.learn_table).medians
    weights = SensitivityTable.read(parts.test_table).route(tested, medians=medians).weights
    places = torch.stack([weights[name] for name in ATTRIBUTES]).argmax(dim=0).tolist()
    found = [ATTRIBUTES[place] for place in places]
    if names is None:
        return found, "Photos lean on the attribute of their largest calibrated weight."
    right = statistics.fmean(one == other for one, other in zip(found, names, strict=True))
    most = max(names.count(name) for name in ATTRIBUTES) / len(names)
    return names, (
        f"The largest calibrated weight is that of the known leading attribute in {right:.0%} of the scenes (always "
        f"naming the most frequent one: {most:.0%})."
    )


if __name__ == "__main__":
    sys.exit(main())
