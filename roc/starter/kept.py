"""Starters that are built at first use and kept in roc's cache folder, for training runs that begin from one."""

from __future__ import annotations

import logging
from pathlib import Path

from roc import __version__
from roc.data.pictures import cache_folder
from roc.starter.options import StarterOptions

logger = logging.getLogger(__name__)


def kept_folder(size: str) -> Path:
    """Names the folder of the starter of a size, whether it was built yet or not."""
    return cache_folder() / "starters" / f"{size}-{__version__}"


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
    if not folder.is_dir():
        from roc.starter.build import build_starter
        from roc.starter.plan import plan

        options = StarterOptions(out=str(folder), size=size)
        wheels = plan(options)
        for wheel in wheels:
            logger.info("%s\n    %s", wheel.package.title, wheel.origin)
        build_starter(options, wheels)
        logger.info("The starter is kept in %s.", folder)
    return folder
