"""A training run with the module of AGREE: the job of `roc.training.job`, with the module between its steps.

The routing weights of training photos come from the table of sensitivities. Validation and test photos get theirs as
new photos will, from the predictor. Where photos have anchors of their own, the file has to hold those of all photos;
the checkpoint keeps the anchors of the validation and test photos. What both are worth is told at the end
(`roc.agree.held_out`).
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roc.agree.attributes import ATTRIBUTES, NAME
from roc.agree.train_config import AgreeConfig
from roc.files import write_text
from roc.training import run
from roc.training.job import Job

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from transformers import PreTrainedModel, ProcessorMixin, TrainingArguments

    from roc.agree.anchor_features import AnchorFeatures
    from roc.agree.table import SensitivityTable
    from roc.data.records import Record
    from roc.model.collator import RocCollator
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
    """A run with the module; routing weights come from the table, anchors of photos from their file.

    Args:
        config: The settings.
    """

    config: AgreeConfig

    def __init__(self, config: AgreeConfig) -> None:
        super().__init__(config)
        self._weights: dict[str, torch.Tensor] | None = None
        self._anchors: AnchorFeatures | None = None

    def check(self) -> None:
        """Checks the settings, and that the files they name are there."""
        super().check()
        given = {"sensitivity": self.config.sensitivity, "anchors": self.config.anchors}
        if missing := [f"{name} is {path}, and there is no such file" for name, path in given.items() if _lacks(path)]:
            raise run.Refused("\n".join(missing))

    def read(self) -> RunData:
        """Reads the data, the weights of the training photos, and whose anchors there are."""
        data = super().read()
        self._weights = routed(self.config, data.train)
        self._anchors = anchored(self.config, data)
        return data

    def build(self, data: RunData) -> tuple[PreTrainedModel, ProcessorMixin]:
        """Builds the model with the module."""
        from roc.training.build import build_model

        photos = [record.id for record in data.train]
        return build_model(self.config, data, functools.partial(give_module, self.config, photos=photos))

    def trainer(
        self, data: RunData, arguments: TrainingArguments, model: PreTrainedModel, processor: ProcessorMixin
    ) -> tuple[RocTrainer, int]:
        """Builds the trainer, whose batches hold weights and anchors."""
        from roc.model.extensions import extensions_of
        from roc.training.arguments import build_trainer

        # The tower also encodes maps, which are made anew for each pass.
        plain = replace(self.config, keep_features=False) if extensions_of(model) else self.config
        trainer, lengths = build_trainer(plain, data, arguments, model, processor)
        if self._weights is not None or self._anchors is not None:
            trainer.data_collator = KnowingCollator(trainer.data_collator, self._weights or {}, self._anchors)
        return trainer, lengths.longest

    def evaluate(self, data: RunData, history: list[dict[str, Any]]) -> str:
        """Evaluates what was trained, and what predictor and anchors are worth."""
        from roc.agree.held_out import keep_anchors, told_of
        from roc.training.finish import TABLE_FILE, evaluate

        keep_anchors(self.config, data, self._anchors)
        table = evaluate(self.config, data, history, trained_by=run.command(self.config, "agree train"))
        sensitivities = _table(self.config) if self.config.routing else None
        if told := told_of(self.config, data, sensitivities, self._anchors):
            table = "\n\n".join([table, *told])
            write_text(Path(self.config.output_dir) / TABLE_FILE, table + "\n")
        return table


def anchored(config: AgreeConfig, data: RunData) -> AnchorFeatures | None:
    """Opens the anchors of single photos, and makes sure that every photo of the run has some.

    Returns:
        None where there are no anchors, or the same for all photos.

    Raises:
        RunError: If the file cannot be read, lacks a photo or is of others, or rows are not one rated photo each.
    """
    if config.anchors is None:
        return None
    from roc.agree.anchor_features import AnchorFeatures
    from roc.agree.photo_journal import check_same_files

    try:
        found = AnchorFeatures.read(config.anchors)
        if not found.per_photo:
            return None
        if config.pairs_path is not None:
            raise ValueError(
                "it holds anchors of single photos, and those of pairs_path get none; leave one of them out"
            )
        records = [*data.train, *data.val, *data.test]
        _check_single(records, "an anchor belongs")
        found.check([record.id for record in records])
        if config.fusion and not any(found.digests):
            raise ValueError(
                "it holds no digest of a file, by which photos are found when they are scored; give the command that "
                "wrote it again"
            )
        digests = dict(zip(found.ids, found.digests, strict=True))
        check_same_files(records, [digests[record.id] for record in records], "file", "roc agree anchors")
    except (OSError, ValueError, KeyError) as error:
        raise _wrong_anchors(config, error) from error
    return found


def _check_single(records: Sequence[Record], what: str) -> None:
    """Makes sure that each row has one picture.

    Raises:
        ValueError: One has several.
    """
    for record in records:
        if len(record.images) != 1:
            raise ValueError(
                f"{record.id} has {len(record.images)} pictures, and {what} to one photo; leave such rows out"
            )


def _lacks(path: str | None) -> bool:
    return path is not None and not Path(path).is_file()


def routed(config: AgreeConfig, records: Sequence[Record]) -> dict[str, torch.Tensor] | None:
    """Looks up the weights of photos in the table of sensitivities; None where there is no routing.

    Returns:
        Photo's id -> (5,) in the order of `ATTRIBUTES`.

    Raises:
        RunError: If the table cannot be read, lacks a photo, or a row has several pictures.
    """
    if not config.routing:
        return None
    import torch

    try:
        _check_single(records, "weights belong")
        found = _table(config).route(records, calibrated=config.calibrated)
    except ValueError as error:
        raise run.RunError(f"sensitivity {config.sensitivity}: {error}") from error
    rows = torch.stack([found.weights[name] for name in ATTRIBUTES], dim=1).float()  # (n, 5)
    return dict(zip(found.ids, rows, strict=True))


def _table(config: AgreeConfig) -> SensitivityTable:
    from roc.agree.table import SensitivityTable

    return SensitivityTable.read(config.sensitivity)


def give_module(
    config: AgreeConfig, model: PreTrainedModel, processor: ProcessorMixin, photos: Sequence[str] = ()
) -> bool:
    """Gives a model the module that the settings ask for, unless it came with one.

    Args:
        config: The settings.
        model: Carries the head.
        processor: The model's.
        photos: Training photos, whose mean anchors stand for photos without some.

    Returns:
        Whether it has one now.

    Raises:
        RunError: If it came with another one or with other anchors, or the anchors cannot be read.
    """
    from roc.agree.extension import try_out
    from roc.model.extensions import add_extension, extensions_of

    settings = _settings(config, processor)
    if NAME in extensions_of(model):
        _check_settings(config, model, settings)
        if config.anchors is not None and not settings.get("own_anchors"):
            _check_same_anchors(config, model.extensions[NAME].anchors)
            return True
    elif settings is None:
        return False
    else:
        try:
            add_extension(model, NAME, settings)
            try_out(model, processor)
        except Exception as error:  # a family may do anything with pixels that it does not expect
            kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
            raise run.RunError(f"this model cannot have the branches of AGREE: {kind}{error}") from error
    if config.anchors is not None:
        model.extensions[NAME].anchors.copy_(_anchors(config, photos))
    return True


def _check_settings(config: AgreeConfig, model: PreTrainedModel, settings: Mapping[str, Any] | None) -> None:
    """Makes sure that the module of a checkpoint is the one that the settings ask for.

    Raises:
        RunError: If it differs.
    """
    sections, asked = model.config.roc_extensions, settings or {}
    there = sections[NAME]
    if "medians" in asked:  # those of the table that it is trained by now
        there = {**there, "medians": asked["medians"]}
        model.config.roc_extensions = {**sections, NAME: there}
    names = sorted({**there, **asked}.keys() - {"medians"})
    other = [name for name in names if there.get(name) != asked.get(name)]
    if other or settings is None:
        shown = ", ".join(f"{name} ({there.get(name)} there, {asked.get(name)} here)" for name in other)
        raise run.RunError(
            f"{config.source} has a module of AGREE that differs in {shown}; give the settings that it was trained "
            "with, or start from a checkpoint without it."
        )


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


def _settings(config: AgreeConfig, processor: ProcessorMixin) -> dict[str, Any] | None:
    """Makes what `roc.agree.extension.build` takes; None where everything is off."""
    from roc.model.backbone.inputs import pictures_of

    if not config.decoupling:
        return None
    pictures = pictures_of(processor.image_processor)
    found = {
        "width": config.branch_width,
        "mean": list(pictures.mean),
        "std": list(pictures.std),
        "anchor_width": None,
        "routing": config.routing,
        "predictor_weight": config.predictor_weight,
    }
    if config.routing:
        found["medians"] = _table(config).medians if config.calibrated else None
    # Checkpoints hold these: what is off is left out, as releases without it wrote them.
    if config.anchors is not None:
        anchors = _features(config)
        found["anchor_width"] = anchors.width
        if config.anchor_loss:
            found["anchor_loss"] = config.anchor_loss
        if not config.fusion:
            found["fusion"] = False
        if anchors.per_photo:
            found |= {"own_anchors": True, "anchors_by": anchors.made_by}
    return found


def _features(config: AgreeConfig) -> AnchorFeatures:
    """Opens the file of anchors.

    Raises:
        RunError: If it cannot be read.
    """
    from roc.agree.anchor_features import AnchorFeatures

    try:
        return AnchorFeatures.read(config.anchors)
    except (OSError, ValueError, KeyError) as error:
        raise _wrong_anchors(config, error) from error


def _anchors(config: AgreeConfig, photos: Sequence[str] = ()) -> torch.Tensor:
    """Reads the anchors (6, D) of `BRANCHES` that stand for photos without some: fixed ones, or a mean over photos.

    Raises:
        RunError: If the file cannot be read, or lacks one of the photos.
    """
    features = _features(config)
    try:
        return features.mean(list(photos) or list(features.ids)) if features.per_photo else features.rows([""])[0]
    except ValueError as error:
        raise _wrong_anchors(config, error) from error


def _wrong_anchors(config: AgreeConfig, error: Exception) -> run.RunError:
    """Makes the error of a file of anchors; most name the file already."""
    file = "" if str(config.anchors) in str(error) else f" {config.anchors}"
    return run.RunError(f"anchors{file}: {error}")


class KnowingCollator:
    """A collator that adds what is known of photos: routing weights to batches of which it knows all, and anchors.

    Args:
        collator: Makes the rest, and answers for everything else.
        weights: Photo's id -> (5,).
        anchors: Of every photo; None where photos have none of their own.
    """

    def __init__(
        self, collator: RocCollator, weights: Mapping[str, torch.Tensor], anchors: AnchorFeatures | None = None
    ) -> None:
        self.collator, self.weights, self.anchors = collator, weights, anchors

    def __call__(self, samples: Sequence[tuple[Record, Sequence[Image.Image]]]) -> dict[str, torch.Tensor]:
        """Makes a batch with `routing_weights` (B, 5) and `anchors` (B, 6, D), as far as they are known."""
        import torch

        from roc.agree.extension import ANCHORS, WEIGHTS

        batch, ids = self.collator(samples), [record.id for record, _ in samples]
        if all(identity in self.weights for identity in ids):
            batch = {**batch, WEIGHTS: torch.stack([self.weights[identity] for identity in ids])}
        if self.anchors is not None:
            batch = {**batch, ANCHORS: self.anchors.rows(ids)}
        return batch

    def __getattr__(self, name: str) -> Any:
        if name == "collator":  # not set yet, as while it is unpickled
            raise AttributeError(name)
        return getattr(self.collator, name)
