"""`roc compare A B`: two evaluations of the same rows, metric by metric."""

from __future__ import annotations

from collections.abc import Sequence

from roc.commands.line import Parser, run
from roc.evaluation.options import CompareOptions

DESCRIPTION = """Says which of two evaluations of the same rows, or of the same pairs, is better, on what, by how much
and how certainly: the difference A - B of each metric, its 95% interval, and the share of resamples in which A is
better."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `roc compare`.

    Args:
        argv: Words after `roc compare`; None takes those of the process.

    Returns:
        Exit status: 0 done, 2 bad input (the reason is on stderr).
    """
    example = "roc compare evaluations/mine evaluations/baseline --out compare.html"
    return run(Parser("roc compare", DESCRIPTION, example), CompareOptions, argv, _compare)


def _compare(options: CompareOptions) -> None:
    from roc.evaluation.compare import compare, format_comparison

    print(format_comparison(compare(options), full=options.full))
    for out in options.out:
        print(out)
