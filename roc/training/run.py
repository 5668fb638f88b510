"""The folder of a run: who may write into it, whether the run there is finished, and what a stopped run resumes from.

`run.json` is written before any work and holds the settings, the version, the hashes of the data files and, as soon as
it is known, the length of the longest row. Another run on the same data whose settings would have learnt the same
carries on; any other is refused.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import shlex
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roc.data.digest import content_digest
from roc.files import write_json, write_whole
from roc.settings import settings_of

if TYPE_CHECKING:
    from accelerate import PartialState

    from roc.training.config import RunConfig
    from roc.training.trainer import RocTrainer

logger = logging.getLogger(__name__)

RUN_FILE = "run.json"
STATES = "training"
"""Folder in `output_dir` with the saved states and the logs."""
SCENES = "scenes"
"""Folder in `output_dir` that the demo's scenes are drawn into."""


class RunError(ValueError):
    """A run that cannot start or go on; the message says what to do."""


class Refused(RunError):
    """What is refused before anything is done, by every process of a machine alike."""


class FirstFailed(RunError):
    """What the other processes see of an error of the first one, which says itself what it is."""


def is_first_process() -> bool:
    """Tells whether this is the only process or the first of several, before they are joined."""
    return os.environ.get("RANK", "0") == "0"


def is_finished(config: RunConfig) -> bool:
    """Tells whether `output_dir` holds this very run, finished.

    Raises:
        Refused: If it holds another run, finished or not, or files that are no run.
    """
    out = Path(config.output_dir)
    if config.overwrite or not out.is_dir() or not any(out.iterdir()):
        return False
    try:
        run = json.loads((out / RUN_FILE).read_text(encoding="utf-8"))
        finished, settings = run["finished"], run["settings"]
    except (OSError, ValueError, KeyError) as error:
        raise Refused(
            f"output_dir {out} is not empty and holds no {RUN_FILE} that can be read ({error}); choose another folder, "
            "or --overwrite to train anew there."
        ) from None
    differences = _differences(config, _translated(settings), run.get("longest_row"), finished)
    if not _is_same_data(run.get("data") or [], data_hashes(config)):
        differences.append("the content of the data file has changed")
    if differences:
        raise Refused(
            f"output_dir {out} holds a run with other settings:\n  " + "\n  ".join(differences) + "\n"
            "Choose another --output_dir, give the same settings, or --overwrite to train anew there."
        )
    return finished


def _translated(settings: dict[str, Any]) -> dict[str, Any]:
    """Gives settings of a run whose `max_pixels` was what is `pixel_limit` now under their present names."""
    if "pixel_limit" in settings or "max_pixels" not in settings:
        return settings
    return {**settings, "max_pixels": None, "pixel_limit": settings["max_pixels"]}


def _differences(config: RunConfig, earlier: dict[str, Any], longest_row: int | None, finished: bool) -> list[str]:
    """Lists the settings that would have made another run of an earlier one.

    Args:
        config: The settings now.
        earlier: Those of the run in the folder.
        longest_row: Tokens of its longest row; None where they were not counted.
        finished: Whether it is finished, so that no setting can take effect any more.
    """
    ignoring = set() if finished else {"dataset"}  # it is written into the checkpoint at the end
    name = "model_max_length"
    begun = finished or any((Path(config.output_dir) / STATES).glob("checkpoint-*"))
    limits = config.model_max_length, earlier.get(name, settings_of(type(config))[name].default)
    if not begun or (longest_row is not None and longest_row <= min(limits)):
        ignoring.add(name)  # both limits cut no row
    lines = config.differences(earlier, ignoring=ignoring)
    if longest_row is None:
        return lines
    reason = f" (the longest row has {longest_row} tokens, so rows would be cut elsewhere)"
    return [line + reason if line.startswith(f"{name}:") else line for line in lines]


def claim(config: RunConfig, longest_row: int | None = None) -> None:
    """Writes the settings into `output_dir` before any work, so that the same command goes on wherever it is stopped.

    Args:
        config: The settings.
        longest_row: Tokens of the longest row; None keeps what is noted there.

    Raises:
        RunError: If the folder cannot be written.
    """
    try:
        _describe(config, finished=False, longest_row=longest_row)
    except OSError as error:
        raise RunError(_unwritable(config, error)) from error


def mark_finished(config: RunConfig) -> None:
    """Notes in `output_dir` that nothing is left to do."""
    _describe(config, finished=True)


@contextlib.contextmanager
def occupying(config: RunConfig) -> Iterator[None]:
    """Keeps `output_dir` for this run alone; of several processes the first one does so for all.

    The lock is the operating system's, on the folder itself: it ends with the process, however that ends, and leaves
    no file. Where there are no such locks (Windows, some network drives), nothing is locked.

    Raises:
        RunError: If another living process trains there, or the folder cannot be created.
    """
    if not is_first_process():
        yield
        return
    out = Path(config.output_dir)
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(_unwritable(config, error)) from error
    try:
        with _locked(out):
            yield
    finally:
        for folder in made:
            with contextlib.suppress(OSError):  # it holds something by now
                folder.rmdir()


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        import fcntl
    except ImportError:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    _HELD.add(handle)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(
                f"output_dir {folder} is in use: another process trains there right now. Wait until it has ended, or "
                "choose another --output_dir."
            ) from None
        except OSError as error:
            logger.warning("output_dir %s cannot be locked (%s); start no second run there", folder, error)
        yield
    finally:
        _HELD.discard(handle)
        with contextlib.suppress(OSError):
            # A child that was forked a moment ago may not have closed its copy yet.
            fcntl.flock(handle, fcntl.LOCK_UN)
        os.close(handle)


_HELD: set[int] = set()
"""Open folders that this process has locked. Processes forked from it would keep the lock after its death."""


def _let_go() -> None:
    for handle in _HELD:
        os.close(handle)
    _HELD.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


@contextlib.contextmanager
def preparing(config: RunConfig, process: PartialState) -> Iterator[None]:
    """Claims `output_dir` while a run is prepared; where preparing it fails, the folder is left as it was.

    With `overwrite` nothing is claimed yet: `start` does so when nothing can be wrong with the settings any more.

    Raises:
        RunError: If the folder cannot be written.
    """
    if not process.is_main_process:
        yield
        return
    out = Path(config.output_dir)
    run, scenes, aside = out / RUN_FILE, out / SCENES, out / f".{SCENES}.before"
    before = run.read_bytes() if run.is_file() else None
    shutil.rmtree(aside, ignore_errors=True)
    if config.overwrite and scenes.is_dir():
        shutil.copytree(scenes, aside, copy_function=_link)
    drawn = not scenes.exists()
    if not config.overwrite:
        claim(config)
    try:
        yield
    except Exception:
        if drawn or aside.is_dir():
            shutil.rmtree(scenes, ignore_errors=True)
        if aside.is_dir():
            aside.rename(scenes)
        if before is None:
            run.unlink(missing_ok=True)
        elif run.read_bytes() != before:
            write_whole(run, lambda temporary: temporary.write_bytes(before))
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # no links on this file system
        shutil.copy2(source, target)


def start(config: RunConfig, trainer: RocTrainer, process: PartialState, longest_row: int) -> Path | None:
    """Ends the preparation: gives up an earlier run with `overwrite`, else finds the state to resume from.

    Args:
        config: The settings.
        trainer: What will train.
        process: This process.
        longest_row: Tokens of the longest row, noted in `output_dir`.

    Returns:
        The state for `train`; None starts at step 0.

    Raises:
        RunError: If the folder cannot be written, or these processes cannot read the state.
    """
    from roc.training.processes import first_process_first

    first = process.is_main_process
    with first_process_first(process):
        if first:
            claim(config, longest_row)
        return state_to_resume(config, trainer, clean=first)


def folder_faults(config: RunConfig) -> list[str]:
    """Finds out without writing anything whether `output_dir` can be written; empty where it can."""
    place = Path(config.output_dir).absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        return [_unwritable(config, f"{place} is no folder")]
    return [] if os.access(place, os.W_OK | os.X_OK) else [_unwritable(config, f"no permission to write to {place}")]


def state_to_resume(config: RunConfig, trainer: RocTrainer, *, clean: bool) -> Path | None:
    """Finds the newest saved state that is whole; says which newer ones are not.

    Args:
        config: With `overwrite`, nothing is resumed and the old states are removed.
        trainer: What will read the state.
        clean: Whether this process checks the content of the states and removes broken ones; the first one should.

    Raises:
        RunError: If these processes cannot read it.
    """
    from roc.training.states import best_state, fault_of, launcher_of, newest_whole

    states = Path(config.output_dir) / STATES
    if config.overwrite and clean:
        shutil.rmtree(states, ignore_errors=True)
    newest, broken = newest_whole(states, thorough=clean)
    if newest is None:
        _remove_broken(broken if clean else {}, "Training starts anew.")
        return None
    launcher, processes = launcher_of(newest)
    if launcher != trainer.launcher or processes not in (None, trainer.args.world_size):
        wanted = "--launcher ddp, or none" if launcher == "ddp" else f"--launcher {launcher}"
        wanted += "" if processes is None else f" and {processes} processes"
        raise RunError(
            f"The saved state {newest} was written with {wanted}; these are {trainer.args.world_size} processes of "
            f"{trainer.launcher}. Give the same again, or --overwrite to train anew."
        )
    _remove_broken(broken if clean else {}, "An older one is taken.")
    best = best_state(newest)
    if clean and best is not None and best != newest:
        fault = fault_of(best)
        if fault is not None:
            _remove_broken({best: fault}, "It was the best so far; the best of the following ones is kept.")
    logger.info("Resuming from %s.", newest)
    return newest


def _remove_broken(states: dict[Path, str], then: str) -> None:
    for state, fault in states.items():
        logger.warning("the saved state %s is damaged: %s. %s", state, fault, then)
        shutil.rmtree(state, ignore_errors=True)


def train(trainer: RocTrainer, state: Path | None) -> None:
    """Trains to the end.

    Args:
        trainer: With everything it needs.
        state: Saved state to resume from; None starts at step 0.

    Raises:
        RunError: If a state cannot be saved, training diverges, or a row cannot be read or is too long.
    """
    from roc.data.images import ImageError
    from roc.model.collator import RowTooLong
    from roc.training.saved_states import DivergedError, SavingError

    try:
        with warnings.catch_warnings():
            # `training_arguments` notes in one line where loader processes are many. Forking is safe, since they only
            # decode and collate.
            warnings.filterwarnings("ignore", "This DataLoader will create .* worker processes", UserWarning)
            warnings.filterwarnings("ignore", "This process .* is multi-threaded, use of fork", DeprecationWarning)
            # TRL asks transformers 5.23 for a property by its older name.
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
            # The logits that the model returns are a view, and nothing writes into them.
            warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor", UserWarning)
            trainer.train(resume_from_checkpoint=None if state is None else str(state))
    except (SavingError, DivergedError, ImageError, RowTooLong) as error:
        raise RunError(str(error)) from error


def data_hashes(config: RunConfig) -> list[str | None]:
    """Hashes the content of each data file or data set, None where it is not known; edited data make another run."""
    return [content_digest(Path(path)) for path in config.data_files]


def _is_same_data(before: list[str | None], now: list[str | None]) -> bool:
    return all(one == other or None in (one, other) for one, other in itertools.zip_longest(before, now))


def command(config: RunConfig, verb: str = "finetune") -> str:
    """Writes the command line of a run with these settings, whatever files and flags they came from.

    Args:
        config: The settings.
        verb: What stands after `roc`.
    """
    words, settings = ["roc", *verb.split()], settings_of(type(config))
    for name, value in config.to_dict().items():
        default = settings[name].default
        if value != (list(default) if isinstance(default, tuple) else default):
            words += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    return shlex.join(words)


def _describe(config: RunConfig, *, finished: bool, longest_row: int | None = None) -> None:
    from roc import __version__

    file = Path(config.output_dir) / RUN_FILE
    if longest_row is None and file.is_file():
        longest_row = json.loads(file.read_text(encoding="utf-8")).get("longest_row")
    description: dict[str, Any] = {
        "finished": finished,
        "version": __version__,
        "settings": config.to_dict(),
        "data": data_hashes(config),
        "longest_row": longest_row,
    }
    write_json(file, description)


def _unwritable(config: RunConfig, reason: object) -> str:
    return f"output_dir {config.output_dir} cannot be written: {reason}. Choose another --output_dir."
