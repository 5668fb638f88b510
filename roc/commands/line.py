"""The command line that all verbs share: how flags are spelled, what `--help` shows, how errors and exit codes look.

A verb declares its options as a `Settings` dataclass (roc/settings.py), mostly that of the room it calls, and is a few
lines:

    def main(argv: Sequence[str] | None = None) -> int:
        parser = Parser("roc score", DESCRIPTION, "roc score photos --checkpoint checkpoints/mine --out scores.csv")
        return run(parser, ScoreOptions, argv, score)

Flags take `-` and `_` alike. Exit status: 0 done, 1 some images failed or a check did not pass, 2 bad input with one
line on stderr, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn, TypeVar

from roc.settings import REQUIRED, ConfigError, Setting, Settings, build, settings_of

S = TypeVar("S", bound=Settings)

DONE = 0
FAILED = 1
BAD_INPUT = 2
STOPPED = 130


class Parser(argparse.ArgumentParser):
    """An argument parser whose flags come from `Settings` classes and whose errors are one line.

    Args:
        prog: The command, such as "roc score".
        description: What it does, kept line by line.
        *examples: Command lines shown at the end of the help.
        epilog: Lines after the examples.
    """

    def __init__(self, prog: str, description: str, *examples: str, epilog: str = ""):
        super().__init__(
            prog=prog,
            description=description,
            epilog="\n".join([*(f"example: {example}" for example in examples), *filter(None, [epilog])]),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def add_settings(self, group: type[Settings]) -> None:
        """Adds every setting of a class: a word where it is positional, else a flag."""
        for setting in settings_of(group).values():
            self._add(setting)

    def _add(self, setting: Setting) -> None:
        required = setting.default is REQUIRED
        named: dict[str, Any] = {"help": _help(setting).replace("%", "%%")}
        if setting.kind is bool:
            # Absent, a flag leaves nothing behind: the class knows its defaults.
            no = "no_" if setting.default else ""
            self.add_argument(
                f"--{no}{setting.flag}",
                dest=setting.name,
                action="store_false" if setting.default else "store_true",
                default=argparse.SUPPRESS,
                **named,
            )
            return
        metavar = setting.metavar or setting.name.upper()
        named["metavar"] = "{" + ",".join(setting.choices) + "}" if setting.choices else metavar
        if setting.positional:
            nargs = "+" if setting.many and required else "*" if setting.many else None if required else "?"
            self.add_argument(setting.name, nargs=nargs, default=argparse.SUPPRESS, **named)
        else:
            self.add_argument(
                f"--{setting.flag}",
                dest=setting.name,
                # A list may also be given as several flags: --out a.html --out a.json.
                action="extend" if setting.many else "store",
                nargs="*" if setting.many else None,
                required=required,
                default=argparse.SUPPRESS,
                **named,
            )

    def read(self, group: type[S], words: Sequence[str]) -> S:
        """Reads words into an instance of a class whose settings were added.

        Args:
            group: The class.
            words: Words after the command.

        Raises:
            ConfigError: For unknown or missing flags and words, and values that cannot be used.
            SystemExit: With status 0 after `--help`.
        """
        given, rest = self.parse_known_args(spell(words))
        if rest:
            self.error(self._unknown(rest[0]))
        values = {name: value for name, value in vars(given).items() if name in settings_of(group)}
        return build(group, values, {name: f"--{settings_of(group)[name].flag}" for name in values})

    def _unknown(self, word: str) -> str:
        import difflib

        if not word.startswith("-"):
            return f"unexpected word {word!r}"
        near = difflib.get_close_matches(word.partition("=")[0], self._option_string_actions, n=1, cutoff=0.6)
        return f"unknown flag {word.partition('=')[0]}" + (f"; did you mean {near[0]}?" if near else "")

    def error(self, message: str) -> NoReturn:
        """Raises what argparse finds as one line."""
        raise ConfigError([("", f"{message} (see {self.prog} --help)")])


def _help(setting: Setting) -> str:
    shown = setting.default_text
    if setting.kind is bool or setting.positional or shown in ("required", "none"):
        return setting.help
    return f"{setting.help} [{shown}]"


def spell(words: Sequence[str]) -> list[str]:
    """Gives the names of flags their one spelling: `--data-path=a-b` becomes `--data_path=a-b`.

    Values stay as they are. Words after a bare `--` are no flags.
    """
    spelled: list[str] = []
    for position, word in enumerate(words):
        if word == "--":
            return spelled + list(words[position:])
        name, equals, value = word.partition("=")
        spelled.append(f"--{name[2:].replace('-', '_')}{equals}{value}" if name.startswith("--") else word)
    return spelled


def run(
    parser: Parser,
    group: type[S],
    argv: Sequence[str] | None,
    work: Callable[[S], int | None],
    *,
    stopped: Callable[[S], str] | None = None,
) -> int:
    """Reads the words, does the work, and turns what goes wrong into one line and an exit status.

    Args:
        parser: A parser of the command; the settings of `group` are added here.
        group: The class of the options.
        argv: Words after the command; None takes those of the process.
        work: Takes the options; returns the exit status, None for 0. It may print.
        stopped: Says after Ctrl-C what becomes of what was done: "the same command goes on from here".

    Returns:
        The exit status. An error that is no `ValueError`, `OSError` or `ImportError` is a fault of roc and is raised.
    """
    parser.add_settings(group)
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        options = parser.read(group, words)
    except ConfigError as error:
        return refuse(parser.prog, error)
    return guarded(parser.prog, lambda: work(options), stopped and (lambda: stopped(options)))


class Subcommand(NamedTuple):
    """One word after a command such as `roc data`: its line in the overview, its own help, its options and its work."""

    summary: str
    description: str
    example: str
    options: type[Settings]
    work: Callable[[Any], int | None]
    stopped: Callable[[Any], str] | None = None


def run_subcommand(
    prog: str,
    about: str,
    subcommands: Mapping[str, Subcommand],
    argv: Sequence[str] | None,
    *,
    first: str,
    more: str = "",
) -> int:
    """Runs the subcommand that the first word names, or shows which there are.

    Args:
        prog: The command, such as "roc data".
        about: What it does, in one line.
        subcommands: Word -> what it runs.
        argv: Words after the command; None takes those of the process.
        first: The word whose example the overview shows.
        more: A line of the help below the list.

    Returns:
        The exit status, as `run` describes.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help", "help"):
        width = max(map(len, subcommands)) + 1
        listed = "\n".join(f"  {name:{width}} {one.summary}" for name, one in subcommands.items())
        example = f"example: {subcommands[first].example}"
        parts = [f"usage: {prog} COMMAND [...]", about, listed, *filter(None, [more]), example]
        print("\n\n".join(parts) + f"\n`{prog} COMMAND --help` shows a command's options and an example.")
        return DONE if words else BAD_INPUT
    name, *words = words
    if name not in subcommands:
        return refuse(prog, f"unknown command {name!r}; the commands are {', '.join(subcommands)}")
    chosen = subcommands[name]
    parser = Parser(f"{prog} {name}", chosen.description, chosen.example)
    return run(parser, chosen.options, words, chosen.work, stopped=chosen.stopped)


def guarded(
    prog: str,
    work: Callable[[], int | None],
    stopped: Callable[[], str] | None = None,
    *,
    errors: tuple[type[Exception], ...] = (ValueError, OSError, ImportError),
) -> int:
    """Does the work of a command; what goes wrong becomes one line and an exit status, as `run` describes.

    Args:
        prog: The command, for messages.
        work: Returns the exit status, None for 0.
        stopped: Says after Ctrl-C what becomes of what was done.
        errors: What bad input raises; every other error is a fault of roc and is raised.
    """
    show_notes()
    _hide_progress_bars()
    try:
        return work() or DONE
    except BrokenPipeError:  # of `| head`: nobody reads the rest, nor what Python would say about it when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except errors as error:
        return refuse(prog, error)
    except KeyboardInterrupt:
        note = stopped() if stopped else ""
        print(f"\n{prog}: stopped{f'; {note}' if note else ''}", file=sys.stderr)
        return STOPPED


def _hide_progress_bars() -> None:
    """Hides the bars of transformers and huggingface_hub for loading, writing and fetching files, of children too."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # read when they are imported
    if "transformers" in sys.modules:
        sys.modules["transformers"].utils.logging.disable_progress_bar()


def refuse(prog: str, error: BaseException | str) -> int:
    """Prints why the input cannot be used; returns the exit status of bad input."""
    print(f"{prog}: {f'{error}'.strip()}", file=sys.stderr)
    return BAD_INPUT


class _Notes(logging.Handler):
    """Prints what the rooms log on stderr, so that stdout holds results alone: warnings as `note: ...`."""

    def emit(self, record: logging.LogRecord) -> None:
        mark = "note: " if record.levelno >= logging.WARNING else ""
        print(mark + record.getMessage(), file=sys.stderr, flush=True)


def show_notes() -> None:
    """Shows what the rooms log. A room never prints; what a user should know of its work it logs on `roc.<room>`."""
    logger = logging.getLogger("roc")
    if not any(isinstance(handler, _Notes) for handler in logger.handlers):
        logger.addHandler(_Notes())
    logger.setLevel(logging.INFO)
