"""The command `roc data`: data files made, checked, compared, divided and looked at.

    roc data convert NAME --root DIR --out FILE   a published data set as a data file
    roc data check FILE                           everything that is wrong with a data file, and what it holds
    roc data leaks TRAIN TEST                     what of a test set is in a training set too
    roc data split FILE --out DIR                 train, val and test without leaks
    roc data show FILE --out sheet.png            the best, the middle and the worst pictures

This file reads words and prints; the work is in `data_report.py`, `leaks.py`, `data_split.py` and `contact_sheet.py`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

_SHOWN = 50
_HELP = """usage: roc data COMMAND [...]

Makes, checks, compares and divides data files.

  convert  write a published data set (AVA, PARA, KonIQ-10k, ...) as a data file
  check    find everything that is wrong with a data file, and what it holds
  leaks    find what of a test set is in a training set too
  split    divide a data file into train, val and test without leaks
  show     draw the best, the middle and the worst pictures

A data file is a CSV with the columns image,score, or more: see `roc data check --help`.

example: roc data check ratings.csv --image_folder photos
`roc data COMMAND --help` shows a command's options and an example."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `roc data`.

    Args:
        argv: words after `roc data`; None takes those of the process.

    Returns:
        Exit status: 0 done, 1 faults, leaks or unreadable images were found, 2 bad input.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print(_HELP)
        return 0 if words else 2
    name, *words = words
    if hasattr(sys.stdout, "reconfigure"):  # a name that the terminal cannot show must not end the report
        sys.stdout.reconfigure(errors="backslashreplace")
    if name == "convert":
        from roc.data.datasets.convert import convert

        return convert(words)
    if name not in _COMMANDS:
        print(f"roc data: unknown command {name!r}; the commands are convert, {', '.join(_COMMANDS)}", file=sys.stderr)
        return 2
    try:
        return _COMMANDS[name]([_with_underscores(word) for word in words])
    except BrokenPipeError:  # of `| head`: nobody reads the rest, nor what Python would say about it when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print(f"roc data {name}: stopped; the same command goes on where it was", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f"roc data {name}: {error}", file=sys.stderr)
        return 2


def check(argv: Sequence[str]) -> int:
    """Runs `roc data check`."""
    parser = _parser(
        "check",
        "Finds everything that is wrong with a data file, each fault with its line, and tells what the file holds: "
        "counts, the range of the scores, a histogram, a guess of the native range. A CSV needs the columns image and "
        "score (or mos, gt_score, mean); it can have id, std, n_votes, comment, split, dataset, group, the votes "
        "h_1 .. h_N, and any other column of numbers as an attribute. .tsv, .json, .jsonl and .parquet are read too.",
        "roc data check ratings.csv --image_folder photos --report faults.txt",
    )
    parser.add_argument("file", metavar="FILE", help="the data file")
    _add_folder(parser)
    parser.add_argument("--min_score", type=float, help="lowest score of the native scale; needs --max_score")
    parser.add_argument("--max_score", type=float, help="highest score of the native scale; needs --min_score")
    parser.add_argument("--num_tokens", type=int, help="length that every histogram has to have")
    parser.add_argument("--no_images", action="store_true", help="only look whether the images are there")
    parser.add_argument(
        "--report", metavar="FILE", help=f"write all findings; the first {_SHOWN} of each kind are shown"
    )
    _add_survey(parser)
    given = parser.parse_args(argv)

    from roc.data.check import check_data
    from roc.score_space import ScoreSpace

    _check_report(given.report, given.file)
    if (given.min_score is None) != (given.max_score is None):
        raise ValueError("--min_score and --max_score belong together; give both or neither")
    space = None
    if given.min_score is not None:
        space = ScoreSpace(given.min_score, given.max_score, num_levels=given.num_tokens or 2)
    report = check_data(
        given.file,
        given.image_folder,
        space=space,
        num_levels=given.num_tokens,
        open_images=not given.no_images,
        memory=None if given.no_images else _memory(given, given.file),
        workers=given.workers,
    )
    print(report.summary())
    for title, found in (("warning", report.warnings), ("fault", report.faults)):
        if found:
            print()
            _print_some(f"{len(found)} {title}{'s' if len(found) > 1 else ''}", found, given.report)
    if given.report is not None:
        text = [report.summary(), *(f"warning: {one}" for one in report.warnings), *report.faults]
        Path(given.report).write_text("\n".join(text) + "\n", encoding="utf-8", errors="backslashreplace")
        print(f"\n{given.report}: all findings")
    print("" if report.faults else "\nno faults")
    return 1 if report.faults else 0


def leaks(argv: Sequence[str]) -> int:
    """Runs `roc data leaks`."""
    parser = _parser(
        "leaks",
        "Finds what of a test set is in a training set too: the same ids, identical files, pictures that look the same "
        "(resized, compressed, mirrored), edits of one source. Exit status 1 if there is anything.",
        "roc data leaks train.csv test.csv --image_folder photos --report leaks.csv",
    )
    parser.add_argument("train", metavar="TRAIN", help="data file that is trained on")
    parser.add_argument("test", metavar="TEST", help="data file that is tested on")
    _add_folder(parser)
    parser.add_argument("--test_image_folder", metavar="DIR", help="the same for TEST; default: that of TRAIN")
    parser.add_argument("--no_images", action="store_true", help="open no images: compare ids, paths and sources only")
    parser.add_argument(
        "--report", metavar="FILE", help=f"write all leaks as .csv or .jsonl; the first {_SHOWN} are shown"
    )
    _add_survey(parser)
    given = parser.parse_args(argv)

    from roc.data.leaks import find_leaks, read_entries

    if given.report is not None and Path(given.report).suffix.lower() not in (".csv", ".tsv", ".jsonl", ".parquet"):
        raise ValueError(f"--report {given.report}: expected a .csv, .tsv, .jsonl or .parquet file")
    _check_report(given.report, given.train, given.test)
    report = find_leaks(
        read_entries(given.train, given.image_folder),
        read_entries(given.test, given.test_image_folder or given.image_folder),
        open_images=not given.no_images,
        memory=None if given.no_images else _memory(given, given.train),
        workers=given.workers,
    )
    if given.report is not None:
        report.write(given.report)
    found = [
        f"{given.test}:{leak.test.line}: {leak.test.id} is {given.train}:{leak.train.line}: {leak.train.id} "
        f"({'; '.join(leak.reasons)})"
        for leak in report.leaks
    ]
    if found:
        _print_some("leaks", found, given.report)
        print()
    print(report.summary())
    _print_unreadable(report.unreadable)
    return 1 if report.leaks or report.unreadable else 0


def split(argv: Sequence[str]) -> int:
    """Runs `roc data split`."""
    parser = _parser(
        "split",
        "Divides a data file into train, val and test by source: a group, all edits of one photo, the same image under "
        "two ids stay together. A test set that the file marks is kept as it is. Decided by a hash of the source, so "
        "the same in every run and when records are added.",
        "roc data split ratings.csv --out splits --val 0.1 --test 0.1",
    )
    parser.add_argument("file", metavar="FILE", help="the data file")
    parser.add_argument(
        "--out", metavar="DIR", required=True, help="folder for train, val and test, in the file's format"
    )
    parser.add_argument("--val", type=float, default=0.1, help="share of the sources (0.1)")
    parser.add_argument(
        "--test", type=float, default=0.1, help="share of the sources (0.1); none where FILE has a test set"
    )
    parser.add_argument("--seed", type=int, default=0, help="another one gives another division (0)")
    parser.add_argument("--by_looks", action="store_true", help="keep pictures that look the same together; opens all")
    _add_folder(parser)
    _add_survey(parser)
    given = parser.parse_args(argv)

    from roc.data.split import split_data

    report = split_data(
        given.file,
        given.out,
        val=given.val,
        test=given.test,
        seed=given.seed,
        image_folder=given.image_folder,
        by_looks=given.by_looks,
        memory=_memory(given, given.file) if given.by_looks else None,
        workers=given.workers,
    )
    print(report.summary())
    folder = given.image_folder or os.path.dirname(given.file) or "."
    print(f"their images: --image_folder {folder}")
    _print_unreadable(report.unreadable)
    return 1 if report.unreadable else 0


def show(argv: Sequence[str]) -> int:
    """Runs `roc data show`."""
    parser = _parser(
        "show",
        "Draws a contact sheet of the best, the middle and the worst pictures with their scores.",
        "roc data show ratings.csv --image_folder photos --out sheet.png",
    )
    parser.add_argument("file", metavar="FILE", help="the data file")
    parser.add_argument("--out", metavar="PICTURE", required=True, help="picture to write, .png or .jpg")
    parser.add_argument("--n", type=int, default=12, help="pictures in all, a third each (12)")
    parser.add_argument("--attribute", default="overall", help="whose scores count (overall)")
    _add_folder(parser)
    given = parser.parse_args(argv)

    from roc.data.sheet import contact_sheet

    out = Path(given.out)
    if out.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise ValueError(f"{out}: the suffix {out.suffix!r} is no picture's; name it .png")
    sheet = contact_sheet(given.file, given.image_folder, count=given.n, attribute=given.attribute)
    out.parent.mkdir(parents=True, exist_ok=True)
    sheet.picture.save(out)
    for part, records in sheet.parts.items():
        for record in records:
            print(f"{part:<7} {record.scores[given.attribute]:<10.5g} line {record.line}: {', '.join(record.images)}")
    print(out)
    _print_unreadable(sheet.unreadable)
    return 1 if sheet.unreadable else 0


_COMMANDS = {"check": check, "leaks": leaks, "split": split, "show": show}


def _parser(name: str, description: str, example: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        prog=f"roc data {name}",
        description=description,
        epilog=f"example: {example}",
        allow_abbrev=False,
    )


def _add_folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--image_folder", metavar="DIR", help="where the paths start from; default: the file's folder")


def _add_survey(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workers", type=int, help="threads that open images; default: one for each processor")
    parser.add_argument(
        "--resume",
        metavar="FILE",
        help="remembers images that were opened, so that a stopped run goes on; default: beside the report or the data "
        "file, with .checked at the end",
    )


def _check_report(report: str | None, *data_files: str) -> None:
    """Before an hour's work, not after it: makes the report's folder, and refuses to write over a folder or data."""
    if report is None:
        return
    if os.path.isdir(report):
        raise ValueError(f"--report {report}: this is a folder; name a file")
    for file in data_files:
        if os.path.exists(report) and os.path.exists(file) and os.path.samefile(report, file):
            raise ValueError(f"--report {report}: {file} is a data file and would be lost; name another file")
    Path(report).parent.mkdir(parents=True, exist_ok=True)


def _memory(given: argparse.Namespace, data_file: str) -> str | None:
    """Where opened images are remembered; None, and a word about it, where that folder takes no files."""
    if given.resume is not None:
        return given.resume
    memory = f"{getattr(given, 'report', None) or data_file}.checked"
    folder = os.path.dirname(memory) or "."
    if not os.access(memory if os.path.exists(memory) else folder, os.W_OK):
        print(f"{folder} cannot be written: nothing is remembered; give --resume FILE", file=sys.stderr)
        return None
    return memory


def _print_some(title: str, found: Sequence[str], report: str | None) -> None:
    print(f"{title}:")
    print("\n".join(found[:_SHOWN]))
    if len(found) > _SHOWN:
        print(f"... and {len(found) - _SHOWN} more{'' if report else '; --report FILE writes all'}")


def _print_unreadable(faults: Sequence[str]) -> None:
    if faults:
        print(f"{len(faults)} images cannot be used:", file=sys.stderr)
        print("\n".join(faults[:_SHOWN]), file=sys.stderr)
        if len(faults) > _SHOWN:
            print(f"... and {len(faults) - _SHOWN} more", file=sys.stderr)


def _with_underscores(word: str) -> str:
    name, equals, value = word.partition("=")
    return f"--{name[2:].replace('-', '_')}{equals}{value}" if name.startswith("--") else word
