"""Routing weights of known photos in a checkpoint: written from a table of sensitivities, looked up when it scores.

`roc agree weights` writes `agree_weights.safetensors` into the folder of a checkpoint: a row for each photo of the
table, found by the digest of its file, whatever the file is called. The calibrated form divides by the medians that the
checkpoint was trained with, not by those of the new table.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from roc.agree.attributes import ATTRIBUTES, NAME
from roc.agree.config import WeightsOptions
from roc.agree.routing import routing_weights
from roc.agree.table import SensitivityTable
from roc.files import write_whole

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)

ENTRY = "routing_weights"
FILE = "agree_weights.safetensors"
_KEY, _TENSOR = "roc", "weights"


class KnownWeights:
    """The weights of photos that a checkpoint knows.

    Args:
        checkpoint: Its folder, which holds the file.

    Attributes:
        fingerprint: Of digests and weights.
        facts: Where they come from.

    Raises:
        ValueError: The file is damaged.
    """

    def __init__(self, checkpoint: str | os.PathLike[str]) -> None:
        path = Path(checkpoint) / FILE
        try:
            with safe_open(path, "pt") as file:
                index = json.loads((file.metadata() or {}).get(_KEY, "{}"))
                weights = file.get_tensor(_TENSOR)
            digests, self.facts = index["digests"], index["facts"]
            if index["names"] != list(ATTRIBUTES) or weights.shape != (len(digests), len(ATTRIBUTES)):
                raise ValueError("its index and its weights do not fit together")
        except (SafetensorError, ValueError, KeyError, OSError) as error:
            raise ValueError(f"{path} cannot be used: {error}; write it again by `roc agree weights`") from error
        self._rows = dict(zip(digests, weights, strict=True))
        told = hashlib.sha256(json.dumps(digests).encode() + weights.numpy().tobytes())
        self.fingerprint = told.hexdigest()[:16]

    def __len__(self) -> int:
        return len(self._rows)

    def __call__(self, digest: str | None) -> dict[str, Tensor]:
        """Gives `routing_weights` (1, 5) of a photo; NaN where it is not known, which the predictor fills."""
        row = self._rows.get(digest) if digest is not None else None
        return {ENTRY: torch.full((1, len(ATTRIBUTES)), float("nan")) if row is None else row[None]}


def write_weights(options: WeightsOptions) -> tuple[int, int]:
    """Writes the weights of a table into a checkpoint.

    Args:
        options: Checkpoint and table.

    Returns:
        How many photos the checkpoint knows now, and how many the table had whose files have no digest.

    Raises:
        DataError: There is no such table.
        ValueError: The checkpoint is not routed or keeps no medians, or the table cannot be used.
        OSError: The file cannot be written.
    """
    path = Path(options.checkpoint) / FILE
    settings = trained_settings(options.checkpoint)
    if not settings.get("routing", True):
        raise ValueError(
            f"{options.checkpoint} has no routing; train it by `roc agree train --routing true --sensitivity FILE`"
        )
    table = SensitivityTable.read(options.table)
    found = routing_weights(table.values, _medians(options, settings))
    rows = torch.stack([found[name] for name in ATTRIBUTES], dim=1).float()  # (n, 5)
    known = {digest: row for digest, row in zip(table.digests, rows, strict=True) if digest is not None}
    if not known:
        raise ValueError(f"{options.table} holds no digest of a file, by which photos are found; measure them anew")
    facts = {"table": os.path.abspath(options.table), "f": table.facts.get("checkpoints")}
    index = {"names": list(ATTRIBUTES), "digests": list(known), "facts": facts}
    tensors, metadata = {_TENSOR: torch.stack(list(known.values()))}, {_KEY: json.dumps(index)}
    write_whole(path, lambda temporary: save_file(tensors, temporary, metadata))
    return len(known), sum(digest is None for digest in table.digests)


def trained_settings(checkpoint: str) -> dict[str, Any]:
    """Reads how a checkpoint was trained.

    Raises:
        ValueError: It is no folder of a checkpoint with the module of AGREE.
    """
    from roc.checkpoint.head_file import extension_settings
    from roc.checkpoint.names import check_exists

    check_exists(checkpoint)
    if not os.path.isdir(checkpoint):
        raise ValueError(
            f"{checkpoint} is no folder; download the checkpoint, since what it knows becomes a file in it"
        )
    settings = extension_settings(checkpoint).get(NAME)
    if settings is None:
        raise ValueError(f"{checkpoint} has no branches of AGREE; train it by `roc agree train`")
    return settings


def _medians(options: WeightsOptions, settings: dict[str, Any]) -> dict[str, float] | None:
    """Finds the medians that weights are divided by; None for the published form."""
    if options.training_table is not None:
        return SensitivityTable.read(options.training_table).medians
    if "medians" not in settings:
        raise ValueError(
            f"{options.checkpoint} was trained by a release that kept no medians; name the table of its training "
            "photos by --training_table FILE"
        )
    return settings["medians"]
