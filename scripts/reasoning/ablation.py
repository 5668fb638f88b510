"""The command: every arm from the same base, with the same number of steps; what is finished is left out.

    bash scripts/reproduce_reasoning.sh                              15 arms x 3 seeds
    bash scripts/reproduce_reasoning.sh --arms rank error_rank --seeds 1 --short
    bash scripts/reproduce_reasoning.sh --photos ratings.csv --image_folder photos --min_score 1 --max_score 5
    bash scripts/reproduce_reasoning.sh --quick                      two steps of each, to see it work

The parts that all arms share, and the cold starts, are made at first need. Each finished run is one file in
`output_dir`/results; whatever stops the command, the same one goes on from there; a run that was under way begins anew.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from claims import RatedPhotos
from stages import GOES_ON, check_settings, digests, held_settings, note_settings, run_script

from roc.data.digest import content_digest
from roc.files import write_json, write_text
from roc.settings import Fault, option

from .arms import ARMS, Arm
from .parts import (
    CONFIGS,
    PHOTOS,
    QUICK,
    SCENES,
    WHOLE,
    Parts,
    Sizes,
    check_pictures,
    cold_start,
    corpus_and_tests,
    make_parts,
    reinforce,
    untaught,
)
from .photos import FEATURES, RECIPE, make_photo_parts
from .report import circumstances, curves_of, reward_of

DESCRIPTION = """Reinforces one small model that reasons in many ways: five combinations of rewards, each with and
without the head's own loss, and cold starts of 0, 1, 2 and 10 epochs, over several seeds, and writes a table beside
the paper's own. The model reasons about scenes of the demo or, starting from the small starter, about rated photos,
whose critiques say what can be measured of their pixels."""

STEPS, SHORT_STEPS = 60, 20
TESTED = 500
"""Test scenes or photos, at most, that each run writes critiques of."""
QUICKLY_TESTED = 4

FROM_NOTHING = "A tiny model, built from nothing"
PRETRAINED = (
    "A pretrained tower that was taught to score and then frozen, before a short decoder that is built from nothing "
    "and says what can be measured of the pixels"
)

_ALL_STEPS = "0.9999"
"""Share of a run that ends with its last step, which a share of 1 or more could not say."""
# By epoch, the best of them would be kept.
_ONCE_AT_THE_END = (
    *("--eval_strategy", "steps", "--eval_steps", _ALL_STEPS),
    *("--save_strategy", "steps", "--save_steps", _ALL_STEPS),
)


@dataclass(frozen=True, kw_only=True)
class AblationOptions(RatedPhotos):
    """What is compared, on which pictures, and for how long."""

    arms: tuple[Literal[*ARMS], ...] | None = option(None, "arms to run", unset="all")
    seeds: int | None = option(None, "number of seeds", low=1, unset="3, with --short and --quick 1")
    steps: int | None = option(
        None, "steps of reinforcement of each run", low=1, unset=f"{STEPS}, with --short {SHORT_STEPS}, with --quick 2"
    )
    short: bool = option(False, f"the small honest form: one seed, {SHORT_STEPS} steps")
    quick: bool = option(False, "two steps of everything: shows that it works, tells nothing")
    threads: int = option(1, "CPU threads of PyTorch", low=1)
    table: bool = option(False, "train nothing; write the table of what is finished")
    output_dir: str | None = option(
        None,
        "folder for parts, runs and table",
        unset="checkpoints/reasoning_ablation, with --photos, --short and --quick ..._photos, ..._short and ..._quick",
    )

    def faults(self) -> list[Fault]:
        """Finds two sizes at once, and faulty settings of photos."""
        given = [f"--{name}" for name in ("steps", "short", "quick") if getattr(self, name)]
        if len(given) > 1:
            return [("", f"{' and '.join(given)} both say how many steps a run has; give one of them")]
        return super().faults()

    @property
    def out(self) -> Path:
        """Folder of the comparison."""
        pictures = "" if self.photos is None else "_photos"
        size = "_short" if self.short else "_quick" if self.quick else ""
        return Path(self.output_dir or f"checkpoints/reasoning_ablation{pictures}{size}")

    @property
    def num_steps(self) -> int:
        """Steps of each run."""
        return self.steps or (2 if self.quick else SHORT_STEPS if self.short else STEPS)

    @property
    def num_seeds(self) -> int:
        """Number of seeds."""
        return self.seeds or (1 if self.short or self.quick else 3)

    @property
    def compared(self) -> tuple[str, ...]:
        """Names of the arms."""
        return self.arms or tuple(ARMS)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the comparison.

    Args:
        argv: Words of the command line; None takes those of the process.

    Returns:
        Exit status: 0 done, 2 bad input or a run that failed, 130 stopped by Ctrl-C.
    """
    return run_script(
        "reproduce_reasoning.sh",
        DESCRIPTION,
        "--arms error_rank rank --seeds 1",
        AblationOptions,
        compare,
        argv,
        epilog=f"{GOES_ON}\narms: " + ", ".join(ARMS),
    )


def compare(options: AblationOptions, command: str) -> str:
    """Runs what is left to do, and writes results.json and results.md.

    Args:
        options: What is compared.
        command: The command line, for the report.

    Returns:
        The table.

    Raises:
        DataError: With all faults of the file of photos.
        StageFailed: If a run of `roc` ended with an error.
        OSError, ValueError: If the folder holds another comparison, the photos or the starter cannot be used, or
            --table finds no finished run.
    """
    from .table import markdown

    out = options.out
    pictures = SCENES if options.photos is None else PHOTOS
    size = {"steps": options.num_steps, "quick": options.quick, "photos": _photos_settings(options)}
    configs = {"configs": digests(CONFIGS if options.photos is None else CONFIGS | {"base": RECIPE})}
    check_pictures(out, pictures)
    check_settings(out, size | configs)
    runs = [(name, seed) for seed in range(options.num_seeds) for name in options.compared]
    if options.table:
        if not held_settings(out):
            raise ValueError(f"{out} holds no run yet; leave out --table to train")
    else:
        note_settings(out, size)
        sizes = QUICK if options.quick else WHOLE
        if options.photos is None:
            parts = make_parts(out, sizes, options.threads)
        else:
            parts = make_photo_parts(out, options, sizes, options.threads)
        for number, (name, seed) in enumerate(runs, start=1):
            if finished(out, name, seed) is None:
                print(f"[{number}/{len(runs)}] {ARMS[name].title}, seed {seed}", flush=True)
                execute(parts, name, seed, sizes, options)
            # Before, each run of roc itself refuses another settings file, and a faulty one may be mended.
            note_settings(out, configs)
    results = [found for name, seed in runs if (found := finished(out, name, seed))]
    if not results:
        raise ValueError(f"{out} holds no finished run yet (of {len(runs)}); leave out --table to train")
    report = {
        "command": command,
        "pictures": pictures,
        "subject": FROM_NOTHING if options.photos is None or options.quick else PRETRAINED,
        "scale": "1..10" if options.photos is None else "0..1, which the scores are brought to",
        "steps": options.num_steps,
        "wanted": len(runs),
        **circumstances(out),
        "runs": results,
    }
    text = markdown(report)
    if len(results) == len(runs):
        shutil.rmtree(out / FEATURES, ignore_errors=True)
    write_json(out / "results.json", report)
    write_text(out / "results.md", text)
    return f"{text}\nWritten to {out}/results.md and results.json."


def _photos_settings(options: AblationOptions) -> list[Any]:
    """Lists what decides the photos: the settings, and what their file holds."""
    held = None if options.photos is None else content_digest(Path(options.photos))
    return [*options.photos_settings, held]


def execute(parts: Parts, name: str, seed: int, sizes: Sizes, options: AblationOptions) -> None:
    """Reinforces one arm and keeps its result; the checkpoint, which nothing needs any more, is removed.

    Raises:
        StageFailed: If a run of `roc` ended with an error.
    """
    arm, tested = ARMS[name], QUICKLY_TESTED if options.quick else TESTED
    tests = ("--no_test_table", "false", "--check_answers", str(tested), "--seed", str(seed))
    start = make_start(parts, arm, seed, sizes, options.threads, tests)
    folder = parts.out / "runs" / f"{name}-seed{seed}"
    last = str(options.num_steps)  # the last state counts, as in the recipe
    steps = ("--max_steps", last, "--eval_steps", last, "--save_steps", last)
    more = ("--rewards", *arm.rewards, "format", *arm.more, *tests, *(sizes.rapo or steps))
    reinforce(parts, start, folder, options.threads, *more, critiques=arm.critiques)
    result = {
        "arm": name,
        "seed": seed,
        "before": reasoned_metrics_of(start) | ({"entropy": entropy_of(start)} if arm.epochs else {}),
        "after": reasoned_metrics_of(folder),
        "reward": reward_of(folder),
    }
    write_json(_result_file(parts.out, name, seed), result)
    shutil.rmtree(folder)


def make_start(parts: Parts, arm: Arm, seed: int, sizes: Sizes, threads: int, tests: Sequence[str]) -> Path:
    """Makes the cold start of an arm, unless another arm has made it.

    Returns:
        Its folder.
    """
    if arm.epochs == 0:
        folder = parts.out / "starts" / "none"
        untaught(parts, folder)
        return folder
    folder = parts.out / "starts" / f"{arm.epochs}-seed{seed}"
    words = ("--num_train_epochs", str(arm.epochs), *_ONCE_AT_THE_END, *tests, *sizes.cold_start)
    cold_start(parts, folder, threads, *words, corpus=corpus_and_tests(parts))
    return folder


def reasoned_metrics_of(folder: Path) -> dict[str, Any]:
    """Reads what a finished run measured of its critiques of test scenes; empty for a start that was not taught."""
    file = folder / "metrics.json"
    if not file.is_file():
        return {}
    metrics = json.loads(file.read_text(encoding="utf-8"))
    return {key.removeprefix("reasoned/"): value for key, value in metrics.items() if key.startswith("reasoned/")}


def entropy_of(start: Path) -> float:
    """Reads the entropy of the policy at the end of a cold start, in nats."""
    return list(curves_of(start)["eval/entropy"].values())[-1]


def finished(out: Path, name: str, seed: int) -> dict[str, Any] | None:
    """Reads the result of a run; None where it is not finished."""
    file = _result_file(out, name, seed)
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def _result_file(out: Path, name: str, seed: int) -> Path:
    return out / "results" / f"{name}-seed{seed}.json"


if __name__ == "__main__":
    sys.exit(main())
