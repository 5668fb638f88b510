"""What a checkpoint knows of single photos: routing weights and anchors, found by the content of their files.

`agree_weights.safetensors` (`roc.agree.weights`) and `agree_anchors.safetensors` lie in its folder. The second is a
file of anchors (`roc.agree.anchor_features`) with a digest for each photo. A photo that a file lacks gets NaN, which
the module replaces by its predictor's weights, or by the mean anchors of its training photos.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from roc.agree import weights
from roc.agree.anchor_features import AnchorFeatures, write_features
from roc.agree.anchor_text import NAMES
from roc.agree.weights import KnownWeights, trained_settings
from roc.data.counts import counted

if TYPE_CHECKING:
    from torch import Tensor

    from roc.checkpoint.lookups import Lookup

ENTRY = "anchors"
FILE = "agree_anchors.safetensors"
_CONTENT, _SOURCE = "content", "source"


class KnownAnchors:
    """The anchors of photos that a checkpoint knows; they are read from the file one at a time.

    Args:
        checkpoint: Its folder, which holds the file.

    Attributes:
        fingerprint: Of digests and anchors.
        source: File that they were taken from.

    Raises:
        ValueError: The file is damaged.
    """

    def __init__(self, checkpoint: str | os.PathLike[str]) -> None:
        path = Path(checkpoint) / FILE
        try:
            self._features = AnchorFeatures.read(path)
            self.fingerprint: str = self._features.facts[_CONTENT]
            self.source: str = self._features.facts[_SOURCE]
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(f"{path} cannot be used: {error}; write it again by `roc agree weights`") from error
        self._ids = dict(zip(self._features.digests, self._features.ids, strict=True))

    def __len__(self) -> int:
        return len(self._ids)

    def __call__(self, digest: str | None) -> dict[str, Tensor]:
        """Gives `anchors` (1, 6, D) of a photo; NaN where it is not known."""
        identity = self._ids.get(digest) if digest is not None else None
        if identity is None:
            return {ENTRY: torch.full((1, len(NAMES), self._features.width), float("nan"))}
        return {ENTRY: self._features.rows([identity])}


class Known:
    """Weights and anchors together, as one lookup (`roc.checkpoint.lookups`).

    Args:
        parts: At least one.

    Attributes:
        fingerprint: Of all of them.
    """

    def __init__(self, parts: Sequence[Lookup]) -> None:
        self._parts = tuple(parts)
        several = "".join(part.fingerprint for part in self._parts)
        self.fingerprint = several if len(self._parts) == 1 else hashlib.sha256(several.encode()).hexdigest()[:16]

    def __call__(self, digest: str | None) -> dict[str, Tensor]:
        """Looks a photo up in all of them."""
        return {name: rows for part in self._parts for name, rows in part(digest).items()}


def lookup(checkpoint: str | os.PathLike[str]) -> Known | None:
    """Opens what a checkpoint knows of photos; None where it knows nothing."""
    parts = (_opened(checkpoint, weights.FILE, KnownWeights), _opened(checkpoint, FILE, KnownAnchors))
    found = [part for part in parts if part is not None]
    return Known(found) if found else None


def note(checkpoint: str | os.PathLike[str]) -> str | None:
    """Says where routing weights and anchors come from; None where the checkpoint has neither of its own."""
    settings = trained_settings(os.fspath(checkpoint))
    said = [_note_of_weights(checkpoint)] if settings.get("routing", True) else []
    if joins_own_anchors(settings):
        said.append(_note_of_anchors(checkpoint))
    return f"AGREE: {'; '.join(said)}" if said else None


def joins_own_anchors(settings: Mapping[str, Any]) -> bool:
    """Tells whether a checkpoint of these settings scores by anchors of single photos."""
    return bool(settings.get("own_anchors")) and settings.get("fusion", True)


def _note_of_weights(checkpoint: str | os.PathLike[str]) -> str:
    found = _opened(checkpoint, weights.FILE, KnownWeights)
    if found is None:
        return "routing weights come from the predictor in the checkpoint"
    photos = counted(len(found), "photo")
    return (
        f"routing weights of {photos} come from the table {found.facts['table']}; those of others, and of "
        "written answers, from the predictor in the checkpoint"
    )


def _note_of_anchors(checkpoint: str | os.PathLike[str]) -> str:
    found = _opened(checkpoint, FILE, KnownAnchors)
    if found is None:
        return "text anchors are the mean of those of the training photos (`roc agree weights --anchors` gives others)"
    photos = counted(len(found), "photo")
    return (
        f"text anchors of {photos} come from {found.source}; in place of others, and for written answers, "
        "stands the mean of those of the training photos"
    )


def _opened(checkpoint: str | os.PathLike[str], file: str, kind: type) -> Any:
    return kind(checkpoint) if os.path.exists(os.path.join(checkpoint, file)) else None


def fitting_anchors(checkpoint: str | os.PathLike[str], anchors: str | os.PathLike[str]) -> AnchorFeatures:
    """Opens a file of anchors of photos that a checkpoint can use.

    Args:
        checkpoint: Folder of one whose training photos had anchors of their own.
        anchors: File of `roc agree anchors`.

    Raises:
        ValueError: The checkpoint joins no anchors of single photos, or the file cannot be used with it.
        OSError: The file is not there.
    """
    settings = trained_settings(os.fspath(checkpoint))
    if not joins_own_anchors(settings):
        raise ValueError(
            f"{checkpoint} takes no anchors of single photos; train it by `roc agree train --fusion true` with "
            "--anchors of the training photos"
        )
    features = AnchorFeatures.read(anchors)
    check_alike(features, settings, os.fspath(checkpoint))
    if not any(features.digests):
        raise ValueError(
            f"{anchors} holds no digest of a file, by which photos are found; give the command that wrote it again"
        )
    return features


def write_anchors(
    checkpoint: str | os.PathLike[str], anchors: str | os.PathLike[str], ids: Sequence[str] | None = None
) -> tuple[int, int]:
    """Writes the anchors of photos into a checkpoint.

    Args:
        checkpoint: Folder of one whose training photos had anchors of their own.
        anchors: File of `roc agree anchors`.
        ids: Of the photos; None takes all of the file.

    Returns:
        How many photos the checkpoint knows now, and how many have no digest of their file, by which they are found.

    Raises:
        ValueError: The checkpoint joins no anchors of single photos, or the file cannot be used with it.
        OSError: The file is not there, or cannot be written.
    """
    features = fitting_anchors(checkpoint, anchors)
    chosen = set(features.ids if ids is None else ids)
    known: dict[str, str] = {}
    for identity, digest in zip(features.ids, features.digests, strict=True):
        if identity in chosen and digest is not None:
            known.setdefault(digest, identity)
    if not known:
        raise ValueError(
            f"{anchors} holds no digest of a file, by which photos are found; give the command that wrote it again"
        )
    names, told = list(known.values()), hashlib.sha256(json.dumps(list(known)).encode())
    for identity in names:
        told.update(features.rows([identity]).numpy().tobytes())
    facts = {**features.facts, _CONTENT: told.hexdigest()[:16], _SOURCE: os.path.abspath(anchors)}
    rows = (features.rows([identity])[0].numpy() for identity in names)
    write_features(Path(checkpoint) / FILE, rows, names, features.width, facts, list(known))
    without = sum(digest is None for one, digest in zip(features.ids, features.digests, strict=True) if one in chosen)
    return len(known), without


def check_alike(features: AnchorFeatures, settings: Mapping[str, Any], checkpoint: str) -> None:
    """Makes sure that features are of the kind that a checkpoint was trained with.

    Raises:
        ValueError: They stand for all photos, have another width, or were made otherwise.
    """
    if not features.per_photo:
        raise ValueError(f"{features.path} holds fixed sentences, and {checkpoint} was trained with anchors of photos")
    if features.width != settings["anchor_width"]:
        raise ValueError(
            f"{features.path} holds anchors of {features.width} numbers, and {checkpoint} was trained with "
            f"{settings['anchor_width']}; make them by the same model"
        )
    there, here = settings.get("anchors_by") or {}, features.made_by
    unlike = [name for name in sorted({**there, **here}) if there.get(name) != here.get(name)]
    if unlike:
        shown = ", ".join(f"{name} ({there.get(name)} there, {here.get(name)} here)" for name in unlike)
        raise ValueError(
            f"{features.path} was made otherwise than the anchors that {checkpoint} was trained with: {shown}; make it "
            "by the same model and options"
        )


def forget(checkpoint: str) -> None:
    """Removes what a checkpoint knows of single photos.

    Raises:
        ValueError: It is no folder of a checkpoint with the module of AGREE.
    """
    trained_settings(checkpoint)
    clear(checkpoint)


def clear(folder: str | os.PathLike[str]) -> None:
    """Removes both files from a folder, where they are there."""
    for file in (weights.FILE, FILE):
        (Path(folder) / file).unlink(missing_ok=True)
