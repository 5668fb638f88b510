"""The model that every arm starts from: a tiny one built from nothing, or a pretrained one from a folder or a hub."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, ProcessorMixin

from roc.checkpoint.folder import is_adapter, read_config
from roc.checkpoint.names import check_exists
from roc.checkpoint.weights import load_weights
from roc.data.digest import content_digest
from roc.demo.tiny_model import PRESETS, build_tiny_llava
from roc.model.attachment import model_class
from roc.model.declaration import declares_head
from roc.model.device import lay_out_convolutions
from roc.model.processing import load_processor

FREEZABLE = ("vision", "projector", "language")
"""Parts that may be frozen; frozen embeddings would leave level tokens and `[SCORE]` as they are put in."""
# Weights, settings, tokenizer and chat template: what a model learns and what it sees.
_SUFFIXES = {".safetensors", ".bin", ".json", ".jinja", ".model", ".txt"}


@dataclass(frozen=True)
class Base:
    """The model that every arm starts from.

    Attributes:
        preset: The tiny model (`roc.demo.tiny_model.PRESETS`) where there is no `source`.
        source: Folder or hub name of a pretrained model without a score head.
        freeze: Some of `FREEZABLE`: parts that no arm trains.
        bf16: Whether training computes in mixed precision.
        starter: Size of the starter that the source is, where it is one.
    """

    preset: str = "demo"
    source: str | None = None
    freeze: tuple[str, ...] = ()
    bf16: bool = False
    starter: str | None = None

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
        files = [file for file in sorted(Path(self.source).glob("*")) if file.suffix in _SUFFIXES]
        hashed = {file.name: content_digest(file) for file in files}
        return {"files": hashed or self.source, "freeze": list(self.freeze), "bf16": self.bf16}

    def title(self, parameters: int) -> str:
        """Describes it for the report."""
        if self.source is None:
            return f"the tiny LLaVA of `roc/demo`, {parameters:,} parameters, untrained"
        frozen = f", {' and '.join(self.freeze)} frozen" if self.freeze else ""
        named = f"`{self.source}`" if self.starter is None else f"the starter `{self.starter}`"
        return f"{named}, pretrained, {parameters:,} parameters{frozen}{', bfloat16' if self.bf16 else ''}"
