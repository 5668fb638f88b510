"""The declaration of a checkpoint on disk, changed in place: its config file and its card, and no weight."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from roc.files import write_json
from roc.model.declaration import Declaration
from roc.model.personal import is_personal


def declaring_file(checkpoint: str | os.PathLike[str]) -> Path:
    """Finds the file that holds the declaration: the config file of a model or adapter, a personal head itself.

    Raises:
        ValueError: If the checkpoint is no folder, carries no head, or is in the published layout.
        OSError: If the file cannot be written.
    """
    from roc.checkpoint.folder import ADAPTER_FILE, is_adapter

    folder = Path(checkpoint)
    if is_personal(checkpoint):
        return _writable(folder)
    if not folder.is_dir():
        raise ValueError(
            f"{checkpoint} is no folder, and a model of a hub cannot be changed here; download it first: "
            f"hf download {checkpoint} --local-dir checkpoints/mine"
        )
    file = folder / (ADAPTER_FILE if is_adapter(folder) else "config.json")
    if not isinstance(_content(file).get("roc"), dict):
        raise ValueError(
            f"{file} has no section 'roc' that could be changed; a checkpoint in the published layout is first turned "
            f"into one of roc: roc export {checkpoint} --to_roc OUT"
        )
    return _writable(file)


def _writable(file: Path) -> Path:
    if not os.access(file, os.W_OK) or not os.access(file.parent, os.W_OK):
        raise PermissionError(f"{file} cannot be written; copy the checkpoint to where it can be")
    return file


def write_declaration(checkpoint: str | os.PathLike[str], declaration: Declaration) -> None:
    """Writes a declaration into the folder of a checkpoint, and its card anew unless that was changed by hand.

    The metrics of the card are kept as long as they are on the range that is declared.

    Args:
        checkpoint: Folder of a full checkpoint or an adapter, or the file of a personal head, written by roc.
        declaration: Of the same head.

    Raises:
        ValueError, OSError: As `declaring_file`.
    """
    from roc.checkpoint.card import write_card

    file = declaring_file(checkpoint)
    write_json(file, _content(file) | {"roc": declaration.to_dict()})
    if is_personal(checkpoint):  # has no card
        return
    write_card(
        checkpoint, declaration, adapter=file.name != "config.json", metrics=_metrics(Path(checkpoint), declaration)
    )


def _content(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{file.parent} holds no {file.name}, so there is no checkpoint in it") from None
    except ValueError as error:
        raise ValueError(f"{file} is no JSON: {error}") from error
    return content if isinstance(content, dict) else {}


def _metrics(folder: Path, declaration: Declaration) -> dict[str, Any] | None:
    try:
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        same = [metrics["min_score"], metrics["max_score"]] == list(declaration.space.range) and "srcc" in metrics
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return metrics if same and declaration.temperature == 1 else None
