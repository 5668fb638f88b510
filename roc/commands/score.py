"""The command `roc score`: photos in, a file of scores out, whatever happens on the way.

    roc score photos --checkpoint checkpoints/mine --out scores.csv

Three files lie beside `scores.csv`. `scores.csv.part.jsonl` is the journal of a run that is not finished: the same
command again goes on from there. `scores.errors.csv` names the images that could not be scored, and why. What was run,
on which scale, stands in `scores.run.json`; by it the same command knows that it is finished. With `--top` or
`--at_least`, `scores.selected.csv` holds the rows that were chosen, best first.
"""

from __future__ import annotations

import argparse
import hashlib
import heapq
import json
import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import roc
from roc.data.rows import DataError, Faults, read_rows, write_rows
from roc.files import write_text, write_whole
from roc.scoring.journal import Journal
from roc.scoring.sources import Source, find_sources
from roc.scoring.urls import is_url

if TYPE_CHECKING:
    from roc.scoring.batches import Scorer
    from roc.scoring.cluster import Cluster

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")

DESCRIPTION = """Scores images in one forward pass each, and writes one row per image in the order of the input:

  image, prediction, std, prediction.<attribute>, min_score, max_score, calibrated

All scores are on the native scale of the checkpoint, min_score to max_score. prediction and std are of the first
attribute; where calibrated is False, the model was taught on mean scores alone and std means nothing.

PATH is an image, a folder (searched with its subfolders), a pattern in quotation marks, a .txt list, a table with a
column of paths, a .tar file (of a WebDataset), or a URL that fsspec knows (s3://BUCKET/photos). Killed at
any moment, the same command goes on where it stopped.
Without --out the scores are only printed."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `roc score`.

    Args:
        argv: words after `roc score`; None takes those of the process.

    Returns:
        Exit status: 0 done, 1 some images could not be scored (they are named), 2 bad input (the reason is on stderr),
        130 stopped by Ctrl-C.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    given = _parser().parse_args([_with_underscores(word) for word in words])
    try:
        _check(given)
        with ExitStack() as stack:
            return _run(given, _cluster(given, stack))
    except BrokenPipeError:  # of `| head`: nobody reads the rest, nor what Python would say about it when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, OSError, ImportError) as error:
        print(f"roc score: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        kept = "" if given.out is None else "; the same command goes on from here"
        print(f"\nroc score: stopped{kept}", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="roc score",
        description=DESCRIPTION,
        epilog="example: roc score photos --checkpoint checkpoints/mine --out scores.csv --top 20 --copy_to best",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("paths", nargs="+", metavar="PATH", help="what to score")
    parser.add_argument("--checkpoint", required=True, help="folder or hub id of a model that carries the score head")
    parser.add_argument("--out", type=Path, help=f"file to write, {', '.join(SUFFIXES)}")
    parser.add_argument("--overwrite", action="store_true", help="start anew, whatever is there")
    parser.add_argument("--retry_failed", action="store_true", help="try images again that could not be scored before")
    parser.add_argument("--column", default="image", help="of a table: the column of paths (image)")
    parser.add_argument("--image_folder", help="where paths in lists and tables start from (the folder of the list)")
    parser.add_argument("--attributes", nargs="+", metavar="NAME", help="which scores (all of the checkpoint)")
    parser.add_argument("--distribution", action="store_true", help="also p_1 .. p_N, the probability of each level")
    parser.add_argument(
        "--describe", action="store_true", help="let the model write its answer too, as text (much slower)"
    )
    parser.add_argument("--max_new_tokens", type=int, default=512, help="longest answer of --describe (512)")
    parser.add_argument("--at_least", type=float, metavar="S", help="choose the images that score S or more")
    parser.add_argument("--top", type=int, metavar="K", help="choose the K best")
    parser.add_argument("--copy_to", metavar="DIR", help="copy what was chosen, names beginning with the place")
    parser.add_argument("--gallery", metavar="HTML", help="write a page of thumbnails, of what was chosen or of all")
    parser.add_argument("--batch_size", type=int, help="images per forward pass (found while scoring)")
    parser.add_argument("--workers", type=int, help="processes that read and resize (as many as fit the machine)")
    parser.add_argument("--device", help="cuda, mps, cpu (the first there is)")
    parser.add_argument(
        "--dtype", help="float32, bfloat16, float16, float8 (bfloat16 on a GPU that has it, else float32)"
    )
    parser.add_argument("--compile", action="store_true", help="compile the layers: minutes at the start, then faster")
    parser.add_argument("--engine", choices=["local", "ray"], default="local", help="ray: actors, on many machines too")
    parser.add_argument("--ray_address", help="auto, HOST:PORT or ray://HOST:PORT (a Ray of its own, here)")
    parser.add_argument("--actors", type=int, help="of --engine ray: how many load the model (one per GPU)")
    return parser


def _with_underscores(word: str) -> str:
    name, equals, value = word.partition("=")
    return f"--{name[2:].replace('-', '_')}{equals}{value}" if name.startswith("--") else word


def _check(given: argparse.Namespace) -> None:
    """What can be known to be wrong before a model is loaded."""
    for name, least in (("batch_size", 1), ("workers", 0), ("top", 1), ("max_new_tokens", 1), ("actors", 1)):
        value = getattr(given, name)
        if value is not None and value < least:
            raise ValueError(f"--{name} is {value}; expected {least} or more")
    if given.engine != "ray":
        for name in ("ray_address", "actors"):
            if getattr(given, name) is not None:
                raise ValueError(f"--{name} needs --engine ray")
    elif given.out is None:
        raise ValueError("--engine ray needs --out")
    elif given.workers == 0:
        raise ValueError("--workers is 0; expected 1 or more with --engine ray")
    elif given.device not in (None, "cuda", "cpu"):
        raise ValueError(f"--device is {given.device}; expected cuda or cpu with --engine ray")
    if given.at_least is not None and not math.isfinite(given.at_least):
        raise ValueError(f"--at_least is {given.at_least}; expected a score")
    chosen = given.top is not None or given.at_least is not None
    if given.copy_to is not None and not chosen:
        raise ValueError("--copy_to says where, but not what; add --top K or --at_least S")
    if given.out is None:
        for name in ("gallery", "copy_to", "overwrite"):
            if getattr(given, name):
                raise ValueError(f"--{name} needs --out")
        if chosen:
            raise ValueError("--top and --at_least need --out")
        return
    if given.out.suffix.lower() not in SUFFIXES:
        raise ValueError(f"--out is {given.out}; expected a file that ends in {', '.join(SUFFIXES)}")
    if given.out.suffix.lower() == ".parquet":
        import pyarrow  # noqa: F401  better now than after a million images
    if given.copy_to is not None and Path(given.copy_to).exists() and not Path(given.copy_to).is_dir():
        raise ValueError(f"--copy_to is {given.copy_to}, which is a file; name a folder")


def _cluster(given: argparse.Namespace, stack: ExitStack) -> Cluster | None:
    """Of `--engine ray`; it is not started before it is needed."""
    if given.engine == "local":
        return None
    from roc.scoring.cluster import Cluster

    return stack.enter_context(
        Cluster(
            given.ray_address,
            scorers=given.actors,
            readers=given.workers,
            device=given.device,
            compiled=given.compile,
        )
    )


def _run(given: argparse.Namespace, cluster: Cluster | None) -> int:
    listing = find_sources(
        given.paths,
        image_folder=given.image_folder,
        column=given.column,
        leave_out=[] if given.copy_to is None else [given.copy_to],
    )
    if listing.repeated:
        print(f"{listing.repeated} images were named more than once; each is scored once", file=sys.stderr)
    if given.out is None:
        return _print_scores(given, listing.sources)
    sources = _nameable(listing.sources, given.out)
    _check_out(given)
    scorer = _scorer(given, cluster)
    run = {**_about(given, scorer), "settings": _settings(given, scorer), **_names(sources)}
    run["outs"] = _outs(given.out, run)
    journal = _journal(given.out)
    finished = given.out.exists() and not journal.exists() and not given.overwrite
    if finished:
        _check_same(given, run)
        if not (given.retry_failed and _run_of(given.out)["failed"]):
            return _done_before(given, run, sources)
    _make_folders(given)
    with Journal(journal, run["settings"], _about(given, scorer), overwrite=given.overwrite) as journal:
        if finished:
            journal.write(_typed(row) for row in _rows_of(given.out))
        _check_images(given, journal, sources)
        done = set(journal.images)
        if given.retry_failed:
            done -= {row["image"] for row in journal.rows(list(done)) if "error" in row}
        todo = [source for source in sources if source.name not in done]
        if len(journal):
            print(f"going on: {len(sources) - len(todo)} of {len(sources)} images are done", file=sys.stderr)
        start = time.perf_counter()
        for row in _with_bar(_scored(given, scorer, todo, cluster), len(sources), len(sources) - len(todo)):
            journal.write([row])
        speed = f", {len(todo) / (time.perf_counter() - start):.1f} images/s" if todo else ""
        names = [source.name for source in sources]
        run["failed"] = _write_errors(given.out, journal.rows(names))
        write_rows(given.out, (row for row in journal.rows(names) if "error" not in row))
        chosen = _choose(given, run, sources, lambda: journal.rows(names))
        write_text(_beside(given.out, ".run.json"), json.dumps(run, indent=2) + "\n")
        journal.remove()
    return _summary(given, run, chosen, speed)


def _check_out(given: argparse.Namespace) -> None:
    """Nothing that is scored or written is written over; told before hours of work."""
    for name in ("out", "gallery"):
        path = getattr(given, name)
        if path is not None and os.path.isdir(path):
            raise ValueError(f"--{name} is {path}, which is a folder; name a file")
    written = [given.out, _journal(given.out), *(_beside(given.out, end) for end in (".run.json", ".errors.csv"))]
    if given.top is not None or given.at_least is not None:
        written.append(_selected(given.out))
    for path in written if given.gallery is not None else ():
        if _same(given.gallery, path):
            raise ValueError(f"--gallery is {given.gallery}, where {path} goes; name another")
    for path in given.paths:
        for file in written:
            if _same(file, path):
                raise ValueError(
                    f"--out {given.out} writes {file}, which is one of the files to be scored; name another"
                )
        if given.gallery is not None and _same(given.gallery, path):
            raise ValueError(f"--gallery is {given.gallery}, which is one of the files to be scored; name another")


def _make_folders(given: argparse.Namespace) -> None:
    """Those of everything that is to be written."""
    for folder in (given.out.parent, given.gallery and Path(given.gallery).parent, given.copy_to):
        if folder is not None:
            Path(folder).mkdir(parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK):
                raise ValueError(f"{folder} cannot be written to; name another folder")


def _same(one: str | os.PathLike[str], other: str | os.PathLike[str]) -> bool:
    """Whether two paths are one file, there or not."""
    if os.path.exists(one) and os.path.exists(other):
        return os.path.samefile(one, other)
    return os.path.realpath(one) == os.path.realpath(other)


def _outs(out: Path, run: dict[str, Any]) -> list[str]:
    """The files that share `scores.run.json` and `scores.errors.csv`: `scores.csv`, `scores.jsonl`, ... of one run."""
    before = _run_of(out)
    others = [name for name in before.get("outs", []) if name != out.name and out.with_name(name).exists()]
    if others and any(before.get(key) != run[key] for key in ("settings", "names")):
        raise ValueError(
            f"{_beside(out, '.run.json')} belongs to {others[0]}, of other images or settings; name another --out, "
            f"that is not called {out.stem} too"
        )
    return [*others, out.name]


def _run_of(out: Path) -> dict[str, Any]:
    """What stands in `scores.run.json`; nothing where it cannot be read."""
    try:
        run = json.loads(_beside(out, ".run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return run if isinstance(run, dict) else {}


def _check_same(given: argparse.Namespace, run: dict[str, Any]) -> None:
    """A finished file is only gone on with under the same settings and images."""
    before = _run_of(given.out)
    for what, key in (("settings", "settings"), ("images", "names")):
        if before.get(key) != run[key] or given.out.name not in before.get("outs", []):
            raise ValueError(
                f"{given.out} is there already, from a run with other {what} or from something else; "
                "name another --out, or replace it with --overwrite"
            )


def _done_before(given: argparse.Namespace, run: dict[str, Any], sources: Sequence[Source]) -> int:
    """A finished run: only what is made from its scores is made anew."""
    run["failed"] = _run_of(given.out)["failed"]
    chosen = _choose(given, run, sources, lambda: map(_typed, _rows_of(given.out)))
    return _summary(given, run, chosen, ", all of it before")


def _rows_of(out: Path) -> Iterator[dict[str, Any]]:
    """Rows of a finished file, as the file holds them."""
    faults = Faults(out)
    for _, row in read_rows(out, faults):
        yield row
    if faults:
        raise DataError(faults.texts())


def _typed(row: dict[str, Any]) -> dict[str, Any]:
    """A row of a table of words as it was before it was written."""
    typed = {name: value if value is None or name in ("image", "text") else float(value) for name, value in row.items()
             if name != "calibrated"}  # fmt: skip
    return typed | {"calibrated": str(row["calibrated"]) == "True"}


def _check_images(given: argparse.Namespace, journal: Journal, sources: Sequence[Source]) -> None:
    """A journal may know fewer images than there are, but others only where they have been taken away since."""
    if journal.lost:
        print(f"{journal.path}: its torn end ({journal.lost} bytes) is done again", file=sys.stderr)
    names = {source.name for source in sources}
    gone = [image for image in journal.images if image not in names]
    if not gone:
        return
    if journal.about["asked"] != _asked(given):
        raise ValueError(
            f"{journal.path} holds scores of {len(gone)} images that are not among those given now ({gone[0]}, ...); "
            f"it was begun with {journal.about['asked']}. Give the same, name another --out, or start anew with "
            "--overwrite."
        )
    print(f"{len(gone)} images are done, but no longer there; they are left out ({gone[0]}, ...)", file=sys.stderr)


def _scorer(given: argparse.Namespace, cluster: Cluster | None = None) -> Scorer:
    # Workers are forked; a tokenizer that has used its threads before that warns in each of them.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from roc.scoring.assessment import Assessment
    from roc.scoring.batches import Scorer, Wanted

    device, dtype = given.device, given.dtype
    if cluster is not None:
        cluster.start()
        # What is loaded here says what the weights are; the actors load them again.
        device, dtype = "cpu", dtype or cluster.dtype
    assessment = Assessment(given.checkpoint, device=device, dtype=dtype, compile=given.compile and cluster is None)
    asked = None if given.attributes is None else [name for word in given.attributes for name in word.split(",")]
    names = assessment.wanted(asked)
    names = tuple(name for name in assessment.attributes if name in names)
    if given.distribution and assessment.attributes[0] not in names:
        raise ValueError(
            f"--distribution gives the levels of {assessment.attributes[0]}; name it among --attributes as well"
        )
    wanted = Wanted(names, given.distribution, given.describe, given.max_new_tokens)
    return Scorer(assessment, wanted, given.batch_size)


def _scored(
    given: argparse.Namespace, scorer: Scorer, sources: Sequence[Source], cluster: Cluster | None = None
) -> Iterator[dict[str, Any]]:
    """Rows as they are done; in the order of the sources if this machine does it alone."""
    from roc.scoring.batches import OutOfMemory
    from roc.scoring.local import score_images

    try:
        if cluster is not None:
            yield from cluster.score_images(scorer, sources, given.checkpoint, batch_size=given.batch_size)
        else:
            yield from score_images(scorer, sources, given.checkpoint, workers=given.workers)
    except OutOfMemory as error:
        raise ValueError(f"{error}; free some, and the same command goes on from here") from error


def _with_bar(rows: Iterable[dict[str, Any]], total: int, done: int) -> Iterator[dict[str, Any]]:
    """The rows, with a bar on stderr where that is a terminal: images/s and the time left."""
    from tqdm import tqdm

    return iter(tqdm(rows, total=total, initial=done, unit="img", disable=None, smoothing=0.05))


def _print_scores(given: argparse.Namespace, sources: Sequence[Source]) -> int:
    scorer = _scorer(given)
    failed = 0
    for row in _scored(given, scorer, sources):
        if "error" in row:
            failed += 1
            print(f"{row['image']}: {row['error']}", file=sys.stderr)
            continue
        scores = {name: value for name, value in row.items() if name.startswith("prediction")}
        told = " ".join(
            "-" if value is None else f"{value:.4f}" if len(scores) == 1 else f"{_attribute(name, scorer)} {value:.4f}"
            for name, value in scores.items()
        )
        print("\t".join([row["image"], told, *([row["text"]] if "text" in row else [])]), flush=True)
    return 1 if failed else 0


def _attribute(column: str, scorer: Scorer) -> str:
    return column.removeprefix("prediction.") if "." in column else scorer.assessment.attributes[0]


def _settings(given: argparse.Namespace, scorer: Scorer) -> dict[str, Any]:
    """What decides the numbers; a run goes on only under the same."""
    from roc.checkpoint.fingerprint import weights_fingerprint

    model, wanted = scorer.assessment.model, scorer.wanted
    return {
        "weights": weights_fingerprint(model),
        "dtype": scorer.assessment.dtype,
        "attributes": list(wanted.attributes),
        "distribution": wanted.distribution,
        "describe": wanted.describe,
        **({"max_new_tokens": wanted.max_new_tokens} if wanted.describe else {}),
        **({"compile": True} if given.compile else {}),
    }


def _about(given: argparse.Namespace, scorer: Scorer) -> dict[str, Any]:
    found = scorer.assessment.model.config.roc
    return {
        "roc": roc.__version__,
        "checkpoint": os.path.abspath(given.checkpoint) if os.path.isdir(given.checkpoint) else given.checkpoint,
        "asked": _asked(given),
        "min_score": found["min_score"],
        "max_score": found["max_score"],
        "calibrated": found["distribution_supervised"],
    }


def _asked(given: argparse.Namespace) -> str:
    """The words that name the images: as they are, or of many the first and a hash over all."""
    words = [*given.paths, *(["--column", given.column] if given.column != "image" else [])]
    words += ["--image_folder", given.image_folder] if given.image_folder is not None else []
    if len(words) > 8:
        digest = hashlib.sha256("\n".join(words).encode(errors="surrogateescape")).hexdigest()[:16]
        words = [*words[:3], f"... ({len(words)} words, {digest})"]
    return " ".join(words).encode(errors="backslashreplace").decode()


def _names(sources: Sequence[Source]) -> dict[str, Any]:
    """How many images, and a hash over their names in order."""
    digest = hashlib.sha256()
    for source in sources:
        digest.update(source.name.encode() + b"\n")
    return {"images": len(sources), "names": digest.hexdigest()[:16]}


def _nameable(sources: Sequence[Source], out: Path) -> list[Source]:
    """Those whose name the output could not give back get a fault."""
    if out.suffix.lower() not in (".csv", ".tsv"):
        return list(sources)
    fault = f"its name begins or ends with a blank, which {out.suffix} cannot give back; rename it, or write .jsonl"
    return [source if source.name == source.name.strip() else source._replace(fault=fault) for source in sources]


def _beside(out: Path, ending: str) -> Path:
    return out.with_name(out.stem + ending)


def _journal(out: Path) -> Path:
    return out.with_name(f"{out.name}.part.jsonl")


def _selected(out: Path) -> Path:
    return _beside(out, f".selected{out.suffix}")


def _write_errors(out: Path, rows: Iterable[dict[str, Any]]) -> int:
    """`scores.errors.csv`, or none where nothing failed; how many did."""
    path = _beside(out, ".errors.csv")
    # Rows of a table are lines for many a reader.
    failed = [
        {"image": row["image"].strip(), "reason": " ".join(row["error"].split())} for row in rows if "error" in row
    ]
    if failed:
        write_rows(path, failed)
    else:
        path.unlink(missing_ok=True)
    return len(failed)


def _choose(
    given: argparse.Namespace,
    run: dict[str, Any],
    sources: Sequence[Source],
    rows: Callable[[], Iterator[dict[str, Any]]],
) -> int | None:
    """Writes the chosen rows, copies their images, draws the gallery, as asked; how many were chosen."""
    choosing = given.top is not None or given.at_least is not None
    if not choosing and given.gallery is None:
        return None
    scores = {}
    for row in rows():
        column = next((name for name in row if name.startswith("prediction")), None)
        if column is not None and row[column] is not None:
            scores[row["image"]] = row[column]
    if given.at_least is not None:
        scores = {image: score for image, score in scores.items() if score >= given.at_least}
    # Of equal scores, those that came first; nlargest is as stable as sorted.
    best = heapq.nlargest(len(scores) if given.top is None else given.top, scores, key=scores.__getitem__)
    place = {image: i for i, image in enumerate(best)}
    chosen: list[dict[str, Any]] = [{}] * len(best)
    for row in rows():
        if row["image"] in place:
            chosen[place[row["image"]]] = row
    by_name = {source.name: source for source in sources if source.name in place}
    if choosing:
        write_rows(_selected(given.out), chosen)
    if given.copy_to is not None:
        _copy([by_name[image] for image in best], Path(given.copy_to))
    if given.gallery is not None:
        from roc.scoring.gallery import Shown, write_gallery

        shown = [Shown(by_name[row["image"]], scores[row["image"]], row.get("text")) for row in chosen]
        write_gallery(
            given.gallery,
            shown,
            scale=(run["min_score"], run["max_score"]),
            attribute=run["settings"]["attributes"][0],
            caption=f"scored by {Path(run['checkpoint']).name}",
        )
    return len(best) if choosing else None


def _copy(sources: Sequence[Source], folder: Path) -> None:
    """Copies images as 01_name.jpg, ...; one that is there already stays.

    Raises:
        ValueError: another file is there under that name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for i, source in enumerate(sources, start=1):
        name = source.name.replace("\\", "/").rpartition("/")[2]
        target = folder / f"{i:0{len(str(len(sources)))}d}_{name}"
        if target.exists():
            if target.read_bytes() != source.read():
                raise ValueError(f"{target} is there already and is another picture; give --copy_to a new folder")
        elif source.offset is None and not is_url(source.path):
            write_whole(target, lambda path, source=source: shutil.copy2(source.path, path))
        else:
            write_whole(target, lambda path, source=source: path.write_bytes(source.read()))


def _summary(given: argparse.Namespace, run: dict[str, Any], chosen: int | None, speed: str) -> int:
    """Says what was done; the exit status."""
    scored = run["images"] - run["failed"]
    print(
        f"{given.out}: {scored} images, {', '.join(run['settings']['attributes'])} on "
        f"{run['min_score']:g}..{run['max_score']:g}{speed}"
    )
    if not run["calibrated"]:
        print("std and distributions are uncalibrated: the model was trained on mean scores alone")
    if chosen is not None:
        copied = "" if given.copy_to is None else f", copied to {given.copy_to}"
        print(f"{_selected(given.out)}: the {chosen} chosen, best first{copied}")
    if given.gallery is not None:
        print(f"{given.gallery}: the gallery")
    if run["failed"]:
        errors = _beside(given.out, ".errors.csv")
        print(f"{errors}: {run['failed']} images could not be scored", file=sys.stderr)
    return 1 if run["failed"] else 0
