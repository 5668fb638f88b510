"""The file of text features: one safetensors file with an index, read by id.

It holds one tensor, `features`: (N, 6, H) for N photos, or (6, H) where fixed sentences stand for all photos; float32,
each row of length 1. Its metadata is the index: the names of the six, the ids in their order, and what decided the
numbers. A photo or attribute that is missing is an error; the released code takes zeros in their place.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from roc.agree.anchor_text import NAMES
from roc.files import write_whole

KIND = "anchors"
_KEY = "roc"
_TENSOR = "features"
_SHOWN = 3


class AnchorFeatures:
    """Features as they lie in a file; rows are read when they are asked for.

    Args:
        path: The file.

    Attributes:
        ids: Of the photos, each once; empty for fixed sentences.
        per_photo: Whether each photo has features of its own.
        width: H, numbers of a feature.
        facts: What decided the numbers.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged, no file of anchors, of other attributes, or holds an id twice.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"{path}: no such file; make it by `roc agree anchors`")
        try:
            with safe_open(self.path, "pt") as file:
                index = json.loads((file.metadata() or {}).get(_KEY, "{}"))
                shape = file.get_slice(_TENSOR).get_shape() if _TENSOR in file.keys() else []
        except (SafetensorError, ValueError) as error:
            raise ValueError(f"{path}: this is no safetensors file, or it is damaged: {error}") from error
        if index.get("kind") != KIND:
            raise ValueError(f"{path}: this is no file of anchors; make one by `roc agree anchors`")
        if index["names"] != list(NAMES):
            raise ValueError(
                f"{path}: the features are of {', '.join(index['names'])}; expected {', '.join(NAMES)}: make them anew"
            )
        self.ids = tuple(index["ids"])
        self.per_photo: bool = index["per_photo"]
        self.facts: dict[str, Any] = index["facts"]
        expected = [len(self.ids), len(NAMES)] if self.per_photo else [len(NAMES)]
        if shape[:-1] != expected or len(set(self.ids)) < len(self.ids):
            raise ValueError(
                f"{path}: its index names {len(self.ids)} photos and its features have the shape {shape}; make it anew"
            )
        self.width = int(shape[-1])
        self._places = {identity: place for place, identity in enumerate(self.ids)}

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> AnchorFeatures:
        """Opens a file; errors as for the class."""
        return cls(path)

    def check(self, ids: Iterable[str]) -> None:
        """Makes sure, before anything is trained, that there are features for all of these photos.

        Raises:
            ValueError: Some are missing.
        """
        if not self.per_photo:
            return
        wanted = list(ids)
        missing = [identity for identity in wanted if identity not in self._places]
        if missing:
            shown = f"{', '.join(missing[:_SHOWN])}{', ...' * (len(missing) > _SHOWN)}"
            raise ValueError(
                f"{self.path} lacks {len(missing)} of {len(wanted)} photos ({shown}); add them by `roc agree anchors` "
                "with the same --out"
            )

    def features(self, ids: Sequence[str]) -> dict[str, Tensor]:
        """Reads the features of some photos.

        Args:
            ids: Of the photos, (B,); with fixed sentences all have the same.

        Returns:
            "overall" and each attribute -> (B, H), float32, each row of length 1.

        Raises:
            ValueError: A photo is missing, or a feature is no direction.
        """
        self.check(ids)
        with safe_open(self.path, "pt") as file:
            rows = file.get_slice(_TENSOR)
            if self.per_photo:
                found = [rows[self._places[identity]] for identity in ids]
                values = torch.stack(found) if found else torch.empty(0, len(NAMES), self.width)
            else:
                values = rows[:].expand(len(ids), -1, -1)
        lengths = values.norm(dim=-1)
        if not ((lengths - 1).abs() < 1e-2).all():
            place = int(((lengths - 1).abs() < 1e-2).logical_not().any(dim=-1).nonzero()[0])
            raise ValueError(f"{self.path}: a feature of {ids[place]} has no length of 1; make the file anew")
        return {name: values[:, place] for place, name in enumerate(NAMES)}


def write_features(
    path: str | os.PathLike[str],
    rows: Iterable[np.ndarray],
    ids: Sequence[str] | None,
    width: int,
    facts: Mapping[str, Any],
) -> None:
    """Writes a file, whole or not at all, a photo at a time: all of them need not fit into memory.

    Args:
        path: A .safetensors file.
        rows: (6, H) float32 of each photo, in the order of `ids`; one for fixed sentences.
        ids: Of the photos; None for fixed sentences.
        width: H.
        facts: What decided the numbers; JSON values.
    """
    shape = [len(NAMES), width] if ids is None else [len(ids), len(NAMES), width]
    index = {"kind": KIND, "names": list(NAMES), "ids": list(ids or ()), "per_photo": ids is not None, "facts": facts}
    size = int(np.prod(shape)) * 4
    header = json.dumps(
        {
            "__metadata__": {_KEY: json.dumps(index, ensure_ascii=False)},
            _TENSOR: {"dtype": "F32", "shape": shape, "data_offsets": [0, size]},
        },
        ensure_ascii=False,
    ).encode()
    header += b" " * (-len(header) % 8)

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            file.write(struct.pack("<Q", len(header)) + header)
            for row in rows:
                if row.shape != (len(NAMES), width):
                    raise ValueError(f"a photo has features of the shape {row.shape}; expected {(len(NAMES), width)}")
                file.write(np.ascontiguousarray(row, dtype="<f4").tobytes())
            if file.tell() != 8 + len(header) + size:
                raise ValueError(f"{path}: fewer photos came than its index names")

    write_whole(path, write)
