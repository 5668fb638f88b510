"""`roc finetune [CONFIG.yaml ...] [--name value ...]`: trains, evaluates and saves."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

from roc.commands.line import BAD_INPUT, DONE, guarded, refuse
from roc.settings import ConfigError, help_text
from roc.training.config import RunConfig, load_config

R = TypeVar("R", bound=RunConfig)

HELP = """usage: roc finetune [CONFIG.yaml ...] [--name value ...]

Trains a multimodal model with the score head on rated images, evaluates it and saves it.

example: roc finetune configs/finetune.yaml --model_name_or_path MODEL --data_path ratings.csv \\
             --image_folder photos --min_score 1 --max_score 5 --output_dir checkpoints/mine

Of several files a later one wins, and flags win over all. - and _ are the same in names; lists take several
words, or commas.
The same command again resumes an unfinished run. Exit status: 0 done, 2 bad input.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `roc finetune`.

    Args:
        argv: Words after `roc finetune`; None takes those of the process.

    Returns:
        Exit status: 0 done, 2 bad input (the reason is on stderr; of several processes one tells it).
    """

    def job(config: RunConfig) -> str | None:
        from roc.training.job import finetune

        return finetune(config)

    return run_training("roc finetune", HELP, RunConfig, job, argv)


def run_training(
    prog: str,
    about: str,
    group: type[R],
    job: Callable[[R], str | None],
    argv: Sequence[str] | None,
    *,
    without: Collection[str] = (),
) -> int:
    """Reads the settings of a training run, trains, and prints its table.

    Args:
        prog: The command, such as "roc finetune".
        about: What `--help` prints before the settings.
        group: The class of the settings.
        job: Trains; returns the table, None on all processes but the first.
        argv: Words after the command; None takes those of the process.
        without: Names of settings that `--help` leaves out.

    Returns:
        Exit status: 0 done, 2 bad input (the reason is on stderr; of several processes one tells it).
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if "-h" in words or "--help" in words:
        print(about + help_text(group, without=without), end="")
        return DONE
    # Of the processes that a launcher started, one on each machine tells what all of them find.
    speaks = os.environ.get("LOCAL_RANK", "0") == "0"
    try:
        config = load_config(None, words, group=group)
    except ConfigError as error:
        return refuse(prog, error) if speaks else BAD_INPUT
    for note in config.notes if speaks else ():
        print(f"note: {note}", file=sys.stderr)
    # Loader processes are forked after the tokenizer's first use, which it would warn of.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # DDP warns on every process that a search for parameters without gradient, which some models need, found none.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

    from roc.data.rows import DataError
    from roc.training.run import FirstFailed, Refused, RunError

    def work() -> int | None:
        try:
            table = job(config)
        except FirstFailed:
            return BAD_INPUT
        except (DataError, Refused):
            if speaks:
                raise
            return BAD_INPUT
        if table is not None:
            print(table)
        return DONE

    return guarded(prog, work, lambda: "the same command resumes it", errors=(DataError, RunError))
