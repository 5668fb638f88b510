"""The command: scenes, edits, base, three stages and their evaluation; what is finished is left out.

    bash scripts/relative.sh

1. scenes, edits, base: scenes are drawn, some of them are edited and judged (`roc relative build`), the embedded author
   writes critiques of the anchors, and a tiny model learns to see (`configs/relative_base.yaml`).
2. stage pairs: it learns what a change does (`configs/relative_pairs.yaml`).
3. stage anchors: it learns to think before it scores, from the anchors alone (`configs/relative_anchors.yaml`).
4. stage groups: it is reinforced by the order of edits, with anchors beside (`configs/relative_groups.yaml`); with
   --without_anchors once more without them.
5. evaluation: edits of test scenes, and test scenes with their ratings.

What a stage took is added up over all calls in times.json.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stages import check_settings, digests, note_settings, run_script, timed

from roc.files import write_json, write_text
from roc.settings import Settings, option

from .compared import compare_stages, evaluate_stage, models
from .parts import CONFIGS, QUICK, WHOLE, make_parts, train_stages
from .report import circumstances, is_finished, markdown

DESCRIPTION = """Teaches a tiny model in the three stages of RED-Aes, on edits of the demo's scenes and a CPU: pairs and
edits, anchors, groups; and evaluates the last two on scenes and edits that none of them has seen."""


@dataclass(frozen=True, kw_only=True)
class StagesOptions(Settings):
    """Where the result goes, and how much is done."""

    output_dir: str | None = option(
        None, "folder for everything", unset="checkpoints/relative, with --quick checkpoints/relative_quick"
    )
    threads: int = option(0, "CPU threads of PyTorch; 0 leaves its choice; 1 on a busy machine", low=0)
    without_anchors: bool = option(
        False, "train the third stage once more without the anchors beside its groups, for comparison"
    )
    quick: bool = option(False, "two steps of everything: shows that it works, tells nothing")

    @property
    def out(self) -> Path:
        """Folder of the result."""
        return Path(self.output_dir or ("checkpoints/relative_quick" if self.quick else "checkpoints/relative"))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the stages.

    Args:
        argv: Words of the command line; None takes those of the process.

    Returns:
        Exit status: 0 done, 2 bad input or a stage that failed, 130 stopped by Ctrl-C.
    """
    return run_script("relative.sh", DESCRIPTION, "--output_dir checkpoints/relative", StagesOptions, learn, argv)


def learn(options: StagesOptions, command: str) -> str:
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
    out, sizes, alone = options.out, QUICK if options.quick else WHOLE, options.without_anchors
    size, configs = {"quick": options.quick}, {"configs": digests(CONFIGS)}
    check_settings(out, size | configs)
    if not is_finished(out, models(alone=alone)):
        note_settings(out, size)
        parts = make_parts(out, sizes, options.threads)
        train_stages(parts, sizes, options.threads, alone=alone)
        with timed(out, "evaluation"):
            _use_threads(options.threads)
            for name in models(alone=alone):
                evaluate_stage(parts, name, sizes.pictures)
        report = {"command": command, **compare_stages(parts, models(alone=alone)), **circumstances(out)}
        write_text(out / "relative.md", markdown(report))
        # Before, each run of roc itself refuses another settings file, and a faulty one may be mended.
        note_settings(out, configs)
        write_json(out / "relative.json", report)
    return f"{(out / 'relative.md').read_text(encoding='utf-8')}\nWritten to {out}/relative.md and relative.json."


def _use_threads(threads: int) -> None:
    if threads:
        import torch

        torch.set_num_threads(threads)


if __name__ == "__main__":
    sys.exit(main())
