"""`roc reasoning corpus | convert | show | train`: critiques that teach a model to think first, and reinforcement.

It imports its room when it runs: the room may be deleted, and `roc` then lists no such command.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from roc.commands.finetune import run_training
from roc.commands.line import DONE, FAILED, Subcommand, run_subcommand
from roc.data.counts import counted

if TYPE_CHECKING:
    from roc.policy.config import PolicyConfig
    from roc.reasoning.config import ConvertOptions, CorpusConfig, ShowOptions
    from roc.reasoning.look import Look

_CORPUS = """Has a writer explain the scores of rated photos. The score is shown to the writer, decides the tone and
never stands in the text. A text is kept if it passes the filters: no score and no hint at one (by rule), no
contradiction to the score and nothing invented (by a judge). As many texts are kept of bad, fair and good photos.

out.jsonl is a file of records that roc finetune trains on. Beside it lie out.rejected.jsonl (every rejected text and
why), out.summary.json (counts and cost), out.html (samples) and out.journal.jsonl (every answer that was paid for).
Killed at any moment, the same command goes on; a larger --count adds to what is there."""

_CONVERT = """Turns a file of critiques of others into a corpus: conversations whose last answer is
<think>critique</think><answer>0.62</answer>, or columns of critique and score. The number becomes [SCORE]. Rows that
cannot be read, and critiques that give the score away, are kept beside the corpus with their reasons."""

_TRAIN = """usage: roc reasoning train [CONFIG.yaml ...] [--name value ...]

Reinforces a model that reasons (RAPO of Aes-R1): it writes several critiques of each photo, the score head reads a
score in each, and what led to better scores becomes likelier. The head goes on learning beside it. The extra [rl].

example: roc reasoning train configs/reasoning_rapo.yaml --model_name_or_path checkpoints/cold_start \\
             --data_path ratings.csv --image_folder photos --output_dir checkpoints/reasoning

Range, losses and wording are those of the checkpoint. Of several files a later one wins, and flags win over all.
The same command again resumes an unfinished run. Exit status: 0 done, 2 bad input.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `roc reasoning`.

    Args:
        argv: Words after `roc reasoning`; None takes those of the process.

    Returns:
        Exit status: 0 done, 1 an author could not be asked about some photos, 2 bad input, 130 stopped by Ctrl-C.
    """
    from roc.policy.config import NOT_HERE, OF_THE_CHECKPOINT, PolicyConfig
    from roc.reasoning.config import ConvertOptions, CorpusConfig, ShowOptions

    subcommands = {
        "corpus": Subcommand(
            "write critiques about rated photos",
            _CORPUS,
            "roc reasoning corpus --data_path ratings.csv --out corpus.jsonl --writer chat:MODEL "
            "--base_url http://127.0.0.1:8000/v1",
            CorpusConfig,
            _corpus,
            lambda _: "every answer is kept; the same command goes on from here",
        ),
        "convert": Subcommand(
            "read critiques that others wrote, such as AesCoT",
            _CONVERT,
            "roc reasoning convert aescot.jsonl --image_folder photos --out corpus.jsonl",
            ConvertOptions,
            _convert,
        ),
        "show": Subcommand(
            "count what a corpus holds, and make a page of samples",
            "Prints counts, lengths and rejections by reason, and writes a page of samples with their pictures.",
            "roc reasoning show corpus.jsonl --html corpus.html",
            ShowOptions,
            _show,
        ),
        "train": Subcommand(
            "reinforce a model that reasons on rated photos",
            _TRAIN,
            "roc reasoning train configs/reasoning_rapo.yaml --model_name_or_path checkpoints/cold_start",
            PolicyConfig,
            _train,
        ),
    }
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["train"]:  # with YAML files, as `roc finetune`
        return run_training(
            "roc reasoning train", _TRAIN, PolicyConfig, _train, words[1:], without={*NOT_HERE, *OF_THE_CHECKPOINT}
        )
    about = "Makes critiques that teach a model to think before it scores, and reinforces it."
    return run_subcommand("roc reasoning", about, subcommands, words, first="corpus")


def _corpus(options: CorpusConfig) -> int:
    from roc.commands.progress import with_progress
    from roc.reasoning.corpus import write_corpus
    from roc.reasoning.look import look_at
    from roc.reasoning.outputs import Outputs

    corpus = write_corpus(options, with_progress)
    files = Outputs(options.out)
    _print_look(look_at(options.out, options.space))
    for role, usage in corpus.usage.items():
        if usage.requests:
            cost = f", cost {usage.cost:.2f}" if usage.cost else ""
            tokens = f", {usage.tokens_in:,} tokens read, {usage.tokens_out:,} written" if usage.tokens_in else ""
            print(f"  {role}: {usage.requests:,} answers{tokens}{cost}")
    print(f"  {corpus.asked:,} answers in this run, {corpus.seconds:.0f} s")
    print(f"{files.page}: samples; {files.rejected}: rejected texts; {files.summary}: counts and cost")
    if corpus.short > 0:
        print(f"{counted(corpus.short, 'text')} fewer than --count: the photos gave no more", file=sys.stderr)
    for outcome in corpus.failed[:10]:
        print(f"{outcome.photo.id}: {outcome.error}", file=sys.stderr)
    if corpus.failed:
        failed = counted(len(corpus.failed), "photo")
        print(f"{failed} got no answer; the same command asks again", file=sys.stderr)
    return FAILED if corpus.failed else DONE


def _convert(options: ConvertOptions) -> None:
    from roc.reasoning.aescot import convert
    from roc.reasoning.outputs import Outputs

    converted = convert(options)
    print(f"{options.out}: {converted.kept} texts on {options.min_score:g}..{options.max_score:g}")
    for reason, count in converted.rejected.items():
        print(f"  rejected, {reason}: {count}")
    if converted.rejected:
        print(f"{Outputs(options.out).rejected}: the rejected rows and why")


def _show(options: ShowOptions) -> None:
    from roc.reasoning.look import look_at, write_page

    look = look_at(options.file, options.space, options.image_folder)
    _print_look(look)
    if options.html is not None:
        print(f"{options.html}: {write_page(options.html, look, options.n)} texts")


def _train(config: PolicyConfig) -> str | None:
    from roc.reasoning.rapo import train

    return train(config)


def _print_look(look: Look) -> None:
    from roc.reasoning.look import printed

    print("\n".join(printed(look)))
