"""The model of a run: built from nothing, loaded with its head, or loaded and given one; then made ready for tuning."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from roc.training.backbone import build_around, build_stand_in, check_host, wraps_encoder
from roc.training.checks import adapter_refused
from roc.training.earlier_head import check_head, settle_head
from roc.training.processes import first_process_first, whole_on_every_process
from roc.training.run import RunError
from roc.training.wording import tokenizer_texts, usual_wording

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import PretrainedConfig, PreTrainedModel, ProcessorMixin

    from roc.model.declaration import Declaration
    from roc.training.config import RunConfig
    from roc.training.data import RunData

logger = logging.getLogger(__name__)

_LOSS_SETTINGS = ("text_weight", "l1_weight", "ce_weight", "emd_weight", "l1_scale", "published_losses")


def build_model(
    config: RunConfig,
    data: RunData,
    extend: Callable[[PreTrainedModel, ProcessorMixin], object] | None = None,
) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Builds or loads the model to train, with the head, the losses and the trained parts that the settings ask for.

    Args:
        config: The settings.
        data: Its training rows give the wording and, where the model is built from nothing, the tokenizer's words.
        extend: Adds to the model what a method has beside the head (`roc.model.extensions`), before it is tuned.

    Returns:
        `(model, processor)`; with LoRA, the model is a `peft.PeftModel`.

    Raises:
        RunError: If the model cannot be loaded, has another head than the settings ask for, cannot be tuned so, or
            takes pictures in a form that score_flip cannot mirror.
    """
    from transformers import set_seed

    from roc.model.attachment import attach
    from roc.model.declaration import declare, declares_head
    from roc.training.learnt_links import learn_links
    from roc.training.regularisation import regularise

    set_seed(config.seed)
    model, processor = _build_stand_in(config, data) if config.source is None else load_source(config)
    if config.chat_template is not None:
        processor.chat_template = _chat_template(config)
    declared = {name: getattr(config, name) for name in _LOSS_SETTINGS}
    declared["text_weight"] = config.taught_text_weight
    declared |= config.pair_weights
    declared["image_aspect_ratio"] = config.image_aspect_ratio
    if config.max_pixels is not None:
        declared["max_pixels"] = config.max_pixels
    if not declares_head(model.config):
        wording = usual_wording(config, data)
        attach(model, processor, config.score_space, attributes=config.attributes, **wording, **declared)
    else:
        _tell_other_losses(model.declaration, declared)
        settle_head(config, data, model, **declared)
    supervised = (config.ce_weight > 0 or config.emd_weight > 0) and any(record.histograms for record in data.train)
    about: dict[str, Any] = {"dataset": config.dataset, "distribution_supervised": supervised}
    if config.source is None:
        about["tiny_model"] = config.tiny_model or "demo"
    if config.score_flip is not None:
        about["score_flip"] = config.score_flip
    declare(model, replace(model.declaration, **about))
    if model.declaration.score_flip:
        _check_mirrors(model, processor)
    if extend is not None:
        extend(model, processor)
    model = tuned(config, model)
    regularise(model, config)
    if config.mixes:
        learn_links(model, config, data.train)
    return model, processor


def _check_mirrors(model: PreTrainedModel, processor: ProcessorMixin) -> None:
    from roc.model.collator import RocCollator
    from roc.model.mirror import check_mirrors

    try:
        check_mirrors(RocCollator(processor, model.declaration))
    except ValueError as error:
        raise RunError(
            f"score_flip is on, and a {model.config.model_type} model cannot be shown mirror images in a batch: "
            f"{error}; give --score_flip false."
        ) from error


def _chat_template(config: RunConfig) -> str:
    from roc.model.processing import read_chat_template

    try:
        return read_chat_template(config.chat_template)
    except ValueError as error:
        raise RunError(f"chat_template: {error}") from error


def _tell_other_losses(earlier: Declaration, declared: dict[str, Any]) -> None:
    """Warns of a checkpoint that goes on learning by other losses than those it was trained with."""
    changed = [
        f"{name} {declared[name]} (it declares {getattr(earlier, name)})"
        for name in _LOSS_SETTINGS
        if declared[name] != getattr(earlier, name)
    ]
    if changed:
        logger.warning(
            "the losses are not those of the checkpoint: %s; set them to go on as before", ", ".join(changed)
        )


def base_config(config: RunConfig) -> PretrainedConfig | None:
    """Reads the configuration of the model to start from, before its weights; builds the starter where it is not kept.

    Returns:
        None where the model is built from nothing.

    Raises:
        RunError: If it cannot be read, is an adapter, or has another head than the settings ask for and they do not say
            what becomes of it.
    """
    from roc.checkpoint.folder import is_adapter, read_config
    from roc.model.personal import is_personal

    source = config.source
    if source is None:
        return None
    try:
        if config.starter is not None:
            _keep_starter(config.starter)
        if is_adapter(source) or is_personal(source):
            raise RunError(adapter_refused(source))
        base = read_config(source)
    except RunError:
        raise
    except (OSError, ValueError, ImportError) as error:
        raise _not_loaded(config, error) from error
    check_host(config, base)
    if not wraps_encoder(config, base):
        check_head(config, base)
    return base


def _keep_starter(size: str) -> None:
    from accelerate import PartialState

    from roc.starter.kept import keep_starter

    with first_process_first(PartialState()):
        keep_starter(size)


def _build_stand_in(config: RunConfig, data: RunData) -> tuple[PreTrainedModel, ProcessorMixin]:
    from roc.demo.tiny_model import PRESETS, build_tiny_llava

    with whole_on_every_process():
        if config.host == "backbone":
            return build_stand_in(config)
        return build_tiny_llava(tokenizer_texts(config, data), PRESETS[config.tiny_model or "demo"], seed=config.seed)


def load_source(config: RunConfig) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Loads the model that the settings name, with its head where it has one.

    Raises:
        RunError: If it cannot be loaded.
    """
    from roc.checkpoint.folder import load
    from roc.checkpoint.weights import load_weights
    from roc.model.attachment import model_class
    from roc.model.declaration import declare, declares_head
    from roc.model.processing import load_processor

    source, base = config.source, base_config(config)
    arguments: dict[str, Any] = {"dtype": config.dtype}
    if config.attn_implementation is not None:
        arguments["attn_implementation"] = config.attn_implementation
    try:
        if config.tuning == "qlora":
            arguments |= _in_four_bits(config, base)
        if wraps_encoder(config, base):
            return build_around(config, base, **arguments)
        if declares_head(base):
            model, processor = load(source, **arguments)
            if model.declaration.calibration is not None or model.declaration.reference is not None:
                logger.warning(
                    "%s is calibrated or has a reference, which hold for it alone: training goes on from its head as "
                    "it was trained, and without them; calibrate the result anew",
                    source,
                )
                declare(model, model.declaration.uncalibrated())
            if model.declaration.scales:
                logger.warning(
                    "%s was trained on several data sets: training goes on from its shared score, and without their "
                    "scales, which hold for it as it was",
                    source,
                )
                declare(model, replace(model.declaration, scales=()))
            if model.declaration.personal is not None:
                logger.warning("%s was a personal head; what is trained from it is declared as none", source)
                declare(model, replace(model.declaration, personal=None))
            return model, processor
        return load_weights(model_class(base), source, **arguments), load_processor(source)
    except (OSError, ValueError, ImportError) as error:
        raise _not_loaded(config, error) from error


def _not_loaded(config: RunConfig, error: Exception) -> RunError:
    named = f"model_name_or_path {config.source!r}" if config.starter is None else f"starter {config.starter}"
    return RunError(f"{named} cannot be loaded: {error}")


def _in_four_bits(config: RunConfig, base: PretrainedConfig) -> dict[str, Any]:
    """Makes the arguments of `from_pretrained` that load the base in 4 bits, on the device it will be trained on."""
    import torch
    from accelerate import PartialState

    from roc.model.adapters import four_bit

    device = PartialState().device
    # Moving it later would quantise nothing: the weights are rounded while they arrive on their device.
    placed = {} if device.type == "cpu" else {"device_map": {"": device}}
    return {"quantization_config": four_bit(base, getattr(torch, config.dtype)), **placed}


def tuned(config: RunConfig, model: PreTrainedModel) -> PreTrainedModel:
    """Freezes what is not trained, or adds LoRA.

    Raises:
        RunError: If the model cannot be tuned so.
    """
    from roc.model.adapters import add_lora
    from roc.model.parts import freeze

    if config.tuning == "full":
        try:
            freeze(model, list(config.freeze))
        except ValueError as error:
            raise RunError(f"freeze {','.join(config.freeze)}: {error}") from error
        return model
    try:
        return add_lora(
            model,
            rank=config.lora_rank,
            alpha=config.lora_alpha,
            dropout=config.lora_dropout,
            targets=config.lora_targets,
            parts=config.lora_parts,
        )
    except (ValueError, ImportError) as error:
        raise RunError(f"tuning {config.tuning}: {error}") from error
