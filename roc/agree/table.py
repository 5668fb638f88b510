"""The table of sensitivities: one row a photo, and what decided the numbers, all in one Parquet file.

    id, fold, sens_brightness, sens_contrast, sens_saturation, sens_hue, sens_blur, f, digest

`f` is the fingerprint of the model that scored the photo, `digest` that of the photo's file. Columns are found by name,
in any order. The facts of the run (checkpoints, fingerprints, size of the perturbations, versions, counts) are kept in
the file beside the rows.

The released code looked ids up in whatever type a CSV file was parsed to and gave every photo that it did not find the
same weights, without a word. Here ids are text, a table that does not fit the photos is refused, and what is missing is
counted.
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from roc.agree.attributes import ATTRIBUTES
from roc.agree.photo_journal import check_same_files
from roc.agree.routing import medians_of, routing_weights
from roc.data.cells import as_id
from roc.data.parquet import about_of, write_parquet
from roc.data.records import Record, plain_id
from roc.data.rows import Faults, iter_rows
from roc.files import write_whole

logger = logging.getLogger(__name__)

KIND = "sensitivity"
PREFIX = "sens_"
COLUMNS = ("id", "fold", *(PREFIX + name for name in ATTRIBUTES), "f", "digest")


@dataclass(frozen=True)
class Routing:
    """The weights of some photos, and how many of them the table knew.

    Attributes:
        ids: Of the photos, (B,).
        weights: Attribute -> (B,) share of each photo.
        missing: Ids that the table lacks; their weights are uniform.
        flat: Ids of photos that no perturbation moved; their weights are uniform.
    """

    ids: tuple[str, ...]
    weights: dict[str, Tensor]
    missing: tuple[str, ...]
    flat: tuple[str, ...]

    @property
    def coverage(self) -> float:
        """Share of the photos that have weights of their own, 0..1."""
        return 1 - (len(self.missing) + len(self.flat)) / len(self.ids)


@dataclass(frozen=True)
class SensitivityTable:
    """A table as it was read, or as it is to be written.

    Attributes:
        ids: Of the photos, (N,), each once.
        values: Attribute -> (N,) sensitivities, float64, at least 0.
        digests: Of the photos' files, (N,); None where there is none.
        facts: What decided the numbers.
    """

    ids: tuple[str, ...]
    values: dict[str, Tensor]
    digests: tuple[str | None, ...]
    facts: dict[str, Any]

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> SensitivityTable:
        """Reads a table and checks all of it.

        Raises:
            DataError: It is not there or damaged.
            ValueError: It is no table of sensitivities, is of other attributes, holds an id twice, or a value that is
                no number of at least 0.
        """
        path = Path(path)
        if path.suffix.lower() != ".parquet":
            raise ValueError(f"{path}: expected the .parquet file that `roc agree sensitivity` wrote")
        faults = Faults(path)
        rows = [row for _, row in iter_rows(path, faults)]
        facts = json.loads(about_of(path) or "{}")
        if facts.get("kind") != KIND:
            raise ValueError(
                f"{path}: this does not say which model and perturbations its numbers come from; make it by `roc agree "
                "sensitivity`, and leave it as it was written"
            )
        if not rows:
            raise ValueError(f"{path}: there is no photo in it")
        _check_columns(path, rows[0])
        ids = [as_id(row["id"]) for row in rows]
        _check_ids(path, ids)
        values = {name: [row[PREFIX + name] for row in rows] for name in ATTRIBUTES}
        for name, column in values.items():
            for identity, value in zip(ids, column, strict=True):
                if not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
                    raise ValueError(
                        f"{path}: {PREFIX}{name} of {identity} is {value}; expected a number of at least 0"
                    )
        return cls(
            tuple(ids),
            {name: torch.tensor(column, dtype=torch.float64) for name, column in values.items()},
            tuple(row.get("digest") for row in rows),
            facts,
        )

    @property
    def medians(self) -> dict[str, float]:
        """The median of each attribute over all photos, for the calibrated weights."""
        return medians_of(self.values)

    def route(
        self,
        records: Sequence[Record],
        *,
        calibrated: bool = True,
        medians: Mapping[str, float] | None = None,
        missing: Literal["refuse", "uniform"] = "refuse",
    ) -> Routing:
        """Looks photos up, by id, and computes their weights.

        Args:
            records: The photos, at least one.
            calibrated: Whether to divide by medians first; False is Eq. 6 as published.
            medians: Those to divide by; None takes the table's own. Photos of a test set take those of training.
            missing: "uniform" gives photos that the table lacks the same weight for each attribute, and names them.

        Returns:
            The weights, in the order of `records`.

        Raises:
            ValueError: The table is of other photos: it lacks ids (any, or with "uniform" all of them), or the files of
                photos differ from those that were scored.
        """
        if not records:
            raise ValueError("there is no photo to look up")
        places = {identity: place for place, identity in enumerate(self.ids)}
        found = [places.get(record.id) for record in records]
        absent = tuple(record.id for record, place in zip(records, found, strict=True) if place is None)
        if absent and (missing == "refuse" or len(absent) == len(records)):
            raise ValueError(self._unknown(absent, len(records)))
        known = [(record, place) for record, place in zip(records, found, strict=True) if place is not None]
        digests = [self.digests[place] for _, place in known]
        check_same_files([record for record, _ in known], digests, "table", "roc agree sensitivity")
        there = torch.tensor([place is not None for place in found])
        rows = torch.tensor([place or 0 for place in found])
        values = {name: torch.where(there, column[rows], 0) for name, column in self.values.items()}
        flat = torch.stack(list(values.values())).eq(0).all(dim=0) & there
        if absent or flat.any():
            logger.warning(
                "of %d photos, %d are not in the table and %d do not change with any attribute; all of these get the "
                "same weight for each attribute",
                len(records),
                len(absent),
                int(flat.sum()),
            )
        return Routing(
            tuple(record.id for record in records),
            routing_weights(values, (medians or self.medians) if calibrated else None),
            absent,
            tuple(record.id for record, still in zip(records, flat.tolist(), strict=True) if still),
        )

    def _unknown(self, absent: Sequence[str], count: int) -> str:
        """Says which photos are missing, and whether their ids are only written otherwise."""
        text = (
            f"the table lacks {len(absent)} of {count} photos ({', '.join(absent[:3])}{', ...' * (len(absent) > 3)}); "
            f"it holds {len(self.ids)} ({', '.join(self.ids[:3])}{', ...' * (len(self.ids) > 3)})"
        )
        plain = {plain_id(identity) for identity in self.ids}
        alike = sum(plain_id(identity) in plain for identity in absent)
        if alike:
            return (
                f"{text}. {alike} ids differ in their extension or in capital letters alone: give both files the same"
            )
        return f"{text}. Make a table of these photos by `roc agree sensitivity`"


def write_table(path: str | os.PathLike[str], rows: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]) -> None:
    """Writes a table, whole or not at all.

    Args:
        path: A .parquet file.
        rows: Those of `COLUMNS` by name.
        facts: What decided the numbers; JSON values.
    """
    about = json.dumps({"kind": KIND, **facts}, sort_keys=True)
    write_whole(path, lambda temporary: write_parquet(temporary, rows, COLUMNS, about))


def _check_columns(path: Path, columns: Mapping[str, Any]) -> None:
    there = [name for name in columns if name.startswith(PREFIX)]
    expected = [PREFIX + name for name in ATTRIBUTES]
    if set(there) != set(expected) or "id" not in columns:
        raise ValueError(
            f"{path}: the columns are {', '.join(columns)}; expected id and {', '.join(expected)}: the table is of "
            "other attributes"
        )


def _check_ids(path: Path, ids: Sequence[str | None]) -> None:
    seen: set[str] = set()
    for number, identity in enumerate(ids, start=1):
        if identity is None:
            raise ValueError(f"{path}: row {number} has no id")
        if identity in seen:
            raise ValueError(f"{path}: the id {identity} stands there twice, again in row {number}; keep one of them")
        seen.add(identity)
