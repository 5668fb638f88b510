"""From predictions to numbers, a table and a report: what `roc evaluate` prints and writes.

    roc evaluate --checkpoint checkpoints/mine --data_path ratings.csv --image_folder photos --out evaluation
    roc evaluate --predictions predictions.csv --min_score 1 --max_score 10 --out evaluation

`evaluate_predictions` turns rows of human and predicted scores (roc/evaluation/predictions.py) into one flat dict of
metrics, `format_table` prints it, `write_evaluation` keeps it. What is in the folder then:

    metrics.json       every metric with its 95% interval, the score range, and the reason for every 0 or null
    predictions.csv    one line per row; `score`, `h_n`, `score.<attribute>` are human, `prediction`, `std`, `p_n`,
                       `prediction.<attribute>` are the model's
    plots/             the pictures (roc/evaluation/plots.py)
    report.html        all of it on one page, with the worst rows and the published numbers of the test set

Training ends with the same evaluation (roc/training/job.py). Files appear under their final name only when complete.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from roc.data.reading import read_records
from roc.data.records import SPLITS, Record
from roc.data.rows import Faults, iter_rows
from roc.evaluation.benchmarks import TEST_SETS
from roc.evaluation.metrics import (
    METRICS,
    interval_text,
    summarize,
    summarize_coverage,
    summarize_distributions,
    value_text,
)
from roc.evaluation.plots import check_matplotlib
from roc.evaluation.predictions import (
    EvaluatedRow,
    Predictions,
    distributions,
    is_number,
    read_predictions,
    scored_rows,
    write_predictions,
)
from roc.evaluation.report import REPORT_FILE, write_report
from roc.files import write_text
from roc.score_space import ScoreSpace
from roc.scoring.results import Assessed

METRICS_FILE = "metrics.json"
PREDICTIONS_FILE = "predictions.csv"

_ASSUMED = "assumes a normal distribution, and votes spread evenly over their bins"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `roc evaluate`.

    Args:
        argv: words after `roc evaluate`; None takes those of the process.

    Returns:
        Exit status: 0 done, 2 bad input (the reason is on stderr).
    """
    words = list(sys.argv[1:] if argv is None else argv)
    given = _parser().parse_args([_with_underscores(word) for word in words])
    try:
        _check_words(given)
        if given.report:
            _check_report()
        rows, metrics = _from_checkpoint(given) if given.checkpoint else _from_predictions(given)
        metrics["command"] = shlex.join(["roc", "evaluate", *words])
        write_evaluation(given.out, rows, metrics)
        if not given.report and (Path(given.out) / REPORT_FILE).exists():
            _note(f"{Path(given.out) / REPORT_FILE} is of an earlier evaluation; delete it, or leave --no_report out")
        print(format_table(metrics))
        if given.report:
            write_report(given.out, rows, metrics)
    except (ValueError, OSError, ImportError) as error:
        print(f"roc evaluate: {error}", file=sys.stderr)
        return 2
    print(f"\n{Path(given.out) / (REPORT_FILE if given.report else METRICS_FILE)}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="roc evaluate",
        description="Tells how well predicted scores agree with human ones: of a checkpoint on a data file, or of a\n"
        "file of predictions. Prints a table; writes metrics.json, predictions.csv, plots and report.html into OUT.",
        epilog="example: roc evaluate --predictions predictions.csv --min_score 1 --max_score 10 --out evaluation\n"
        "example: roc evaluate --checkpoint checkpoints/demo --data_path checkpoints/demo/scenes/data.json "
        "--out evaluation",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "--predictions",
        metavar="FILE",
        help="rows with the columns score and prediction; also read: id, subset, image, "
        "std, h_1 .. h_N, p_1 .. p_N, score.<attribute>, prediction.<attribute>",
    )
    add("--checkpoint", help="folder or hub id of a checkpoint to score the rows of --data_path with")
    add("--data_path", metavar="FILE", help="rated images: image, score and whatever `roc finetune` takes")
    add(
        "--image_folder",
        metavar="DIR",
        help="where the paths of images start from; with --predictions, for the pictures of the worst rows",
    )
    add("--split", choices=[*SPLITS, "all"], help="rows of --data_path [test, where the file marks any; otherwise all]")
    add("--out", required=True, metavar="DIR", help="folder for the results")
    add("--min_score", type=float, help="lowest score of the scale of --predictions")
    add("--max_score", type=float, help="highest score of it")
    add("--threshold", type=float, help="border between bad and good, for the accuracy")
    add(
        "--test_set",
        metavar="NAME",
        choices=sorted(TEST_SETS),
        help="the public test set these rows are, for the "
        f"published numbers and, without --min_score, the scale: {', '.join(sorted(TEST_SETS))}",
    )
    add("--n_resamples", type=int, default=1000, help="of the bootstrap; 0 for no intervals [1000]")
    add("--seed", type=int, default=0, help="of the bootstrap [0]")
    add("--no_report", dest="report", action="store_false", help="numbers alone, which needs no matplotlib")
    add("--device", help="of the model: cuda, mps, cpu [the first of these that is there]")
    add("--batch_size", type=int, help="images per forward pass")
    return parser


def _with_underscores(word: str) -> str:
    """`--data-path` and `--data_path` are one flag."""
    name, equals, value = word.partition("=")
    return f"--{name[2:].replace('-', '_')}{equals}{value}" if name.startswith("--") else word


def _check_words(given: argparse.Namespace) -> None:
    """Whether the flags go together.

    Raises:
        ValueError: where they do not.
    """
    if (given.checkpoint is None) == (given.predictions is None):
        raise ValueError("give either --predictions FILE, or --checkpoint CHECKPOINT and --data_path FILE; see --help")
    if (given.checkpoint is None) != (given.data_path is None):
        raise ValueError("--checkpoint and --data_path go together; a file of predictions alone is --predictions")
    if (given.min_score is None) != (given.max_score is None):
        raise ValueError("--min_score and --max_score go together; give both ends of the scale")
    foreign = ["split", "device", "batch_size"] if given.predictions else ["min_score", "max_score"]
    wrong = [name for name in foreign if getattr(given, name) is not None]
    if wrong and given.predictions:
        raise ValueError(f"--{wrong[0]} says nothing about a file of predictions")
    if wrong:
        raise ValueError(f"--{wrong[0]} is the checkpoint's own; leave it out")
    if given.n_resamples < 0:
        raise ValueError(f"--n_resamples is {given.n_resamples}; expected 0 or more")
    if given.seed < 0:
        raise ValueError(f"--seed is {given.seed}; expected 0 or more")
    if given.threshold is not None and not math.isfinite(given.threshold):
        raise ValueError(f"--threshold is {given.threshold}; expected a finite number")
    held = [name for name in ("config.json", "adapter_config.json") if (Path(given.out) / name).exists()]
    if held:
        raise ValueError(
            f"--out {given.out} is the folder of a model ({held[0]}), with an evaluation of its own; name another"
        )


def _check_report() -> None:
    try:
        check_matplotlib()
    except ImportError as error:
        raise ImportError(f"{error}, or give --no_report for the numbers alone") from error


def _from_predictions(given: argparse.Namespace) -> tuple[list[EvaluatedRow], dict[str, Any]]:
    test_set = TEST_SETS.get(given.test_set)
    scale = (given.min_score, given.max_score)
    if given.min_score is None:
        scale = (test_set.min_score, test_set.max_score) if test_set else None
    space = ScoreSpace(*scale) if scale else None
    found: Predictions = read_predictions(given.predictions, scale=scale, image_folder=given.image_folder)
    for note in found.notes:
        _note(note)
    if space is None:
        _note("without --min_score and --max_score there are no errors on the unit scale and no Wasserstein distance")
    rows = found.rows
    outside = (
        []
        if scale is None
        else [row for row in scored_rows(rows, "overall") if not scale[0] <= row.predictions["overall"] <= scale[1]]
    )
    metrics = evaluate_predictions(
        rows,
        space=space,
        attributes=found.attributes,
        threshold=given.threshold,
        n_resamples=given.n_resamples,
        seed=given.seed,
        calibrated=found.calibrated,
    )
    if outside:
        many = "prediction lies" if len(outside) == 1 else "predictions lie"
        metrics["notes"]["prediction"] = f"{len(outside)} {many} outside {scale[0]:g}..{scale[1]:g}"
    return rows, metrics | ({"test_set": given.test_set} if test_set else {})


def _from_checkpoint(given: argparse.Namespace) -> tuple[list[EvaluatedRow], dict[str, Any]]:
    split = given.split or ("test" if _marks_test_rows(Path(given.data_path)) else "all")

    import transformers

    from roc.scoring.assessment import Assessment

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    assessment = Assessment(given.checkpoint, device=given.device, batch_size=given.batch_size)
    space = assessment.model.score_space
    records = read_records(
        given.data_path,
        given.image_folder,
        space=space,
        attributes=assessment.attributes,
        split=None if split == "all" else split,
    )
    chosen = evaluable(records)
    if len(chosen) < len(records):
        _note(f"{len(records) - len(chosen)} rows without a score or with several pictures are not evaluated")
    if not chosen:
        raise ValueError(f"{given.data_path} has no row with one picture and a score to evaluate")
    rows = score_records(assessment, chosen)
    lost = sum("overall" in record.histograms for record in chosen) - sum(row.h_n is not None for row in rows)
    if lost:
        _note(
            f"{lost} histograms have another number of levels than the checkpoint, {space.num_levels}, and are not used"
        )
    metrics = evaluate_predictions(
        rows,
        space=space,
        attributes=assessment.attributes,
        threshold=given.threshold,
        n_resamples=given.n_resamples,
        seed=given.seed,
        calibrated=assessment.model.config.roc["distribution_supervised"],
    )
    metrics["split"] = split
    return rows, metrics | ({"test_set": given.test_set} if given.test_set else {})


def _marks_test_rows(path: Path) -> bool:
    """Whether any row of a data file says that it is a test row; what is wrong with the file is found later."""
    rows = iter_rows(path, Faults(path))
    return any(
        str(value).strip().lower() == "test"
        for _, row in rows
        for name, value in row.items()
        if name.lower() == "split"
    )


def _note(text: str) -> None:
    print(f"note: {text}.", file=sys.stderr)


def evaluable(records: Sequence[Record]) -> list[Record]:
    """The records that one picture and at least one human score make rows of an evaluation."""
    return [record for record in records if len(record.images) == 1 and record.scores]


def score_records(assessment: Any, records: Sequence[Record]) -> list[EvaluatedRow]:
    """Scores records with a checkpoint, one forward pass per batch.

    Args:
        assessment: an `Assessment`.
        records: with one picture each.

    Returns:
        One row each, in order.
    """
    from tqdm import tqdm

    assessed: list[Assessed] = []
    step = 8 * assessment.batch_size  # several batches at once, so that pictures are opened ahead
    with tqdm(total=len(records), unit="image", disable=None) as progress:
        for start in range(0, len(records), step):
            part = records[start : start + step]
            assessed += assessment.score([record.images[0] for record in part])
            progress.update(len(part))
    return evaluated_rows(records, assessed)


def evaluated_rows(records: Sequence[Record], assessed: Sequence[Assessed]) -> list[EvaluatedRow]:
    """What people said of each record beside what a model said of it.

    Args:
        records: in any order; where they come from several data sets, each of these is a subset.
        assessed: of the same records.

    Returns:
        One row each. A histogram with another number of levels than the model's is left out of its row.
    """
    datasets = {record.dataset for record in records}
    rows = []
    for record, one in zip(records, assessed, strict=True):
        overall, votes = one.scores["overall"], record.histograms.get("overall")
        fits = votes is not None and (overall is None or len(votes) == len(overall.distribution))
        rows.append(
            EvaluatedRow(
                id=record.id,
                scores=record.scores,
                predictions={name: None if score is None else score.value for name, score in one.scores.items()},
                std=None if overall is None else overall.std,
                p_n=None if overall is None else overall.distribution,
                h_n=votes if fits else None,
                subset=record.dataset if len(datasets) > 1 else None,
                image=record.images[0],
            )
        )
    return rows


def evaluate_predictions(
    rows: Sequence[EvaluatedRow],
    *,
    space: ScoreSpace | None,
    attributes: Sequence[str] = ("overall",),
    threshold: float | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
    baseline_histogram: Sequence[float] | None = None,
    calibrated: bool | None = None,
) -> dict[str, Any]:
    """All metrics of a set of rows.

    Args:
        rows: what was predicted, in any order.
        space: the native scale; None leaves out what needs it.
        attributes: names of the scores; the first is the one the distributions and subsets belong to.
        threshold: border between bad and good on the native scale; adds `accuracy`.
        n_resamples: bootstrap resamples for the intervals; 0 leaves them out.
        seed: of the resampling.
        baseline_histogram: (N,) the mean histogram of the training rows; adds `emd_baseline` and `emd_ratio`.
        calibrated: whether the model was trained on distributions, so that `std` and `p_n` mean something; None:
            not known.

    Returns:
        A flat dict that JSON takes. First what was evaluated: `attributes, min_score, max_score, threshold,
        calibrated, n_resamples, seed`. Then, for the first attribute, the keys of `roc.evaluation.metrics.summarize`,
        and those of
        `summarize_distributions` if there are histograms and of `summarize_coverage` if there are spreads; for each
        further attribute `<attribute>/<key>`; for each subset, named under `subsets`, `subset/<name>/<key>`. Last
        `notes`, key -> why it is 0 or None, or what it assumes.

    Raises:
        ValueError: if there are no rows or no attributes, a value is infinite, or distributions do not fit together.
    """
    if not rows:
        raise ValueError("there are no rows to evaluate; is the test split of the data file empty?")
    if not attributes:
        raise ValueError("no attribute to evaluate; name at least one, as a rule 'overall'")
    options = {"n_resamples": n_resamples, "seed": seed}
    first, *others = attributes

    metrics: dict[str, Any] = {"attributes": list(attributes)}
    if space is not None:
        metrics |= {"min_score": space.min_score, "max_score": space.max_score}
    if threshold is not None:
        metrics["threshold"] = threshold
    metrics |= {"calibrated": calibrated, **options}
    notes: dict[str, str] = {}

    def add(prefix: str, found: dict[str, Any]) -> None:
        notes.update({prefix + key: reason for key, reason in found.pop("notes").items()})
        metrics.update({prefix + key: value for key, value in found.items()})

    names = list(dict.fromkeys(row.subset for row in rows if row.subset is not None))
    if names:
        metrics["subsets"] = names
    parts = {"": list(rows)}
    for row in rows:
        if row.subset is not None:
            parts.setdefault(f"subset/{row.subset}/", []).append(row)
    for prefix, part in parts.items():
        add(prefix, _summary(part, first, space, threshold, options))
        predicted, human = distributions(part, first)
        if len(human):
            levels = None if space is None else _levels(space, human.shape[1])
            found = summarize_distributions(predicted, human, levels=levels, baseline=baseline_histogram, **options)
            if len(human) < metrics[f"{prefix}n"]:
                found["notes"].setdefault("emd", f"over the {len(human)} rows that have a histogram")
            add(prefix, found)
        if any(row.std is not None for row in part):
            add(prefix, _coverage(part, first, space, options))
        if not prefix:
            for attribute in others:
                add(f"{attribute}/", _summary(part, attribute, space, threshold, options))
    if "coverage_n" in metrics:
        notes.setdefault("coverage", _ASSUMED)
    metrics["notes"] = notes
    return metrics


def write_evaluation(
    folder: str | os.PathLike[str], rows: Sequence[EvaluatedRow], metrics: Mapping[str, Any]
) -> list[Path]:
    """Keeps the numbers of an evaluation in a folder: metrics.json and predictions.csv.

    Each file only appears once it is complete; an older file of the same name stays until then.

    Args:
        folder: made if it is not there.
        rows: the rows that were evaluated.
        metrics: what `evaluate_predictions` returned for them.

    Returns:
        The two files.

    Raises:
        OSError: if the disk is full or the folder cannot be written; no half-written file is left.
    """
    folder = Path(folder)
    text = json.dumps(metrics, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    return [
        write_text(folder / METRICS_FILE, text),
        write_predictions(folder / PREDICTIONS_FILE, rows, metrics["attributes"], metrics.get("calibrated")),
    ]


def format_table(metrics: Mapping[str, Any]) -> str:
    """The metrics as a plain-text table for the terminal, each with its 95% interval.

    Args:
        metrics: what `evaluate_predictions` returned.

    Returns:
        Several lines without a newline at the end, at most 100 columns wide unless a name is very long: all metrics of
        the first attribute, then SRCC, PLCC and MAE of the other attributes and of the subsets, then the notes.
    """
    first, *others = metrics["attributes"]
    scale = f", scores on {metrics['min_score']:g}..{metrics['max_score']:g}" if "min_score" in metrics else ""
    unscored = f", {metrics['unscored']} unscored and left out" if metrics["unscored"] else ""
    threshold = f", threshold of the accuracy {metrics['threshold']:g}" if "threshold" in metrics else ""
    lines = [f"{first}: {metrics['n']} rows{unscored}{scale}{threshold}"]
    with_interval = any(key.endswith("_low") for key in metrics)
    lines.append(f"  {'':<14}{'value':>8}" + ("   95% interval" if with_interval else ""))
    for key, metric in METRICS.items():
        if key in metrics and (key != "unscored_share" or metrics["unscored"]):
            interval = interval_text(metrics, key)
            lines.append(f"  {metric.name:<14}{value_text(metrics[key]):>8}   {interval}".rstrip())

    subsets = metrics.get("subsets", [])
    parts = {name: f"{name}/" for name in others} | {f"subset {name}": f"subset/{name}/" for name in subsets}
    if parts:
        width = max(len(name) for name in parts)
        lines += ["", f"  {'':<{width}}  {'rows':>6}  {'SRCC':<24}{'PLCC':<24}{'MAE':<24}".rstrip()]
        for name, prefix in parts.items():
            cells = [
                f"{value_text(metrics[prefix + key])} {interval_text(metrics, prefix + key)}"
                for key in ("srcc", "plcc", "mae")
            ]
            row = f"  {name:<{width}}  {metrics[prefix + 'n']:>6}  " + "".join(f"{cell:<24}" for cell in cells)
            lines.append(row.rstrip())

    reasons: dict[tuple[str, str], list[str]] = {}
    for key, reason in metrics["notes"].items():
        prefix, slash, name = key.rpartition("/")
        reasons.setdefault((reason, prefix + slash), []).append(name)
    if reasons or metrics["calibrated"] is False:
        lines.append("")
    if metrics["calibrated"] is False:
        lines.append("  note: std and distributions are uncalibrated: the model was trained on scores alone")
    for (reason, prefix), names in reasons.items():
        subject = ", ".join(prefix + name for name in names) if len(names) <= 4 else f"{prefix}* ({len(names)} metrics)"
        lines.append(f"  note: {subject}: {reason}")
    return "\n".join(lines)


def _summary(
    rows: Sequence[EvaluatedRow],
    attribute: str,
    space: ScoreSpace | None,
    threshold: float | None,
    options: Mapping[str, int],
) -> dict[str, Any]:
    """Metrics of the rows that people rated; how many nobody rated is noted."""
    rated = [row for row in rows if is_number(row.scores.get(attribute))]
    found = summarize(
        [row.predictions.get(attribute) for row in rated],
        [row.scores[attribute] for row in rated],
        space=space,
        threshold=threshold,
        **options,
    )
    unrated = len(rows) - len(rated)
    if unrated:
        many = "row without a human score is" if unrated == 1 else "rows without a human score are"
        found["notes"] = {"n": f"{unrated} {many} left out"} | found["notes"]
    return found


def _levels(space: ScoreSpace, num_levels: int) -> list[float]:
    return list(ScoreSpace(space.min_score, space.max_score, num_levels).levels)


def _coverage(
    rows: Sequence[EvaluatedRow], attribute: str, space: ScoreSpace | None, options: Mapping[str, int]
) -> dict[str, Any]:
    """Coverage over the scored rows that have a spread; of votes too where all of them have a histogram."""
    spread = [row for row in scored_rows(rows, attribute) if is_number(row.std)]
    votes = {}
    if spread and space is not None and all(row.h_n is not None for row in spread):
        votes = {"histograms": [row.h_n for row in spread], "levels": _levels(space, len(spread[0].h_n))}
    return summarize_coverage(
        [row.predictions[attribute] for row in spread],
        [row.std for row in spread],
        [row.scores[attribute] for row in spread],
        **votes,
        **options,
    )


if __name__ == "__main__":
    sys.exit(main())
