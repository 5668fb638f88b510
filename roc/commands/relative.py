"""`roc relative build | train`: learning from edits which picture is better, from photos to a model that ranks.

It imports its room when it runs: the room may be deleted, and `roc` then lists no such command.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from roc.commands.finetune import run_training
from roc.commands.line import BAD_INPUT, DONE, FAILED, Subcommand, refuse, run_subcommand
from roc.settings import ConfigError, help_text, settings_of

if TYPE_CHECKING:
    from roc.relative.config import BuildOptions
    from roc.training.config import RunConfig

_BUILD = """Edits photos, has judges say how much better or worse each edit is, and writes records of that into --out:

  pairs.jsonl     two pictures and how much better the second is, in both orders, with reasons
  edits.jsonl     one picture, the instruction, and how much better it will be
  groups.jsonl    photos with all their edits, a row a picture
  anchors.jsonl   photos with their score, evenly from the whole scale (with --votes)
  rejected.jsonl  everything that is not used, with its reason
  pairs.html      pairs side by side; summary.json: counts and how far the judges agree

A delta lies on -10..10. An edit is kept where all judges, each asked in both orders, see it in one direction. All edits
of a photo are in one split. Killed at any moment, the same command goes on; further photos and judges add to it."""


_TRAIN = """usage: roc relative train CONFIG.yaml ... [--name value ...]

Trains one of the three stages of RED-Aes, each from the checkpoint of the stage before:

  pairs    two pictures in one question: how much better the second is, and why; and what an edit will do that is only
           told (pairs.jsonl and edits.jsonl of roc relative build)
  anchors  some photos with their score (anchors.jsonl)
  groups   a photo and its edits, each scored by itself, rewarded for standing in the right order; needs the extra [rl]
           (groups.jsonl and anchors.jsonl)

example: roc relative train configs/relative_pairs.yaml --model_name_or_path MODEL --data_path pairs/pairs.jsonl \\
             --edits_path pairs/edits.jsonl --output_dir checkpoints/relative_pairs

--stage groups --help lists all settings of that stage, with its defaults. Of several files a later one wins, and
flags win over all.
The same command again resumes an unfinished run. Exit status: 0 done, 2 bad input.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `roc relative`.

    Args:
        argv: Words after `roc relative`; None takes those of the process.

    Returns:
        Exit status: 0 done, 1 some photos or edits failed (a file names them), 2 bad input, 130 stopped by Ctrl-C.
    """
    from roc.relative.config import BuildOptions
    from roc.relative.train_config import PairsStage

    subcommands = {
        "build": Subcommand(
            "edit photos, judge the edits, and write records of pairs and groups",
            _BUILD,
            "roc relative build photos --out pairs --votes ratings.csv=1:10 --fewest_votes 1",
            BuildOptions,
            _build,
            lambda _: "everything that was done is kept; the same command goes on from here",
        ),
        "train": Subcommand(
            "train one of three stages on these records: pairs, anchors, groups",
            _TRAIN,
            "roc relative train configs/relative_pairs.yaml --model_name_or_path MODEL",
            PairsStage,
            _train,
        ),
    }
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["train"]:  # with YAML files, as `roc finetune`
        return _run_stage(words[1:])
    return run_subcommand(
        "roc relative", "Learns from edits which picture is better.", subcommands, words, first="build"
    )


def _run_stage(words: Sequence[str]) -> int:
    """Finds which stage the words are about, and trains it or shows its help."""
    from roc.relative.train_config import HIDDEN, STAGES, GroupsStage, PairsStage, stage_of

    asked = [word for word in words if word in ("-h", "--help")]
    try:
        stage = stage_of([word for word in words if word not in asked])
        if stage is None and not asked:
            told = f"stage is missing, expected one of {', '.join(STAGES)}; give a file of configs/, or --stage"
            raise ConfigError([("stage", told)])
    except ConfigError as error:
        return refuse("roc relative train", error) if os.environ.get("LOCAL_RANK", "0") == "0" else BAD_INPUT
    if stage is None:
        print(_TRAIN + help_text(PairsStage, without=HIDDEN["pairs"]), end="")
        shared = settings_of(PairsStage)
        print(help_text(GroupsStage, without={*HIDDEN["groups"], *shared} - {"stage"}), end="")
        return DONE
    return run_training("roc relative train", _TRAIN, STAGES[stage], _train, words, without=HIDDEN[stage])


def _train(config: RunConfig) -> str | None:
    from roc.relative.train import train

    return train(config)


def _build(options: BuildOptions) -> int:
    from roc.commands.progress import with_progress
    from roc.relative.build import FAULTS, build
    from roc.relative.outputs import Outputs, agreement_lines, summary_counts

    built = build(options, with_progress)
    files = Outputs(options.out)
    print(f"{files.out}: " + ", ".join(f"{count:,} {name}" for name, count in summary_counts(built)))
    reasons = Counter(row["reason"] for row in built.rejected)
    for reason, count in reasons.most_common():
        print(f"  {reason}: {count:,}")
    print("\n".join(f"  {line}" for line in agreement_lines(built.agreement)))
    print(f"  {built.done:,} steps in this run, {built.seconds:.0f} s")
    print(f"{files.page}: pairs to look at; {files.rejected}: what is not used, and why")
    failed = sum(reasons[reason] for reason in FAULTS)
    if failed:
        print(f"{failed} photos or edits failed; --retry_failed tries them again", file=sys.stderr)
    return FAILED if failed else DONE
