"""The model of a run: built from nothing, loaded with its head, or loaded and given one; then made ready for tuning."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from roc.prompts import IMAGE_PLACEHOLDER, QUESTIONS, SCORE_TOKEN, answer, question
from roc.training.checks import adapter_refused
from roc.training.processes import whole_on_every_process
from roc.training.run import RunError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, ProcessorMixin

    from roc.model.declaration import Declaration
    from roc.training.config import RunConfig
    from roc.training.data import RunData

_LOSS_SETTINGS = ("text_weight", "l1_weight", "ce_weight", "emd_weight", "l1_scale", "published_losses")
_MOST_TEXTS = 2000


def build_model(config: RunConfig, data: RunData) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Builds or loads the model to train, with the head, the losses and the trained parts that the settings ask for.

    Args:
        config: The settings.
        data: Its training rows give the wording and, where the model is built from nothing, the tokenizer's words.

    Returns:
        `(model, processor)`; with LoRA, the model is a `peft.PeftModel`.

    Raises:
        RunError: If the model cannot be loaded, has another head than the settings ask for, or cannot be tuned so.
    """
    from transformers import set_seed

    from roc.model.attachment import attach
    from roc.model.declaration import declare, declares_head
    from roc.training.regularisation import regularise

    set_seed(config.seed)
    model, processor = _build_stand_in(config, data) if config.model_name_or_path is None else _load(config)
    declared = {name: getattr(config, name) for name in _LOSS_SETTINGS}
    declared["image_aspect_ratio"] = config.image_aspect_ratio
    if not declares_head(model.config):
        wording = usual_wording(config, data)
        attach(model, processor, config.score_space, attributes=config.attributes, **wording, **declared)
    else:
        declare(model, replace(model.declaration, **declared))
    supervised = (config.ce_weight > 0 or config.emd_weight > 0) and any(record.histograms for record in data.train)
    declare(model, replace(model.declaration, dataset=config.dataset, distribution_supervised=supervised))
    model = _tuned(config, model)
    regularise(model, config)
    return model, processor


def base_config(config: RunConfig) -> PretrainedConfig | None:
    """Reads the configuration of the model to start from, before its weights.

    Returns:
        None where the model is built from nothing.

    Raises:
        RunError: If it cannot be read, is an adapter, or has another head than the settings ask for.
    """
    from roc.checkpoint.folder import is_adapter, read_config
    from roc.model.declaration import declaration_of, declares_head

    source = config.model_name_or_path
    if source is None:
        return None
    try:
        if is_adapter(source):
            raise RunError(adapter_refused(source))
        base = read_config(source)
    except RunError:
        raise
    except (OSError, ValueError, ImportError) as error:
        raise _not_loaded(source, error) from error
    if declares_head(base):
        _check_same_head(config, declaration_of(base), source)
    return base


def _build_stand_in(config: RunConfig, data: RunData) -> tuple[PreTrainedModel, ProcessorMixin]:
    from roc.demo.tiny_model import PRESETS, build_tiny_llava

    with whole_on_every_process():
        return build_tiny_llava(tokenizer_texts(config, data), PRESETS[config.tiny_model or "demo"], seed=config.seed)


def _load(config: RunConfig) -> tuple[PreTrainedModel, ProcessorMixin]:
    from roc.checkpoint.folder import load
    from roc.checkpoint.weights import load_weights
    from roc.model.attachment import model_class
    from roc.model.declaration import declares_head
    from roc.model.processing import load_processor

    source, base = config.model_name_or_path, base_config(config)
    arguments: dict[str, Any] = {"dtype": config.dtype}
    if config.attn_implementation is not None:
        arguments["attn_implementation"] = config.attn_implementation
    try:
        if config.tuning == "qlora":
            arguments |= _in_four_bits(config, base)
        if declares_head(base):
            return load(source, **arguments)
        return load_weights(model_class(base), source, **arguments), load_processor(source)
    except (OSError, ValueError, ImportError) as error:
        raise _not_loaded(source, error) from error


def _not_loaded(source: str, error: Exception) -> RunError:
    return RunError(f"model_name_or_path {source!r} cannot be loaded: {error}")


def _in_four_bits(config: RunConfig, base: PretrainedConfig) -> dict[str, Any]:
    """Makes the arguments of `from_pretrained` that load the base in 4 bits, on the device it will be trained on."""
    import torch
    from accelerate import PartialState

    from roc.model.adapters import four_bit

    device = PartialState().device
    # Moving it later would quantise nothing: the weights are rounded while they arrive on their device.
    placed = {} if device.type == "cpu" else {"device_map": {"": device}}
    return {"quantization_config": four_bit(base, getattr(torch, config.dtype)), **placed}


def _check_same_head(config: RunConfig, declaration: Declaration, source: str) -> None:
    asked = {
        "num_tokens": (declaration.num_levels, config.num_tokens),
        "min_score": (declaration.space.min_score, config.min_score),
        "max_score": (declaration.space.max_score, config.max_score),
        "attributes": (declaration.attributes, tuple(config.attributes)),
    }
    wrong = [
        f"{name}: the checkpoint has {has}, the settings say {says}"
        for name, (has, says) in asked.items()
        if has != says
    ]
    if wrong:
        raise RunError(
            f"{source} carries another score head than asked for. " + "; ".join(wrong) + ". "
            "Give the checkpoint's values, or start from a model without a head."
        )


def _tuned(config: RunConfig, model: PreTrainedModel) -> PreTrainedModel:
    """Freezes what is not trained, or adds LoRA."""
    from roc.model.adapters import add_lora
    from roc.model.parts import freeze

    if config.tuning == "full":
        freeze(model, list(config.freeze))
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


def usual_wording(config: RunConfig, data: RunData) -> dict[str, str | None]:
    """Chooses the question and the answer that the checkpoint declares.

    Returns:
        `question` and `answer`: those of the settings, else those of most training rows with a conversation; None
        where there is neither, for the built-in ones.
    """
    questions, answers = Counter(), Counter()
    for record in data.train:
        if record.conversations is not None:
            (_, first), (_, reply) = record.conversations[:2]
            if reply.count(SCORE_TOKEN) == len(config.attributes):
                questions[first.replace(IMAGE_PLACEHOLDER, "").strip()] += 1
                answers[reply[: reply.rindex(SCORE_TOKEN) + len(SCORE_TOKEN)].strip()] += 1
    usual = {"question": questions.most_common(1), "answer": answers.most_common(1)}
    return {
        name: getattr(config, name) if getattr(config, name) is not None or not found else found[0][0]
        for name, found in usual.items()
    }


def tokenizer_texts(config: RunConfig, data: RunData) -> list[str]:
    """Collects sentences to train the stand-in's tokenizer on: the wordings, and texts of the training rows."""
    turns = [turn for record in data.train for _, turn in record.conversations or ()]
    comments = [record.comment for record in data.train if record.comment]
    own = [*turns[:_MOST_TEXTS], *comments[:_MOST_TEXTS]]
    return [*QUESTIONS, question(config.attributes), answer(config.attributes), *own]
