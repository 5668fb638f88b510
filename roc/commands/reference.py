"""`roc reference CHECKPOINT PHOTOS`: a set of photos that scores are compared with from now on."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from roc.calibration.options import ReferenceOptions
from roc.commands.line import DONE, FAILED, Parser, run

DESCRIPTION = """Scores a set of photos of your own and stores the distribution of their scores in the config file of
the checkpoint. Every output then offers percentile, the percent of these photos that score lower, and reward, a number
between 0 and 1 that is 0.5 at their median and rises everywhere; /v1/reward of `roc serve` gives both. No weight
changes. --remove takes it back. docs/calibration.md says more."""
EXAMPLES = (
    "roc reference checkpoints/mine photos --name travel",
    "roc reference checkpoints/mine --remove",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `roc reference`.

    Args:
        argv: Words after `roc reference`; None takes those of the process.

    Returns:
        Exit status: 0 done, 1 some photos could not be scored, 2 bad input (the reason is on stderr).
    """
    return run(
        Parser("roc reference", DESCRIPTION, *EXAMPLES),
        ReferenceOptions,
        argv,
        _reference,
        stopped=lambda options: f"{options.checkpoint} is as it was",
    )


def _reference(options: ReferenceOptions) -> int:
    from roc.checkpoint.names import check_exists

    check_exists(options.checkpoint)

    if options.remove:
        from roc.calibration.removal import remove_reference

        gone = remove_reference(options.checkpoint)
        print(f"{options.checkpoint}: the reference {gone.name} ({gone.photos} photos) is taken back")
        return DONE

    from roc.calibration.reference import make_reference
    from roc.commands.progress import with_progress

    found = make_reference(options, with_progress)
    reference = found.reference
    print(f"{options.checkpoint}: scores are compared with {reference.photos} photos, {reference.name}")
    for name, values in reference.quantiles.items():
        shown = [values[round(share * (len(values) - 1))] for share in (0, 0.25, 0.5, 0.75, 1)]
        print(f"{name}: " + ", ".join(f"{v:.4g}" for v in shown) + " (lowest, quartiles, highest)")
    for image, reason in found.failed.items():
        print(f"{image}: {reason}", file=sys.stderr)
    return FAILED if found.failed else DONE
