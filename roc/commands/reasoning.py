"""`roc reasoning corpus | convert | show`: critiques that teach a model to think before it scores."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from roc.commands.line import BAD_INPUT, DONE, FAILED, Parser, refuse, run
from roc.reasoning.config import ConvertOptions, CorpusConfig, ShowOptions
from roc.settings import Settings


def _corpus(options: CorpusConfig) -> int:
    from roc.commands.progress import with_progress
    from roc.reasoning.corpus import write_corpus
    from roc.reasoning.outputs import Outputs

    corpus = write_corpus(options, with_progress)
    files = Outputs(options.out)
    _print_look(options.out, options)
    for role, usage in corpus.usage.items():
        if usage.requests:
            cost = f", cost {usage.cost:.2f}" if usage.cost else ""
            tokens = f", {usage.tokens_in:,} tokens read, {usage.tokens_out:,} written" if usage.tokens_in else ""
            print(f"  {role}: {usage.requests:,} answers{tokens}{cost}")
    print(f"  {corpus.asked:,} answers in this run, {corpus.seconds:.0f} s")
    print(f"{files.page}: samples; {files.rejected}: rejected texts; {files.summary}: counts and cost")
    if corpus.short > 0:
        print(f"{corpus.short} texts fewer than --count: the photos gave no more", file=sys.stderr)
    for outcome in corpus.failed[:10]:
        print(f"{outcome.photo.id}: {outcome.error}", file=sys.stderr)
    if corpus.failed:
        print(f"{len(corpus.failed)} photos got no answer; the same command asks about them again", file=sys.stderr)
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
    look = _print_look(options.file, options)
    if options.html is not None:
        from roc.reasoning.look import write_page

        print(f"{options.html}: {write_page(options.html, look, options.n)} texts")


def _print_look(path: str, options: CorpusConfig | ShowOptions) -> Any:
    from roc.reasoning.look import look_at, printed

    folder = options.image_folder if isinstance(options, ShowOptions) else None
    look = look_at(path, options.space, folder)
    print("\n".join(printed(look)))
    return look


class _Subcommand(NamedTuple):
    """One word after `roc reasoning`: its line in the overview, its own help, its options and its work."""

    summary: str
    description: str
    example: str
    options: type[Settings]
    work: Callable[[Any], int | None]
    stopped: str = ""


_SUBCOMMANDS = {
    "corpus": _Subcommand(
        "write critiques about rated photos",
        """Has a writer explain the scores of rated photos. The score is shown to the writer, decides the tone and never
stands in the text. A text is kept if it passes the filters: no score and no hint at one (by rule), no contradiction to
the score and nothing invented (by a judge). As many texts are kept of bad, fair and good photos.

out.jsonl is a file of records that roc finetune trains on. Beside it lie out.rejected.jsonl (every rejected text and
why), out.summary.json (counts and cost), out.html (samples) and out.journal.jsonl (every answer that was paid for).
Killed at any moment, the same command goes on; a larger --count adds to what is there.""",
        "roc reasoning corpus --data_path ratings.csv --out corpus.jsonl --writer chat:MODEL "
        "--base_url http://127.0.0.1:8000/v1",
        CorpusConfig,
        _corpus,
        "every answer is kept; the same command goes on from here",
    ),
    "convert": _Subcommand(
        "read critiques that others wrote, such as AesCoT",
        """Turns a file of critiques of others into a corpus: conversations whose last answer is
<think>critique</think><answer>0.62</answer>, or columns of critique and score. The number becomes [SCORE]. Rows that
cannot be read, and critiques that give the score away, are kept beside the corpus with their reasons.""",
        "roc reasoning convert aescot.jsonl --image_folder photos --out corpus.jsonl",
        ConvertOptions,
        _convert,
    ),
    "show": _Subcommand(
        "count what a corpus holds, and make a page of samples",
        "Prints counts, lengths and rejections by reason, and writes a page of samples with their pictures.",
        "roc reasoning show corpus.jsonl --html corpus.html",
        ShowOptions,
        _show,
    ),
}

_HELP = """usage: roc reasoning COMMAND [...]

Critiques that teach a model to think before it scores.

{commands}

example: roc reasoning corpus --data_path ratings.csv --out corpus.jsonl --writer chat:MODEL
`roc reasoning COMMAND --help` shows a command's options and an example."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `roc reasoning`.

    Args:
        argv: Words after `roc reasoning`; None takes those of the process.

    Returns:
        Exit status: 0 done, 1 an author could not be asked about some photos, 2 bad input, 130 stopped by Ctrl-C.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help", "help"):
        print(_HELP.format(commands="\n".join(f"  {name:8} {one.summary}" for name, one in _SUBCOMMANDS.items())))
        return DONE if words else BAD_INPUT
    name, *words = words
    if name not in _SUBCOMMANDS:
        return refuse("roc reasoning", f"unknown command {name!r}; the commands are {', '.join(_SUBCOMMANDS)}")
    chosen = _SUBCOMMANDS[name]
    parser = Parser(f"roc reasoning {name}", chosen.description, chosen.example)
    return run(parser, chosen.options, words, chosen.work, stopped=lambda _: chosen.stopped)
