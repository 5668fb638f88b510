"""LoRA and QLoRA through PEFT: the layers that are adapted, and what else is trained.

An adapter holds the low-rank matrices, the vocabulary row(s) of `[SCORE]`, the score head and extensions; everything
else stays in the base. Only that row is trained (`trainable_token_indices`), so an adapter holds one row of the
embedding, not all; where embeddings do more than look rows up, that row stays as well.
"""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from safetensors import safe_open
from torch import nn
from transformers import BitsAndBytesConfig, PretrainedConfig, PreTrainedModel

from roc.model.attachment import model_class
from roc.model.extensions import extensions_of
from roc.model.modeling import RocMixin
from roc.model.parts import experts_text, parameter_parts

logger = logging.getLogger(__name__)

LORA_PARTS = ("language", "projector", "vision")
"""Parts of `roc.model.parts.PARTS` that can have low-rank matrices."""


def lora_targets(
    model: PreTrainedModel, parts: Sequence[str] = ("language",), targets: Sequence[str] = ()
) -> list[str]:
    """Lists the full names of the linear layers that get low-rank matrices.

    Args:
        model: With or without the head; not yet wrapped by PEFT.
        parts: Some of `LORA_PARTS`; all linear layers of these parts are taken.
        targets: Narrow the choice; empty = all. Each is the end of a module's name ("q_proj", "self_attn.q_proj",
            "layers.3.self_attn.q_proj"), or any part of its name within its block ("k_proj" for "k_proj.multiway.0",
            "mlp" for all of "mlp.gate_proj", ...).

    Raises:
        ValueError: For an unknown part, or if a part or a target matches no layer; the message lists the choices.
    """
    unknown = sorted(set(parts) - set(LORA_PARTS))
    if unknown or not parts:
        raise ValueError(f"LoRA goes into {', '.join(LORA_PARTS)}; got {', '.join(unknown) or 'no part'}.")
    part_of = parameter_parts(model)
    # nn.MultiheadAttention uses the weight of its output layer without calling the layer.
    unreachable = {id(module.out_proj) for module in model.modules() if isinstance(module, nn.MultiheadAttention)}
    layers = {
        name: part_of[f"{name}.weight"]
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and f"{name}.weight" in part_of and id(module) not in unreachable
        # A subclass that gives more than a product, such as a router's scores, is no layer that PEFT can wrap.
        if type(module).forward is nn.Linear.forward or type(module).__module__.partition(".")[0] != "transformers"
    }
    within = [name for name, part in layers.items() if part in parts]
    missing = [part for part in parts if part not in layers.values()]
    if missing:
        there = sorted(set(layers.values()) & set(LORA_PARTS))
        raise ValueError(f"This model has no linear layer in {', '.join(missing)}; it has some in {', '.join(there)}.")
    unmatched = [target for target in targets if not any(_matches(name, target) for name in within)]
    if unmatched:
        kinds = sorted({layer_kind(name) for name in within})
        raise ValueError(
            f"lora_targets {', '.join(unmatched)} match no linear layer of {', '.join(parts)}; the layers there are "
            f"called {', '.join(kinds)}. Name some of these, or none to take all."
        )
    return [name for name in within if not targets or any(_matches(name, target) for target in targets)]


def layer_kind(name: str) -> str:
    """Names a layer in messages: the last component, or if that is a number, the name within its block."""
    last = name.rpartition(".")[2]
    return _within_block(name) if last.isdigit() else last


def add_lora(
    model: PreTrainedModel,
    *,
    rank: int = 64,
    alpha: float = 16,
    dropout: float = 0.05,
    targets: Sequence[str] = (),
    parts: Sequence[str] = ("language",),
):
    """Wraps a model that carries the head: LoRA, the `[SCORE]` row(s) and the head are trained, the rest is frozen.

    Args:
        model: From `attach` or `load`, in full or 4-bit weights. Changed in place: do not save it afterwards.
        rank: r, width of the low-rank matrices.
        alpha: The product of the matrices is scaled by `alpha / rank`.
        dropout: Dropout of the input of the low-rank matrices, in [0, 1).
        targets, parts: As for `lora_targets`.

    Returns:
        The `peft.PeftModel`; the roc methods of the model inside are reachable on it.

    Raises:
        ValueError: If the model carries no head, has adapters already, or nothing matches.
        ImportError: If PEFT is missing.
    """
    peft = _peft()
    if isinstance(model, peft.PeftModel):
        raise ValueError(
            "This model already has an adapter; merge it first (`roc export ADAPTER --merge OUT`) and start from OUT."
        )
    if not isinstance(model, RocMixin):
        raise ValueError(f"This {type(model).__name__} carries no score head; call roc.attach on it first.")
    keep_four_bit_exact(model)
    if experts := experts_text(model):
        quantized = getattr(model, "quantization_method", None) is not None
        kind = "QLoRA neither adapts nor quantises" if quantized else "LoRA leaves out"
        logger.warning("%s %s; --tuning full trains them", kind, experts)
    token_id = model.declaration.token_id
    embeddings = [model.get_input_embeddings(), model.get_output_embeddings()]
    tied = embeddings[0].weight is embeddings[1].weight
    names = {id(module): name for name, module in model.named_modules()}
    rows = {names[id(module)]: [token_id] for module in (embeddings[:1] if tied else embeddings) if _looks_up(module)}
    settings = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=lora_targets(model, parts, targets),
        modules_to_save=["score_head", *(f"extensions.{name}" for name in extensions_of(model))],
        # If the embeddings are tied, PEFT ties the trained row as well.
        trainable_token_indices=rows or None,
    )
    with no_deprecations_of_peft():
        return peft.get_peft_model(model, settings)


def _looks_up(module: nn.Module) -> bool:
    """Tells whether embeddings multiply by their rows, scaled at most, which is all they do where PEFT trains a row.

    Those that normalise the rows (Inkling, Muse) or keep some apart (IDEFICS) would no longer do so.
    """
    plain = type(module).forward in (nn.Embedding.forward, nn.Linear.forward)
    theirs = type(module).__module__.partition(".")[0] == "transformers"
    return plain or not theirs or getattr(module, "embed_scale", None) is not None


@contextlib.contextmanager
def no_deprecations_of_peft() -> Iterator[None]:
    """Keeps back a warning that users can do nothing about: PEFT asks transformers 5 for a property by its old name."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        yield


def four_bit(config: PretrainedConfig, dtype: torch.dtype = torch.bfloat16) -> BitsAndBytesConfig:
    """Makes the quantisation settings of QLoRA: the language model's linear layers as nf4, scales quantised too.

    Vision tower, projector and output embeddings are small beside it and stay as they are; so does the head, which is
    no linear layer.

    Args:
        config: Configuration of the model that will be loaded.
        dtype: Dtype in which the 4-bit layers compute.
    """
    with torch.device("meta"):
        model = model_class(config)(config)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=_subtrees_without(model, set(lora_targets(model))),
    )


def keep_four_bit_exact(model: nn.Module) -> None:
    """Makes 4-bit layers on a CPU compute in eval mode as they do in training; changes nothing on a GPU.

    Otherwise bitsandbytes permanently repacks such a layer for a fast kernel the first time it runs in eval mode: its
    scales are then rounded to bfloat16, and no gradient passes when training continues after a validation.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def merged(model) -> PreTrainedModel:
    """Adds an adapter into the weights of its base and returns the plain model, which carries the head.

    Args:
        model: The `peft.PeftModel` on a base in full weights.

    Raises:
        ValueError: If the model has no adapter, or its base is quantised and the sum would be rounded to 4 bits again.
    """
    if not isinstance(model, _peft().PeftModel):
        raise ValueError(f"This {type(model).__name__} has no adapter to merge; it can be saved as it is.")
    if getattr(model, "quantization_method", None) is not None:
        raise ValueError(
            "The base of this adapter is quantised; merging would round the sum to 4 bits. Load the adapter with "
            "roc.load(adapter, quantized=False) and merge that."
        )
    return model.merge_and_unload()


def fill_adapter(model: nn.Module, file: str | os.PathLike) -> None:
    """Puts each tensor of an adapter's file where it belongs.

    PEFT renames what it reads where transformers once named parts of the base otherwise (the shared experts of
    DeepSeek), finds no such part and leaves it out.

    Args:
        model: The `peft.PeftModel`, into which PEFT has read the file.
        file: `adapter_model.safetensors`, with every tensor that the model would save.
    """
    kept = _peft().get_peft_model_state_dict(model, save_embedding_layers=False)
    with torch.no_grad(), safe_open(file, "pt") as tensors:
        for key, tensor in kept.items():
            tensor.copy_(tensors.get_tensor(key))


def lora_state(model: nn.Module) -> Literal["trained", "initial", "zero"] | None:
    """Tells whether the low-rank matrices of a model change anything.

    Args:
        model: What PEFT wraps; any other model has no such matrices.

    Returns:
        "trained" if a product of two matrices is not zero; otherwise the model equals its base: "initial" if the first
        matrices are filled and the second are zero, as before the first step, "zero" if all are zero. None if there are
        no such matrices.
    """
    filled: dict[str, dict[str, bool]] = {}
    for name, parameter in model.named_parameters():
        for factor in ("lora_A", "lora_B"):
            if f".{factor}." in name:
                filled.setdefault(name.replace(factor, ""), {})[factor] = bool(parameter.any())
    if not filled:
        return None
    if any(all(both.values()) for both in filled.values()):
        return "trained"
    return "initial" if any(any(both.values()) for both in filled.values()) else "zero"


def _peft():
    try:
        import peft
    except ImportError as error:
        raise ImportError("LoRA and adapters need PEFT: pip install 'roc-mllm[lora]'") from error
    return peft


def _matches(name: str, target: str) -> bool:
    """Tells whether a target of `lora_targets` matches the module of that name; a bare number matches none."""
    ends = f".{name}".endswith(f".{target}")
    return not target.isdigit() and (ends or f".{target}." in f".{_within_block(name)}.")


def _within_block(name: str) -> str:
    """Cuts off a module's name up to the number of its block: "layers.0.mlp.up_proj" -> "mlp.up_proj"."""
    components = name.split(".")
    # A number at the end is that of the module itself.
    numbers = [i for i, component in enumerate(components[:-1]) if component.isdigit()]
    return ".".join(components[numbers[0] + 1 :] if numbers else components)


def _subtrees_without(model: nn.Module, wanted: set[str]) -> list[str]:
    """Lists the largest modules that contain linear layers, but none of `wanted`."""
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name not in wanted]
    chosen: list[str] = []
    for name in linear:
        parts = name.split(".")
        heads = (".".join(parts[:depth]) for depth in range(1, len(parts) + 1))
        chosen.append(next(head for head in heads if not any(f"{other}.".startswith(f"{head}.") for other in wanted)))
    return list(dict.fromkeys(chosen))
