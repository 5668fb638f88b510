"""The model that every arm starts from: a tiny one built from nothing, or a pretrained one from a folder or a hub."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, ProcessorMixin

from roc.checkpoint.folder import is_adapter, read_config
from roc.checkpoint.names import check_exists
from roc.checkpoint.weights import load_weights
from roc.demo.tiny_model import PRESETS, build_tiny_llava
from roc.model.attachment import model_class
from roc.model.declaration import declares_head
from roc.model.device import lay_out_convolutions
from roc.model.processing import load_processor

FREEZABLE = ("vision", "projector", "language")
"""Parts that may be frozen; frozen embeddings would leave level tokens and `[SCORE]` as they are put in."""


@dataclass(frozen=True)
class Base:
    """The model that every arm starts from.

    Attributes:
        preset: The tiny model (`roc.demo.tiny_model.PRESETS`) where there is no `source`.
        source: Folder or hub name of a pretrained model without a score head.
        freeze: Some of `FREEZABLE`: parts that no arm trains.
        bf16: Whether training computes in mixed precision.
    """

    preset: str = "demo"
    source: str | None = None
    freeze: tuple[str, ...] = ()
    bf16: bool = False

    def check(self) -> None:
        """Makes sure that a pretrained model is there and is none that was taught scores.

        Raises:
            OSError: If it is not there.
            ValueError: If it is an adapter, or carries a head.
        """
        if self.source is None:
            return
        check_exists(self.source)
        if is_adapter(self.source) or declares_head(read_config(self.source)):
            raise ValueError(
                f"{self.source} was taught scores with a head, so the arms would not start alike; name the model that "
                "it was made from"
            )

    def picture_size(self) -> int | None:
        """Side of the squares that pictures are resized to before they are seen; None where it is not one size."""
        if self.source is None:
            return PRESETS[self.preset].image_size
        size = getattr(load_processor(self.source).image_processor, "size", None) or {}
        sides = [size[side] for side in ("height", "width") if side in size]
        return sides[0] if len(sides) == 2 and sides[0] == sides[1] else None

    def build(self, texts: Sequence[str], seed: int) -> tuple[PreTrainedModel, ProcessorMixin]:
        """Builds or loads model and processor.

        Args:
            texts: What a tokenizer that is built from nothing learns.
            seed: Decides weights that are built from nothing.
        """
        if self.source is None:
            return build_tiny_llava(texts, PRESETS[self.preset], seed=seed)
        model = load_weights(model_class(read_config(self.source)), self.source, dtype="float32")
        lay_out_convolutions(model)
        return model, load_processor(self.source)

    def identity(self) -> Any:
        """Says which model it is: what all runs of a folder have to share. Plain JSON."""
        if self.source is None:
            return self.preset
        files = sorted(Path(self.source).glob("*.safetensors")) + sorted(Path(self.source).glob("config.json"))
        hashed = {}
        for file in files:
            with file.open("rb") as content:
                hashed[file.name] = hashlib.file_digest(content, "sha256").hexdigest()
        return {"files": hashed or self.source, "freeze": list(self.freeze), "bf16": self.bf16}

    def title(self, parameters: int) -> str:
        """Describes it for the report."""
        if self.source is None:
            return f"the tiny LLaVA of `roc/demo`, {parameters:,} parameters, untrained"
        frozen = f", {' and '.join(self.freeze)} frozen" if self.freeze else ""
        return f"`{self.source}`, pretrained, {parameters:,} parameters{frozen}{', bfloat16' if self.bf16 else ''}"
