"""Saved states that a run resumes from: which are complete, and who wrote them."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

# Written after everything else of a saved state; a state that a kill or a full disk cut short has none that parses.
_STATE_FILE = "trainer_state.json"


def newest_checkpoint(folder: str | os.PathLike, clean: bool = True) -> Path | None:
    """Finds the newest complete saved state.

    A state is complete when its `trainer_state.json`, which is written last, can be read.

    Args:
        folder: The trainer's output folder.
        clean: Whether states that a kill or a full disk cut short are removed.

    Returns:
        None where there is none.
    """
    found = []
    for path in Path(folder).glob(f"{PREFIX_CHECKPOINT_DIR}-*"):
        match = re.fullmatch(rf"{PREFIX_CHECKPOINT_DIR}-(\d+)", path.name)
        if match is None:
            continue
        try:
            json.loads((path / _STATE_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            if clean:
                shutil.rmtree(path)
        else:
            found.append((int(match[1]), path))
    return max(found)[1] if found else None


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
