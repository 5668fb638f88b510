"""`roc relative build`: learning from edits which picture is better, from photos to records.

It imports its room when it runs: the room may be deleted, and `roc` then lists no such command.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from roc.commands.line import DONE, FAILED, Subcommand, run_subcommand

if TYPE_CHECKING:
    from roc.relative.config import BuildOptions

_BUILD = """Edits photos, has judges say how much better or worse each edit is, and writes records of that into --out:

  pairs.jsonl     two pictures and how much better the second is, in both orders, with reasons
  edits.jsonl     one picture, the instruction, and how much better it will be
  groups.jsonl    photos with all their edits, a row a picture
  anchors.jsonl   photos with their score, evenly from the whole scale (with --votes)
  rejected.jsonl  everything that is not used, with its reason
  pairs.html      pairs side by side; summary.json: counts and how far the judges agree

A delta lies on -10..10. An edit is kept where all judges, each asked in both orders, see it in one direction. All edits
of a photo are in one split. Killed at any moment, the same command goes on; further photos and judges add to it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `roc relative`.

    Args:
        argv: Words after `roc relative`; None takes those of the process.

    Returns:
        Exit status: 0 done, 1 some photos or edits failed (a file names them), 2 bad input, 130 stopped by Ctrl-C.
    """
    from roc.relative.config import BuildOptions

    subcommands = {
        "build": Subcommand(
            "edit photos, judge the edits, and write records of pairs and groups",
            _BUILD,
            "roc relative build photos --out pairs --votes ratings.csv=1:10 --fewest_votes 1",
            BuildOptions,
            _build,
            lambda _: "everything that was done is kept; the same command goes on from here",
        ),
    }
    return run_subcommand(
        "roc relative", "Learns from edits which picture is better.", subcommands, argv, first="build"
    )


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
