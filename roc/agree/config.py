"""The settings of `roc agree`; light, so that `--help` needs no torch."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from roc.agree.attributes import DELTA
from roc.settings import REQUIRED, Fault, Settings, option

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True, kw_only=True)
class MapsOptions(Settings):
    """Which photo is shown, and how."""

    photo: str = option(REQUIRED, "the photo", positional=True)
    out: str = option(REQUIRED, f"picture to write: {', '.join(_SUFFIXES)}", metavar="PICTURE")
    side: int = option(
        512, "longest side in pixels: a larger photo is scaled down before anything is computed", low=8, high=2048
    )
    delta: float = option(DELTA, "size of the perturbations", above=0, high=0.2)

    def faults(self) -> list[Fault]:
        """An output that is no picture, or the photo itself."""
        if Path(self.out).suffix.lower() not in _SUFFIXES:
            return [("out", f"{self.out}: expected a name that ends in one of {', '.join(_SUFFIXES)}")]
        if os.path.realpath(self.out) == os.path.realpath(self.photo):
            return [("out", f"{self.out} is the photo itself; name another file")]
        return []
