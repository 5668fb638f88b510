"""The command `roc`, the same as `python -m roc.cli`: the table of verbs.

Each verb is a file of `roc/commands/` with a function `main(argv) -> exit status`. It is imported when the verb is
chosen, so `roc --help` is instant and needs no torch.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import roc

COMMANDS: dict[str, str] = {
    "finetune": "train a model with the score head on rated images, evaluate, save",
    "score": "score photos, folders, lists and tar files; goes on where it was stopped",
    "serve": "answer requests for scores over HTTP, with a page for people",
    "mcp": "let an assistant score, rank and describe local photos (Model Context Protocol)",
    "evaluate": "how well predictions agree with people: metrics, pictures, a report",
    "calibrate": "intervals around scores that hold a stated share of held-out ratings",
    "reference": "a set of photos to compare scores with: percentiles and rewards",
    "rank": "which of several photos is better, and how surely",
    "personalize": "a head for one's own taste, from a few ratings or pairs",
    "compare": "two evaluations of the same rows, metric by metric",
    "data": "make, check, compare, divide and look at data files",
    "starter": "build a small model with pretrained parts from packages",
    "attach": "give a model an untrained score head and save it",
    "doctor": "tell whether the score head fits a model, and what to set",
    "export": "merge an adapter, write a checkpoint for vLLM or the head alone, upload",
}
"""Verb -> what it does, in one line of `roc --help`."""

METHODS = {
    "agree": "look at a photo's photometric attributes, which AGREE guides scores by",
    "relative": "records of edits and of how much better or worse they made a photo",
    "reasoning": "critiques that teach a model to think before it scores, and reinforcement",
}
"""The same of methods, each in a room of its name. A room that was deleted leaves no command behind."""

COMMANDS |= {
    verb: summary
    for verb, summary in METHODS.items()
    if Path(__file__).with_name(verb).joinpath("__init__.py").is_file()
}

HELP_WORDS = ("-h", "--help", "help")


def help_text() -> str:
    """What `roc --help` prints."""
    width = max(map(len, COMMANDS))
    return "\n".join(
        [
            "usage: roc COMMAND [...]",
            "",
            "A score head for multimodal language models.",
            "",
            *[f"  {name:{width}}  {summary}" for name, summary in COMMANDS.items()],
            "",
            "example: roc finetune configs/demo.yaml",
            "`roc COMMAND --help` shows a command's options and an example; `roc --version` the version.",
            "Exit status: 0 done, 1 some images failed (they are named), 2 bad input.",
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the chosen command.

    Args:
        argv: Words after `roc`; None takes those of the process.

    Returns:
        The exit status: 0 done, 1 some images failed, 2 bad input.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in HELP_WORDS:
        print(help_text())
        return 0 if words else 2
    if words[0] == "--version":
        print(f"roc {roc.__version__}")
        return 0
    verb, *rest = words
    if verb not in COMMANDS:
        near = difflib.get_close_matches(verb, COMMANDS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        print(f"roc: unknown command {verb!r}; {hint}The commands are {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    return import_module(f"roc.commands.{verb}").main(rest)


if __name__ == "__main__":
    sys.exit(main())
