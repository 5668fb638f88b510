"""Calibrations and references taken back: the checkpoint declares again what it did without them."""

from __future__ import annotations

import os
from dataclasses import replace

from roc.model.calibration import Calibration
from roc.model.declaration import Declaration
from roc.model.reference import Reference


def kept_reference(declaration: Declaration, before: Declaration) -> Reference | None:
    """Gives the reference of a checkpoint where its scores stay what they were; None where they move or it has none.

    Args:
        declaration: Of the checkpoint from now on.
        before: Of the same until now.
    """
    affine = [None if one.calibration is None else one.calibration.affine for one in (declaration, before)]
    same = declaration.temperature == before.temperature and affine[0] == affine[1]
    return before.reference if same else None


def remove_calibration(checkpoint: str | os.PathLike[str]) -> tuple[Calibration, Declaration, Reference | None]:
    """Takes everything back that `roc calibrate` wrote: intervals, temperature and lines.

    Args:
        checkpoint: Folder of a full checkpoint or an adapter, or the file of a personal head.

    Returns:
        The calibration that was there, the declaration as it stands now, and the reference where it had to go too,
        because it is of scores that the calibration had moved.

    Raises:
        ValueError: If it has no calibration, or cannot be used.
        OSError: If its file cannot be written.
    """
    from roc.checkpoint.declared import write_declaration

    before = _declared(checkpoint, "calibration")
    now = before.uncalibrated()
    now = replace(now, reference=kept_reference(now, before))
    write_declaration(checkpoint, now)
    return before.calibration, now, before.reference if now.reference is None else None


def remove_reference(checkpoint: str | os.PathLike[str]) -> Reference:
    """Takes back what `roc reference` wrote.

    Args:
        checkpoint: As for `remove_calibration`.

    Returns:
        The reference that was there.

    Raises:
        ValueError: If it has no reference, or cannot be used.
        OSError: If its file cannot be written.
    """
    from roc.checkpoint.declared import write_declaration

    before = _declared(checkpoint, "reference")
    write_declaration(checkpoint, replace(before, reference=None))
    return before.reference


def _declared(checkpoint: str | os.PathLike[str], part: str) -> Declaration:
    """Reads the declaration of a checkpoint that can be written again, and makes sure that it has a part."""
    from roc.checkpoint.declared import declaring_file
    from roc.checkpoint.head_file import read_declaration

    declaring_file(checkpoint)
    declaration = read_declaration(checkpoint)
    if getattr(declaration, part) is None:
        raise ValueError(f"{checkpoint} has no {part}, so there is nothing to take back")
    return declaration
