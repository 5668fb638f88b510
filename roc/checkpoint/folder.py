"""A trained model on disk: a full checkpoint, or an adapter that refers to the base it was trained on.

A full checkpoint is a folder that a stock `AutoModel` opens as the plain model and `load` opens with its head. An
adapter folder holds PEFT's two files, the processor and `roc_config.json`, with the declaration of the head and facts
about the base; `load` finds the base by the name in it.
"""

from __future__ import annotations

import os
import shutil
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    ProcessorMixin,
)
from transformers.utils import cached_file, find_adapter_config_file

from roc.checkpoint.card import card_kept, write_card
from roc.checkpoint.fingerprint import base_fingerprint, differing_blocks
from roc.checkpoint.names import check_exists
from roc.checkpoint.personal_head import put_on, read_personal_head
from roc.checkpoint.weights import check_complete, load_weights, one_line
from roc.files import moved_with, write_json
from roc.model.adapters import fill_adapter, four_bit, keep_four_bit_exact, no_deprecations_of_peft
from roc.model.attachment import carry_head, model_class, renew_head
from roc.model.declaration import Declaration, declaration_of, declare, declares_head
from roc.model.extensions import add_extension, declared_extensions
from roc.model.float32_tower import join_towers, keeping_towers
from roc.model.modeling import roc_class
from roc.model.mplug_owl2 import published
from roc.model.personal import base_of, is_personal
from roc.model.processing import load_processor, save_processor
from roc.model.vocabulary import gathered, num_rows

ADAPTER_FILE = "roc_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"

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
    """Loads a model that carries the head, with its processor, in eval mode.

    Args:
        path: Folder or hub id of a full checkpoint or an adapter that roc wrote, or of a published ROC4MLLM checkpoint;
            or the file of a personal head (roc/checkpoint/personal_head.py).
        device: Where the weights go; None = where `from_pretrained` leaves them (CPU).
        dtype: Dtype of the backbone, such as "bfloat16"; None = the dtype it was saved in, for an adapter the one its
            base was trained in. The head stays float32.
        base: For an adapter, where its base lies now; None = where it was when the adapter was trained. For a personal
            head, where its checkpoint lies now.
        quantized: For an adapter, whether the base is loaded in 4 bits; None = as it was trained.
        scoring: Whether the model is only used to score. If the language model is in half precision, a vision tower
            with batch normalisation is then kept in float32 (roc/model/float32_tower.py), since scores would move; a
            4-bit model is left as it is.
        **kwargs: Arguments of the model's `from_pretrained` (`attn_implementation`, `device_map`, ...); `revision`,
            `token` and `cache_dir` also go to config and processor, but not to the base of an adapter.

    Returns:
        `(model, processor)`; for an adapter, the model is a `peft.PeftModel`.

    Raises:
        FileNotFoundError: If `path` looks like a folder and there is none.
        ValueError: If the checkpoint carries no head, a file is broken, tensors are missing, surplus or of another
            shape than config.json says, adapter and base do not fit, or the files of a published checkpoint contradict
            each other.
    """
    if is_personal(path):
        if base is None:
            check_exists(path)
        head = read_personal_head(path)
        model, processor = load(base or head.base, device, dtype, quantized=quantized, scoring=scoring, **kwargs)
        put_on(model, head, path)
        return model, processor
    where = {key: kwargs[key] for key in ("revision", "token", "cache_dir") if key in kwargs}
    asked = {key: value for key, value in where.items() if key != "token"}
    check_exists(path, "`bash scripts/finetune.sh` makes checkpoints/demo", **asked)
    if is_adapter(path, **where):
        kwargs.pop("revision", None)
        return _load_adapter(path, where, device, dtype, base, quantized, scoring, kwargs)
    if base is not None or quantized is not None:
        raise ValueError(f"{path} is a full checkpoint, not an adapter; base and quantized say nothing about it.")
    opened = _open_config(path, where)
    if not declares_head(opened.config):
        raise ValueError(
            f"{path} carries no score head (its config.json has no 'roc' section). Train one with "
            f"`bash scripts/finetune.sh --model_name_or_path {path} ...`, or give the folder that roc wrote."
        )
    model = _load_full(path, where, opened, dtype, scoring, kwargs)
    if device is not None:
        model = model.to(device)
    return model.eval(), _processor_of(model, path, config=opened.config, **where)


def read_config(path: str | os.PathLike, **where: Any) -> PreTrainedConfig:
    """Reads the configuration of a model or full checkpoint; it has `config.roc` wherever `load` finds a head.

    Args:
        path: Folder or hub id.
        **where: `revision`, `token`, `cache_dir`.
    """
    return _open_config(base_of(path), where).config


def read_adapter_declaration(path: str | os.PathLike, **where: Any) -> Declaration:
    """Reads what the head of an adapter means, without its base.

    Args:
        path: Folder or hub id of an adapter that roc wrote.
        **where: `revision`, `token`, `cache_dir`.

    Raises:
        ValueError: If roc did not write it, or its file cannot be used.
    """
    return Declaration.from_dict(_read_about(path, where)["roc"])


def is_adapter(path: str | os.PathLike, **where: Any) -> bool:
    """Tells whether a folder or hub id holds a PEFT adapter.

    Args:
        path: Folder or hub id.
        **where: `revision`, `token`, `cache_dir`.
    """
    return not is_personal(path) and find_adapter_config_file(os.fspath(path), **where) is not None


class _OpenedConfig(NamedTuple):
    """A config.json that was read once.

    Attributes:
        config: In roc's layout.
        published: The content of a published ROC4MLLM config.json, as it stands there; None for any other.
    """

    config: PreTrainedConfig
    published: dict[str, Any] | None


def _open_config(path: str | os.PathLike, where: dict[str, Any]) -> _OpenedConfig:
    content = published.read_json(path, "config.json", **where) or {}
    if published.is_published(content):
        return _OpenedConfig(published.config_from(content, path, **where), content)
    if content.get("model_type") not in CONFIG_MAPPING or "auto_map" in content or "configuration_files" in content:
        return _OpenedConfig(_auto_config(path, content, where), None)  # its rules, or its error
    try:
        config = CONFIG_MAPPING[content["model_type"]].from_dict(content, name_or_path=os.fspath(path))
    except Exception as error:  # transformers and huggingface_hub raise errors of many kinds
        raise ValueError(f"{path}: config.json cannot be used: {one_line(error)}") from error
    if declares_head(config):
        try:
            declaration_of(config)
        except ValueError as error:
            raise ValueError(f"{path}: config.json declares a score head that cannot be: {error}") from error
    return _OpenedConfig(config, None)


def _auto_config(path: str | os.PathLike, content: dict[str, Any], where: dict[str, Any]) -> PreTrainedConfig:
    try:
        return AutoConfig.from_pretrained(path, trust_remote_code=False, **where)
    except (OSError, ImportError):
        raise
    except Exception as error:
        if "auto_map" in content:
            raise ValueError(
                f"{path} is a {content.get('model_type')!r} model that comes with code of its own; roc runs no code "
                "out of a checkpoint. Take a model that this transformers version has a class for."
            ) from error
        raise ValueError(f"{path}: config.json cannot be used: {one_line(error)}") from error


def _load_full(
    path: str | os.PathLike,
    where: dict[str, Any],
    opened: _OpenedConfig,
    dtype: str | torch.dtype | None,
    scoring: bool,
    kwargs: dict[str, Any],
) -> PreTrainedModel:
    """Loads a full checkpoint that carries the head, written by roc or published."""
    cls, arguments = roc_class(model_class(opened.config)), {"dtype": dtype or "auto", **kwargs}
    if opened.published is None:
        return _from_pretrained(cls, path, scoring, config=opened.config, **arguments)
    converted = published.read(path, opened.published, **where)
    arguments |= {"config": converted.config, "state_dict": converted.weights, "name": path}
    model = _from_pretrained(cls, None, scoring, **arguments)
    model.name_or_path = model.config.name_or_path = os.fspath(path)
    if cached_file(path, "generation_config.json", _raise_exceptions_for_missing_entries=False, **where):
        model.generation_config = GenerationConfig.from_pretrained(path, **where)
    return model


def _from_pretrained(
    cls: type[PreTrainedModel], path: str | os.PathLike | None, scoring: bool, **kwargs: Any
) -> PreTrainedModel:
    """Loads weights, with vision towers kept in float32 where the model is only used to score."""
    if not scoring or "quantization_config" in kwargs:
        return load_weights(cls, path, **kwargs)
    return join_towers(load_weights(keeping_towers(cls), path, **kwargs), cls)


def save(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    path: str | os.PathLike,
    *,
    state_dict: dict[str, torch.Tensor] | None = None,
    **kwargs,
) -> None:
    """Writes one folder that `load` reads; a full model is read by a stock `AutoModel` too.

    Args:
        model: Carries the head; where PEFT wraps it, only the adapter is written.
        processor: The model's processor.
        path: Folder.
        state_dict: The weights, where the model itself does not hold them whole (sharded training).
        **kwargs: Arguments of the model's `save_pretrained`.
    """
    if not hasattr(model, "peft_config"):
        model.save_pretrained(path, state_dict=state_dict, **kwargs)
        save_processor(processor, path)
        write_card(path, model.declaration, adapter=False)
        _copy_licences(model, Path(path))
        return
    with card_kept(path):
        # Not "auto": PEFT would look for the base on the hub to compare vocabularies; the row is in the adapter anyway.
        # "default" is the adapter that is trained; reinforcement keeps a frozen copy beside it.
        model.save_pretrained(path, state_dict=state_dict, save_embedding_layers=False, selected_adapters=["default"])
    plain, base = model.get_base_model(), model.peft_config["default"].base_model_name_or_path
    quantized = getattr(plain, "quantization_method", None) is not None
    about = {
        "roc": model.declaration.to_dict(),
        "tuning": "qlora" if quantized else "lora",
        "base": {
            "name_or_path": os.path.abspath(base) if base and os.path.isdir(base) else base,
            "model_type": model.config.model_type,
            "dtype": str(plain.dtype).removeprefix("torch."),
            "fingerprint": base_fingerprint(model),
        },
    }
    if declared := declared_extensions(plain.config):
        about["extensions"] = declared
    write_json(Path(path) / ADAPTER_FILE, about)
    save_processor(processor, path)
    write_card(path, model.declaration, adapter=True)


def _copy_licences(model: PreTrainedModel, path: Path) -> None:
    """Copies the licences from the folder that the weights came from: what was trained from them stays under these."""
    origin = getattr(model.config, "_name_or_path", "")
    if not origin or not os.path.isdir(origin):
        return
    for file in (file for pattern in ("LICENSE*", "NOTICE*") for file in sorted(Path(origin).glob(pattern))):
        if file.is_file() and not (path / file.name).exists():
            shutil.copyfile(file, path / file.name)


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
    about = _read_about(path, where)
    name = _base_name(path, about, base)
    opened = _open_base_config(path, name)
    if opened.config.model_type != about["base"]["model_type"]:
        raise ValueError(
            f"Adapter {path} was trained on a {about['base']['model_type']} model ({about['base']['name_or_path']}), "
            f"but {name} is a {opened.config.model_type} model; give the base it was trained on."
        )
    dtype = about["base"]["dtype"] if dtype is None else dtype
    if about["tuning"] == "qlora" if quantized is None else quantized:
        compute = getattr(torch, dtype) if isinstance(dtype, str) and dtype != "auto" else dtype
        kwargs["quantization_config"] = four_bit(opened.config, torch.bfloat16 if compute == "auto" else compute)
        if device is not None:  # quantised while it is loaded, so it has to be loaded where it stays
            kwargs["device_map"] = {"": device}
    model = _load_base(path, about, name, opened, dtype, scoring, kwargs)
    model = _put_adapter_on(model, path, name, where)
    if device is not None and "quantization_config" not in kwargs:
        model = model.to(device)
    return model.eval(), _processor_of(model, path, **where)


def _processor_of(model: PreTrainedModel, path: str | os.PathLike, **arguments: Any) -> ProcessorMixin:
    """Loads the processor, and makes sure that it knows the declared token by the declared id."""
    processor, declaration = load_processor(path, **arguments), model.declaration
    known, rows = processor.tokenizer.get_vocab().get(declaration.token), num_rows(model.get_input_embeddings().weight)
    if known != declaration.token_id or declaration.token_id >= rows:
        raise ValueError(
            f"{path}: {declaration.token} is declared as token {declaration.token_id}, but the tokenizer knows it as "
            f"{'no token' if known is None else known} and the model has {rows} rows; the files are not of one "
            "checkpoint. Copy them again from where they were written."
        )
    return processor


def _read_about(path: str | os.PathLike, where: dict[str, Any]) -> dict[str, Any]:
    """Reads the file that roc writes beside PEFT's."""
    file = cached_file(path, ADAPTER_FILE, _raise_exceptions_for_missing_entries=False, **where)
    if file is None:
        raise ValueError(f"{path} is an adapter that roc did not write: it has no {ADAPTER_FILE}, so no score head.")
    about = published.read_json(path, ADAPTER_FILE, **where)
    try:
        Declaration.from_dict(about.get("roc"))
        base, tuning = about["base"], about["tuning"]
        known = isinstance(base["fingerprint"], dict | list) and tuning in ("lora", "qlora")
        if not known or not all(isinstance(base[key], str | None) for key in ("name_or_path", "model_type", "dtype")):
            raise ValueError("'base' and 'tuning' are not what roc writes")
    except (KeyError, TypeError, ValueError) as error:
        missing = isinstance(error, KeyError)
        reason = f"it has no {error.args[0]!r}" if missing else one_line(error)
        raise ValueError(f"{path}: {ADAPTER_FILE} cannot be used: {reason}. Copy it again.") from error
    return about


def _load_base(
    path: str | os.PathLike,
    about: dict[str, Any],
    name: str,
    opened: _OpenedConfig,
    dtype: str | torch.dtype,
    scoring: bool,
    kwargs: dict[str, Any],
) -> PreTrainedModel:
    """Loads the base of an adapter with the adapter's head, and makes sure it is the base that was trained on."""
    declaration = Declaration.from_dict(about["roc"])
    if not declares_head(opened.config):
        cls = model_class(opened.config)
        plain = _from_pretrained(cls, name, scoring, config=opened.config, dtype=dtype, **kwargs)
        model = carry_head(plain, declaration)
    else:
        theirs = declaration_of(opened.config)
        if theirs.token_id != declaration.token_id:
            raise ValueError(
                f"Adapter {path} reads its scores at token {declaration.token_id}, but {declaration.token} of its base "
                f"{name} is token {theirs.token_id}. Give the base the adapter was trained on: {_BASE_IS}."
            )
        model = _load_full(name, {}, opened, dtype, scoring, kwargs)
        # The adapter has a head of its own, possibly for another range, other attributes or levels.
        if theirs.num_levels == declaration.num_levels:
            declare(model, declaration)
        else:
            model = renew_head(model, declaration)
    for extension, settings in about.get("extensions", {}).items():
        if extension not in declared_extensions(model.config):
            add_extension(model, extension, settings)
    apart = _parts_apart(model, about["base"]["fingerprint"])
    if apart:
        some = ", ".join(apart[:3]) + (", ..." if len(apart) > 3 else "")
        raise ValueError(
            f"{name} has other weights than the base that adapter {path} was trained on, "
            f"{about['base']['name_or_path']} as it was then; parts that differ ({len(apart)}): {some}. "
            f"Give the base it was trained on: {_BASE_IS}."
        )
    return model


def _put_adapter_on(model: PreTrainedModel, path: str | os.PathLike, name: str, where: dict[str, Any]) -> Any:
    """Wraps the base with the adapter's weights, and makes sure that every tensor of the file found its place."""
    from peft import PeftModel, get_peft_model_state_dict

    keep_four_bit_exact(model)
    stored = cached_file(path, ADAPTER_WEIGHTS, _raise_exceptions_for_missing_entries=False, **where)
    if stored is None:
        raise ValueError(f"Adapter {path} has no {ADAPTER_WEIGHTS}; roc reads no other file of weights of an adapter.")
    try:
        with safe_open(stored, "pt") as tensors:
            found = {key: tuple(tensors.get_slice(key).get_shape()) for key in tensors.keys()}
    except Exception as error:  # SafetensorError is not public, and an empty file is another error
        raise ValueError(f"{stored} is no whole safetensors file: {one_line(error)}. Copy it again.") from error
    try:
        with no_deprecations_of_peft():  # what is missing is refused below
            warnings.filterwarnings("ignore", "Found missing adapter keys|Some weights of", UserWarning)
            model = PeftModel.from_pretrained(model, path, ignore_mismatched_sizes=True, **where)
    except (OSError, ImportError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # PEFT raises errors of many kinds
        raise ValueError(f"Adapter {path} cannot be put on {name}: {one_line(error)}") from error
    model.peft_config["default"].base_model_name_or_path = name
    kept = get_peft_model_state_dict(model, save_embedding_layers=False)
    expected = {key: tuple(tensor.shape) for key, tensor in kept.items()}
    both = set(found) & set(expected)
    check_complete(
        f"adapter {path}, on {name},",
        set(expected) - set(found),
        set(found) - set(expected),
        {key: (found[key], expected[key]) for key in both if found[key] != expected[key]},
    )
    fill_adapter(model, stored)
    return model


def _base_name(path: str | os.PathLike, about: dict[str, Any], base: str | os.PathLike | None) -> str:
    """Finds where the base of an adapter lies: where the caller says, or where it was, or moved with the adapter."""
    name = about["base"]["name_or_path"] if base is None else os.fspath(base)
    if not name:
        raise ValueError(f"The base of adapter {path} had no name when it was trained; say where it is: {_BASE_IS}.")
    return moved_with(path, name) if base is None else name


def _open_base_config(path: str | os.PathLike, name: str) -> _OpenedConfig:
    """Reads the config.json of an adapter's base."""
    try:
        check_exists(name)
        return _open_config(name, {})
    except OSError as error:
        reason = str(error).splitlines()[0].rstrip(".")
    raise FileNotFoundError(f"The base {name} of adapter {path} is not there: {reason}. Say where it is: {_BASE_IS}.")


def _parts_apart(model: PreTrainedModel, expected: dict[str, Any] | list[float]) -> list[str]:
    """Lists the parts in which a base differs from the one with that fingerprint."""
    if not isinstance(expected, list):
        return differing_blocks(base_fingerprint(model), expected)
    # The first adapters kept the beginning of the mean input embedding below [SCORE] instead.
    weight = model.get_input_embeddings().weight
    with gathered([weight]), torch.no_grad():
        found = weight[: model.declaration.token_id, : len(expected)].float().mean(dim=0).cpu()
    return [] if torch.allclose(found, torch.tensor(expected), rtol=2e-2, atol=1e-5) else ["the mean embedding"]
