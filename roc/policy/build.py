"""The model that is reinforced: a checkpoint as it stands, or the adapter of one, made ready to be trained on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from roc.policy.config import OF_THE_CHECKPOINT, PolicyConfig
from roc.score_space import range_words
from roc.settings import settings_of
from roc.training.checks import adapter_refused
from roc.training.run import RunError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, ProcessorMixin

    from roc.model.declaration import Declaration

logger = logging.getLogger(__name__)

_NO_REFERENCE = ("mplug_owl2",)
"""Families that TRL cannot load a second time as the reference of full fine-tuning."""


def read_declaration(config: PolicyConfig, question: Callable[[Declaration], str] | None) -> Declaration:
    """Reads what the checkpoint to start from declares, before its weights.

    Args:
        config: The settings.
        question: Words what a checkpoint is asked that does not declare that it reasons; None refuses such a one.

    Returns:
        Its declaration, with a question for a critique.

    Raises:
        RunError: If it has no head or cannot reason, or the settings say otherwise than it does.
    """
    declaration, base = _read(config.model_name_or_path)
    faults = [
        *_declared_faults(config, declaration),
        *_tuning_faults(config, base),
        *_reasoning_faults(config, declaration, question is not None),
    ]
    if faults:
        raise RunError("\n".join(faults))
    changes: dict[str, Any] = {}
    if not declaration.reasons:
        changes["reasoning"] = question(declaration)
        logger.warning(
            "%s does not declare that it reasons, so it begins without a cold start; where few of its answers can be "
            "read, nothing is rewarded: teach it with `roc finetune` on a corpus first",
            config.model_name_or_path,
        )
    if config.max_pixels is not None:
        changes["max_pixels"] = config.max_pixels
    return replace(declaration, **changes)


def _read(source: str) -> tuple[Declaration, PreTrainedConfig | None]:
    """Reads a checkpoint's declaration, without its calibration, and its configuration; None for that of an adapter."""
    from roc.checkpoint.folder import is_adapter, read_adapter_declaration, read_config
    from roc.model.declaration import declaration_of, declares_head
    from roc.model.personal import is_personal

    try:
        if is_personal(source):
            raise RunError(adapter_refused(source))
        if is_adapter(source):
            return read_adapter_declaration(source).uncalibrated(), None
        base = read_config(source)
        if not declares_head(base):
            raise RunError(
                f"model_name_or_path {source!r} has no [SCORE] and no score head, so there is nothing to read a value "
                "with; teach it first with `roc finetune`, on a corpus of `roc reasoning corpus`, or give it an "
                "untrained head with `roc attach`"
            )
        return declaration_of(base).uncalibrated(), base
    except RunError:
        raise
    except (OSError, ImportError, ValueError) as error:
        raise RunError(f"model_name_or_path {source!r} cannot be loaded: {error}") from error


def _reasoning_faults(config: PolicyConfig, declaration: Declaration, may_begin: bool) -> list[str]:
    """Finds a checkpoint that scores too much or, unless it may begin here, has not learnt to reason."""
    source, faults = config.model_name_or_path, []
    if len(declaration.attributes) > 1:
        faults.append(
            f"model_name_or_path {source!r} scores {', '.join(declaration.attributes)}; an answer with a critique "
            "holds one score, so train a checkpoint of one attribute first"
        )
    if declaration.reasoning is None and not may_begin:
        faults.append(
            f"model_name_or_path {source!r} does not declare that it reasons; teach it with `roc finetune` on a corpus "
            "of `roc reasoning corpus` first"
        )
    return faults


def _declared_faults(config: PolicyConfig, declaration: Declaration) -> list[str]:
    """Finds settings that say otherwise than the checkpoint; those left at their defaults say nothing."""
    settings, found = settings_of(PolicyConfig), []
    for name in OF_THE_CHECKPOINT:
        given, declared = getattr(config, name), _declared(declaration)[name]
        if given != settings[name].default and given != declared:
            found.append(
                f"{name} is {given}, but the checkpoint {config.model_name_or_path} declares {declared}; leave {name} "
                "out, or train a checkpoint with it first"
            )
    return found


def _declared(declaration: Declaration) -> dict[str, Any]:
    """What a checkpoint declares, under the names of the settings."""
    space = declaration.space
    values = {"min_score": space.min_score, "max_score": space.max_score, "num_tokens": space.num_levels}
    values["attribute_ranges"] = tuple(range_words(space.attribute_ranges))
    return values | {name: getattr(declaration, name) for name in OF_THE_CHECKPOINT if name not in values}


def as_declared(config: PolicyConfig, declaration: Declaration) -> PolicyConfig:
    """Gives the settings with those of the checkpoint in place of the defaults."""
    return replace(config, **_declared(declaration))


def _tuning_faults(config: PolicyConfig, base: PreTrainedConfig | None) -> list[str]:
    """Finds ways of training that an adapter, or a family, does not have; `base` is None for an adapter."""
    source = config.model_name_or_path
    if base is None and config.tuning == "full":
        return [
            f"model_name_or_path {source!r} is an adapter; --tuning lora (or qlora) trains it on, and `roc export "
            f"{source} --merge OUT` makes a whole model of it for tuning full"
        ]
    if base is not None and base.model_type in _NO_REFERENCE and config.tuning == "full" and config.beta:
        return [
            f"beta is {config.beta:g} with tuning full: TRL cannot load {base.model_type} a second time as the "
            "reference; give --tuning lora, which keeps one beside the adapter, or --beta 0"
        ]
    return []


def load_policy(config: PolicyConfig, declaration: Declaration) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Loads the model to reinforce.

    Args:
        config: The settings.
        declaration: From `read_declaration`.

    Returns:
        `(model, processor)`; with LoRA, the model is a `peft.PeftModel`.

    Raises:
        RunError: If it cannot be loaded or tuned so.
    """
    from transformers import set_seed

    from roc.checkpoint.folder import is_adapter
    from roc.model.declaration import declare
    from roc.training.build import load_source, tuned

    set_seed(config.seed)
    if is_adapter(config.model_name_or_path):
        model, processor = _load_adapter(config)
    else:
        model, processor = load_source(config)
        model = tuned(config, model)
    about = {"dataset": config.dataset} if config.dataset is not None else {}
    # Scales of several data sets hold for the scores as they were before.
    declare(model, replace(declaration, scales=(), **about))
    if not any(weight.requires_grad for weight in model.parameters()):
        raise RunError("nothing of the model is trained; freeze fewer parts")
    return model, processor


def _load_adapter(config: PolicyConfig) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Loads an adapter to train it on."""
    import torch
    from accelerate import PartialState

    from roc.checkpoint.folder import load

    quantized = config.tuning == "qlora"
    options: dict[str, Any] = {"dtype": getattr(torch, config.dtype), "quantized": quantized}
    if config.attn_implementation is not None:
        options["attn_implementation"] = config.attn_implementation
    device = PartialState().device
    if quantized and device.type != "cpu":
        options["device"] = device  # its weights are rounded while they arrive there
    try:
        model, processor = load(config.model_name_or_path, **options)
    except (OSError, ValueError, ImportError) as error:
        raise RunError(f"model_name_or_path {config.model_name_or_path!r} cannot be loaded: {error}") from error
    # As it is loaded it only scores: the optimiser would hold nothing, and a run with a reference would still go on.
    model.peft_config["default"].inference_mode = False
    model.set_adapter("default")
    return model, processor
