"""A training run with the module of AGREE: the job of `roc.training.job`, with the module between its steps.

The routing weights of training photos come from the table of sensitivities. Validation and test photos get theirs as
new photos will, from the predictor; how far those and the scores by them are from the table's, where it has such
photos, is told at the end.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roc.agree.attributes import ATTRIBUTES
from roc.agree.train_config import AgreeConfig
from roc.evaluation.metrics import srcc
from roc.files import write_text
from roc.training import run
from roc.training.job import Job

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from transformers import PreTrainedModel, ProcessorMixin, TrainingArguments

    from roc.agree.table import SensitivityTable
    from roc.data.records import Record
    from roc.model.collator import RocCollator
    from roc.scoring.assessment import Assessment
    from roc.training.data import RunData
    from roc.training.trainer import RocTrainer

logger = logging.getLogger(__name__)


def train(config: AgreeConfig) -> str | None:
    """Trains, evaluates and saves one run, or carries on with it.

    Args:
        config: The settings.

    Returns:
        The table of the evaluation and how to use the checkpoint in `output_dir`; None on all processes but the first.

    Raises:
        DataError: With every fault of the data, before any training.
        RunError: If the settings, the table or the anchors cannot be trained with, or `output_dir` holds another run.
    """
    return AgreeJob(config).work()


class AgreeJob(Job):
    """A run with the module; routing weights come from the table.

    Args:
        config: The settings.
    """

    config: AgreeConfig

    def __init__(self, config: AgreeConfig) -> None:
        super().__init__(config)
        self._weights: dict[str, torch.Tensor] | None = None

    def check(self) -> None:
        """Checks the settings, and that the files they name are there."""
        super().check()
        given = {"sensitivity": self.config.sensitivity, "anchors": self.config.anchors}
        if missing := [f"{name} is {path}, and there is no such file" for name, path in given.items() if _lacks(path)]:
            raise run.Refused("\n".join(missing))

    def read(self) -> RunData:
        """Reads the data, and the weights of the training photos."""
        data = super().read()
        self._weights = routed(self.config, data.train)
        return data

    def build(self, data: RunData) -> tuple[PreTrainedModel, ProcessorMixin]:
        """Builds the model with the module."""
        from roc.training.build import build_model

        return build_model(self.config, data, functools.partial(give_module, self.config))

    def trainer(
        self, data: RunData, arguments: TrainingArguments, model: PreTrainedModel, processor: ProcessorMixin
    ) -> tuple[RocTrainer, int]:
        """Builds the trainer, whose batches hold the weights."""
        from roc.model.extensions import extensions_of
        from roc.training.arguments import build_trainer

        # The tower also encodes maps, which are made anew for each pass.
        plain = replace(self.config, keep_features=False) if extensions_of(model) else self.config
        trainer, lengths = build_trainer(plain, data, arguments, model, processor)
        if self._weights is not None:
            trainer.data_collator = RoutedCollator(trainer.data_collator, self._weights)
        return trainer, lengths.longest

    def evaluate(self, data: RunData, history: list[dict[str, Any]]) -> str:
        """Evaluates what was trained, and how far the predictor is from the table."""
        from roc.training.finish import TABLE_FILE, evaluate

        table = evaluate(self.config, data, history, trained_by=run.command(self.config, "agree train"))
        told = tell_predictor(self.config, data)
        if told is not None:
            table = f"{table}\n\n{told}"
            write_text(Path(self.config.output_dir) / TABLE_FILE, table + "\n")
        return table


def _lacks(path: str | None) -> bool:
    return path is not None and not Path(path).is_file()


def routed(config: AgreeConfig, records: Sequence[Record]) -> dict[str, torch.Tensor] | None:
    """Looks up the weights of photos in the table of sensitivities; None where there is no routing.

    Returns:
        Photo's id -> (5,) in the order of `ATTRIBUTES`.

    Raises:
        RunError: If the table cannot be read, or lacks a photo.
    """
    if not config.routing:
        return None
    import torch

    try:
        found = _table(config).route(records, calibrated=config.calibrated)
    except ValueError as error:
        raise run.RunError(f"sensitivity {config.sensitivity}: {error}") from error
    rows = torch.stack([found.weights[name] for name in ATTRIBUTES], dim=1).float()  # (n, 5)
    return dict(zip(found.ids, rows, strict=True))


def _table(config: AgreeConfig) -> SensitivityTable:
    from roc.agree.table import SensitivityTable

    return SensitivityTable.read(config.sensitivity)


def give_module(config: AgreeConfig, model: PreTrainedModel, processor: ProcessorMixin) -> bool:
    """Gives a model the module that the settings ask for, unless it came with one.

    Returns:
        Whether it has one now.

    Raises:
        RunError: If it came with another one or with other anchors, or the anchors cannot be read.
    """
    from roc.agree.extension import NAME
    from roc.model.extensions import add_extension, extensions_of

    settings = _settings(config, processor)
    if NAME in extensions_of(model):
        sections = model.config.roc_extensions
        there = sections[NAME]
        if settings is not None and "medians" in settings:  # those of the table that it is trained by now
            there = {**there, "medians": settings["medians"]}
            model.config.roc_extensions = {**sections, NAME: there}
        if there != settings:
            asked = settings or {}
            names = sorted({**there, **asked}.keys() - {"medians"})
            other = [name for name in names if there.get(name) != asked.get(name)]
            shown = ", ".join(f"{name} ({there.get(name)} there, {asked.get(name)} here)" for name in other)
            raise run.RunError(
                f"{config.source} has a module of AGREE that differs in {shown}; give the settings that it was trained "
                "with, or start from a checkpoint without it."
            )
        if config.fusion:
            _check_same_anchors(config, model.extensions[NAME].anchors)
        return True
    if settings is None:
        return False
    try:
        add_extension(model, NAME, settings)
        _try_out(model, processor)
    except (ValueError, RuntimeError, TypeError) as error:
        raise run.RunError(f"this model cannot have the branches of AGREE: {error}") from error
    if config.fusion:
        model.extensions[NAME].anchors.copy_(_anchors(config))
    return True


def _check_same_anchors(config: AgreeConfig, there: torch.Tensor) -> None:
    """Makes sure that the anchors of a checkpoint are those of the settings, up to the rounding of half precision.

    Raises:
        RunError: If they differ.
    """
    import torch

    given = _anchors(config)
    if not torch.allclose(there.detach().float().cpu(), given.float(), rtol=2**-7, atol=1e-6):
        raise run.RunError(
            f"{config.source} has a module of AGREE whose anchors are not those of {config.anchors}; give the file "
            "that it was trained with, or start from a checkpoint without it."
        )


def _try_out(model: PreTrainedModel, processor: ProcessorMixin) -> None:
    """Scores two pictures of different shapes with weights of their own, which a model may not be able to take."""
    import torch
    from PIL import Image

    from roc.agree.extension import WEIGHTS
    from roc.model.collator import RocCollator
    from roc.scoring.one_forward import level_logits

    pictures = [Image.new("RGB", size, "grey") for size in ((160, 120), (96, 144))]
    batch = RocCollator(processor, model.declaration).scoring_batch(pictures)
    was_training = model.training
    model.eval()
    level_logits(model, {**batch, WEIGHTS: torch.full((len(pictures), len(ATTRIBUTES)), 1 / len(ATTRIBUTES))})
    model.train(was_training)


def _settings(config: AgreeConfig, processor: ProcessorMixin) -> dict[str, Any] | None:
    """Makes what `roc.agree.extension.build` takes; None where everything is off."""
    from roc.model.backbone.inputs import pictures_of

    if not config.decoupling:
        return None
    pictures = pictures_of(processor.image_processor)
    medians = {}
    if config.routing:
        medians["medians"] = _table(config).medians if config.calibrated else None
    return {
        **medians,
        "width": config.branch_width,
        "mean": list(pictures.mean),
        "std": list(pictures.std),
        "anchor_width": _anchors(config).shape[1] if config.fusion else None,
        "routing": config.routing,
        "predictor_weight": config.predictor_weight,
    }


def _anchors(config: AgreeConfig) -> torch.Tensor:
    """Reads the anchors (6, D) of `BRANCHES` that are the same for every photo.

    Raises:
        RunError: If the file cannot be read, or holds features of single photos.
    """
    import torch

    from roc.agree.anchor_features import AnchorFeatures
    from roc.agree.branches import BRANCHES

    try:
        found = AnchorFeatures.read(config.anchors)
        if found.per_photo:
            raise ValueError(
                "it holds features of single photos, which new photos do not have when they are scored; make one with "
                "a sentence for each attribute"
            )
        rows = found.features(list(found.ids)[:1] or [""])
        return torch.stack([rows[name][0] for name in BRANCHES])
    except (OSError, ValueError, KeyError) as error:
        raise run.RunError(f"anchors {config.anchors}: {error}") from error


class RoutedCollator:
    """A collator that adds the routing weights of photos to batches of which it knows all.

    Args:
        collator: Makes the rest, and answers for everything else.
        weights: Photo's id -> (5,).
    """

    def __init__(self, collator: RocCollator, weights: dict[str, torch.Tensor]) -> None:
        self.collator, self.weights = collator, weights

    def __call__(self, samples: Sequence[tuple[Record, Sequence[Image.Image]]]) -> dict[str, torch.Tensor]:
        """Makes a batch; `routing_weights` (B, 5) stand in it where the weights of all its photos are known."""
        import torch

        from roc.agree.extension import WEIGHTS

        batch = self.collator(samples)
        if any(record.id not in self.weights for record, _ in samples):
            return batch
        return {**batch, WEIGHTS: torch.stack([self.weights[record.id] for record, _ in samples])}

    def __getattr__(self, name: str) -> Any:
        if name == "collator":  # not set yet, as while it is unpickled
            raise AttributeError(name)
        return getattr(self.collator, name)


def tell_predictor(config: AgreeConfig, data: RunData) -> str | None:
    """Compares the predictor's weights with the table's, and the scores by both, on held-out photos that it has.

    Returns:
        Lines for the user; None where there is no routing or no such photo.
    """
    if not config.routing:
        return None
    import torch

    from roc.scoring.assessment import Assessment

    table = _table(config)
    known = set(table.ids)
    held_out = [record for record in (*data.val, *data.test) if record.id in known and "overall" in record.scores]
    if not held_out:
        return None
    found = table.route(held_out, calibrated=config.calibrated)
    expected = torch.stack([found.weights[name] for name in ATTRIBUTES], dim=1).float()
    assessment = Assessment(config.output_dir, batch_size=config.per_device_eval_batch_size)
    predicted, by_predictor, by_table = _scored_both_ways(assessment, held_out, expected)
    apart, uniform = ((weights - expected).abs().mean() for weights in (predicted, torch.tensor(1 / len(ATTRIBUTES))))
    human = [record.scores["overall"] for record in held_out]
    correlations = [srcc(scores.tolist(), human) for scores in (by_predictor, by_table)]
    shown = ["no number" if value is None else f"{value:.3f}" for value in correlations]
    return (
        f"Routing weights of new photos come from the predictor in the checkpoint. On {len(held_out)} held-out photos "
        f"of the table:\n  weights {apart:.3f} from the table's on average (equal weights {uniform:.3f})\n"
        f"  scores {(by_predictor - by_table).abs().mean():.3f} from those by the table's weights on average; SRCC "
        f"{shown[0]} by the predictor, {shown[1]} by the table"
    )


def _scored_both_ways(
    assessment: Assessment, records: Sequence[Record], weights: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Scores photos by the predictor and by given weights.

    Args:
        assessment: The checkpoint.
        records: Of one picture each.
        weights: (n, 5) for the second scores.

    Returns:
        The predictor's weights (n, 5), the scores by them and by the given ones, (n,) each.
    """
    import torch

    from roc.agree.extension import NAME, WEIGHTS
    from roc.data.images import open_image
    from roc.scoring.one_forward import one_forward

    predicted: list[torch.Tensor] = []
    scores: tuple[list[torch.Tensor], list[torch.Tensor]] = [], []
    predictor, size = assessment.model.extensions[NAME].predictor, assessment.batch_size
    for start in range(0, len(records), size):
        pictures = [open_image(record.images[0]) for record in records[start : start + size]]
        batch = assessment.collator.scoring_batch(pictures, 1)
        handle = predictor.register_forward_hook(lambda _, args, logits: predicted.append(logits.float().cpu()))
        scores[0].append(one_forward(assessment.model, batch).scores[:, 0])
        handle.remove()
        given = {**batch, WEIGHTS: weights[start : start + size]}
        scores[1].append(one_forward(assessment.model, given).scores[:, 0])
    return torch.cat(predicted).softmax(dim=-1), *(torch.cat(found) for found in scores)
