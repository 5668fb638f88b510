"""The model of a run with `--host backbone`: a vision encoder with its readout, and the rows it takes."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roc.training.reasoning import is_reasoned
from roc.training.run import RunError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, ProcessorMixin

    from roc.data.records import Record
    from roc.model.backbone.inputs import Pictures
    from roc.training.config import RunConfig

logger = logging.getLogger(__name__)


def check_host(config: RunConfig, base: PretrainedConfig) -> None:
    """Makes sure that the settings name the kind of model that a checkpoint is.

    Raises:
        RunError: If a backbone is to be trained as a multimodal model.
    """
    from roc.model.backbone.assembly import is_backbone

    if is_backbone(base) and config.host != "backbone":
        raise RunError(
            f"{config.source} is a vision backbone with a score head, and host is {config.host}; add --host backbone."
        )


def wraps_encoder(config: RunConfig, base: PretrainedConfig) -> bool:
    """Tells whether a run takes only the vision encoder of the model it starts from, and builds its own around it."""
    from roc.model.backbone.assembly import is_backbone

    return config.host == "backbone" and not is_backbone(base)


def build_around(config: RunConfig, base: PretrainedConfig, **arguments: Any) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Builds the model around the encoder of a checkpoint: a vision encoder, or the tower of a multimodal model.

    Args:
        config: The settings.
        base: Configuration of the checkpoint.
        **arguments: Of `from_pretrained`.

    Raises:
        OSError: If there are no weights.
        ValueError: If they cannot be loaded, or there is no encoder in it.
    """
    from transformers import AutoModelForImageTextToText

    from roc.checkpoint.weights import load_weights
    from roc.model.attachment import model_class
    from roc.model.backbone.assembly import build_host
    from roc.model.backbone.encoder import encoder_class, find_encoder, without_pooling

    if type(base) in AutoModelForImageTextToText._model_mapping:
        cls = model_class(base)
    else:
        cls = encoder_class(base)
        arguments |= without_pooling(cls)
    model = load_weights(cls, config.source, **arguments)
    encoder = find_encoder(model)
    encoder.name_or_path = model.name_or_path
    pictures = _pictures(config, encoder.config)
    logger.info("pictures are squeezed to %d x %d pixels", pictures.side, pictures.side)
    return build_host(encoder, pictures)


def build_stand_in(config: RunConfig) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Builds the model around a small ResNet with random weights, the one inside `tiny_model`."""
    from roc.demo.tiny_model import PRESETS, resnet_config
    from roc.model.backbone.assembly import build_host
    from roc.model.backbone.encoder import build_encoder
    from roc.model.backbone.inputs import Pictures
    from roc.model.from_nothing import scale_to_width

    sizes = PRESETS[config.tiny_model or "demo"]
    encoder = build_encoder(resnet_config(sizes))
    scale_to_width(encoder)
    return build_host(encoder, Pictures(sizes.image_size, (0.5,) * 3, (0.25,) * 3))


def row_faults(path: str | Path, records: Iterable[Record]) -> list[str]:
    """Finds rows that a backbone cannot take: of another number of pictures than one, or with a critique."""
    faults = []
    for record in records:
        if len(record.images) != 1:
            faults.append(f"{record.id} has {len(record.images)} pictures; with host backbone a row has one")
        elif is_reasoned(record):
            faults.append(f"{record.id} holds a critique, which host backbone cannot learn to write")
        else:
            continue
        faults[-1] = f"{path}:{record.line}: {faults[-1]}"
    return faults


def _pictures(config: RunConfig, encoder: PretrainedConfig) -> Pictures:
    """Reads how a checkpoint's encoder takes pictures; where it does not say, ImageNet's mean is taken."""
    from transformers import AutoImageProcessor

    from roc.model.backbone.inputs import Pictures, pictures_of
    from roc.model.processing import load_processor

    readers = (
        lambda: AutoImageProcessor.from_pretrained(config.source, backend="pil", trust_remote_code=False),
        lambda: load_processor(config.source).image_processor,
    )
    for read in readers:
        try:
            return pictures_of(read())
        except (OSError, ValueError, ImportError) as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
    side = getattr(encoder, "image_size", None) or 224
    side = side if isinstance(side, int) else max(side)
    logger.warning("%s does not say how it takes pictures (%s); ImageNet's mean is taken", config.source, reason)
    return Pictures(side)
