"""An evaluation from its options to the numbers: the work of `roc evaluate`.

    evaluation = evaluate(EvaluateOptions(predictions="predictions.csv", min_score=1, max_score=10, out="evaluation"))
    print(format_table(evaluation.metrics))

The rows come from a file of predictions, or from a checkpoint that scores the rows of a data file. Training ends with
the same metrics of its own test rows.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roc.data.counts import counted
from roc.data.rows import Faults, iter_rows
from roc.evaluation.benchmarks import TEST_SETS
from roc.evaluation.caveats import find_caveats
from roc.evaluation.evaluated_rows import EvaluatedRow, evaluable, evaluated_rows, scored_rows
from roc.evaluation.folder import ANSWERS_FILE, Evaluation, check_folder, write_answers, write_evaluation
from roc.evaluation.keys import range_text
from roc.evaluation.options import EvaluateOptions
from roc.evaluation.predictions import read_predictions
from roc.evaluation.report import REPORT_FILE
from roc.evaluation.summary import evaluate_predictions
from roc.evaluation.theme import check_matplotlib
from roc.score_space import ScoreSpace, parse_ranges

if TYPE_CHECKING:
    from roc.data.records import Record
    from roc.evaluation.scales import Scales
    from roc.model.declaration import Declaration
    from roc.scoring.results import Assessed
    from roc.scoring.run import Watch

logger = logging.getLogger(__name__)

_MOST_OVERLAP = 0.05
"""Share of the rows that intervals may have been calibrated on where what they hold is still shown."""

_READ_AT_ONCE = 8
"""Images of a forward pass behind given critiques, where no batch size is given."""


def evaluate(
    options: EvaluateOptions, *, command: str | None = None, watch: Watch = lambda rows, total, done: rows
) -> Evaluation:
    """Evaluates predictions or a checkpoint and writes metrics.json and predictions.csv into `options.out`.

    The report is drawn by `roc.evaluation.report.write_report`, from what is returned.

    Args:
        options: What is evaluated.
        command: The command line, kept with the metrics.
        watch: Sees the images of a checkpoint's evaluation as they are scored; it may draw a progress bar.

    Raises:
        ValueError: If the data cannot be used, or `options.out` is the folder of a model.
        ImportError: If a report is wanted and matplotlib is missing.
        OSError: If the results cannot be written.
    """
    out = Path(options.out)
    check_folder(out)
    if options.report:
        _check_report()
    rows, metrics = _of_predictions(options) if options.predictions else _of_checkpoint(options, watch)
    if options.test_set is not None:
        metrics["test_set"] = options.test_set
    if command is not None:
        metrics["command"] = command
    write_evaluation(out, rows, metrics)
    if not options.report and (out / REPORT_FILE).exists():
        logger.warning("%s is of an earlier evaluation; delete it, or leave --no_report out", out / REPORT_FILE)
    return Evaluation(options.out, rows, metrics)


def _check_report() -> None:
    try:
        check_matplotlib()
    except ImportError as error:
        raise ImportError(f"{error}, or give --no_report for the numbers alone") from error


def _of_predictions(options: EvaluateOptions) -> tuple[list[EvaluatedRow], dict[str, Any]]:
    test_set = TEST_SETS.get(options.test_set)
    scale = None
    if options.min_score is not None:
        scale = options.min_score, options.max_score
    elif test_set is not None:
        scale = test_set.min_score, test_set.max_score
    space = ScoreSpace(*scale, attribute_ranges=parse_ranges(options.attribute_ranges)) if scale else None
    found = read_predictions(options.predictions, space=space, image_folder=options.image_folder)
    if space is not None:
        space = space.led_by(found.attributes)
        scale = space.range
    for note in found.notes:
        logger.warning(note)
    if space is None:
        logger.warning(
            "without --min_score and --max_score there are no errors on the unit scale and no Wasserstein distance"
        )
    metrics = evaluate_predictions(
        found.rows,
        space=space,
        attributes=found.attributes,
        calibrated=found.calibrated,
        **_estimate_options(options),
    )
    if found.scorer is not None:
        metrics["scorer"] = found.scorer
    if found.coverage is not None:
        from roc.evaluation.intervals import interval_metrics

        metrics |= interval_metrics(found.rows, found.attributes, found.coverage)
    if scale is not None:
        low, high = scale
        outside = sum(not low <= row.predictions["overall"] <= high for row in scored_rows(found.rows, "overall"))
        if outside:
            many = "prediction lies" if outside == 1 else "predictions lie"
            metrics["notes"]["prediction"] = f"{outside} {many} outside {range_text(scale)}"
    return found.rows, metrics


def _rated_rows(options: EvaluateOptions, attributes: Sequence[str], scales: Scales, split: str | None) -> list[Record]:
    """Reads the rows with one image and a score, their scores on the scale of the checkpoint's ratings."""
    from roc.evaluation.rating_scale import check_same_scale, mapped, read_rated

    records = read_rated(
        options.data_path,
        options.image_folder,
        ratings=scales.ratings,
        space=scales.rated,
        attributes=attributes,
        split=split,
    )
    chosen = evaluable(records)
    if len(chosen) < len(records):
        left_out = len(records) - len(chosen)
        logger.warning("%s not evaluated: no score, or several images", counted(left_out, "row is", "rows are"))
    if not chosen:
        raise ValueError(f"{options.data_path} has no row with one image and a score to evaluate")
    if options.min_score is None:
        check_same_scale(chosen, scales.rated, options.checkpoint)
    return mapped(chosen, scales.ratings, scales.rated)


def _of_checkpoint(options: EvaluateOptions, watch: Watch) -> tuple[list[EvaluatedRow], dict[str, Any]]:
    split = options.split or ("test" if _marks_test_rows(Path(options.data_path)) else "all")

    from roc.checkpoint.head_file import read_declaration

    # The data file is checked before any weight is read, and the name of the checkpoint before anything is imported.
    declaration = read_declaration(options.checkpoint)
    if options.reason and not declaration.reasons:
        raise ValueError(
            f"--reason: {options.checkpoint} does not reason; train it on critiques (docs/reasoning.md), or leave "
            "--reason out"
        )

    from roc.evaluation.critique_effect import critique_effect
    from roc.evaluation.reasoned import answer_metrics
    from roc.evaluation.scales import scales_of
    from roc.evaluation.scored_records import image_metrics, load_assessment, score_records
    from roc.scoring.reasoning import Sampling
    from roc.scoring.scales import on_scale

    scales = scales_of(options, declaration)
    chosen = _rated_rows(options, declaration.attributes, scales, None if split == "all" else split)
    assessment = load_assessment(options.checkpoint, options.device)
    sampling = None
    if options.reason:
        sampling = Sampling(options.samples, options.temperature, options.max_new_tokens, options.seed)
    assessed = score_records(
        assessment,
        options.checkpoint,
        chosen,
        options.data_path,
        batch_size=options.batch_size,
        workers=options.workers,
        sampling=sampling,
        watch=watch,
    )
    if scales.data_set is not None:
        assessed = [on_scale(one, scales.data_set) for one in assessed]
    rows = evaluated_rows(chosen, assessed)
    lost = sum("overall" in record.histograms for record in chosen) - sum(row.h_n is not None for row in rows)
    if scales.space.range != scales.rated.range and any(row.h_n is not None for row in rows):
        rows = [replace(row, h_n=None) for row in rows]
        logger.warning("Histograms are not used: a line has moved the levels of the scores, so votes are on others")
    if lost:
        logger.warning(
            "%s another number of levels than the checkpoint, %d; not used",
            counted(lost, "histogram has", "histograms have"),
            scales.space.num_levels,
        )
    metrics = evaluate_predictions(
        rows,
        space=scales.space,
        attributes=declaration.attributes,
        calibrated=declaration.distribution_supervised,
        **_estimate_options(options),
    )
    if options.reason:
        metrics |= {"samples": options.samples, **answer_metrics([one.answers for one in assessed])}
        write_answers(Path(options.out) / ANSWERS_FILE, chosen, assessed)
        metrics |= critique_effect(
            assessment.model,
            assessment.collator,
            chosen,
            [one.answers for one in assessed],
            batch_size=options.batch_size or _READ_AT_ONCE,
            n_resamples=options.n_resamples,
            seed=options.seed,
        )
    metrics |= _intervals(declaration, rows, chosen, assessed)
    metrics |= {
        "split": split,
        "scorer": assessment.scorer,
        **image_metrics(assessment, [record.images[0] for record in chosen], scales.data_set),
        **scales.metrics(declaration.attributes),
    }
    return rows, metrics | {"caveats": find_caveats(metrics)}


def _intervals(
    declaration: Declaration, rows: list[EvaluatedRow], records: list[Record], assessed: list[Assessed]
) -> dict[str, Any]:
    """Measures what the intervals of a calibrated checkpoint hold, unless it was calibrated on these photos."""
    from roc.data.digest import picture_digest, shared
    from roc.evaluation.intervals import interval_metrics
    from roc.scoring.drift import Drift

    calibration = declaration.calibration
    if calibration is None or calibration.intervals is None or not any(row.intervals for row in rows):
        return {}
    # The sample stands for all photos of the calibration; a few in common, such as copies, move no share.
    common = shared((picture_digest(record.images[0]) for record in records), calibration.sample)
    overlap = round(common * calibration.rows / max(1, len(calibration.sample)))
    if overlap > _MOST_OVERLAP * len(records):
        return {"interval_level": calibration.intervals.level, "interval_overlap": overlap}
    drift = Drift(declaration)
    for one in assessed:
        for name, score in one.scores.items():
            if score is not None:
                drift.add(name, score.value, score.std)
    found = {"drift": notes} if (notes := drift.notes()) else {}
    return interval_metrics(rows, declaration.attributes, calibration.intervals.level) | found


def _estimate_options(options: EvaluateOptions) -> dict[str, Any]:
    return {"threshold": options.threshold, "n_resamples": options.n_resamples, "seed": options.seed}


def _marks_test_rows(path: Path) -> bool:
    """True if a row of a data file is marked as a test row; faults of the file are found later."""
    return any(
        str(value).strip().lower() == "test"
        for _, row in iter_rows(path, Faults(path))
        for name, value in row.items()
        if name.lower() == "split"
    )
