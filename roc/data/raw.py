"""RAW files of cameras: opened by the preview that the camera put into them, by LibRaw (rawpy, the extra `raw`).

The preview is the camera's own JPEG, which is what people see of such a photo before they develop it. Nothing is
developed here. Which files are RAW is told by their names: many are TIFF files inside, of which other readers would
show a thumbnail.
"""

from __future__ import annotations

import functools
import importlib.util
import os
from pathlib import Path

import numpy as np

RAW = frozenset(
    ".3fr .arw .cr2 .cr3 .crw .dcr .dng .erf .fff .iiq .kdc .mef .mos .mrw .nef .nrw .orf .pef .raf .rw2 .rwl .sr2 "
    ".srf .srw .x3f".split()
)
"""Their suffixes."""

INSTALL = "install roc-mllm[raw], which reads their previews, or export them as JPEG"


class RawError(ValueError):
    """A RAW file without a preview that can be used; the message goes on after its name."""


def is_raw(path: str | os.PathLike[str]) -> bool:
    """Tells whether a file is a RAW file by its name."""
    return Path(path).suffix.lower() in RAW


@functools.cache
def can_read_raw() -> bool:
    """Tells whether the package for RAW files is there."""
    return importlib.util.find_spec("rawpy") is not None


def read_preview(path: str | os.PathLike[str]) -> tuple[bytes | np.ndarray, int]:
    """Reads the preview in a RAW file.

    Args:
        path: The file.

    Returns:
        (a JPEG file or an RGB array (H, W, 3) of uint8, by how many degrees clockwise the photo has to be turned: 0,
        90, 180 or 270)

    Raises:
        RawError: It is none, damaged, without a preview, or the package is missing.
    """
    if not can_read_raw():
        raise RawError("is a RAW file; install roc-mllm[raw], or export it as JPEG")
    import rawpy

    try:
        with rawpy.imread(os.fspath(path)) as raw:
            preview = raw.extract_thumb()
            turn = {3: 180, 5: 270, 6: 90}.get(raw.sizes.flip, 0)
            content = preview.data
    except rawpy.LibRawNoThumbnailError as error:
        raise RawError("is a RAW file without a preview in it; export it as JPEG") from error
    except rawpy.LibRawError as error:
        reason = error.args[0] if error.args else type(error).__name__
        reason = reason.decode(errors="replace") if isinstance(reason, bytes) else reason
        raise RawError(f"is a RAW file that LibRaw cannot read: {reason}; export it as JPEG") from error
    return (bytes(content) if preview.format == rawpy.ThumbFormat.JPEG else np.array(content)), turn
