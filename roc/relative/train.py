"""The three stages of RED-Aes: pairs and edits, then anchors, then groups, each from the checkpoint of the one before.

    roc relative train configs/relative_pairs.yaml --model_name_or_path MODEL --data_path pairs/pairs.jsonl
    roc relative train configs/relative_anchors.yaml --model_name_or_path checkpoints/relative_pairs
    roc relative train configs/relative_groups.yaml --model_name_or_path checkpoints/relative_anchors

Stage 1 and 2 are training jobs (`roc.training.job`), stage 3 is reinforcement (`roc.policy.job`). A run leaves in its
folder what every run leaves there.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roc.files import write_json, write_text
from roc.policy.checks import generation_of
from roc.policy.job import PolicyJob
from roc.relative.train_config import AnchorsStage, GroupsStage, PairsStage
from roc.relative.wording import photo_question
from roc.training import run
from roc.training.config import RunConfig
from roc.training.job import Job

if TYPE_CHECKING:
    from transformers import EvalPrediction, PreTrainedModel, ProcessorMixin, Trainer, TrainingArguments

    from roc.data.records import Record
    from roc.model.collator import RocCollator
    from roc.model.comparison import Comparison
    from roc.model.declaration import Declaration
    from roc.policy.trainer import Validation
    from roc.relative.calibration import Fit
    from roc.relative.group_validation import GroupValidation
    from roc.score_space import ScoreSpace
    from roc.training.data import RunData

logger = logging.getLogger(__name__)

VERB = "relative train"
CALIBRATION_FILE = "calibration.json"
GROUPS_FILE = "groups.json"


def train(config: RunConfig) -> str | None:
    """Trains, evaluates and saves one stage, or carries on with it.

    Args:
        config: Settings of one of the stages (`roc.relative.train_config.STAGES`).

    Returns:
        The table of the evaluation; None on all processes but the first.

    Raises:
        DataError: With every fault of the data, before any training.
        RunError: If the settings cannot be trained with, `output_dir` holds another run, or a state cannot be saved.
    """
    return {PairsStage: PairsJob, AnchorsStage: AnchorsJob, GroupsStage: GroupsJob}[type(config)](config).work()


class PairsJob(Job):
    """The first stage: what a change does, told by two pictures, or by one and an instruction.

    Args:
        config: The settings.
    """

    config: PairsStage
    comparison: Comparison

    def read(self) -> RunData:
        """Reads pairs and edits; a change is a score of the one head."""
        from roc.relative.stage_rows import read_changes
        from roc.training.data import RunData

        found = read_changes(self.config)
        self.comparison = found.comparison
        logger.info(
            "%d pairs and %d edits that are only told, %d of them taught a second time without words", *found.counts
        )
        if found.comparison.reasoning is None:
            logger.warning("no pair has words, so the model learns to answer at once, and gives no reasons")
        return RunData(train=found.train, val=found.val, test=[])

    def check_images(self) -> None:
        """Decodes every picture of both files."""
        from roc.relative.stage_rows import read_changes

        read_changes(self.config, decode=True)

    def build(self, data: RunData) -> tuple[PreTrainedModel, ProcessorMixin]:
        """Loads the model, which declares from now on how it is asked about two pictures."""
        from roc.model.declaration import declare
        from roc.training.build import build_model
        from roc.training.data import RunData

        # The questions of the rows are about changes; that about the score of a photo is not learnt here.
        model, processor = build_model(self.config, RunData([], [], []))
        declare(model, replace(model.declaration, comparison=self.comparison))
        return model, processor

    def trainer(
        self, data: RunData, arguments: TrainingArguments, model: PreTrainedModel, processor: ProcessorMixin
    ) -> tuple[Trainer, int]:
        """Builds the trainer, validated on changes."""
        trainer, longest = super().trainer(data, arguments, model, processor)
        trainer.compute_metrics = change_metrics(self.comparison, self.config.score_space)
        return trainer, longest

    def evaluate(self, data: RunData, history: list[dict[str, Any]]) -> str:
        """Asks about the pairs that are marked as test, else about those that it was validated on."""
        from roc.checkpoint.card import write_card
        from roc.checkpoint.head_file import read_declaration
        from roc.evaluation.plots import draw, write_plots
        from roc.relative.pair_table import pair_table
        from roc.training.finish import TABLE_FILE

        out = Path(self.config.output_dir)
        write_plots(out / "plots", draw((), {}, history))
        write_card(out, read_declaration(str(out)), adapter=(out / "adapter_config.json").is_file())
        table = pair_table(self.config)
        write_text(out / TABLE_FILE, table + "\n")
        return table


def change_metrics(comparison: Comparison, space: ScoreSpace) -> Callable[[EvalPrediction], dict[str, float]]:
    """Makes the function that measures changes at every validation, in points of a change.

    Returns:
        A function for `Trainer(compute_metrics=...)` with the keys `n, srcc, plcc, mae` and `pair_accuracy`, the share
        of the changes whose sign is right. It raises `FloatingPointError` where a change is no number.
    """
    import numpy as np

    from roc.evaluation.metrics import mae, plcc, srcc

    middle, points = (space.min_score + space.max_score) / 2, (comparison.high - comparison.low) / space.width

    def compute(result: EvalPrediction) -> dict[str, float]:
        predicted, wanted = ((column[:, 0] - middle) * points for column in (result.predictions, result.label_ids))
        if not np.isfinite(predicted).all():
            raise FloatingPointError("validation scores are no numbers any more (NaN or infinite)")
        decided = np.abs(wanted) > 1e-6
        metrics: dict[str, float] = {"n": len(wanted)}
        if decided.any():
            metrics["pair_accuracy"] = float(((predicted > 0) == (wanted > 0))[decided].mean())
        for name, metric in (("srcc", srcc), ("plcc", plcc), ("mae", mae)):
            value = metric(predicted, wanted)
            if value is not None:
                metrics[name] = value
        return metrics

    return compute


class AnchorsJob(Job):
    """The second stage: some photos with their score.

    Args:
        config: The settings.
    """

    config: AnchorsStage

    def evaluate(self, data: RunData, history: list[dict[str, Any]]) -> str:
        """Evaluates what was trained."""
        from roc.training.finish import evaluate

        return evaluate(self.config, data, history, trained_by=run.command(self.config, VERB))


class GroupsJob(PolicyJob):
    """The third stage: groups, with anchors beside them, and the calibration in the end.

    Args:
        config: The settings.
    """

    config: GroupsStage

    def __init__(self, config: GroupsStage) -> None:
        super().__init__(config, VERB, photo_question, self.batch_faults)
        self.anchors: list[Record] = []
        self.by_groups = False
        self.fits: dict[str, Fit] = {}  # what the calibration did

    def read(self) -> RunData:
        """Reads groups, and the anchors that go along."""
        if self.config.anchors_path is not None:
            self.anchors = self._read_anchors(decode=False)
        return super().read()

    def more_rows(self) -> Sequence[Record]:
        """Gives the anchors, where they go along."""
        return self.anchors if self.config.with_anchors else []

    def check_images(self) -> None:
        """Decodes every picture of all files."""
        super().check_images()
        if self.config.anchors_path is not None:
            self._read_anchors(decode=True)

    def _read_anchors(self, *, decode: bool) -> list[Record]:
        from roc.relative.stage_rows import read_anchors

        config = self.config
        return read_anchors(
            config.anchors_path,
            config.image_folder,
            self.declaration.space,
            decode=decode,
            pixel_limit=config.pixel_limit,
        )

    def batch_faults(self, records: Sequence[Record], declaration: Declaration) -> list[str]:
        """Finds groups that nothing can be learnt from, and steps in which the largest group leaves no anchor a place.

        Args:
            records: All rows to learn from.
            declaration: Of the checkpoint.
        """
        from accelerate import PartialState

        config, processes = self.config, PartialState().num_processes
        faults = group_faults(config.data_path, records)
        if not self.anchors or not config.with_anchors:
            return faults
        pictures = generation_of(config, processes).pictures
        largest = max(Counter(record.group for record in records if record.group is not None).values(), default=0)
        if largest == pictures:
            per_device = config.per_device_train_batch_size
            passes = processes * config.steps_per_generation
            enough = next(
                size
                for size in range(per_device, 10 * per_device + config.num_generations)
                if size * passes % config.num_generations == 0 and size * passes // config.num_generations > largest
            )
            faults.append(
                f"{config.data_path}: the largest group has {largest} pictures, as many as a step takes, and anchors "
                f"are to go along in every step; set per_device_train_batch_size {enough}, or with_anchors false"
            )
        return faults

    def limit_validation(self, arguments: TrainingArguments, data: RunData) -> None:
        """Validates on rated photos where there are some, else on held-out groups."""
        from roc.relative.group_validation import CHOSEN_BY, some_groups

        rated = any("overall" in record.scores for record in data.val)
        self.by_groups = not rated and bool(some_groups(data.val, self.config.reasoning_rows))
        if not self.by_groups:
            super().limit_validation(arguments, data)
        elif arguments.metric_for_best_model is not None:
            arguments.metric_for_best_model = CHOSEN_BY

    def validation(self, data: RunData, collator: RocCollator) -> Validation:
        """Builds the validation on what the model writes."""
        from roc.relative.group_validation import some_groups

        if not self.by_groups:
            return super().validation(data, collator)
        return self._on_groups(some_groups(data.val, self.config.reasoning_rows), collator)

    def _on_groups(self, records: Sequence[Record], collator: RocCollator) -> GroupValidation:
        from roc.relative.group_validation import GroupValidation

        config = self.config
        return GroupValidation(
            records,
            collator,
            max_new_tokens=config.reasoning_tokens,
            batch_size=config.per_device_eval_batch_size,
            pixel_limit=config.pixel_limit,
        )

    def complete(self, trainer: Trainer) -> None:
        """Calibrates the model on the anchors, and notes what that does in calibration.json."""
        if not self.config.calibrates:
            return
        from roc.calibration.affine import with_lines
        from roc.data.digest import content_digest
        from roc.model.calibration import Calibration
        from roc.model.declaration import declare
        from roc.relative.calibration import WAYS, applied, fit, scores_of
        from roc.training.processes import divided

        config, model = self.config, trainer.accelerator.unwrap_model(trainer.model)
        declaration, ratings = model.declaration, [record.scores["overall"] for record in self.anchors]
        tokens = {"critique": config.reasoning_tokens, "short": None}

        def scored(way: str, records: Sequence[Record]) -> list[float | None]:
            size = config.per_device_eval_batch_size
            return scores_of(model, trainer.collator, records, batch_size=size, tokens=tokens[way])

        scores = {way: divided(partial(scored, way), self.anchors) for way in WAYS}
        found = fit(scores[config.calibrate], ratings)
        fits = {way: found if way == config.calibrate else applied(found.line, scores[way], ratings) for way in WAYS}
        if found.line is not None:
            data = Calibration(data=content_digest(Path(config.anchors_path)) or "unknown", rows=found.n)
            name = declaration.attributes[0]
            lines = {name: found.line}
            declare(model, with_lines(declaration, lines, data, ratings={name: declaration.space.range}))
        if trainer.is_world_process_zero():
            self.fits = fits
            told = {"fitted_on": config.calibrate, **{way: one.to_dict() for way, one in fits.items()}}
            write_json(Path(config.output_dir) / CALIBRATION_FILE, told)

    def evaluate(self, data: RunData, history: list[dict[str, Any]]) -> str:
        """Evaluates what was reinforced: rated photos, held-out groups, and what the calibration did."""
        from roc.relative.calibration import lines_of
        from roc.training.finish import TABLE_FILE

        out, table = Path(self.config.output_dir), super().evaluate(data, history)
        fitted = ["", *lines_of(self.fits, self.config.calibrate)] if self.fits else []
        table = "\n".join([table, *self._group_lines(data), *fitted])
        write_text(out / TABLE_FILE, table + "\n")
        return table

    def more_metrics(self) -> dict[str, Any]:
        """Gives what the calibration did, for the report."""
        from roc.relative.calibration import rows_of

        return {"anchor_calibration": rows_of(self.fits, self.config.calibrate)} if self.fits else {}

    def unrated(self, data: RunData) -> str | None:
        """Says that groups are held out, and no rated photos, where that is so."""
        held_out = data.test if data.test and not self.config.no_test_table else data.val
        if not any(record.group is not None for record in held_out):
            return None
        return "Groups are held out, and no rated photos; name some with --eval_data_path to evaluate on their ratings."

    def _group_lines(self, data: RunData) -> list[str]:
        """Has the checkpoint write about held-out groups, and words how many comparisons come out right."""
        from roc.relative.group_validation import group_metrics, some_groups
        from roc.scoring.assessment import Assessment

        config = self.config
        split = "test" if data.test and not config.no_test_table else "val"
        records = some_groups(data.test if split == "test" else data.val, max(config.check_answers, 1))
        if not records:
            return []
        assessment = Assessment(config.output_dir, batch_size=config.per_device_eval_batch_size)
        answers = self._on_groups(records, assessment.collator).written(assessment.model, records)
        found = group_metrics(records, answers, assessment.model.score_space)
        write_json(Path(config.output_dir) / GROUPS_FILE, {"split": split, **found})
        return [
            "",
            f"{len(records)} pictures of {split} groups, scores read behind critiques: "
            f"{found['pair_accuracy']:.1%} of {found['compared']} comparisons right, {found['readable']:.0%} of the "
            f"answers readable"
            + (f", spread of the scores {found['spread']:.3f} of the range" if "spread" in found else ""),
        ]


def group_faults(path: str, records: Sequence[Record]) -> list[str]:
    """Finds groups without their one source, or without an edit, and deltas beyond the range."""
    from roc.policy.data import delta_of
    from roc.relative.agreement import HIGHEST

    groups: dict[str, list[Record]] = {}
    for record in records:
        if record.group is not None:
            groups.setdefault(record.group, []).append(record)
    faults = []
    for name, members in groups.items():
        sources = [record for record in members if record.edit is None]
        if len(sources) != 1 or len(members) < 2:
            faults.append(
                f"{path}:{members[0].line}: the group {name!r} has {len(sources)} pictures without 'edit' and "
                f"{len(members) - len(sources)} with one; expected one source, which has none, and its edits"
            )
        for record in members:
            delta = delta_of(record)
            if delta is not None and abs(delta) > HIGHEST:
                faults.append(
                    f"{path}:{record.line}: delta is {delta:g}, outside {-HIGHEST:g}..{HIGHEST:g}; correct it"
                )
    return faults
