"""Data sets of the `datasets` library, loaded by its own calls: a folder that `save_to_disk` wrote, or one of the hub.

A data set of the hub is named `hf://datasets/ORGANISATION/NAME`, with `@REVISION` behind it and `?config=CONFIG`, where
it has several, so that no misspelt path ever asks the network. Its splits become the column `split`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from roc.data.pictures import PictureCells

_HUB = re.compile(r"hf:/{1,2}datasets/(?P<name>[^/@?]+/[^/@?]+)(@(?P<revision>[^?]+))?(\?config=(?P<config>.+))?")


class NoDataset(ValueError):
    """A data set that the library cannot load; the message says why without naming it."""


def is_dataset(path: Path) -> bool:
    """Tells whether a path is a data set of the `datasets` library: a folder, or a name on the hub."""
    if _HUB.fullmatch(str(path)):
        return True
    marks = (("dataset_dict.json",), ("state.json", "dataset_info.json"))
    return path.is_dir() and any(all((path / name).is_file() for name in names) for names in marks)


def iter_dataset(path: Path) -> Iterator[dict[str, Any]]:
    """Reads the rows one by one, split after split; pictures become `Picture`s and are not decoded.

    Raises:
        NoDataset: it cannot be loaded.
    """
    splits = _load(path)
    number = 0
    pictures = PictureCells(path.name)
    for split, rows in splits.items():
        for row in _undecoded(rows):
            number += 1
            named = {name: pictures.read(value, number) for name, value in row.items()}
            if split is not None and not any(name.lower() == "split" for name in named):
                named["split"] = split
            yield named


def _load(path: Path) -> Mapping[str | None, Any]:
    try:
        import datasets
    except ImportError as error:
        raise NoDataset(
            "this needs the package datasets; install it by `pip install 'roc-mllm[datasets]'`, or save the table as "
            "Parquet"
        ) from error
    match = _HUB.fullmatch(str(path))
    try:
        if match is None:
            loaded = datasets.load_from_disk(str(path))
        else:
            loaded = datasets.load_dataset(match["name"], match["config"], revision=match["revision"])
    except Exception as error:  # errors of many kinds: of the network, the hub, the files
        raise NoDataset(f"the package datasets cannot load it: {' '.join(str(error).split())[:300]}") from error
    if isinstance(loaded, Mapping):
        return loaded
    return {None: loaded}


def _undecoded(rows: Any) -> Any:
    """Has pictures given as bytes and path."""
    import datasets

    for name, feature in (rows.features or {}).items():
        inner = getattr(feature, "feature", None)
        if isinstance(feature, datasets.Image):
            rows = rows.cast_column(name, datasets.Image(decode=False))
        elif isinstance(inner, datasets.Image):
            rows = rows.cast_column(name, type(feature)(datasets.Image(decode=False)))
    return rows
