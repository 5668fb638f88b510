"""Options of `roc personalize`. Light, so that `--help` is quick."""

from __future__ import annotations

from dataclasses import dataclass

from roc.settings import REQUIRED, Fault, Settings, option

FEWEST = 10
"""Ratings, or pairs that are no ties. Nobody can tell from fewer whether a head helps."""


@dataclass(frozen=True, kw_only=True)
class PersonalOptions(Settings):
    """The checkpoint, one's own ratings, and where the head goes."""

    checkpoint: str = option(REQUIRED, "folder or hub id of the checkpoint whose scores are to be moved")
    data_path: str = option(
        REQUIRED,
        f"at least {FEWEST} photos with one's own stars or scores (columns image, score; any scale, higher is better), "
        f"or {FEWEST} pairs (image_a, image_b, preferred: a, b or tie)",
        metavar="FILE",
    )
    out: str = option(REQUIRED, "file of the head, .json; it is then named as --checkpoint", metavar="FILE")
    image_folder: str | None = option(
        None, "folder that the paths of images start from", metavar="DIR", unset="the folder of the file"
    )
    device: str | None = option(None, "cuda, cuda:1, mps, cpu", unset="the fastest there is")
    workers: int | None = option(
        None, "processes that read and resize images; 0 does it in this process", low=0, unset="as many as fit"
    )
    overwrite: bool = option(False, "replace an older head in --out")

    def faults(self) -> list[Fault]:
        """Checks the name of the file."""
        if not self.out.lower().endswith(".json"):
            return [("out", f"out is {self.out}, expected a file that ends in .json")]
        return []
