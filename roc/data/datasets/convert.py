"""`roc data convert`: a published data set, as it lies on disk, to one file of records.

The file holds the columns that `roc/data/reading.py` reads, with image paths below `--root`, so training takes it with
`--data_path FILE --image_folder ROOT`. Scores stay on their native range. What cannot be used is never dropped in
silence: a folder of another data set, or a part of one, is refused with what is missing; rows without a usable score
and, with `--allow-missing`, images that are not there are left out, counted on stderr and listed in
`FILE.left_out.txt`.

Comments and attributes need no conversations of their own: question and answer are made of the columns when they are
learnt (`roc/prompts.py`).
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from roc.data.datasets.reader import Layout, Reader
from roc.data.rows import DataError, write_rows

# name -> (file of this folder, what it is in a few words)
DATASETS = {
    "AVA": ("ava", "photos of dpchallenge.com, votes on 1..10, official test set, tags"),
    "AVA-Captions": ("ava_captions", "AVA photos with comments of users"),
    "AADB": ("aadb", "Flickr photos, the whole and 11 attributes"),
    "TAD66K": ("tad66k", "photos of 47 themes"),
    "PARA": ("para", "photos, votes on 1..5 and 8 attributes, single raters"),
    "ICAA17K": ("icaa17k", "photos, the whole and their colour"),
    "LAPIS": ("lapis", "artworks, single raters on 0..100"),
    "FLICKR-AES": ("flickr_aes", "Flickr photos, workers' votes on 1..5"),
    "EVA": ("eva", "AVA photos, votes on 0..10 and 4 attributes"),
    "KonIQ-10k": ("koniq10k", "photos, technical quality, votes on 1..5"),
    "SPAQ": ("spaq", "smartphone photos, technical quality and 5 attributes"),
    "KADID-10k": ("kadid10k", "81 photos, each distorted in 125 ways"),
    "BIQ2021": ("biq2021", "photos, technical quality"),
}

_SHOWN = 20


def convert(argv: Sequence[str]) -> int:
    """Runs `roc data convert`.

    Args:
        argv: words after `roc data convert`.

    Returns:
        Exit status: 0 done; 1 done, but rows or images were left out (named on stderr); 2 bad input, nothing written.
    """
    options = _parser().parse_args([_with_dashes(word) for word in argv])
    try:
        module = _module(options.name)
        if options.layout:
            print(module.__doc__.strip())
            return 0
        return _convert(module, options)
    except (ValueError, OSError) as error:
        print(f"roc data convert: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, DATASETS))
    parser = argparse.ArgumentParser(
        prog="roc data convert",
        description="Writes a published data set as one file of records. The data sets:\n\n"
        + "\n".join(f"  {name:{width}}  {summary}" for name, (_, summary) in DATASETS.items()),
        epilog="example: roc data convert PARA --root PARA --out para.csv\n"
        "`roc data convert PARA --layout` tells what the folder has to hold, the split, the range and the licence.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("name", metavar="NAME", help="of the data set; capitals, '-' and '_' do not matter")
    parser.add_argument("--root", metavar="DIR", help="its folder; image paths in the file start here")
    parser.add_argument("--out", metavar="FILE", help="the file to write: .csv, .tsv, .jsonl, .json or .parquet")
    parser.add_argument("--layout", action="store_true", help="print what is known of the data set, and end")
    parser.add_argument("--split", nargs="+", choices=("train", "val", "test"), help="write the records of these only")
    parser.add_argument("--images", metavar="DIR", help="folder of the images below --root, where it has another name")
    parser.add_argument(
        "--allow-missing", action="store_true", help="leave out images that are not there, instead of writing nothing"
    )
    parser.add_argument(
        "--scores",
        choices=("votes", "published"),
        default="votes",
        help="KonIQ-10k, FLICKR-AES: mean and histogram of the votes (default), or the authors' own score on its scale",
    )
    parser.add_argument(
        "--captions", choices=("one", "all"), default="one", help="AVA-Captions: comments per image (default: one)"
    )
    parser.add_argument(
        "--no-histograms", action="store_true", help="leave out h_1 .. h_N, so that num_tokens is free to choose"
    )
    return parser


def _with_dashes(word: str) -> str:
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value


def _module(name: str) -> ModuleType:
    plain = {_plain(known): file for known, (file, _) in DATASETS.items()}
    file = plain.get(_plain(name))
    if file is None:
        raise ValueError(f"there is no data set {name!r}; known are {', '.join(DATASETS)}")
    return import_module(f"roc.data.datasets.{file}")


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _convert(module: ModuleType, options: argparse.Namespace) -> int:
    if options.root is None or options.out is None:
        raise ValueError("say where it lies and what to write: --root DIR --out FILE; see --help")
    root, out = Path(options.root), Path(options.out)
    layout: Layout = module.LAYOUT
    if options.scores == "published":
        layout = getattr(module, "PUBLISHED", None)
        if layout is None:
            raise ValueError(f"--scores published says nothing for {module.LAYOUT.name}: it has one score per image")
    if options.captions == "all" and layout.name != "AVA-Captions":
        raise ValueError(f"--captions says nothing for {layout.name}: it has no comments")
    foreign = [split for split in options.split or () if split not in layout.splits]
    if foreign:
        published = ", ".join(layout.splits) or "none; `roc data split` makes one"
        raise ValueError(f"{layout.name} has no split {foreign[0]}; it publishes {published}")

    if layout.unverified:
        _warn(f"layout unverified: {layout.unverified}")
    reader = Reader(root, layout, images=options.images, captions=options.captions, splits=options.split)
    module.read(reader)
    for note in reader.notes:
        _warn(note)
    _check_images(reader, allow_missing=options.allow_missing)
    if not reader.rows:
        raise DataError([f"{root}: there is nothing to write", *reader.left_out[:_SHOWN]])
    rows = [_without_histogram(row) for row in reader.rows] if options.no_histograms else reader.rows
    if reader.holds(out):
        raise ValueError(f"{out} is a file of the data set and would be lost; name another --out")
    write_rows(out, rows)
    written = [out, *_write_side_tables(out, reader)]
    left_out = [*reader.left_out, *(f"{path}: no such image" for path in dict.fromkeys(reader.absent))]
    _report_left_out(out, left_out)
    _print_summary(root, written, reader, rows)
    return 1 if left_out else 0


def _check_images(reader: Reader, *, allow_missing: bool) -> None:
    absent = list(dict.fromkeys(reader.absent))
    if absent and not allow_missing:
        total = len(absent) + len({row["image"] for row in reader.rows})
        raise DataError(
            [
                f"{reader.root}: {len(absent)} of the {total} images that {reader.layout.name} lists are not there, "
                f"first {', '.join(absent[:5])}; complete the folder, or give --allow-missing to write the other "
                f"{total - len(absent)}"
            ]
        )


def _without_histogram(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if not name.startswith("h_")}


def _write_side_tables(out: Path, reader: Reader) -> list[Path]:
    """Writes what a record has no place for beside the records; empty tables are not written."""
    written = []
    for suffix, rows in reader.side_tables.items():
        path = out.with_name(out.stem + suffix)
        if rows:
            write_rows(path, rows)
            written.append(path)
    return written


def _report_left_out(out: Path, left_out: list[str]) -> None:
    """Counts what is not in the file on stderr and lists all of it beside the file."""
    path = out.with_name(f"{out.name}.left_out.txt")
    path.unlink(missing_ok=True)
    if left_out:
        path.write_text("\n".join(left_out) + "\n", encoding="utf-8")
        for line in left_out[:_SHOWN]:
            _warn(line)
        _warn(f"{len(left_out)} rows or images were left out, all listed in {path}")


def _print_summary(root: Path, written: list[Path], reader: Reader, rows: list[dict[str, Any]]) -> None:
    layout = reader.layout
    splits = Counter(row["split"] or "no split" for row in rows)
    counts = ", ".join(f"{count} {split}" for split, count in splits.items())
    with_histogram = any("h_1" in row for row in rows)
    levels = layout.num_tokens if with_histogram else 10
    print(f"{written[0]}: {len(rows)} records of {layout.name}: {counts}")
    for path in written[1:]:
        print(f"{path}: beside them, by id")
    print(f"native range {layout.min_score:g}..{layout.max_score:g}, higher is better")
    if with_histogram:
        print(f"histograms of the votes on {levels} levels")
    if not layout.splits:
        print("no split is published: `roc data split` makes one")
    for remark in layout.remarks:
        print(remark)
    words = ["--data_path", str(written[0]), "--image_folder", str(root)]
    words += ["--min_score", f"{layout.min_score:g}", "--max_score", f"{layout.max_score:g}"]
    words += ["--num_tokens", str(levels)]
    words += ["--attributes", "overall", *layout.attributes]
    print(f"to train on it: roc finetune {shlex.join(words)}")


def _warn(text: str) -> None:
    print(f"roc data convert: {text}", file=sys.stderr)
