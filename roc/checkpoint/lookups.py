"""What a checkpoint knows of single pictures, by the content of their files: entries of a batch for its extensions.

An extension (`roc.model.extensions`) may keep a file of such entries in the checkpoint. Its room then has two functions
in `roc/<name>/extension.py`: `lookup(checkpoint)` returns a `Lookup`, or None where there is no such file, and
`note(checkpoint)` a line for the user about what scores will be made with, or None.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from typing import Any, Protocol

import torch

from roc.checkpoint.head_file import read_extensions


class Lookup(Protocol):
    """Gives the entries of a batch for one picture; it travels to worker processes.

    Attributes:
        fingerprint: Of what it knows: scores that it decides are not mixed with others.
    """

    fingerprint: str

    def __call__(self, digest: str | None) -> dict[str, torch.Tensor]:
        """Looks a picture up.

        Args:
            digest: Of its file, as in `roc.scoring.stamps`; None where there is no file.

        Returns:
            Name -> (1, ...); the same names and shapes for every picture.
        """
        ...


def lookups_of(checkpoint: str | os.PathLike[str]) -> tuple[Lookup, ...]:
    """Opens the lookups of a checkpoint; empty where it has none.

    Args:
        checkpoint: Folder or hub id.

    Raises:
        ValueError: A file of entries is damaged.
    """
    return _asked("lookup", checkpoint)


def notes_of(checkpoint: str | os.PathLike[str]) -> tuple[str, ...]:
    """Gives what the extensions of a checkpoint say when it is about to score."""
    return _asked("note", checkpoint)


def _asked(what: str, checkpoint: str | os.PathLike[str]) -> tuple[Any, ...]:
    if not os.path.isdir(checkpoint):
        return ()
    rooms = [importlib.import_module(f"roc.{name}.extension") for name in read_extensions(checkpoint)]
    found = [getattr(room, what)(checkpoint) for room in rooms if hasattr(room, what)]
    return tuple(one for one in found if one is not None)


def entries(lookups: Sequence[Lookup], digests: Sequence[str | None]) -> dict[str, torch.Tensor]:
    """Looks several pictures up: name -> (B, ...)."""
    found: dict[str, torch.Tensor] = {}
    for lookup in lookups:
        rows = [lookup(digest) for digest in digests]
        found |= {name: torch.cat([row[name] for row in rows]) for name in rows[0]}
    return found
