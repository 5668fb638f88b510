"""`roc evaluate`: how well predicted scores agree with human ones."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from roc.commands.line import Parser, run
from roc.evaluation.options import EvaluateOptions

DESCRIPTION = """Measures how well predicted scores agree with human ones: those of a checkpoint on a data file, or
those of a file of predictions. Prints a table; writes metrics.json, predictions.csv, plots and report.html to OUT.
With --reason, a model that was taught to reason writes a critique before each score (docs/reasoning.md): answers.jsonl
holds the texts, the table says how many could be read and what was wrong with the others.
With --pairs, the checkpoint is asked which of two pictures is better: the share it gets right with its interval, ties,
Kendall's tau within groups, by category of the edit; pairs.json and pair_scores.csv hold it."""
EXAMPLES = (
    "roc evaluate --predictions predictions.csv --min_score 1 --max_score 10 --out evaluation",
    "roc evaluate --checkpoint checkpoints/demo --data_path checkpoints/demo/scenes/ratings.csv --out evaluation",
    "roc evaluate --checkpoint mine --pairs pairs.csv --image_folder photos --out pairs",
    "roc evaluate --checkpoint mine --data_path stars.csv --min_score 1 --max_score 5 --map_range --out stars",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `roc evaluate`.

    Args:
        argv: Words after `roc evaluate`; None takes those of the process.

    Returns:
        Exit status: 0 done, 2 bad input (the reason is on stderr).
    """
    words = list(sys.argv[1:] if argv is None else argv)
    command = shlex.join(["roc", "evaluate", *words])
    parser = Parser("roc evaluate", DESCRIPTION, *EXAMPLES)
    return run(parser, EvaluateOptions, words, lambda options: _evaluate(options, command))


def _evaluate(options: EvaluateOptions, command: str) -> None:
    if options.checkpoint is not None:
        from roc.checkpoint.names import check_exists

        check_exists(options.checkpoint)

    from roc.commands.progress import with_progress

    if options.pairs is not None:
        from roc.evaluation.pairs import PAIR_METRICS_FILE, evaluate_pairs, format_pairs

        found = evaluate_pairs(options, command=command, watch=with_progress)
        print(format_pairs(found.metrics))
        written = Path(options.out) / PAIR_METRICS_FILE
        if options.report:
            from roc.evaluation.pair_page import write_pair_page

            written = write_pair_page(options.out, found.rows, found.metrics)
        print(f"\n{written}")
        return

    from roc.evaluation.evaluate import evaluate
    from roc.evaluation.folder import METRICS_FILE
    from roc.evaluation.report import REPORT_FILE, write_report
    from roc.evaluation.table import format_table

    found = evaluate(options, command=command, watch=with_progress)
    print(format_table(found.metrics))
    if options.report:
        write_report(options.out, found.rows, found.metrics)
    print(f"\n{Path(options.out) / (REPORT_FILE if options.report else METRICS_FILE)}")
