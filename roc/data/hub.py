"""Data sets of the `datasets` library, loaded by its own calls: a folder that `save_to_disk` wrote, or one of the hub.

A data set of the hub is named `hf://datasets/ORGANISATION/NAME`, with `@REVISION` behind it and `?config=CONFIG`, where
it has several, so that no misspelt path ever asks the network. Its splits become the column `split`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from roc.data.pictures import PictureCells

_HUB = re.compile(r"hf:/{1,2}datasets/(?P<name>[^/@?]+/[^/@?]+)(@(?P<revision>[^?]+))?(\?config=(?P<config>.+))?")

_WAIT = 10.0
"""Seconds that the hub has to tell a revision."""


class NoDataset(ValueError):
    """A data set that the library cannot load; the message says why without naming it."""


def is_dataset(path: Path) -> bool:
    """Tells whether a path is a data set of the `datasets` library: a folder, or a name on the hub."""
    if _HUB.fullmatch(str(path)):
        return True
    marks = (("dataset_dict.json",), ("state.json", "dataset_info.json"))
    return path.is_dir() and any(all((path / name).is_file() for name in names) for names in marks)


@functools.lru_cache(maxsize=16)
def known_revision(path: Path) -> str | None:
    """Returns the commit of a data set of the hub: what the hub says, else that of its downloaded copy, else None."""
    match = _HUB.fullmatch(str(path))
    from huggingface_hub import HfApi, constants
    from huggingface_hub.file_download import repo_folder_name

    try:
        return HfApi().dataset_info(match["name"], revision=match["revision"], timeout=_WAIT).sha
    except Exception:  # of the HTTP client, which differ between versions of the hub's package; or offline
        folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=match["name"], repo_type="dataset")
        reference = folder / "refs" / (match["revision"] or "main")
        return reference.read_text(encoding="utf-8").strip() if reference.is_file() else None


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
