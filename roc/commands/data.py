"""`roc data convert | from-xmp | check | leaks | split | show`: makes, checks, divides and shows data files."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from roc.commands import from_xmp
from roc.commands.line import DONE, FAILED, Subcommand, run_subcommand
from roc.data.counts import counted
from roc.data.datasets.convert import DATASETS
from roc.score_space import range_faults
from roc.settings import REQUIRED, Fault, Settings, option

_TABLES = from_xmp.TABLES
_SHOWN = 50
"""Findings of a kind that are printed; a report file has all of them."""


@dataclass(frozen=True, kw_only=True)
class ImageOptions(Settings):
    """Where the images are."""

    image_folder: str | None = option(
        None, "folder that the image paths start from", metavar="DIR", unset="that of the data file"
    )


@dataclass(frozen=True, kw_only=True)
class SurveyOptions(ImageOptions):
    """How many images are opened."""

    workers: int | None = option(None, "threads that open images", low=1, unset="one for each processor")
    resume: str | None = option(
        None,
        "remembers the images that were opened, so that a stopped run goes on",
        metavar="FILE",
        unset="beside the report or the data file, with .checked at the end",
    )


@dataclass(frozen=True, kw_only=True)
class ConvertOptions(Settings):
    """Which data set is converted, and how."""

    name: str = option(REQUIRED, "name of the data set; capitals, '-' and '_' do not matter", positional=True)
    root: str | None = option(None, "folder of the data set; image paths in the file start here", metavar="DIR")
    out: str | None = option(None, f"file to write: {', '.join(_TABLES)}", metavar="FILE")
    layout: bool = option(False, "print what is known of the data set, and end")
    split: tuple[Literal["train", "val", "test"], ...] = option((), "write the records of these splits only")
    images: str | None = option(None, "folder of the images below --root, if it has another name", metavar="DIR")
    allow_missing: bool = option(False, "leave out images that are missing, instead of writing nothing")
    scores: Literal["votes", "published"] = option(
        "votes", "KonIQ-10k, FLICKR-AES: mean and histogram of the votes, or the authors' own score on its scale"
    )
    captions: Literal["one", "all"] = option("one", "AVA-Captions: comments per image")
    histograms: bool = option(True, "leave out h_1 .. h_N, so that num_tokens is free to choose")

    def faults(self) -> list[Fault]:
        """What no single option shows."""
        if self.layout or (self.root and self.out):
            return []
        return [("", "name the folder of the data set and the file to write: --root DIR --out FILE; see --help")]


@dataclass(frozen=True, kw_only=True)
class CheckOptions(SurveyOptions):
    """Which file is checked, and for what."""

    file: str = option(
        REQUIRED,
        "the data file; also a folder of the `datasets` library or hf://datasets/ORGANISATION/NAME",
        positional=True,
    )
    min_score: float | None = option(None, "lowest score of the native scale; needs --max_score")
    max_score: float | None = option(None, "highest score of the native scale; needs --min_score")
    attribute_ranges: tuple[str, ...] = option(
        (), "ranges of attributes on another scale, NAME=LOWEST:HIGHEST each; need --min_score and --max_score"
    )
    num_tokens: int | None = option(None, "length that every histogram has to have", low=1)
    attributes: tuple[str, ...] = option((), "columns that have to hold scores", unset="those that do")
    images: bool = option(True, "only check that the images exist, open none")
    write_good: str | None = option(
        None, "write the rows without a fault, and list the others beside them in OUT.left_out.txt", metavar="OUT"
    )
    drop: tuple[str, ...] = option((), "columns to read as if they were not there: conversations, ...")
    report: str | None = option(
        None, f"write all findings; the first {_SHOWN} of each kind are printed", metavar="FILE"
    )

    def faults(self) -> list[Fault]:
        """What no single option shows."""
        found = []
        if (self.min_score is None) != (self.max_score is None):
            found.append(("", "--min_score and --max_score belong together; give both or neither"))
        if self.attribute_ranges and self.min_score is None:
            found.append(("", "--attribute_ranges needs the range of the others; give --min_score and --max_score"))
        found += range_faults(self.attribute_ranges)
        if self.write_good is not None and Path(self.write_good).suffix.lower() not in _TABLES:
            found.append(("write_good", f"{self.write_good}: expected a file that ends in {', '.join(_TABLES)}"))
        return found


@dataclass(frozen=True, kw_only=True)
class LeaksOptions(SurveyOptions):
    """Which files are compared."""

    train: str = option(REQUIRED, "data file to train on", positional=True)
    test: str = option(REQUIRED, "data file to test on", positional=True)
    test_image_folder: str | None = option(None, "the same for TEST", metavar="DIR", unset="that of TRAIN")
    images: bool = option(True, "open no images: compare ids, paths and sources only")
    report: str | None = option(
        None, f"write all leaks as a table, .csv, .xlsx or .jsonl; the first {_SHOWN} are printed", metavar="FILE"
    )

    def faults(self) -> list[Fault]:
        """What no single option shows."""
        if self.report is None or Path(self.report).suffix.lower() in _TABLES:
            return []
        return [("report", f"{self.report}: expected a file that ends in {', '.join(_TABLES)}")]


@dataclass(frozen=True, kw_only=True)
class SplitOptions(SurveyOptions):
    """Which file is divided, and how."""

    file: str = option(REQUIRED, "the data file", positional=True)
    out: str = option(
        REQUIRED,
        "folder for train, val, test and all of them in one file, in FILE's format; or OUT.csv for that one alone",
        metavar="DIR",
    )
    val: float = option(0.1, "share of the sources", low=0, below=1)
    test: float = option(0.1, "share of the sources; none where FILE has a test set", low=0, below=1)
    seed: int = option(0, "another seed gives another division")
    by_looks: bool = option(False, "keep pictures that look the same together; opens all of them")


@dataclass(frozen=True, kw_only=True)
class ShowOptions(ImageOptions):
    """Which pictures are drawn."""

    file: str = option(REQUIRED, "the data file", positional=True)
    out: str = option(REQUIRED, "picture to write, .png or .jpg", metavar="PICTURE")
    n: int = option(12, "number of pictures, a third each", low=3)
    attribute: str = option("overall", "attribute that they are ordered by")

    def faults(self) -> list[Fault]:
        """What no single option shows."""
        suffix = Path(self.out).suffix
        if suffix.lower() in (".png", ".jpg", ".jpeg", ".webp"):
            return []
        return [("out", f"{self.out}: the suffix {suffix!r} is no picture's; name it .png")]


def _convert(options: ConvertOptions) -> int:
    from roc.data.datasets.convert import convert, describe

    if options.layout:
        print(describe(options.name))
        return DONE
    conversion = convert(
        options.name,
        options.root,
        options.out,
        splits=options.split,
        images=options.images,
        allow_missing=options.allow_missing,
        published_scores=options.scores == "published",
        captions=options.captions,
        histograms=options.histograms,
    )
    if conversion.left_out:
        print("\n".join(conversion.left_out[:_SHOWN]), file=sys.stderr)
        count = len(conversion.left_out)
        what = counted(count, "row or image was", "rows or images were")
        print(f"{what} left out, all listed in {conversion.left_out_file}", file=sys.stderr)
    print(conversion.summary())
    return FAILED if conversion.left_out else DONE


def _check(options: CheckOptions) -> int:
    from roc.data.check import check_data
    from roc.data.good_rows import write_good
    from roc.files import write_text
    from roc.score_space import ScoreSpace, parse_ranges

    _prepare_report(options.report, options.file)
    space = None
    if options.min_score is not None:
        space = ScoreSpace(
            options.min_score,
            options.max_score,
            num_levels=options.num_tokens or 2,
            attribute_ranges=parse_ranges(options.attribute_ranges),
        )
    report = check_data(
        options.file,
        options.image_folder,
        space=space,
        num_levels=options.num_tokens,
        attributes=tuple(dict.fromkeys(("overall", *options.attributes))) if options.attributes else None,
        drop=options.drop,
        open_images=options.images,
        memory=_memory(options, options.report or options.file) if options.images else None,
        workers=options.workers,
    )
    print(report.summary())
    for title, found in (("warning", report.warnings), ("fault", report.faults)):
        if found:
            print()
            _print_some(f"{len(found)} {title}{'s' if len(found) > 1 else ''}", found, options.report)
    if options.report is not None:
        text = [report.summary(), *(f"warning: {one}" for one in report.warnings), *report.every_line]
        write_text(options.report, "\n".join(text) + "\n", errors="backslashreplace")
        print(f"\n{options.report}: all findings")
    print("" if report.faults else "\nno faults")
    if options.write_good is not None:
        good = write_good(options.file, options.write_good, report, options.image_folder, drop=options.drop)
        print(good.summary())
        print(f"their images: --image_folder {_image_folder(options)}")
    return FAILED if report.faults else DONE


def _leaks(options: LeaksOptions) -> int:
    from roc.data.leaks import find_leaks, read_entries

    _prepare_report(options.report, options.train, options.test)
    report = find_leaks(
        read_entries(options.train, options.image_folder),
        read_entries(options.test, options.test_image_folder or options.image_folder),
        open_images=options.images,
        memory=_memory(options, options.report or options.train) if options.images else None,
        workers=options.workers,
    )
    if options.report is not None:
        report.write(options.report)
    found = [
        f"{options.test}:{leak.test.line}: {leak.test.id} is {options.train}:{leak.train.line}: {leak.train.id} "
        f"({'; '.join(leak.reasons)})"
        for leak in report.leaks
    ]
    if found:
        _print_some("leaks", found, options.report)
        print()
    print(report.summary())
    _print_unreadable(report.unreadable)
    return FAILED if report.leaks or report.unreadable else DONE


def _split(options: SplitOptions) -> int:
    from roc.data.split import split_data

    report = split_data(
        options.file,
        options.out,
        val=options.val,
        test=options.test,
        seed=options.seed,
        image_folder=options.image_folder,
        by_looks=options.by_looks,
        memory=_memory(options, options.file) if options.by_looks else None,
        workers=options.workers,
    )
    print(report.summary())
    print(f"train on it: {report.training_command(_image_folder(options))}")
    _print_unreadable(report.unreadable)
    return FAILED if report.unreadable else DONE


def _show(options: ShowOptions) -> int:
    from roc.data.sheet import contact_sheet

    sheet = contact_sheet(options.file, options.image_folder, count=options.n, attribute=options.attribute)
    sheet.write(options.out)
    for part, records in sheet.parts.items():
        for record in records:
            print(f"{part:<7} {record.scores[options.attribute]:<10.5g} line {record.line}: {', '.join(record.images)}")
    print(options.out)
    _print_unreadable(sheet.unreadable)
    return FAILED if sheet.unreadable else DONE


def _image_folder(options: CheckOptions | SplitOptions) -> str:
    return options.image_folder or os.path.dirname(options.file) or "."


def _prepare_report(report: str | None, *data_files: str) -> None:
    """Makes the report's folder before hours of work, and refuses to write over a folder or a data file."""
    if report is None:
        return
    if os.path.isdir(report):
        raise ValueError(f"--report {report}: this is a folder; name a file")
    for file in data_files:
        if os.path.exists(report) and os.path.exists(file) and os.path.samefile(report, file):
            raise ValueError(f"--report {report}: {file} is a data file and would be lost; name another file")
    Path(report).parent.mkdir(parents=True, exist_ok=True)


def _memory(options: SurveyOptions, beside: str) -> str | None:
    """Chooses the file that remembers opened images; None, and a note, if its folder takes no files."""
    if options.resume is not None:
        return options.resume
    memory = f"{beside}.checked"
    folder = os.path.dirname(memory) or "."
    if not os.access(memory if os.path.exists(memory) else folder, os.W_OK):
        print(f"note: {folder} cannot be written: nothing is remembered; give --resume FILE", file=sys.stderr)
        return None
    return memory


def _print_some(title: str, found: Sequence[str], report: str | None) -> None:
    print(f"{title}:")
    print("\n".join(found[:_SHOWN]))
    if len(found) > _SHOWN:
        print(f"... and {len(found) - _SHOWN} more{'' if report else '; --report FILE writes all'}")


def _print_unreadable(faults: Sequence[str]) -> None:
    if faults:
        print(f"{counted(len(faults), 'image')} cannot be used:", file=sys.stderr)
        print("\n".join(faults[:_SHOWN]), file=sys.stderr)
        if len(faults) > _SHOWN:
            print(f"... and {len(faults) - _SHOWN} more", file=sys.stderr)


def _goes_on(options: SurveyOptions) -> str:
    return "the same command goes on where it was"


_WIDTH = max(map(len, DATASETS))
_SUBCOMMANDS = {
    "convert": Subcommand(
        "write a published data set (AVA, PARA, KonIQ-10k, ...) as a data file",
        "Writes a published data set as one file of records. The data sets:\n\n"
        + "\n".join(f"  {name:{_WIDTH}}  {summary}" for name, (_, summary) in DATASETS.items())
        + "\n\n`roc data convert PARA --layout` prints what the folder has to hold, the splits, range and licence.",
        "roc data convert PARA --root PARA --out para.csv",
        ConvertOptions,
        _convert,
    ),
    "from-xmp": Subcommand(
        "write the stars that people gave to their photos as a data file",
        from_xmp.DESCRIPTION,
        from_xmp.EXAMPLE,
        from_xmp.FromXmpOptions,
        lambda options: from_xmp.from_xmp(options, _SHOWN),
    ),
    "check": Subcommand(
        "find everything that is wrong with a data file, and what it holds",
        """Finds everything that is wrong with a data file, each fault with its line, and prints what the file holds:
counts, the range of the scores, a histogram, a guess of the native range. A CSV needs the columns image and score (or
mos, gt_score, mean); it can have id, std, n_votes, comment, split, dataset, group, the votes h_1 .. h_N, and any other
column of numbers as an attribute. .tsv, .xlsx, .json, .jsonl and .parquet are read too, pictures inside a Parquet file
included.""",
        "roc data check ratings.csv --image_folder photos --report faults.txt",
        CheckOptions,
        _check,
        _goes_on,
    ),
    "leaks": Subcommand(
        "find what of a test set is in a training set too",
        """Finds what of a test set is in a training set too: the same ids, identical files, pictures that look the same
(resized, compressed, mirrored), edits of one source. Exit status 1 if there is anything.""",
        "roc data leaks train.csv test.csv --image_folder photos --report leaks.csv",
        LeaksOptions,
        _leaks,
        _goes_on,
    ),
    "split": Subcommand(
        "divide a data file into train, val and test without leaks",
        """Divides a data file into train, val and test by source: a group, all edits of one photo, the same image under
two ids stay together. A test set that the file marks is kept as it is. A hash of the source decides, so the division
is the same in every run and when records are added. Prints the command that trains on it.""",
        "roc data split ratings.csv --out splits --val 0.1 --test 0.1",
        SplitOptions,
        _split,
        _goes_on,
    ),
    "show": Subcommand(
        "draw the best, the middle and the worst pictures",
        "Draws a contact sheet of the best, the middle and the worst pictures with their scores.",
        "roc data show ratings.csv --image_folder photos --out sheet.png",
        ShowOptions,
        _show,
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `roc data`.

    Args:
        argv: Words after `roc data`; None takes those of the process.

    Returns:
        Exit status: 0 done, 1 faults, leaks or unreadable images were found, 2 bad input.
    """
    if hasattr(sys.stdout, "reconfigure"):  # a name that the terminal cannot show must not end the report
        sys.stdout.reconfigure(errors="backslashreplace")
    return run_subcommand(
        "roc data",
        "Makes, checks, compares and divides data files.",
        _SUBCOMMANDS,
        argv,
        first="check",
        more="A data file is a CSV with the columns image,score, or more: see `roc data check --help`.",
    )
