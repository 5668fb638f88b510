"""The command: four stages, each of which is left out where it is finished.

    bash scripts/teach_words.sh

1. tower: the `small` starter learns to see the scenes (`configs/words_tower.yaml`).
2. start: that tower is put below the language model of the `full` starter.
3. words: LoRA on the language model and the projector, scores and comments (`configs/words.yaml`).
4. judge: answers to the test scenes are written and compared with what is true of them.

Stages 1 and 3 are runs of `roc finetune`, which resume by themselves. What a stage took is added up over all calls in
times.json.
"""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from stages import check_settings, digests, machine, note_settings, run_roc, run_script, timed, times

from roc import __version__
from roc.files import write_json, write_text
from roc.settings import Settings, option

DESCRIPTION = """Teaches SmolLM2-135M above a pretrained tower to score and comment on the demo's scenes with LoRA, on a
CPU, and measures whether the comments are true and the scores right."""

ROOT = Path(__file__).parents[2]
CONFIGS = {name: ROOT / "configs" / f"{name}.yaml" for name in ("words_tower", "words")}
SAMPLES = 6
QUICK = {
    "words_tower": ["--demo_train", "64", "--demo_val", "16", "--demo_test", "16", "--num_train_epochs", "1"],
    "words": ["--max_steps", "4"],
}
LONGEST_ANSWER = 64
"""Tokens after which an answer is stopped; the longest taught one has about half of that."""


@dataclass(frozen=True, kw_only=True)
class WordsOptions(Settings):
    """Where the result goes, and how much is done."""

    output_dir: str | None = option(
        None, "folder for everything", unset="checkpoints/words, with --quick checkpoints/words_quick"
    )
    from_: tuple[str, ...] | None = option(
        None, "wheels to build from, or folders that hold them; nothing is fetched", metavar="FILE", commas=False
    )
    threads: int = option(0, "CPU threads of PyTorch; 0 leaves its choice", low=0)
    quick: bool = option(False, "a few steps of everything: shows that it works, tells nothing")

    @property
    def out(self) -> Path:
        """Folder of the result."""
        return Path(self.output_dir or ("checkpoints/words_quick" if self.quick else "checkpoints/words"))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the stages.

    Args:
        argv: Words of the command line; None takes those of the process.

    Returns:
        Exit status: 0 done, 2 bad input or a stage that failed, 130 stopped by Ctrl-C.
    """
    return run_script("teach_words.sh", DESCRIPTION, "--output_dir checkpoints/words", WordsOptions, teach, argv)


def teach(options: WordsOptions, command: str) -> str:
    """Does what is left to do.

    Args:
        options: The settings.
        command: The command line, for the report.

    Returns:
        The report.

    Raises:
        StageFailed: If a run of `roc finetune` ended with an error.
        OSError, ValueError, ModuleNotFoundError: If a starter cannot be built, or the folder holds a result of other
            settings.
    """
    from .parts import build_part, put_tower

    out = options.out
    # In a folder of their own: they are taken as they are, and `full` is removed.
    small, full, start = (out / "parts" / name for name in ("small", "full", "start"))
    tower, model = out / "tower", out / "model"
    ratings = tower / "scenes" / "ratings.csv"
    size, configs = {"quick": options.quick}, digests(CONFIGS)
    check_settings(out, size | configs)
    if not start.is_dir():
        with timed(out, "tower"):
            build_part(small, "small", options.from_)
            _finetune("words_tower", options, "--model_name_or_path", small, "--output_dir", tower)
        # A run that is under way refuses other settings by itself; one with a faulty file has not begun.
        note_settings(out, size | {"words_tower": configs["words_tower"]})
        with timed(out, "start"):
            build_part(full, "full", options.from_)
            put_tower(full, tower, start)
    shutil.rmtree(full, ignore_errors=True)
    if not (out / "words.json").is_file():
        with timed(out, "words"):
            own = ("--model_name_or_path", start, "--data_path", ratings, "--output_dir", model)
            _finetune("words", options, *own)
        with timed(out, "judge"):
            found = judge_model(model, ratings, options.threads)
        note_settings(out, configs)
        _report(out, {"command": command, **found})
    return f"{(out / 'words.md').read_text(encoding='utf-8')}\nWritten to {out}/words.md and words.json."


def _finetune(name: str, options: WordsOptions, *words: str | Path) -> None:
    quick = QUICK[name] if options.quick else []
    run_roc("finetune", CONFIGS[name], *words, *quick, "--threads", str(options.threads))


def judge_model(model: Path, ratings: Path, threads: int) -> dict[str, Any]:
    """Has the model write its answers to the test scenes and compares them with the truth.

    Args:
        model: The finished run, whose predictions.csv holds the scores of one forward pass.
        ratings: The scenes.
        threads: CPU threads of PyTorch; 0 leaves its choice.

    Returns:
        What `judge_answers` found, and `samples`.
    """
    import torch

    from roc.data.reading import read_records
    from roc.data.rows import Faults, read_rows
    from roc.demo.dataset import scene_of
    from roc.scoring.assessment import Assessment

    from .judge import judge_answers

    if threads:
        torch.set_num_threads(threads)
    assessment = Assessment(str(model), batch_size=50)
    records = read_records(ratings, space=assessment.model.score_space, check_images=False, split="test")
    images = [record.images[0] for record in records]
    predictions = model / "predictions.csv"
    rows = [row for _, row in read_rows(predictions, Faults(predictions))]
    forward = {row["id"]: float(row["prediction"]) for row in rows}
    written = assessment.describe(images, max_new_tokens=LONGEST_ANSWER)
    scenes = [scene_of(image) for image in images]
    found = judge_answers(
        written,
        [forward[record.id] for record in records],
        [record.scores["overall"] for record in records],
        scenes,
        assessment.model.declaration.answer,
    )
    samples = [
        {"image": Path(image).name, "written": one.text, "true": record.comment}
        for image, one, record in list(zip(images, written, records, strict=True))[:SAMPLES]
    ]
    return {**found, "samples": samples}


def _report(out: Path, found: dict[str, Any]) -> None:
    from .report import markdown

    report = {
        **found,
        "machine": machine(),
        "versions": {"roc": __version__}
        | {name: version(name) for name in ("torch", "transformers", "peft")}
        | {"Python": platform.python_version()},
        "minutes": {stage: seconds / 60 for stage, seconds in times(out).items()},
    }
    write_text(out / "words.md", markdown(report))
    write_json(out / "words.json", report)


if __name__ == "__main__":
    sys.exit(main())
