"""Options of `roc mcp`: the model and the folders whose pictures may be opened. Light, so that `--help` is quick."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from roc.settings import REQUIRED, Settings, option


@dataclass(frozen=True, kw_only=True)
class McpOptions(Settings):
    """The model, and what requests may open."""

    checkpoint: str = option(REQUIRED, "folder or hub id of a model that carries the score head", metavar="MODEL")
    folders: tuple[str, ...] = option(
        REQUIRED, "folders whose pictures may be opened, with their subfolders", metavar="DIR", commas=False
    )
    images: int = option(64, "pictures in one request", low=2)
    max_new_tokens: int = option(512, "longest answer of the tool describe, in tokens", low=1)
    device: str | None = option(None, "cuda, mps or cpu", unset="the first there is")
    dtype: Literal["float32", "bfloat16", "float16", "float8", "int8"] | None = option(
        None, "number format of the model", unset="bfloat16 where hardware multiplies it, else float32"
    )
