"""The file of text features: one safetensors file with an index, read by id.

It holds one tensor, `features`: (N, 6, H) for N photos, or (6, H) where fixed sentences stand for all photos; float32,
each row of length 1. Its metadata is the index: the names of the six, the ids in their order, and what decided the
numbers; digests of the photos' files stand beside the ids. A photo or attribute that is missing is an error; the
released code takes zeros in their place.
"""

from __future__ import annotations

import hashlib
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
_AT_ONCE = 256
_NO_DIRECTION = 1e-6
_MAKERS = ("weights", "processor", "dtype", "plain", "side", "max_new_tokens")


class AnchorFeatures:
    """Features as they lie in a file; rows are read when they are asked for.

    Args:
        path: The file.

    Attributes:
        ids: Of the photos, each once; empty for fixed sentences.
        per_photo: Whether each photo has features of its own.
        width: H, numbers of a feature.
        facts: What decided the numbers.
        digests: Of the photos' files, in the order of `ids`; None where there is none.

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
        self.digests: tuple[str | None, ...] = tuple(index.get("digests") or [None] * len(self.ids))
        if shape[:-1] != expected or len(set(self.ids)) < len(self.ids) or len(self.digests) != len(self.ids):
            raise ValueError(
                f"{path}: its index names {len(self.ids)} photos and its features have the shape {shape}; make it anew"
            )
        self.width = int(shape[-1])
        self._opened: Any = None
        self._places = {identity: place for place, identity in enumerate(self.ids)}

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> AnchorFeatures:
        """Opens a file; errors as for the class."""
        return cls(path)

    @property
    def made_by(self) -> dict[str, Any]:
        """What has to be the same for the features of other photos to mean the same; JSON values."""
        found = {name: self.facts[name] for name in _MAKERS if name in self.facts}
        if "questions" in self.facts:
            asked = json.dumps(self.facts["questions"], sort_keys=True).encode()
            found["questions"] = hashlib.sha256(asked).hexdigest()[:16]
        return found

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
        rows = self._rows()
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

    def _rows(self) -> Any:
        """Opens the tensor; it stays open, since the index of many photos takes long to read."""
        if self._opened is None:
            self._opened = safe_open(self.path, "pt").get_slice(_TENSOR)
        return self._opened

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}  # each process opens the file itself

    def rows(self, ids: Sequence[str]) -> Tensor:
        """Reads the features of some photos as `features` does: (B, 6, H), in the order of `NAMES`."""
        found = self.features(ids)
        return torch.stack([found[name] for name in NAMES], dim=1)

    def mean(self, ids: Sequence[str]) -> Tensor:
        """Computes the mean direction of the features of some photos, (6, H), each row of length 1.

        Raises:
            ValueError: A photo is missing, or features cancel each other.
        """
        total = torch.zeros(len(NAMES), self.width)
        for start in range(0, len(ids), _AT_ONCE):
            total += self.rows(ids[start : start + _AT_ONCE]).sum(dim=0)
        lengths = total.norm(dim=-1, keepdim=True)
        if not (lengths > _NO_DIRECTION * len(ids)).all():
            raise ValueError(f"{self.path}: the features of {len(ids)} photos cancel each other; make the file anew")
        return total / lengths


def write_features(
    path: str | os.PathLike[str],
    rows: Iterable[np.ndarray],
    ids: Sequence[str] | None,
    width: int,
    facts: Mapping[str, Any],
    digests: Sequence[str | None] | None = None,
) -> None:
    """Writes a file, whole or not at all, a photo at a time: all of them need not fit into memory.

    Args:
        path: A .safetensors file.
        rows: (6, H) float32 of each photo, in the order of `ids`; one for fixed sentences.
        ids: Of the photos; None for fixed sentences.
        width: H.
        facts: What decided the numbers; JSON values.
        digests: Of the photos' files, in the order of `ids`.
    """
    shape = [len(NAMES), width] if ids is None else [len(ids), len(NAMES), width]
    index = {"kind": KIND, "names": list(NAMES), "ids": list(ids or ()), "per_photo": ids is not None, "facts": facts}
    if digests is not None:
        index["digests"] = list(digests)
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
