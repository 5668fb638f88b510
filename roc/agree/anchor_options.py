"""The options of `roc agree anchors`; light, so that `--help` needs no torch."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from roc.settings import REQUIRED, Fault, Settings, option


@dataclass(frozen=True, kw_only=True)
class AnchorOptions(Settings):
    """Photos, the frozen model that describes them, and the file of features."""

    out: str = option(REQUIRED, "file to write, .safetensors", metavar="FILE")
    model: str | None = option(
        None,
        "multimodal LLM that describes and whose hidden states are taken: folder or hub id",
        metavar="MODEL",
        unset="the base of --checkpoint",
    )
    checkpoint: str | None = option(
        None, "checkpoint of roc that the anchors are for; its own base describes", metavar="MODEL", unset="none"
    )
    data_path: str | None = option(
        None, "data file of the photos, as for `roc finetune`; rated or not", metavar="FILE", unset="none"
    )
    image_folder: str | None = option(
        None, "folder that its image paths start from", metavar="DIR", unset="that of data_path"
    )
    fixed: bool = option(False, "one fixed sentence for each attribute in place of a description of each photo")
    plain: bool = option(False, "show the photo itself in place of its attribute maps")
    side: int = option(512, "longest side in pixels of what is shown; larger photos are scaled down", low=8)
    max_new_tokens: int = option(48, "longest description, in tokens", low=1)
    batch_size: int = option(8, "photos described together", low=1)
    overwrite: bool = option(False, "start anew, whatever is there")
    retry_failed: bool = option(False, "try photos again that failed before")
    device: str | None = option(None, "cuda, mps or cpu", unset="the first there is")
    dtype: Literal["float32", "bfloat16", "float16"] | None = option(
        None, "number format of the model", unset="bfloat16 where hardware multiplies it, else float32"
    )

    def faults(self) -> list[Fault]:
        """Finds an output of another kind, no model, no photos, and an output that is the data file."""
        found: list[Fault] = []
        if Path(self.out).suffix.lower() != ".safetensors":
            found.append(("out", f"out is {self.out}; expected a name that ends in .safetensors"))
        if self.model is None and self.checkpoint is None:
            found.append(("model", "there is no model to describe with; give --model, or --checkpoint for its base"))
        if self.data_path is None and not self.fixed:
            found.append(("data_path", "there are no photos to describe; give --data_path, or --fixed for no photos"))
        if self.data_path is not None and self.fixed:
            found.append(("fixed", "fixed sentences look at no photo; leave --data_path out, or --fixed"))
        if self.data_path is not None and os.path.realpath(self.out) == os.path.realpath(self.data_path):
            found.append(("out", f"{self.out} is the data file itself; name another file"))
        return found
