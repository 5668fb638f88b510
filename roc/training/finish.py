"""What a trained model leaves behind: the checkpoint, its evaluation on held-out rows, the card and the report."""

from __future__ import annotations

import logging
import os
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from roc.data.counts import counted
from roc.files import write_text
from roc.prompts import SCORE_TOKEN
from roc.training.run import SCENES, STATES, RunError, command

if TYPE_CHECKING:
    from transformers import ProcessorMixin

    from roc.data.records import Record
    from roc.scoring.assessment import Assessment
    from roc.scoring.results import Assessed
    from roc.training.config import RunConfig
    from roc.training.data import RunData
    from roc.training.trainer import RocTrainer

logger = logging.getLogger(__name__)

TABLE_FILE = "metrics.txt"
UNTAUGHT = "the run teaches no words; read scores in one forward pass with .score()"
_FEW_ANSWERS = 0.9
"""Share of generated answers with all scores below which `.score()` is shown to users instead."""


def publish(trainer: RocTrainer, processor: ProcessorMixin, out: Path) -> None:
    """Writes the finished checkpoint file by file, so that no half-written file ever has its final name.

    Every process has to call it: where the model is spread over them, it is gathered first. The first one writes.

    Args:
        trainer: Holds the trained model.
        processor: The model's.
        out: Folder; a model card that was edited there stays.

    Raises:
        RunError: If the checkpoint cannot be written.
    """
    from safetensors import SafetensorError

    from roc.checkpoint.card import CARD_FILE, is_edited
    from roc.checkpoint.folder import save

    weights = trainer.whole_weights()
    if not trainer.is_world_process_zero():
        return
    partial = out / ".checkpoint.partial"
    try:
        shutil.rmtree(partial, ignore_errors=True)
        # Gathered weights keep the names of the modules: the renaming that ZeRO-3 notes while it reads is not all done.
        save(trainer.model, processor, partial, state_dict=weights, save_original_format=weights is None)
        kept = {CARD_FILE} if is_edited(out) else set()
        for file in sorted(partial.iterdir()):
            if file.name not in kept:
                os.replace(file, out / file.name)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise RunError(
            f"The finished model could not be written to {out}: {error}. What was saved before is whole; free some "
            "space and give the same command again."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def evaluate(
    config: RunConfig,
    data: RunData,
    history: list[dict],
    *,
    trained_by: str | None = None,
    unrated: str | None = None,
    more: Mapping[str, Any] | None = None,
) -> str:
    """Scores the held-out rows with the checkpoint in `output_dir` as a user would, and writes the report.

    Args:
        config: The settings.
        data: Its test rows are scored; the validation rows where there are none, or with `no_test_table`.
        history: The trainer's log, for the plots.
        trained_by: Command line that trained it; None is that of `roc finetune`.
        unrated: What the table says where the held-out rows are not meant to be rated; None says how to hold some out.
        more: What else is kept with the metrics, and shown in the report where it knows it.

    Returns:
        The table, where the plots are, and three lines of Python that use the checkpoint; `metrics.txt` keeps it.
    """
    from roc.checkpoint.card import write_card
    from roc.evaluation.evaluated_rows import evaluable, evaluated_rows
    from roc.evaluation.folder import write_evaluation
    from roc.evaluation.plots import draw, write_plots
    from roc.evaluation.report import write_report
    from roc.evaluation.table import format_table
    from roc.scoring.assessment import Assessment

    out = Path(config.output_dir)
    split = "test" if data.test and not config.no_test_table else "val"
    held_out = data.test if split == "test" else data.val
    records = evaluable(held_out)
    if len(records) < len(held_out) and (records or unrated is None):
        skipped = len(held_out) - len(records)
        logger.warning("%s not evaluated: no score, or several images", counted(skipped, "row is", "rows are"))
    answering = False
    if records:
        assessment = Assessment(out, batch_size=config.per_device_eval_batch_size)
        assessed = assessment.score([record.images[0] for record in records])
        rows = evaluated_rows(records, assessed)
        answers = check_answers(config, assessment, records, assessed)
        metrics = _metrics(config, data, rows, assessment, answers, split)
        metrics |= {"command": trained_by or command(config), **(more or {})}
        if assessment.model.declaration.reasons and config.check_answers:
            metrics |= reasoned_part(config, assessment, records, assessed)
        if trained_by is None:  # after reinforcement there is no start of it to name
            metrics |= start_part(config, history)
        write_evaluation(out, rows, metrics)
        model = assessment.model
        write_card(out, model.declaration, adapter=hasattr(model, "peft_config"), metrics=metrics)
        write_report(out, rows, metrics, history)
        checked = metrics["answers/n"] > 0
        answering = metrics["answers/complete"] >= _FEW_ANSWERS if checked else config.taught_text_weight > 0
        if model.declaration.reasons:
            answering = metrics.get("reasoned/readable", 1.0) >= _FEW_ANSWERS
        elif model.declaration.score_flip:
            answering = False
        extra = _extra_lines(metrics, config, flips=model.declaration.score_flip)
        lines = [_heading(metrics, config), format_table(metrics), *extra]
    else:
        lines = [unrated or "There is no held-out row to evaluate on; give a test split or --val_fraction."]
        if config.pairs_path is not None:
            lines = [
                "No rated row is held out. Pairs that are marked test, or all where none is:",
                f"  {_pairs_command(config)}",
            ]
        write_plots(out / "plots", draw((), {}, history))
    if config.no_test_table and data.test:
        lines += ["", *_how_to_test(config, len(data.test))]
    image = (records or data.train)[0].images[0]
    table = "\n".join([*lines, *_how_to_use(config, image, reported=bool(records), answering=answering)])
    write_text(out / TABLE_FILE, table + "\n")
    return table


def _metrics(
    config: RunConfig,
    data: RunData,
    rows: list[dict],
    assessment: Assessment,
    answers: dict[str, float],
    split: Literal["test", "val"],
) -> dict[str, Any]:
    from roc.evaluation.caveats import find_caveats
    from roc.evaluation.scored_records import image_metrics
    from roc.evaluation.summary import evaluate_predictions

    votes = [record.histograms["overall"] for record in data.train if "overall" in record.histograms]
    metrics = evaluate_predictions(
        rows,
        space=config.score_space,
        attributes=config.attributes,
        baseline_histogram=[sum(level) / len(votes) for level in zip(*votes, strict=True)] if votes else None,
        calibrated=assessment.model.declaration.distribution_supervised,
    )
    metrics["split"] = split
    if config.dataset is not None:
        metrics["dataset"] = config.dataset
    metrics |= {f"answers/{key}": value for key, value in answers.items()}
    if split == "test":
        metrics |= {f"ceiling/{name}": found["srcc_quality"] for name, found in (data.rater_ceiling or {}).items()}
    metrics |= image_metrics(assessment, [row.image for row in rows])
    if metrics.get("stand_in") and config.data_files and config.dataset is None:
        names = [one.name for one in config.data_sets] or [Path(config.data_files[0]).name]
        metrics["trained_on"] = " and ".join(names)
    return metrics | {"caveats": find_caveats(metrics)}


def check_answers(
    config: RunConfig, assessment: Assessment, records: list[Record], assessed: list[Assessed]
) -> dict[str, float]:
    """Lets the model write its answers for the first `check_answers` rows and compares them with one forward pass.

    Args:
        config: The settings.
        assessment: The trained model.
        records: Rows with one image each.
        assessed: Their scores from one forward pass, in the same order.

    Returns:
        `n`, 0 where the run taught no words, or critiques (see `reasoned_part`); `complete`: share of answers that hold
        every `[SCORE]` at its place in the taught sentence; `largest_difference`: between a score read while generating
        and the one-forward score, native scale; with `score_flip` only the latter reads the mirror image too.
    """
    reasons = assessment.model.declaration.reasons
    checked = records[: config.check_answers] if config.taught_text_weight and not reasons else []
    complete, difference = 0, 0.0
    written = assessment.describe([record.images[0] for record in checked], max_new_tokens=256) if checked else []
    taught = assessment.model.declaration.answer
    for given, fast in zip(written, assessed, strict=False):
        complete += is_whole(given, taught)
        scores = list(given.scores.values())
        if None in scores:
            continue
        pairs = zip(scores, fast.scores.values(), strict=True)
        difference = max(difference, *(abs(one.value - other.value) for one, other in pairs))
    return {
        "n": len(checked),
        "complete": complete / len(checked) if checked else 1.0,
        "largest_difference": difference,
    }


def reasoned_part(
    config: RunConfig, assessment: Assessment, records: list[Record], assessed: list[Assessed]
) -> dict[str, Any]:
    """Lets a model that reasons write its critiques for `check_answers` of the rows and measures their scores.

    Args:
        config: The settings.
        assessment: The trained model.
        records: Rows with one image each.
        assessed: Their scores from one forward pass, in the same order.

    Returns:
        Keys of an evaluation below `reasoned/`: those of `summarize_reasoned`; `one_pass_srcc`, `one_pass_plcc` and
        `one_pass_mae` of the same rows in one forward pass; those of `critique_effect`.
    """
    from roc.evaluation.critique_effect import critique_effect
    from roc.evaluation.reasoned import summarize_reasoned
    from roc.evaluation.summary import summarize
    from roc.training.reasoning import some_rated

    chosen = some_rated(records, config.check_answers)
    places = {id(record): place for place, record in enumerate(records)}
    rows = [places[id(record)] for record in chosen]
    written = assessment.describe([record.images[0] for record in chosen], max_new_tokens=config.reasoning_tokens)
    found = summarize_reasoned(chosen, written)
    del found["notes"]
    human = [record.scores["overall"] for record in chosen]
    one_pass = summarize([assessed[row].scores["overall"].value for row in rows], human, n_resamples=0)
    found |= {f"one_pass_{name}": one_pass[name] for name in ("srcc", "plcc", "mae")}
    found |= critique_effect(
        assessment.model,
        assessment.collator,
        chosen,
        [one.answers for one in written],
        batch_size=config.per_device_eval_batch_size,
    )
    return {f"reasoned/{name}": value for name, value in found.items()}


def start_part(config: RunConfig, history: list[dict]) -> dict[str, Any]:
    """Finds where reinforcement best begins.

    Args:
        config: The settings.
        history: The trainer's log.

    Returns:
        Keys of an evaluation below `reasoned/`: `start`, the saved state with the highest entropy and a stable format,
        with `start_entropy` and `start_readable`; where none is stable, None and the `stable_format` that was asked
        for. Nothing of a run without critiques.
    """
    from roc.training.reasoning import most_open

    if not any("eval_entropy" in entry for entry in history):
        return {}
    start = most_open(history, Path(config.output_dir) / STATES, config.stable_format)
    if start is None:
        return {"reasoned/start": None, "reasoned/stable_format": config.stable_format}
    return {
        "reasoned/start": str(start.state),
        "reasoned/start_entropy": start.entropy,
        "reasoned/start_readable": start.readable,
    }


def is_whole(given: Assessed, taught: str) -> bool:
    """Tells whether a generated answer begins with the taught sentence and has every score at its place in it.

    Args:
        given: An answer of `Assessment.describe`, its numbers with four decimals.
        taught: The sentence, with `[SCORE]`.
    """
    for score in given.scores.values():
        if score is None:
            return False
        taught = taught.replace(SCORE_TOKEN, f"{score.value:.4f}", 1)
    return given.text.startswith(taught)


def _heading(metrics: dict, config: RunConfig) -> str:
    split = "test rows, never used in training or selection" if metrics["split"] == "test" else "validation rows"
    return f"\n{config.dataset or 'Evaluation'}\n{metrics['n']} {split}"


def _extra_lines(metrics: dict, config: RunConfig, *, flips: bool) -> list[str]:
    from roc.evaluation.table import reasoned_lines

    lines = [""]
    if not config.taught_text_weight:
        lines.append(f"  generated answers: not checked, since {UNTAUGHT}")
    elif metrics["answers/n"] and metrics["answers/complete"] < _FEW_ANSWERS:
        lines += [
            f"  generated answers: only {metrics['answers/complete']:.1%} of {metrics['answers/n']} hold every [SCORE] "
            "at its place; the model has not",
            "  learnt the sentence (more steps teach it). Scores are read in one forward pass with .score() instead.",
        ]
    elif metrics["answers/n"]:
        share, gap = metrics["answers/complete"], metrics["answers/largest_difference"]
        lines += [
            f"  generated answers: {share:.1%} of {metrics['answers/n']} hold every [SCORE] at its place;",
            f"  scores read there differ from one forward pass by {gap:.1g} at most",
            *["  (they are of the photo alone, and one forward pass reads its mirror image too)"] * flips,
        ]
    lines += reasoned_lines(metrics)
    ceilings = {key.removeprefix("ceiling/"): value for key, value in metrics.items() if key.startswith("ceiling/")}
    if ceilings:
        named = ", ".join(f"{name} {value:.3f}" for name, value in ceilings.items())
        lines.append(f"  ceiling, SRCC of the raters' own mean votes against the noise-free scores:\n  {named}")
    return lines


def _how_to_test(config: RunConfig, count: int) -> list[str]:
    """Says that the test rows were left alone, and the commands that score them, one for each data set."""
    from roc.demo.dataset import RATINGS_FILE

    out = Path(config.output_dir)
    evaluated = [(config.data_path or out / SCENES / RATINGS_FILE, config.image_folder, [], out / "test")]
    if config.mix:
        evaluated = [
            (one.path, one.image_folder, ["--scale", one.name] if number else [], out / "test" / one.name)
            for number, one in enumerate(config.data_sets)
        ]
    lines = []
    for path, folder, scale, to in evaluated:
        words = ["roc", "evaluate", "--checkpoint", out, "--data_path", path]
        words += [] if folder is None else ["--image_folder", folder]
        words += [*scale, "--split", "test", "--out", to]
        lines.append(f"  {shlex.join(map(str, words))}")
    return [f"The {count} test rows were not scored (no_test_table). Their table:", *lines]


def _pairs_command(config: RunConfig) -> str:
    """Writes the command that evaluates on the file of pairs: on those marked test, or on all where none is marked."""
    words = ["roc", "evaluate", "--checkpoint", config.output_dir, "--pairs", config.pairs_path]
    if config.image_folder is not None:
        words += ["--image_folder", config.image_folder]
    return shlex.join([*words, "--out", str(Path(config.output_dir) / "pairs")])


def _how_to_use(config: RunConfig, image: str, *, reported: bool, answering: bool) -> list[str]:
    """Shows where the results are and how to use the checkpoint: `.score()` where answers have no or other scores."""
    from roc.evaluation.report import REPORT_FILE

    out = Path(config.output_dir)
    curves = f"    curves: tensorboard --logdir {out / STATES}" if config.report_to == "tensorboard" else ""
    image = min(image, os.path.relpath(image), key=len)
    return [
        "",
        *([f"Report: {out / REPORT_FILE}"] if reported else []),
        f"Plots: {out / 'plots'}{curves}",
        "Use it:",
        "    from roc import Assessment",
        *(
            [
                f'    texts, scores = Assessment(pretrained="{out}")(["{image}"], precision=4)',
                "    print(texts[0], scores[0])",
            ]
            if answering
            else [
                f'    assessed = Assessment(pretrained="{out}").score("{image}")',
                '    print(assessed[0].scores["overall"].value)',
            ]
        ),
    ]
