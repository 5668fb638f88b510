"""`roc personalize`: one's own taste from few ratings, as a small head for a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from roc.commands.line import DONE, FAILED, Parser, run
from roc.personal.options import PersonalOptions

if TYPE_CHECKING:
    from roc.personal.personalize import Personalized

DESCRIPTION = """Moves the scores of a checkpoint towards one person's taste: a small head on what the score head reads,
with the general score as prior, so that without ratings it is the general score. Prints how both agree with ratings
that were held out (SRCC, or the share of pairs in the right order), and writes the head to OUT. OUT is a small file
that names the checkpoint, and is given as --checkpoint wherever a checkpoint is.
The rule: it is written only if it helps, which is the case if the whole 95% interval of the difference on held-out
photos is above 0; otherwise the numbers are printed, nothing is written, and the exit status is 1."""
EXAMPLES = (
    "roc personalize --checkpoint checkpoints/mine --data_path my_stars.csv --out my_taste.json",
    "roc score photos --checkpoint my_taste.json --out scores.csv",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `roc personalize`.

    Args:
        argv: Words after `roc personalize`; None takes those of the process.

    Returns:
        Exit status: 0 done, 1 the head does not help and was not written, 2 bad input (the reason is on stderr).
    """
    return run(Parser("roc personalize", DESCRIPTION, *EXAMPLES), PersonalOptions, argv, _personalize)


def _personalize(options: PersonalOptions) -> int:
    from roc.checkpoint.names import check_exists

    check_exists(options.checkpoint)

    from roc.commands.progress import with_progress
    from roc.personal.personalize import personalize

    found = personalize(options, with_progress)
    print("\n".join(_lines(found)))
    return DONE if found.file is not None else FAILED


def _lines(found: Personalized) -> list[str]:
    verdict, what = found.verdict, "ratings"
    name = "SRCC"
    if verdict.metric == "accuracy":
        name, what = "in the right order", "pairs"
    lines = [
        f"{verdict.held_out} {what} of {found.photos} photos, each held out once:",
        f"  general score    {name} {verdict.general:.3f}",
        f"  personal score   {name} {verdict.personal:.3f}",
        f"  difference       {verdict.gain:+.3f} [{verdict.low:+.3f}, {verdict.high:+.3f}] (95%)",
    ]
    if found.file is not None:
        return [*lines, "", str(found.file)]
    return [
        *lines,
        "",
        "Not written: the interval of the difference is not above 0, so these ratings do not show that the head helps. "
        "Rate more photos, or use the checkpoint as it is.",
    ]
