"""What a trained model is on disk: a full checkpoint, or an adapter beside the base it was trained on.

A full checkpoint is a folder that a stock `AutoModel` opens as the plain model and `load` opens with its head. An
adapter folder holds PEFT's two files, `roc_config.json` (what `config.roc` says, and about the base) and the processor;
`load` finds the base by the name in it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import AutoConfig, GenerationConfig, PreTrainedConfig, PreTrainedModel, ProcessorMixin
from transformers.utils import cached_file

from roc.checkpoint.card import card_kept, write_card
from roc.checkpoint.fingerprint import differing, fingerprint
from roc.model.adapters import four_bit, is_adapter, keep_four_bit_exact
from roc.model.attachment import carry_head, gathered, model_class
from roc.model.declaration import Declaration, declaration_of, declare, declares_head
from roc.model.float32_tower import join_towers, keeping_towers
from roc.model.modeling import roc_class
from roc.model.mplug_owl2 import published
from roc.model.processing import load_processor, save_processor

ADAPTER_FILE = "roc_config.json"

# What an adapter and the base it is put on must agree in, beside the fingerprint.
_SAME_HEAD = ("token_id", "num_levels", "min_score", "max_score", "attributes")

_BASE_IS = "base=... in Python, --base of `roc export`"


def load(
    path: str | os.PathLike,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    *,
    base: str | os.PathLike | None = None,
    quantized: bool | None = None,
    scoring: bool = False,
    **kwargs,
) -> tuple[PreTrainedModel, ProcessorMixin]:
    """A model that carries the head, with its processor, in eval mode.

    Args:
        path: folder or hub id: a full checkpoint or an adapter that roc wrote, or a published ROC4MLLM checkpoint.
        device: where the weights go; None = where `from_pretrained` leaves them (CPU).
        dtype: of the backbone, e.g. "bfloat16"; None = the dtype it was saved in, of an adapter's base the one it was
            trained in. The head stays float32.
        base: of an adapter, where its base lies now; None = where it was when the adapter was trained.
        quantized: of an adapter, whether the base is loaded in 4 bits; None = as it was trained.
        scoring: to score with and no more: beside a language model in half precision, a vision tower that holds batch
            normalisation is kept in float32, as scores would move (roc/model/float32_tower.py); not where it is in 4
            bits.
        **kwargs: of the model's `from_pretrained` (`attn_implementation`, `device_map`, ...); `revision`, `token` and
            `cache_dir` go to config and processor too, and of an adapter not to its base.

    Returns:
        `(model, processor)`; of an adapter, the model is a `peft.PeftModel`.

    Raises:
        FileNotFoundError: where `path` looks like a folder and there is none.
        ValueError: where the checkpoint carries no head, adapter and base do not fit, or the files of a published
            checkpoint contradict each other.
    """
    check_exists(path, "`bash scripts/finetune.sh` makes checkpoints/demo")
    where = {key: kwargs[key] for key in ("revision", "token", "cache_dir") if key in kwargs}
    if is_adapter(path, **where):
        kwargs.pop("revision", None)
        return _load_adapter(path, where, device, dtype, base, quantized, scoring, kwargs)
    if base is not None or quantized is not None:
        raise ValueError(f"{path} is a full checkpoint, not an adapter; base and quantized say nothing about it.")
    config = read_config(path, **where)
    if not declares_head(config):
        raise ValueError(
            f"{path} carries no score head (its config.json has no 'roc' section). Train one with "
            f"`bash scripts/finetune.sh --model_name_or_path {path} ...`, or give the folder that roc wrote."
        )
    model = _load_full(path, where, dtype, scoring, kwargs)
    if device is not None:
        model = model.to(device)
    return model.eval(), load_processor(path, **where)


def read_config(path: str | os.PathLike, **where: Any) -> PreTrainedConfig:
    """The configuration of a model or full checkpoint; `config.roc` stands in it wherever `load` finds a head.

    Args:
        path: folder or hub id.
        **where: `revision`, `token`, `cache_dir`.
    """
    config = published.read_config(path, **where)
    return AutoConfig.from_pretrained(path, **where) if config is None else config


def _load_full(
    path: str | os.PathLike,
    where: dict[str, Any],
    dtype: str | torch.dtype | None,
    scoring: bool,
    kwargs: dict[str, Any],
) -> PreTrainedModel:
    """A full checkpoint that carries the head, of roc or published."""
    if published.read_config(path, **where) is None:
        config = AutoConfig.from_pretrained(path, **where)
        return _read(roc_class(model_class(config)), path, scoring, dtype=dtype or "auto", **kwargs)
    converted = published.read(path, **where)
    cls = roc_class(model_class(converted.config))
    given = {"config": converted.config, "state_dict": converted.weights, "dtype": dtype or "auto"}
    model = _read(cls, None, scoring, **given, **kwargs)
    model.name_or_path = model.config.name_or_path = os.fspath(path)
    if cached_file(path, "generation_config.json", _raise_exceptions_for_missing_entries=False, **where):
        model.generation_config = GenerationConfig.from_pretrained(path, **where)
    return model


def _read(cls: type[PreTrainedModel], path: str | os.PathLike | None, scoring: bool, **kwargs: Any) -> PreTrainedModel:
    if not scoring or "quantization_config" in kwargs:
        return cls.from_pretrained(path, **kwargs)
    return join_towers(keeping_towers(cls).from_pretrained(path, **kwargs), cls)


def save(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    path: str | os.PathLike,
    *,
    state_dict: dict[str, torch.Tensor] | None = None,
    **kwargs,
) -> None:
    """Writes one folder that `load` reads; of a full model also a stock `AutoModel`.

    Args:
        model: carries the head; where PEFT wraps it, only the adapter is written.
        processor: of the model.
        path: folder.
        state_dict: the weights where the model itself does not hold them whole (sharded training).
        **kwargs: of the model's `save_pretrained`.
    """
    if not hasattr(model, "peft_config"):
        model.save_pretrained(path, state_dict=state_dict, **kwargs)
        save_processor(processor, path)
        write_card(path, model.declaration, adapter=False)
        return
    with card_kept(path):
        # Not "auto": PEFT would look for the base on the hub to compare vocabularies; the row is in the adapter anyway.
        model.save_pretrained(path, state_dict=state_dict, save_embedding_layers=False)
    plain, base = model.get_base_model(), model.peft_config["default"].base_model_name_or_path
    quantized = getattr(plain, "quantization_method", None) is not None
    about = {
        "roc": model.declaration.to_dict(),
        "tuning": "qlora" if quantized else "lora",
        "base": {
            "name_or_path": os.path.abspath(base) if base and os.path.isdir(base) else base,
            "model_type": model.config.model_type,
            "dtype": str(plain.dtype).removeprefix("torch."),
            "fingerprint": fingerprint(model),
        },
    }
    (Path(path) / ADAPTER_FILE).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    save_processor(processor, path)
    write_card(path, model.declaration, adapter=True)


def _load_adapter(
    path: str | os.PathLike,
    where: dict[str, Any],
    device: str | torch.device | None,
    dtype: str | torch.dtype | None,
    base: str | os.PathLike | None,
    quantized: bool | None,
    scoring: bool,
    kwargs: dict[str, Any],
) -> tuple[PreTrainedModel, ProcessorMixin]:
    from peft import PeftModel, get_peft_model_state_dict

    file = cached_file(path, ADAPTER_FILE, _raise_exceptions_for_missing_entries=False, **where)
    if file is None:
        raise ValueError(f"{path} is an adapter that roc did not write: it has no {ADAPTER_FILE}, so no score head.")
    about = json.loads(Path(file).read_text(encoding="utf-8"))
    name = about["base"]["name_or_path"] if base is None else os.fspath(base)
    if not name:
        raise ValueError(f"The base of adapter {path} had no name when it was trained; say where it is: {_BASE_IS}.")
    if base is None:
        name = _moved_with(path, name)
    config = _base_config(path, name)
    if config.model_type != about["base"]["model_type"]:
        raise ValueError(
            f"Adapter {path} was trained on a {about['base']['model_type']} model ({about['base']['name_or_path']}), "
            f"but {name} is a {config.model_type} model; give the base it was trained on."
        )
    dtype = about["base"]["dtype"] if dtype is None else dtype
    if about["tuning"] == "qlora" if quantized is None else quantized:
        compute = getattr(torch, dtype) if isinstance(dtype, str) and dtype != "auto" else dtype
        kwargs["quantization_config"] = four_bit(config, torch.bfloat16 if compute == "auto" else compute)
        if device is not None:  # quantised while it is loaded, so it has to be loaded where it stays
            kwargs["device_map"] = {"": device}
    declaration = Declaration.from_dict(about["roc"])
    if not declares_head(config):
        model = carry_head(_read(model_class(config), name, scoring, dtype=dtype, **kwargs), declaration)
    else:
        ours, theirs = declaration.to_dict(), declaration_of(config).to_dict()
        apart = [f"{key}: adapter {ours[key]}, base {theirs[key]}" for key in _SAME_HEAD if ours[key] != theirs[key]]
        if apart:
            raise ValueError(
                f"Adapter {path} and the head of its base {name} differ: {'; '.join(apart)}. Give the base the adapter "
                "was trained on."
            )
        model = _load_full(name, {}, dtype, scoring, kwargs)
        declare(model, declaration)
    apart = _weights_apart(model, about["base"]["fingerprint"])
    if apart:
        some = ", ".join(apart[:3]) + (", ..." if len(apart) > 3 else "")
        raise ValueError(
            f"{name} has other weights than the base that adapter {path} was trained on, "
            f"{about['base']['name_or_path']} as it was then; parts that differ ({len(apart)}): {some}. "
            f"Give the base it was trained on: {_BASE_IS}."
        )
    keep_four_bit_exact(model)
    model = PeftModel.from_pretrained(model, path, **where)
    model.peft_config["default"].base_model_name_or_path = name
    stored = cached_file(path, "adapter_model.safetensors", **where)
    with safe_open(stored, "pt") as tensors:
        apart = set(tensors.keys()) ^ set(get_peft_model_state_dict(model, save_embedding_layers=False))
    if apart:
        raise ValueError(
            f"Adapter {path} does not fit {name}: {len(apart)} tensors are in only one of them, {sorted(apart)[:3]} "
            "among them; it was written for another model or with another version of PEFT."
        )
    if device is not None and "quantization_config" not in kwargs:
        model = model.to(device)
    return model.eval(), load_processor(path, **where)


def _moved_with(path: str | os.PathLike, name: str) -> str:
    """Where the base of an adapter lies: where it was; or, if both have moved together, at the same place above it."""
    if os.path.isdir(name) or not os.path.isdir(path):
        return name
    words = Path(name).parts
    ends = [Path(*words[start:]) for start in range(1, len(words))] if os.path.isabs(name) else [Path(name)]
    for folder in Path(path).resolve().parents:
        for end in ends:
            if (folder / end / "config.json").is_file():
                return str(folder / end)
    return name


def _base_config(path: str | os.PathLike, name: str) -> PreTrainedConfig:
    """The configuration of an adapter's base."""
    reason = "there is no such folder"
    if not _is_missing_folder(name):
        try:
            return read_config(name)
        except OSError as error:
            reason = str(error).splitlines()[0].rstrip(".")
    raise FileNotFoundError(f"The base {name} of adapter {path} is not there: {reason}. Say where it is: {_BASE_IS}.")


def check_exists(path: str | os.PathLike, advice: str = "look where you are, and at the spelling") -> None:
    """A name that can only be a folder has to be one; anything else is left to the hub's own errors.

    Args:
        path: folder or hub id.
        advice: where such a folder comes from.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    if _is_missing_folder(os.fspath(path)):
        raise FileNotFoundError(f"There is no folder {path}: {advice}; a model of a hub is named organisation/model.")


def _is_missing_folder(name: str) -> bool:
    local = os.path.isabs(name) or name.startswith(".") or name.count("/") > 1 or os.path.isdir(os.path.dirname(name))
    return local and not os.path.isdir(name)


def _weights_apart(model: PreTrainedModel, expected: Any) -> list[str]:
    """In which parts a base is another than the one with that fingerprint."""
    if not isinstance(expected, list):
        return differing(fingerprint(model), expected)
    # An older fingerprint: the first values of the mean input embedding below [SCORE].
    weight = model.get_input_embeddings().weight
    with gathered([weight]), torch.no_grad():
        found = weight[: model.declaration.token_id, : len(expected)].float().mean(dim=0).cpu()
    return [] if torch.allclose(found, torch.tensor(expected), rtol=2e-2, atol=1e-5) else ["the mean embedding"]
