"""What a declaration holds of a personal head: on which ratings it was fitted, and what it gained on others of them.

A personal head is a small file that names the checkpoint it belongs to (roc/checkpoint/personal_head.py). This file
needs neither numpy nor torch.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from roc.files import moved_with

KIND = "roc personal head"
"""Value of the key `kind` of the file."""

METRICS = {"srcc": "SRCC", "accuracy": "share of pairs in the right order"}


@dataclass(frozen=True, kw_only=True)
class Personal:
    """What a personal head was fitted on, and its gain over the general score, each photo held out once.

    Attributes:
        data: Fingerprint of the ratings, hexadecimal digits.
        photos: Number of photos.
        pairs: Number of pairs that were compared; 0 where photos were rated one by one.
        metric: "srcc", or "accuracy" of pairs.
        general, personal: The metric of the general and of the personal score on held-out photos.
        low, high: 95% interval of the difference, personal minus general.
        version: Release of roc that fitted it.

    Raises:
        ValueError: If a value cannot be.
    """

    data: str
    photos: int
    pairs: int = 0
    metric: str = "srcc"
    general: float
    personal: float
    low: float
    high: float
    version: str = ""

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise ValueError(f"the metric is {self.metric!r}; expected one of {', '.join(METRICS)}")

    def to_dict(self) -> dict[str, Any]:
        """Gives the fields by name, ready for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any] | Any) -> Personal:
        """Reads back what `to_dict` wrote; other keys, of a later release, are not read.

        Raises:
            ValueError: If a value is missing or not allowed.
        """
        try:
            own = {entry.name for entry in dataclasses.fields(cls)}
            return cls(**{name: value for name, value in dict(values).items() if name in own})
        except (TypeError, ValueError) as error:
            raise ValueError(f"config.roc has the personal head {values!r}: {error}") from None


def is_personal(path: str | os.PathLike) -> bool:
    """Tells whether a checkpoint is the file of a personal head."""
    return os.fspath(path).lower().endswith(".json") and os.path.isfile(path)


def read_personal_file(path: str | os.PathLike) -> dict[str, Any]:
    """Reads the file of a personal head as it stands there.

    Raises:
        ValueError: If it is another file, or names no base.
    """
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}. Copy it again.") from error
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise ValueError(
            f"{path} is not a personal head (`roc personalize`); name the folder of a checkpoint, or such a file"
        )
    base = content.get("base")
    if not isinstance(base, dict) or not isinstance(base.get("name_or_path"), str):
        raise ValueError(f"{path} does not name the checkpoint it belongs to; make it anew with roc personalize")
    return content


def base_of(path: str | os.PathLike) -> str:
    """Gives the checkpoint of a personal head: where it was, or where it has moved with the file; else `path` itself.

    Raises:
        ValueError: As `read_personal_file`.
    """
    if not is_personal(path):
        return os.fspath(path)
    return moved_with(os.path.dirname(os.path.abspath(path)), read_personal_file(path)["base"]["name_or_path"])
