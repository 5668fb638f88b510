"""Converting a published data set, as it lies on disk, to one file of records.

The file has the columns that `roc/data/reading.py` reads, with image paths below the data set's folder, so training
takes it with `--data_path FILE --image_folder ROOT`. Scores keep their native range. Nothing is dropped silently: a
folder of another data set, or an incomplete one, is refused with what is missing; rows without a usable score and, on
request, images that are missing are left out, returned and listed in `FILE.left_out.txt`.

Comments and attributes need no conversations: question and answer are made from the columns when the model is trained
(`roc/prompts.py`).
"""

from __future__ import annotations

import logging
import os
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from roc.data.datasets.dataset_folder import DatasetFolder
from roc.data.datasets.layout import Layout
from roc.data.rows import DataError, write_rows
from roc.files import write_text
from roc.score_space import range_words

logger = logging.getLogger(__name__)

DATASETS = {
    "AVA": ("ava", "photos of dpchallenge.com, votes on 1..10, official test set, tags"),
    "AVA-Captions": ("ava_captions", "AVA photos with comments of users"),
    "AADB": ("aadb", "Flickr photos, overall score and 11 attributes"),
    "TAD66K": ("tad66k", "photos of 47 themes"),
    "PARA": ("para", "photos, votes on 1..5 and 8 attributes, single raters"),
    "ICAA17K": ("icaa17k", "photos, overall score and colour"),
    "LAPIS": ("lapis", "artworks, single raters on 0..100"),
    "FLICKR-AES": ("flickr_aes", "Flickr photos, workers' votes on 1..5"),
    "EVA": ("eva", "AVA photos, votes on 0..10 and 4 attributes"),
    "KonIQ-10k": ("koniq10k", "photos, technical quality, votes on 1..5"),
    "SPAQ": ("spaq", "smartphone photos, technical quality and 5 attributes"),
    "KADID-10k": ("kadid10k", "81 photos, each distorted in 125 ways"),
    "BIQ2021": ("biq2021", "photos, technical quality"),
}
"""Name -> (file of this folder, what the data set is in a few words)."""

_FIRST_REASONS = 20


@dataclass(frozen=True)
class Conversion:
    """What `convert` wrote.

    Attributes:
        files: the file of records, then the tables beside it.
        root: folder of the data set.
        layout: its layout, with the scale of the scores.
        splits: split, or "no split" -> number of records.
        has_histograms: whether any record has a histogram.
        left_out: rows and images that are not in the file, "FILE:LINE: reason" or "IMAGE: reason".
        left_out_file: where all of these are listed; None if there are none.
    """

    files: tuple[Path, ...]
    root: Path
    layout: Layout
    splits: Counter[str]
    has_histograms: bool
    left_out: tuple[str, ...]
    left_out_file: Path | None

    def summary(self) -> str:
        """Describes the files, the scale, and how to train on them."""
        layout, (records, *beside) = self.layout, self.files
        levels = layout.num_tokens if self.has_histograms else 10
        counts = ", ".join(f"{count} {split}" for split, count in self.splits.items())
        lines = [f"{records}: {self.splits.total()} records of {layout.name}: {counts}"]
        lines += [f"{path}: beside them, by id" for path in beside]
        lines.append(f"native range {layout.min_score:g}..{layout.max_score:g}, higher is better")
        own = range_words(layout.attribute_ranges)
        if own:
            low, high = next(iter(layout.attribute_ranges.values()))
            lines.append(f"native range of {', '.join(layout.attribute_ranges)}: {low:g}..{high:g}")
        if self.has_histograms:
            lines.append(f"histograms of the votes on {levels} levels")
        if not layout.splits:
            lines.append("no split is published: `roc data split` makes one")
        lines += layout.remarks
        words = ["--data_path", str(records), "--image_folder", str(self.root)]
        words += ["--min_score", f"{layout.min_score:g}", "--max_score", f"{layout.max_score:g}"]
        words += ["--num_tokens", str(levels)]
        words += ["--attributes", "overall", *layout.attributes]
        words += ["--attribute_ranges", *own] if own else []
        return "\n".join([*lines, f"to train on it: roc finetune {shlex.join(words)}"])


def describe(name: str) -> str:
    """Returns what is known of a data set: its layout, scale, splits, licence and sources.

    Raises:
        ValueError: an unknown name.
    """
    return _converter(name).__doc__.strip()


def convert(
    name: str,
    root: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    splits: Sequence[str] = (),
    images: str | None = None,
    allow_missing: bool = False,
    published_scores: bool = False,
    captions: str = "one",
    histograms: bool = True,
) -> Conversion:
    """Writes a published data set as one file of records.

    Args:
        name: one of `DATASETS`; capitals, "-" and "_" do not matter.
        root: folder of the data set; image paths in the file start here.
        out: file to write: `.csv`, `.tsv`, `.jsonl`, `.json` or `.parquet`.
        splits: splits to write, out of train, val and test; empty for all.
        images: folder of the images below root, if its name differs from the published one.
        allow_missing: whether to leave out images that are missing, instead of raising an error.
        published_scores: whether to take the authors' own scores on their own scale, not the mean of the votes.
        captions: "one" or "all" comments per image, for AVA-Captions.
        histograms: whether to write the histograms of the votes.

    Returns:
        What was written, and what was left out.

    Raises:
        ValueError: an unknown name, a choice that the data set does not have, or an `out` that is one of its files.
        DataError: the folder is not that of the data set, it is incomplete, or nothing in it can be used.
    """
    root, out, converter = Path(root), Path(out), _converter(name)
    layout = _layout(converter, published_scores)
    if captions == "all" and layout.name != "AVA-Captions":
        raise ValueError(f"captions is 'all', but {layout.name} has no comments")
    foreign = [split for split in splits if split not in layout.splits]
    if foreign:
        published = ", ".join(layout.splits) or "none; `roc data split` makes one"
        raise ValueError(f"{layout.name} has no split {foreign[0]}; it publishes {published}")
    if layout.unverified:
        logger.warning("layout unverified: %s", layout.unverified)
    dataset = DatasetFolder(root, layout, images=images, captions=captions, splits=splits)
    converter.read(dataset)
    absent = list(dict.fromkeys(dataset.absent))
    if absent and not allow_missing:
        raise _incomplete(dataset, absent)
    if not dataset.rows:
        raise DataError([f"{root}: there is nothing to write", *dataset.left_out[:_FIRST_REASONS]])
    if dataset.holds(out):
        raise ValueError(f"{out} is a file of the data set and would be lost; name another --out")
    rows = dataset.rows if histograms else [_without_histogram(row) for row in dataset.rows]
    write_rows(out, rows)
    left_out = [*dataset.left_out, *(f"{path}: no such image" for path in absent)]
    return Conversion(
        files=(out, *_write_side_tables(out, dataset)),
        root=root,
        layout=layout,
        splits=Counter(row["split"] or "no split" for row in rows),
        has_histograms=any("h_1" in row for row in rows),
        left_out=tuple(left_out),
        left_out_file=_list_left_out(out, left_out),
    )


def _converter(name: str) -> ModuleType:
    files = {_plain(known): file for known, (file, _) in DATASETS.items()}
    file = files.get(_plain(name))
    if file is None:
        raise ValueError(f"there is no data set {name!r}; known are {', '.join(DATASETS)}")
    return import_module(f"roc.data.datasets.{file}")


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _layout(converter: ModuleType, published_scores: bool) -> Layout:
    layout = getattr(converter, "PUBLISHED", None) if published_scores else converter.LAYOUT
    if layout is None:
        raise ValueError(f"there are no other published scores of {converter.LAYOUT.name}: it has one score per image")
    return layout


def _incomplete(dataset: DatasetFolder, absent: Sequence[str]) -> DataError:
    present = len({row["image"] for row in dataset.rows})
    what = f"{len(absent)} of the {len(absent) + present} images that {dataset.layout.name} lists are not there"
    remedy = f"complete the folder, or give --allow-missing to write the other {present}"
    return DataError([f"{dataset.root}: {what}, first {', '.join(absent[:5])}; {remedy}"])


def _without_histogram(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if not name.startswith("h_")}


def _write_side_tables(out: Path, dataset: DatasetFolder) -> list[Path]:
    """Writes what does not fit into a record beside the records; empty tables are not written."""
    written = []
    for suffix, rows in dataset.side_tables.items():
        path = out.with_name(out.stem + suffix)
        if rows:
            write_rows(path, rows)
            written.append(path)
    return written


def _list_left_out(out: Path, left_out: Sequence[str]) -> Path | None:
    """Lists what is not in the file beside it, and deletes the list of an earlier run."""
    path = out.with_name(f"{out.name}.left_out.txt")
    if left_out:
        return write_text(path, "\n".join(left_out) + "\n")
    path.unlink(missing_ok=True)
    return None
