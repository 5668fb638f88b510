"""Saved states that a run resumes from: which are whole, which are kept, and who wrote them.

`seal` ends a state with `checksums.json`, the size and checksum of each of its files. Until then the file says that
the state is unfinished. States of earlier versions have none; they count as whole if their `trainer_state.json`, which
was written last, can be read.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import zlib
from pathlib import Path

from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from roc.files import write_json

CHECKSUMS_FILE = "checksums.json"
_STATE_FILE = "trainer_state.json"
_BLOCK = 1 << 22


def begin(state: Path) -> None:
    """Creates the folder of a state and marks it as unfinished."""
    state.mkdir(parents=True, exist_ok=True)
    write_json(state / CHECKSUMS_FILE, {"finished": False})


def seal(state: Path) -> None:
    """Writes the checksums of a state, as the last thing of it; every process has written its files by then."""
    files = {
        path.relative_to(state).as_posix(): [path.stat().st_size, _checksum(path)]
        for path in sorted(state.rglob("*"))
        if path.is_file() and path.name != CHECKSUMS_FILE
    }
    write_json(state / CHECKSUMS_FILE, {"finished": True, "files": files})


def fault_of(state: Path, *, thorough: bool = True) -> str | None:
    """Says what is wrong with a saved state; None where it is whole.

    Args:
        state: Its folder.
        thorough: Whether the content of the files is compared with their checksums, not only their size.
    """
    try:
        sealed = (state / CHECKSUMS_FILE).exists()
        json.loads((state / _STATE_FILE).read_text(encoding="utf-8"))
        if not sealed:
            return None
        written = json.loads((state / CHECKSUMS_FILE).read_text(encoding="utf-8"))
        if not written["finished"]:
            return "it was not written to its end"
        for name, (size, checksum) in written["files"].items():
            path = state / name
            if not path.is_file():
                return f"{name} is missing"
            if path.stat().st_size != size:
                return f"{name} has {path.stat().st_size} bytes, {size} were written"
            if thorough and _checksum(path) != checksum:
                return f"{name} is not what was written"
    except FileNotFoundError:
        return "it was not written to its end"
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        return f"it cannot be read: {error}"
    return None


def _checksum(path: Path) -> str:
    value = 0
    with path.open("rb") as handle:
        while block := handle.read(_BLOCK):
            value = zlib.crc32(block, value)
    return f"{value:08x}"


def states_in(folder: str | os.PathLike[str]) -> list[Path]:
    """Lists the saved states in a folder, the newest first."""
    found = []
    for path in Path(folder).glob(f"{PREFIX_CHECKPOINT_DIR}-*"):
        match = re.fullmatch(rf"{PREFIX_CHECKPOINT_DIR}-(\d+)", path.name)
        if match is not None and path.is_dir():
            found.append((int(match[1]), path))
    return [path for _, path in sorted(found, reverse=True)]


def newest_whole(folder: str | os.PathLike[str], *, thorough: bool = True) -> tuple[Path | None, dict[Path, str]]:
    """Finds the newest saved state that is whole.

    Args:
        folder: The trainer's output folder.
        thorough: As for `fault_of`.

    Returns:
        The state, None where there is none, and the newer ones with what is wrong with them.
    """
    broken = {}
    for state in states_in(folder):
        fault = fault_of(state, thorough=thorough)
        if fault is None:
            return state, broken
        broken[state] = fault
    return None, broken


def best_state(state: Path) -> Path | None:
    """Names the best state so far, as a saved state notes it; the folder may have been moved since."""
    step = json.loads((state / _STATE_FILE).read_text(encoding="utf-8")).get("best_global_step")
    return state.with_name(f"{PREFIX_CHECKPOINT_DIR}-{step}") if step else None


def rotate(folder: str | os.PathLike[str], limit: int | None, *chosen: str | os.PathLike[str] | None) -> None:
    """Removes the oldest states beyond `limit`; the newest one and those that are chosen stay in any case."""
    states = states_in(folder)
    kept = {states[0].name, *(Path(state).name for state in chosen if state)} if states else set()
    surplus = len(states) - max(limit, len(kept)) if limit else 0
    for state in [state for state in reversed(states) if state.name not in kept][: max(surplus, 0)]:
        shutil.rmtree(state, ignore_errors=True)


def launcher_of(state: Path) -> tuple[str, int | None]:
    """Tells from its files who wrote a saved state.

    Returns:
        `RocTrainer.launcher` of then, and how many processes it takes to read it; None for any number.
    """
    if any(state.glob("pytorch_model_fsdp*")):
        return "fsdp2", None
    shares = len(list(state.glob("global_step*/*_optim_states.pt")))
    if not shares:
        return "ddp", None
    return "zero3" if any(state.glob("global_step*/zero_pp_rank_*_model_states.pt")) else "zero2", shares
