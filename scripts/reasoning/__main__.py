"""The command: corpus, cold start, RAPO and the evaluation of both; what is finished is left out.

    bash scripts/reason.sh

1. scenes, corpus, base: scenes are drawn, the embedded author writes critiques, a tiny model learns to see
   (`configs/reasoning_base.yaml`).
2. cold start: it learns to write critiques and to score behind them (`configs/reasoning_cold_start.yaml`).
3. rapo: it is reinforced (`configs/reasoning_rapo_demo.yaml`).
4. evaluation: both models write critiques of the test scenes, the likeliest one and sampled ones, and are compared
   scene by scene.

What a stage took is added up over all calls in times.json.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages import check_settings, digests, note_settings, run_script, timed

from roc.files import write_json, write_text
from roc.settings import Settings, option

from .parts import CONFIGS, QUICK, SCENES, WHOLE, Parts, check_pictures, cold_start, make_parts, reinforce
from .report import circumstances, markdown, reward_of
from .sampled import SAMPLES, compare_rewards, rewards_of

DESCRIPTION = """Teaches a tiny model to think before it scores, on the demo's scenes and a CPU: a corpus of critiques,
a cold start, reinforcement (RAPO), and the evaluation of both on 500 scenes that none of them has seen."""

MODELS = {"cold_start": "after the cold start", "reinforced": "after RAPO"}
SHOWN = 6
"""Scenes whose critiques the report shows."""
LONGEST_ANSWER = 128
"""Tokens after which an answer of the evaluation is stopped; the longest taught one has 105."""
_CRITIQUES = {"reason": True, "max_new_tokens": LONGEST_ANSWER}
WAYS: dict[str, dict[str, Any]] = {
    "short": {},
    "critique": _CRITIQUES,
    "sampled": _CRITIQUES | {"samples": SAMPLES, "temperature": 1.0},
}
"""Name of an evaluation -> options of `roc evaluate`."""


@dataclass(frozen=True, kw_only=True)
class ReasonOptions(Settings):
    """Where the result goes, and how much is done."""

    output_dir: str | None = option(
        None, "folder for everything", unset="checkpoints/reason, with --quick checkpoints/reason_quick"
    )
    threads: int = option(0, "CPU threads of PyTorch; 0 leaves its choice; 1 on a busy machine", low=0)
    quick: bool = option(False, "two steps of everything: shows that it works, tells nothing")

    @property
    def out(self) -> Path:
        """Folder of the result."""
        return Path(self.output_dir or ("checkpoints/reason_quick" if self.quick else "checkpoints/reason"))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the stages.

    Args:
        argv: Words of the command line; None takes those of the process.

    Returns:
        Exit status: 0 done, 2 bad input or a stage that failed, 130 stopped by Ctrl-C.
    """
    return run_script("reason.sh", DESCRIPTION, "--output_dir checkpoints/reason", ReasonOptions, teach, argv)


def teach(options: ReasonOptions, command: str) -> str:
    """Does what is left to do.

    Args:
        options: The settings.
        command: The command line, for the report.

    Returns:
        The report.

    Raises:
        StageFailed: If a run of `roc` ended with an error.
        OSError, ValueError: If the scenes cannot be drawn, a model cannot be evaluated, or the folder holds a result
            of other settings.
    """
    out, sizes, threads = options.out, QUICK if options.quick else WHOLE, options.threads
    size, configs = {"quick": options.quick}, {"configs": digests(CONFIGS)}
    check_pictures(out, SCENES)
    check_settings(out, size | configs)
    if not (out / "reason.json").is_file():
        note_settings(out, size)
        parts = make_parts(out, sizes, threads)
        with timed(out, "cold start"):
            cold_start(parts, out / "cold_start", threads, *sizes.cold_start)
        with timed(out, "rapo"):
            reinforce(parts, out / "cold_start", out / "reinforced", threads, *sizes.rapo)
        with timed(out, "evaluation"):
            for name in MODELS:
                evaluate_model(parts, name, threads)
        found = compare_models(out)
        report = {"command": command, **found, **circumstances(out)}
        write_text(out / "reason.md", markdown(report))
        # Before, each run of roc itself refuses another settings file, and a faulty one may be mended.
        note_settings(out, configs)
        write_json(out / "reason.json", report)
    return f"{(out / 'reason.md').read_text(encoding='utf-8')}\nWritten to {out}/reason.md and reason.json."


def evaluate_model(parts: Parts, name: str, threads: int) -> None:
    """Evaluates a checkpoint on the test scenes in each of `WAYS`, unless that is done.

    Args:
        parts: The scenes; the checkpoint lies beside them.
        name: Name of its folder.
        threads: CPU threads of PyTorch; 0 leaves its choice.
    """
    import torch

    from roc.evaluation.evaluate import evaluate
    from roc.evaluation.folder import PREDICTIONS_FILE
    from roc.evaluation.options import EvaluateOptions

    if threads:
        torch.set_num_threads(threads)
    for way, more in WAYS.items():
        folder = evaluation_folder(parts.out, name, way)
        if not (folder / PREDICTIONS_FILE).is_file():  # the last one that is written
            print(f"evaluating {name}, {way} ...", flush=True)
            options = EvaluateOptions(
                checkpoint=str(parts.out / name), data_path=str(parts.ratings), split="test", out=str(folder),
                batch_size=50, workers=0, report=False, device="cpu", **more,
            )  # fmt: skip
            evaluate(options)


def evaluation_folder(out: Path, name: str, way: str) -> Path:
    """Names the folder of an evaluation."""
    return out / "evaluation" / f"{name}_{way}"


def compare_models(out: Path) -> dict[str, Any]:
    """Reads the evaluations and compares them scene by scene.

    Returns:
        `models`: for each its metrics with a `critique` and `short`; `differences`: after RAPO minus before, for both
        ways `{metric: {a, b, difference, low, high, ...}}`; `sampled`: the same of rewards, see `compare_rewards`;
        `reward`: see `reward_of`; `samples`: answers to the same scenes.
    """
    from roc.checkpoint.head_file import read_declaration
    from roc.evaluation.compare import compare_evaluations
    from roc.evaluation.folder import ANSWERS_FILE, read_evaluation

    models: dict[str, dict[str, Any]] = {name: {} for name in MODELS}
    differences = {}
    for way in ("critique", "short"):
        found = {name: read_evaluation(evaluation_folder(out, name, way)) for name in MODELS}
        for name, one in found.items():
            models[name][way] = one.metrics
        metrics = compare_evaluations(found["reinforced"], found["cold_start"])["metrics"]
        differences[way] = {key: metrics[key]._asdict() for key in ("srcc", "plcc", "mae")}
    answers = {
        name: [
            json.loads(line)
            for line in (evaluation_folder(out, name, "critique") / ANSWERS_FILE).read_text("utf-8").splitlines()
        ]
        for name in MODELS
    }
    declaration = read_declaration(out / "cold_start")
    rewards = {name: rewards_of(evaluation_folder(out, name, "sampled"), declaration.space) for name in MODELS}
    samples = [
        {"image": Path(rows[0]["image"]).name}
        | {name: row["answers"][0] for name, row in zip(MODELS, rows, strict=True)}
        for rows in list(zip(*answers.values(), strict=True))[:SHOWN]
    ]
    return {
        "models": models,
        "differences": differences,
        "sampled": compare_rewards(rewards["cold_start"], rewards["reinforced"]),
        "reward": reward_of(out / "reinforced"),
        "samples": samples,
    }


if __name__ == "__main__":
    sys.exit(main())
