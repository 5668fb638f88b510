"""The command `roc`, the same as `python -m roc.cli`.

A command is a row of `COMMANDS`: the file it lives in and its function `f(argv) -> exit status`. The file is imported
when the command is chosen, so `roc --help` is instant and needs no torch.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import roc


class Command(NamedTuple):
    """One command.

    Attributes:
        module: File it lives in.
        function: Takes the words after the command, returns the exit status.
        summary: What it does, in one line of `roc --help`.
    """

    module: str
    function: str
    summary: str


COMMANDS: dict[str, Command] = {
    "finetune": Command(
        "roc.training.job", "main", "train a model with the score head on rated images, evaluate, save"
    ),
    "score": Command(
        "roc.commands.score", "main", "score photos, folders, lists and tar files; goes on where it was stopped"
    ),
    "serve": Command("roc.server.listen", "main", "answer requests for scores over HTTP, with a page for people"),
    "evaluate": Command(
        "roc.evaluation.evaluate", "main", "how well predictions agree with people: metrics, pictures, a report"
    ),
    "compare": Command("roc.evaluation.compare", "main", "two evaluations of the same rows, metric by metric"),
    "data": Command("roc.commands.data", "main", "make, check, compare, divide and look at data files"),
    "attach": Command("roc.cli", "attach_head", "give a model an untrained score head and save it"),
    "doctor": Command("roc.doctor.checks", "main", "tell whether the score head fits a model, and what to set"),
    "export": Command(
        "roc.checkpoint.export", "main", "merge an adapter, write a checkpoint for vLLM or the head alone, upload"
    ),
}

ATTACH_HELP = """usage: roc attach MODEL OUT [--name value ...]

Gives a vision-language model of transformers the [SCORE] token and an untrained score head, and saves it with its
processor to the folder OUT. Until it is trained, every score is the middle of the scale. Training attaches by itself;
this is for runs that shard the weights while loading them.

example: roc attach org/model checkpoints/start --min_score 1 --max_score 5 --attributes overall light

options: {names}
(`roc finetune --help` says what each means)"""


def help_text() -> str:
    """What `roc --help` prints."""
    width = max(map(len, COMMANDS))
    return "\n".join(
        [
            "usage: roc COMMAND [...]",
            "",
            "A score head for multimodal language models.",
            "",
            *[f"  {name:{width}}  {command.summary}" for name, command in COMMANDS.items()],
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
    if not words or words[0] in ("-h", "--help"):
        print(help_text())
        return 0 if words else 2
    if words[0] == "--version":
        print(f"roc {roc.__version__}")
        return 0
    command = COMMANDS.get(words[0])
    if command is None:
        print(f"roc: unknown command {words[0]!r}; the commands are {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    return getattr(import_module(command.module), command.function)(words[1:])


def attach_head(argv: Sequence[str]) -> int:
    """`roc attach MODEL OUT`: gives a model the score head offline.

    Args:
        argv: Words after `roc attach`.

    Returns:
        0, or 2 with the reason on stderr where the words or the model cannot be used.
    """
    from roc.training.config import SETTINGS, ScoreConfig, load_config, read_flags

    scale = ["min_score", "max_score", "num_tokens"]
    carried = [name for name, entry in SETTINGS.items() if entry.group is ScoreConfig and name not in scale]
    carried.append("image_aspect_ratio")
    allowed = [*scale, *carried, "dtype"]
    words = list(argv)
    if "-h" in words or "--help" in words:
        print(ATTACH_HELP.format(names=" ".join(f"--{name}" for name in allowed)))
        return 0
    split = next((i for i, word in enumerate(words) if word.startswith("--")), len(words))
    words, flags = words[:split], words[split:]
    try:
        if len(words) != 2:
            raise ValueError(f"expected MODEL OUT and then options, got {' '.join(words) or 'nothing'}; see --help")
        source, out = words[0], Path(words[1])
        _, given, _ = read_flags(flags)
        foreign = [name for name in given if name not in allowed]
        if foreign:
            raise ValueError(f"--{foreign[0]} says nothing about the head; the options are --{', --'.join(allowed)}")
        config = load_config(None, given)
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise ValueError(f"{out} is there already and not empty; name a new folder")

        from transformers import AutoConfig

        from roc.checkpoint.folder import save
        from roc.model.attachment import attach, model_class
        from roc.model.processing import load_processor

        model = model_class(AutoConfig.from_pretrained(source)).from_pretrained(source, dtype=config.dtype)
        processor = load_processor(source)
        attach(model, processor, config.score_space, **{name: getattr(config, name) for name in carried})
        save(model, processor, out)
    except (ValueError, OSError) as error:
        print(f"roc attach: {error}", file=sys.stderr)
        return 2
    print(
        f"{out}: [SCORE] is token {model.config.roc['token_id']}, {config.num_tokens} levels on "
        f"{config.min_score:g}..{config.max_score:g} for {', '.join(config.attributes)}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
