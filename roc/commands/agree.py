"""`roc agree`: the photometric attributes that AGREE looks at, how much a score depends on each, and their conflicts.

It imports its room when it runs: the room may be deleted, and `roc` then lists no such command.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from roc.commands.finetune import run_training
from roc.commands.line import DONE, FAILED, Subcommand, run_subcommand

if TYPE_CHECKING:
    from roc.agree.analysis_options import AnalysisOptions
    from roc.agree.anchor_options import AnchorOptions
    from roc.agree.config import FoldsOptions, MapsOptions, SensitivityOptions, WeightsOptions
    from roc.agree.train_config import AgreeConfig

_TRAIN = """usage: roc agree train [CONFIG.yaml ...] [--name value ...]

Trains a scorer with the module of AGREE: a branch for each of five attributes, joined with text anchors, weighed by the
sensitivity of each photo. The head stands on a vision encoder, or with --host multimodal on a multimodal LLM. Each part
is a switch; error-aware weights are --error_aware.

example: roc agree train --model_name_or_path MODEL --data_path ratings.csv --image_folder photos \\
             --routing true --sensitivity sens.parquet --output_dir checkpoints/agree

Of several files a later one wins, and flags win over all. The checkpoint scores like any other.
The same command again resumes an unfinished run. Exit status: 0 done, 2 bad input.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `roc agree`.

    Args:
        argv: Words after `roc agree`; None takes those of the process.

    Returns:
        Exit status: 0 done, 1 some photos could not be scored (a file names them), 2 bad input (the reason is on
        stderr), 130 stopped by Ctrl-C.
    """
    from roc.agree.analysis_options import AnalysisOptions
    from roc.agree.anchor_options import AnchorOptions
    from roc.agree.config import FoldsOptions, MapsOptions, SensitivityOptions, WeightsOptions
    from roc.agree.train_config import NOT_HERE, AgreeConfig

    subcommands = {
        "maps": Subcommand(
            "draw the attribute maps and the perturbations of a photo",
            """Draws what AGREE sees of a photo: for brightness, contrast, saturation, hue and blur the photo, its
map, and the photo with more and with less of the attribute.""",
            "roc agree maps photo.jpg --out sheet.png",
            MapsOptions,
            _maps,
        ),
        "folds": Subcommand(
            "write a training file for each fold, so that no photo is scored by a model that saw it",
            """Divides the photos of a data file into folds and writes train_1, train_2, ... in its format: the k-th
holds the training and validation rows of all folds but the k-th. Edits of a photo and groups stay together. It prints
the commands that train a model on each and then measure sensitivities by them.""",
            "roc agree folds --data_path ratings.csv --image_folder photos --folds 2 --out folds",
            FoldsOptions,
            _folds,
        ),
        "sensitivity": Subcommand(
            "measure how much a score depends on each attribute, by ten passes a photo",
            """Scores each photo with a little more and a little less of brightness, contrast, saturation, hue and
blur, and writes one row a photo:

  id, fold, sens_brightness, sens_contrast, sens_saturation, sens_hue, sens_blur, f, digest

A sensitivity is the difference of both scores, on 0..1, over twice --delta. f is the fingerprint of the model, digest
that of the file; the table also holds the settings, versions and counts.

With --folds 2, the first checkpoint scores the photos of fold 1 and was trained on train_1 of `roc agree folds`, which
lacks them, and so on. A checkpoint of `roc finetune` is asked which photos it was trained on; those are refused.

Killed at any moment, the same command goes on where it stopped. Photos that were replaced since are scored again; those
that cannot be scored are in sens.errors.csv.""",
            "roc agree sensitivity --checkpoint fold_1 fold_2 --folds 2 --data_path ratings.csv --out sens.parquet",
            SensitivityOptions,
            _sensitivity,
            lambda options: "the same command goes on from here",
        ),
        "anchors": Subcommand(
            "extract what a frozen multimodal LLM says of each attribute, as text features",
            """Shows a frozen model each photo and its five attribute maps, asks for one sentence about each, and keeps
the mean of the hidden states behind its words: six features a photo (overall and the five attributes), each of length
1, in one safetensors file with an index by id. --fixed needs no photo: one sentence for each attribute stands for all.

Killed at any moment, the same command goes on where it stopped, and adds photos that came into the data file. Those
that cannot be read are in anchors.errors.csv; what is missing in the file is an error when it is looked up.""",
            "roc agree anchors --model MODEL --data_path ratings.csv --image_folder photos --out anchors.safetensors",
            AnchorOptions,
            _anchors,
            lambda options: "the same command goes on from here",
        ),
        "analyse": Subcommand(
            "see where photos of different attributes pull against each other, and what AGREE changes",
            """Reads runs that were evaluated on the same photos and writes a folder: analysis.json with every number
and its 95% interval, photos.csv with one row a photo, plots, and report.html, one page with all of it.

  common errors    photos among the largest errors of every run; errors on them, and correlations within bands
  marginalisation  whether photos that lean on a rare attribute are the hard ones (with --table)
  conflicts        cosines between the gradients of photos that lean on different attributes, at the end and in the
                   saved states of each run (with --table and checkpoints)
  changes          baseline against --improved, paired

A table for conflicts holds the training photos, one for marginalisation the tested ones; one table may hold both.""",
            "roc agree analyse runs/1 runs/2 --hard_from runs/3 runs/4 --table sens.parquet --out analysis",
            AnalysisOptions,
            _analyse,
        ),
    }
    subcommands["weights"] = Subcommand(
        "put what is known of photos into a checkpoint, which then scores these by it",
        """A checkpoint of `roc agree train --routing true` gives every photo the weights of a small predictor. With the
ten passes of `roc agree sensitivity` over the photos to be scored, it takes the weights of that table instead. One that
was trained with anchors of single photos puts their mean in place of a new photo's anchors; --anchors gives it those of
the photos to be scored. Both become files in its folder, and `roc score`, `roc evaluate` and `roc serve` find each
photo by the content of its file.""",
        "roc agree weights checkpoints/agree --table new.parquet",
        WeightsOptions,
        _weights,
    )
    subcommands["train"] = Subcommand(
        "train a scorer with a branch for each attribute",
        _TRAIN,
        "roc agree train --model_name_or_path MODEL --data_path ratings.csv --output_dir checkpoints/agree",
        AgreeConfig,
        _train,
    )
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["train"]:  # with YAML files, as `roc finetune`
        return run_training("roc agree train", _TRAIN, AgreeConfig, _train, words[1:], without=NOT_HERE)
    return run_subcommand(
        "roc agree", "Guides the score by five photometric attributes.", subcommands, words, first="maps"
    )


def _train(config: AgreeConfig) -> str | None:
    from roc.agree.train import train

    return train(config)


def _maps(options: MapsOptions) -> None:
    from roc.agree.sheet import write_sheet

    width, height = write_sheet(options)
    print(f"{options.out}: five attributes of {options.photo} at {width} x {height} pixels")


def _folds(options: FoldsOptions) -> None:
    from roc.agree.folds import write_folds

    folds = write_folds(options)
    for number, (file, photos, rows) in enumerate(zip(folds.files, folds.photos, folds.trained, strict=True), start=1):
        print(f"{file}: {rows} rows to train on, none of the {photos} of fold {number}")
    print("\n".join(["then:", *folds.commands(options.data_path, options.seed)]))


def _sensitivity(options: SensitivityOptions) -> int:
    from roc.agree.sensitivity import measure
    from roc.commands.progress import with_progress

    done = measure(options, with_progress)
    speed = f", {done.scored / done.seconds:.1f} photos/s" if done.scored else ", all of it before"
    print(f"{options.out}: {done.photos - done.failed} of {done.photos} photos{speed}")
    print("median sensitivity: " + ", ".join(f"{name} {value:.4f}" for name, value in done.medians.items()))
    if done.flat:
        print(f"{done.flat} photos do not change with any attribute; they will weigh all alike")
    if done.seen:
        print(f"{done.seen} photos were scored by a model that was trained on them")
    if done.failed:
        print(f"{done.errors}: {done.failed} photos could not be scored", file=sys.stderr)
    return FAILED if done.failed else DONE


def _weights(options: WeightsOptions) -> None:
    from roc.agree import known, weights
    from roc.data.counts import counted

    if options.remove:
        known.forget(options.checkpoint)
        print(f"{options.checkpoint} knows no single photo; {known.note(options.checkpoint) or 'all are scored alike'}")
        return
    done = []
    if options.anchors is not None:  # refused before anything is written
        known.fitting_anchors(options.checkpoint, options.anchors)
    if options.table is not None:
        done.append((weights.FILE, "routing weights", "predictor's weights", weights.write_weights(options)))
    if options.anchors is not None:
        written = known.write_anchors(options.checkpoint, options.anchors)
        done.append((known.FILE, "anchors", "mean anchors", written))
    for file, what, others, (count, without) in done:
        print(f"{options.checkpoint}: {file} holds the {what} of {counted(count, 'photo')}")
        if without:
            photos = counted(without, "photo has", "photos have")
            print(f"{photos} no digest of a file, so the {others} stand in", file=sys.stderr)


def _anchors(options: AnchorOptions) -> int:
    from roc.agree.anchors import extract
    from roc.commands.progress import with_progress

    done = extract(options, with_progress)
    if options.fixed:
        print(f"{options.out}: six fixed sentences, {done.width} numbers each")
        return DONE
    speed = f", {done.seconds / done.described:.1f} s each" if done.described else ", all of it before"
    print(f"{options.out}: {done.photos - done.failed} of {done.photos} photos, six times {done.width} numbers{speed}")
    if done.failed:
        print(f"{done.errors}: {done.failed} photos could not be described", file=sys.stderr)
    return FAILED if done.failed else DONE


def _analyse(options: AnalysisOptions) -> None:
    from roc.agree.analysis import analyse
    from roc.agree.analysis_page import REPORT_FILE, check_folder, summary, write_analysis
    from roc.commands.progress import with_progress
    from roc.evaluation.theme import check_matplotlib

    check_matplotlib()
    check_folder(options.out)
    found = analyse(options, with_progress)
    written = write_analysis(options.out, found)
    print("\n".join([*summary(found.facts), f"{options.out}: {len(written)} files, see {REPORT_FILE}"]))
