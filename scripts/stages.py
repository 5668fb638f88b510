"""Scripts of stages: their command line, the settings of a folder, work in processes of its own, times, the machine."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import platform
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, TypeVar

from roc.commands.line import BAD_INPUT, Parser, run
from roc.data.digest import content_digest
from roc.files import write_json
from roc.settings import Settings

SETTINGS_FILE = "settings.json"
TIMES_FILE = "times.json"
NOTED_EVERY = 10.0
"""Seconds after which the time of a stage that is under way is written again."""
GOES_ON = "The same command again goes on where it was stopped."

Options = TypeVar("Options", bound=Settings)


class StageFailed(ValueError):
    """A stage that did not end well; it has said why."""


def run_script(
    name: str,
    description: str,
    example: str,
    options: type[Options],
    work: Callable[[Options, str], str],
    argv: Sequence[str] | None = None,
    *,
    epilog: str = GOES_ON,
) -> int:
    """Runs a script of stages and prints its report.

    Args:
        name: Of the file in scripts/.
        description, epilog: What --help shows before and after the options.
        example: Words that follow the name.
        options: Class of the options.
        work: Does what is left to do, of the options and the command line; returns the report.
        argv: Words of the command line; None takes those of the process.

    Returns:
        Exit status: 0 done, 2 bad input or a stage that failed, 130 stopped by Ctrl-C.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    parser = Parser(name, description, f"bash scripts/{name} {example}", epilog=epilog)
    command = shlex.join(["bash", f"scripts/{name}", *words])

    def reported(given: Options) -> int | None:
        try:
            print(work(given, command))
        except StageFailed:
            return BAD_INPUT
        return None

    return run(parser, options, words, reported, stopped=lambda _: "the same command goes on.")


def held_settings(out: Path) -> dict[str, Any]:
    """Reads what a folder was made with so far; empty where nothing was noted."""
    file = out / SETTINGS_FILE
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def check_settings(out: Path, settings: dict[str, Any]) -> None:
    """Refuses a folder that was made with other settings than those that `note_settings` has left there.

    Args:
        out: Folder of the result.
        settings: What is asked for now, in plain JSON; what the folder does not hold yet is not compared.

    Raises:
        ValueError: With the settings that differ.
    """
    held = held_settings(out)
    other = {name: (held[name], value) for name, value in settings.items() if held.get(name, value) != value}
    if other:
        lines = [_difference(name, *pair) for name, pair in other.items()]
        raise ValueError(
            f"{out} holds runs with other settings ({', '.join(other)}); name another --output_dir\n  "
            + "\n  ".join(lines)
        )


def note_settings(out: Path, settings: dict[str, Any]) -> None:
    """Notes in a folder what it is made with, beside what is noted there."""
    write_json(out / SETTINGS_FILE, held_settings(out) | settings)


def _difference(name: str, there: Any, asked: Any) -> str:
    here, wanted = _apart(there, asked), _apart(asked, there)
    if name == "configs":  # hashes, which say nothing to a reader
        return f"{name}: other settings files: {', '.join(here | wanted)}"
    return f"{name}: there {here}, asked for {wanted}"


def _apart(one: Any, other: Any) -> Any:
    """Leaves out of a group of settings what another one has as well."""
    if not isinstance(one, dict) or not isinstance(other, dict):
        return one
    return {name: value for name, value in one.items() if other.get(name) != value}


def digests(files: Mapping[str, Path]) -> dict[str, str | None]:
    """Hashes settings files, by the part that each is for."""
    return {name: content_digest(file) for name, file in files.items()}


def run_roc(*words: str | Path) -> None:
    """Runs `roc` in a process of its own, which frees its memory.

    Args:
        *words: Words of the command line, the verb first.

    Raises:
        StageFailed: If it ended with an error.
        KeyboardInterrupt: If it was stopped.
    """
    status = subprocess.run([sys.executable, "-m", "roc.cli", *map(str, words)]).returncode
    if status == 130:
        raise KeyboardInterrupt
    if status:
        raise StageFailed


def side_by_side(work: Callable[..., Any], items: Iterable[Any], shared: Any, jobs: int) -> Iterator[Any]:
    """Does pieces of work, several at a time, each in a process that does many.

    Args:
        work: Function of a module, of an item and `shared`.
        items: The pieces.
        shared: What all of them need; sent to each process once.
        jobs: Processes at a time.

    Yields:
        Results, in the order in which they come.

    Raises:
        ValueError: If a process died.
    """
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin, initargs=(shared,)) as pool:
            try:
                for done in as_completed([pool.submit(_do, work, item) for item in items]):
                    yield done.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    except BrokenProcessPool as error:
        raise ValueError(
            "a training process died (out of memory?); the same command goes on, --jobs 1 takes less memory"
        ) from error


def _begin(shared: Any) -> None:
    """Sets up a process: keeps what is shared and freed memory, and ends the process when its parent ends."""
    global _shared
    _shared = shared
    parent = multiprocessing.parent_process()
    if parent is not None:
        from roc.model.device import keep_freed_memory

        keep_freed_memory()
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def _do(work: Callable[..., Any], item: Any) -> Any:
    return work(item, _shared)


@contextlib.contextmanager
def timed(out: Path, stage: str) -> Iterator[None]:
    """Adds the time of a stage to what it took in earlier calls, also where it is stopped.

    It is written as it goes by, so that of a call that is killed no more than `NOTED_EVERY` is lost.

    Args:
        out: Folder of the script's result; its times.json holds the seconds.
        stage: Name of the stage.
    """
    before, started, over = times(out).get(stage, 0.0), time.monotonic(), threading.Event()

    def note() -> None:
        if out.is_dir():
            write_json(out / TIMES_FILE, times(out) | {stage: before + time.monotonic() - started})

    def note_meanwhile() -> None:
        while not over.wait(NOTED_EVERY):
            note()

    meanwhile = threading.Thread(target=note_meanwhile, daemon=True)
    meanwhile.start()
    try:
        yield
    finally:
        over.set()
        meanwhile.join()
        note()


def times(out: Path) -> dict[str, float]:
    """Reads the seconds of each stage; empty where none has run."""
    file = out / TIMES_FILE
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def machine() -> str:
    """Names the processor, its cores and the system."""
    named = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        named = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{named}, {os.cpu_count()} cores, {platform.system()}"
