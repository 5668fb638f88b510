"""Stages of a script: runs of `roc` in processes of their own, what each took over all calls, and on which machine."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from roc.files import write_json

TIMES_FILE = "times.json"


class StageFailed(ValueError):
    """A stage that did not end well; it has said why."""


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


@contextlib.contextmanager
def timed(out: Path, stage: str) -> Iterator[None]:
    """Adds the time of a stage to what it took in earlier calls, also where it is stopped.

    Args:
        out: Folder of the script's result; its times.json holds the seconds.
        stage: Name of the stage.
    """
    started = time.monotonic()
    try:
        yield
    finally:
        spent = times(out)
        if out.is_dir():
            write_json(out / TIMES_FILE, {**spent, stage: spent.get(stage, 0.0) + time.monotonic() - started})


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
