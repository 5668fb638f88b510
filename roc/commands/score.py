"""`roc score PATH ...`: photos in, a file of scores out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from roc.commands.line import DONE, FAILED, Parser, run
from roc.data.counts import counted
from roc.scoring.options import ScoreOptions

if TYPE_CHECKING:
    from roc.scoring.stars import Starring

DESCRIPTION = """Scores images in one forward pass each, and writes one row per image in the order of the input:

  image, prediction, std, prediction.<attribute>, min_score, max_score, calibrated, scorer

All scores are on the native scale of the checkpoint, min_score to max_score. prediction and std are of the first
attribute; where calibrated is False, the head was not fitted to distributions of ratings and std means nothing.
scorer is the name and version of what scored. A checkpoint with a calibration or a reference adds low, high, coverage,
percentile and reward (docs/calibration.md). With --scale NAME, scores and their spread are on the scale of one of
the data sets that the checkpoint was trained on together (docs/mixing.md), which a column scale names; there are no
intervals then.

PATH is an image, a folder (searched with its subfolders), a pattern in quotation marks, a .txt list, a table with a
column of paths, a .tar file (of a WebDataset), or a URL that fsspec knows (s3://BUCKET/photos).
Without --out the scores are only printed.

With --reason, a model that was taught to reason writes a critique before its score (docs/reasoning.md); there are three
more columns: text, its answer, answers, how many of them could be read, by kind, and retried, what was wrong with those
that were written anew. With --samples K, std_within and std_between are the two parts of std, and samples holds all K
texts as JSON. An answer that cannot be read is written anew once; if that fails too, prediction is empty.

Beside scores.csv lie scores.run.json (what was run), scores.errors.csv (images that could not be scored, and why),
scores.selected.csv (with --top or --at_least) and the journal, scores.csv.part.jsonl until the run is finished and
scores.csv.journal.jsonl then. Killed at any moment, the same command goes on where it stopped; pictures that were
replaced since are scored again, and a finished file that was cut or changed is written again from the journal. It goes
on only with the same model: weights, config, declaration, processor.

With --xmp stars, every scored photo gets 1 to 5 stars in a sidecar, a.jpg.xmp beside a.jpg, or in the one it has, where
all else stays as it is. Photos that were rated before, in a sidecar or inside, are left alone without --xmp_overwrite.

A picture that ends the process reading it, or takes it longer than --image_seconds, is one line of the errors. With
--workers 0 there is no process to end: the limit then takes effect between two steps of the decoder."""

_SHOWN = 50
"""Photos without stars that are printed."""

EXAMPLE = "roc score photos --checkpoint checkpoints/mine --out scores.csv --top 20 --copy_to best"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `roc score`.

    Args:
        argv: Words after `roc score`; None takes those of the process.

    Returns:
        Exit status: 0 done, 1 some images could not be scored (they are named), 2 bad input (the reason is on stderr),
        130 stopped by Ctrl-C.
    """
    return run(Parser("roc score", DESCRIPTION, EXAMPLE), ScoreOptions, argv, _score, stopped=_stopped)


def _score(options: ScoreOptions) -> int:
    return _print_scores(options) if options.out is None else _write_scores(options)


def _stopped(options: ScoreOptions) -> str:
    return "" if options.out is None else "the same command goes on from here"


def _print_scores(options: ScoreOptions) -> int:
    from roc.scoring.run import score_paths

    overall, rows = score_paths(options)
    failed = 0
    for row in rows:
        if "error" in row:
            failed += 1
            print(f"{row['image']}: {row['error']}", file=sys.stderr)
            continue
        scores = {name: value for name, value in row.items() if name.startswith("prediction")}
        numbers = {name: _shown(row, name) for name in scores}
        if len(scores) > 1:
            names = {name: name.partition(".")[2] or overall for name in scores}
            numbers = {name: f"{names[name]} {number}" for name, number in numbers.items()}
        print(
            "\t".join([row["image"], " ".join(numbers.values()), *([row["text"]] if "text" in row else [])]), flush=True
        )
    return FAILED if failed else DONE


def _shown(row: dict[str, Any], name: str) -> str:
    """Shows a score, with its interval where the row has one."""
    if row[name] is None:
        return "-"
    ending = name.removeprefix("prediction")
    low, high = (row.get(f"{end}{ending}") for end in ("low", "high"))
    return f"{row[name]:.4f}" + ("" if low is None else f" [{low:.4f}, {high:.4f}]")


def _write_scores(options: ScoreOptions) -> int:
    from roc.commands.progress import with_progress
    from roc.score_space import ranges_text
    from roc.scoring.outputs import Outputs
    from roc.scoring.run import score_to_file

    outcome = score_to_file(options, with_progress)
    facts, files = outcome.facts, Outputs(options.out)
    speed = ", all of it before"
    if outcome.scored is not None:
        speed = f", {outcome.scored / outcome.seconds:.1f} images/s" if outcome.scored else ""
    scales = ranges_text(facts, facts["settings"]["attributes"])
    print(f"{options.out}: {counted(facts['images'] - facts['failed'], 'image')}, {scales}{speed}")
    if "answers" in facts:
        from roc.model.reasoned import told_kinds

        print(told_kinds(facts["answers"], facts.get("retried", {})))
    if not facts["calibrated"]:
        print("std and distributions are uncalibrated: the head was not fitted to distributions of ratings")
    if outcome.chosen is not None:
        copied = "" if options.copy_to is None else f", copied to {options.copy_to}"
        copied = copied if options.move_to is None else f", moved to {options.move_to}"
        print(f"{files.selected}: the {outcome.chosen} chosen, best first{copied}")
    if options.gallery is not None:
        print(f"{options.gallery}: the gallery")
    starring = outcome.starring
    if starring is not None:
        _print_stars(starring)
    if facts["failed"]:
        print(f"{files.errors}: {counted(facts['failed'], 'image')} could not be scored", file=sys.stderr)
    if outcome.uncopied:
        done = "copied" if options.move_to is None else "moved"
        print(f"{files.errors}: {outcome.uncopied} of the chosen could not be {done}", file=sys.stderr)
    return FAILED if facts["failed"] or outcome.uncopied or (starring is not None and starring.faults) else DONE


def _print_stars(starring: Starring) -> None:
    counts = ", ".join(f"{starring.stars[stars]} with {stars}" for stars in range(1, 6))
    print(f"stars: {counts}; {counted(starring.written, 'sidecar')} written")
    if starring.kept:
        what = counted(starring.kept, "photo was", "photos were")
        print(f"{what} rated before and left alone; --xmp_overwrite rates anew")
    if starring.faults:
        print(f"{counted(len(starring.faults), 'photo')} could not be given stars:", file=sys.stderr)
        for fault in starring.faults[:_SHOWN]:
            print(f"{fault['image']}: {fault['error']}", file=sys.stderr)
        if len(starring.faults) > _SHOWN:
            print(f"... and {len(starring.faults) - _SHOWN} more", file=sys.stderr)
