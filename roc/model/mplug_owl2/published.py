"""Published ROC4MLLM folders: reading and writing their files.

    config.json                  flat, LLaMA's fields on top
    pytorch_model.bin            or model.safetensors, or either in shards with an index
    tokenizer.model, tokenizer_config.json, special_tokens_map.json, added_tokens.json
    preprocessor_config.json     the published training does not write it, its inference needs it
    generation_config.json

Weights are read as tensors only; code in a checkpoint is never run. Whatever our layout has no place for is kept beside
it in `published_extras.safetensors`: tensors, and in the metadata the small files as they were and the file of every
weight, so that a conversion and back gives the same bytes.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers.utils import cached_file

from roc.model.declaration import declaration_of
from roc.model.mplug_owl2 import convert
from roc.model.mplug_owl2.configuration import MplugOwl2Config
from roc.model.mplug_owl2.convert import is_published
from roc.model.mplug_owl2.processing import MplugOwl2Processor

EXTRAS_FILE = "published_extras.safetensors"
# The float32 head, if the published file rounds it to half precision.
HEAD_FILE = "score_head.safetensors"

_SINGLE = ("model.safetensors", "pytorch_model.bin")
_ADDED, _TOKENIZER, _SPECIAL = "added_tokens.json", "tokenizer_config.json", "special_tokens_map.json"
_PREPROCESSOR, _GENERATION = "preprocessor_config.json", "generation_config.json"
_SMALL = ("config.json", _GENERATION, _PREPROCESSOR, _ADDED, _SPECIAL, _TOKENIZER)


@dataclasses.dataclass(frozen=True)
class Stored:
    """The weights of a folder.

    Attributes:
        tensors: By the names on disk.
        files: Names of the tensors in each file, in its order.
        index: Name of the index, if there are several files.
    """

    tensors: dict[str, torch.Tensor]
    files: dict[str, list[str]]
    index: str | None = None


@dataclasses.dataclass(frozen=True)
class Converted:
    """A published checkpoint in our layout.

    Attributes:
        config: With `config.roc`; its dtype is that of the weights.
        weights: By the names of our layout on disk, `score_head.weight` among them, in the dtypes of the files.
        extras: Tensors that our layout has no place for.
        stored: The tensors as they were on disk.
    """

    config: MplugOwl2Config
    weights: dict[str, torch.Tensor]
    extras: dict[str, torch.Tensor]
    stored: Stored


def published_config(path: str | os.PathLike, **where: Any) -> dict[str, Any] | None:
    """Reads the `config.json` of a published checkpoint with score levels; None if `path` holds something else.

    Args:
        path: Folder or hub id.
        **where: `revision`, `token`, `cache_dir`.
    """
    content = read_json(path, "config.json", **where)
    return content if content is not None and is_published(content) else None


def config_from(content: Mapping[str, Any], path: str | os.PathLike, **where: Any) -> MplugOwl2Config:
    """Makes the configuration of our layout, with `config.roc`, from a published config.json.

    Args:
        content: What `published_config` gave.
        path: The folder or hub id it comes from; its other small files are checked too.
        **where: `revision`, `token`, `cache_dir`.

    Raises:
        ValueError: If a small file is broken, or no model can be made of what config.json says.
    """
    for name in _SMALL:
        if name != "config.json":
            read_json(path, name, **where)
    try:
        ours = convert.to_roc_config(content)
    except Exception as error:  # transformers and huggingface_hub raise errors of many kinds
        raise ValueError(f"{path}: config.json cannot be used: {_reason(error)}") from error
    ours.name_or_path = os.fspath(path)
    return ours


def read(path: str | os.PathLike, content: Mapping[str, Any] | None = None, **where: Any) -> Converted:
    """Reads a published checkpoint.

    Args:
        path: Folder or hub id.
        content: What `published_config` gave for it; None = read here.
        **where: `revision`, `token`, `cache_dir`.

    Raises:
        FileNotFoundError: If a file of weights is not there.
        ValueError: If `path` is no published checkpoint, or its files contradict each other.
    """
    content = published_config(path, **where) if content is None else content
    if content is None:
        raise ValueError(f"{path} is no published ROC4MLLM checkpoint: its config.json has no num_tokens.")
    ours = config_from(content, path, **where)
    stored = read_weights(path, **where)
    try:
        weights, extras = convert.to_roc(content, stored.tensors)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    weights[convert.HEAD] = _exact_head(path, weights[convert.HEAD], stored.tensors[convert.OUTPUT].dtype, where)
    dtypes = {value.dtype for name, value in weights.items() if name != convert.HEAD and not convert.is_optional(name)}
    dtype = functools.reduce(torch.promote_types, dtypes)
    for part in (ours, *(getattr(ours, name) for name in ours.sub_configs)):
        part.dtype = dtype
    return Converted(ours, weights, extras, stored)


def read_weights(path: str | os.PathLike, **where: Any) -> Stored:
    """Reads the tensors of a folder in either layout, memory-mapped if the files allow it.

    Raises:
        FileNotFoundError: If a file is not there.
        ValueError: If a file holds something else than tensors, or an index and its files disagree.
    """
    for single in _SINGLE:
        file = find(path, single, **where)
        if file is not None:
            tensors = _read_tensors(file)
            return Stored(tensors, {single: list(tensors)})
        index = f"{single}.index.json"
        content = read_json(path, index, **where)
        if content is not None:
            return _read_shards(path, index, content.get("weight_map"), where)
    raise FileNotFoundError(f"{path} has no weights: none of {', '.join(_SINGLE)}, whole or in shards.")


def write_extras(folder: str | os.PathLike, source: str | os.PathLike, converted: Converted) -> None:
    """Writes the extras, which our layout has no place for, beside it.

    Args:
        folder: Folder of our layout.
        source: Folder or hub id of the published checkpoint; its small files are kept as they are.
        converted: From `read`.
    """
    names = _SMALL if converted.stored.index is None else (*_SMALL, converted.stored.index)
    found = {name: find(source, name) for name in names}
    texts = {name: Path(file).read_bytes().decode() for name, file in found.items() if file is not None}
    # A single entry, because safetensors writes several in random order.
    metadata = {"published": json.dumps({"files": texts, "weights": converted.stored.files}, ensure_ascii=False)}
    save_file(_apart(converted.extras), Path(folder) / EXTRAS_FILE, metadata=metadata)


def write(
    folder: str | os.PathLike,
    config: MplugOwl2Config,
    weights: Mapping[str, torch.Tensor],
    processor: MplugOwl2Processor,
    *,
    source: str | os.PathLike | None = None,
) -> None:
    """Writes a published folder.

    Args:
        folder: New folder.
        config: With `config.roc`.
        weights: Tensors of our layout, by module name or by the name on disk.
        processor: The model's processor.
        source: Folder or hub id of our layout. If it has `published_extras.safetensors`, the files become what they
            were, except for what was changed since. If not, they are made up: one `pytorch_model.bin`, with the level
            rows of the input embedding as in `convert.to_published`.

    Raises:
        ValueError: If weights, extras and configuration do not fit each other, or the layout has no place for something
            in configuration or processor.
    """
    folder = Path(folder)
    extras, texts, files = _read_extras(source)
    tensors = convert.to_published(config, weights, extras)
    if extras is None:
        files, original = {"pytorch_model.bin": list(tensors)}, None
        texts = {name: _text(content) for name, content in _made_up(config, processor).items()}
        generation = None if source is None else find(source, _GENERATION)
        if generation is not None:
            texts[_GENERATION] = Path(generation).read_bytes().decode()
    else:
        original = json.loads(texts["config.json"])
    published = convert.to_published_config(config, original)
    if published != original:
        texts["config.json"] = _text(published)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_bytes(text.encode())
    processor.tokenizer.save_vocabulary(str(folder))
    for name, keys in files.items():
        _write_tensors(folder / name, {key: tensors[key] for key in keys})
    if not convert.is_exact(weights[convert.HEAD], tensors[convert.OUTPUT].dtype):
        _write_tensors(folder / HEAD_FILE, {convert.HEAD: weights[convert.HEAD]})


def _made_up(config: MplugOwl2Config, processor: MplugOwl2Processor) -> dict[str, dict[str, Any]]:
    """Makes the small files beside `config.json` as transformers 4.31 wrote them."""
    tokenizer, rows = processor.tokenizer, config.text_config.vocab_size
    added = {str(token): index for index, token in tokenizer.added_tokens_decoder.items() if not token.special}
    added |= {f"[IMG{level}]": rows + level for level in range(declaration_of(config).num_levels)}
    special = {name: _added_token(getattr(tokenizer, name)) for name in ("bos_token", "eos_token", "unk_token")}
    pattern = tokenizer.init_kwargs["special_tokens_pattern"].split("_")
    pixels = processor.image_processor
    text = config.text_config
    return {
        _ADDED: dict(sorted(added.items())),
        _SPECIAL: {**special, "pad_token": tokenizer.pad_token},
        _TOKENIZER: {
            "add_bos_token": "bos" in pattern,
            "add_eos_token": "eos" in pattern,
            **{name: {"__type": "AddedToken", **token} for name, token in special.items()},
            "clean_up_tokenization_spaces": False,
            "legacy": tokenizer.legacy,
            "model_max_length": tokenizer.model_max_length,
            "pad_token": None,
            "padding_side": "right",
            "sp_model_kwargs": {},
            "tokenizer_class": "LlamaTokenizer",
        },
        _PREPROCESSOR: {
            **({"crop_size": _side(pixels.crop_size, "crop_size")} if pixels.do_center_crop else {}),
            "do_center_crop": pixels.do_center_crop,
            "do_normalize": pixels.do_normalize,
            "do_resize": pixels.do_resize,
            "feature_extractor_type": "CLIPFeatureExtractor",
            "image_mean": list(pixels.image_mean),
            "image_std": list(pixels.image_std),
            "resample": int(pixels.resample),
            "size": _side(pixels.size, "size"),
        },
        _GENERATION: {
            "_from_model_config": True,
            "bos_token_id": text.bos_token_id,
            "eos_token_id": text.eos_token_id,
        },
    }


def _side(size: Mapping[str, int], name: str) -> int:
    """Converts a size to one number, as transformers 4.31 wrote it.

    Raises:
        ValueError: If it is not that of a square.
    """
    told = {key: size[key] for key in ("shortest_edge", "longest_edge", "height", "width") if size.get(key) is not None}
    side = told.get("shortest_edge", told.get("height"))
    if side is None or told.get("height") != told.get("width"):
        raise ValueError(
            f"The image processor's {name} is {told}; the published layout has one number, so it has to be that of a "
            'square: {"shortest_edge": S} or {"height": S, "width": S}.'
        )
    return side


def _added_token(token: str) -> dict[str, Any]:
    return {"content": token, **dict.fromkeys(("lstrip", "normalized", "rstrip", "single_word"), False)}


def _read_extras(
    source: str | os.PathLike | None,
) -> tuple[dict[str, torch.Tensor] | None, dict[str, str], dict[str, list[str]]]:
    """Reads the extra tensors, the small files and the order of the weights; (None, {}, {}) if there are none."""
    file = None if source is None else find(source, EXTRAS_FILE)
    if file is None:
        return None, {}, {}
    with safe_open(file, "pt") as opened:
        kept = json.loads(opened.metadata()["published"])
    return load_file(file), kept["files"], kept["weights"]


def _exact_head(path: str | os.PathLike, head: torch.Tensor, dtype: torch.dtype, where: dict[str, Any]) -> torch.Tensor:
    """Reads the float32 head if roc wrote it beside the rounded rows, else returns those rows."""
    file = find(path, HEAD_FILE, **where)
    if file is None:
        return head
    exact = _read_tensors(file)[convert.HEAD]
    if exact.shape != head.shape or not torch.equal(exact.to(dtype).float(), head):
        raise ValueError(
            f"{path}: {HEAD_FILE} is not the head whose rounded rows end {convert.OUTPUT}; one of the two was changed "
            "later. Remove that file to read the rows."
        )
    return exact


def _read_shards(path: str | os.PathLike, index: str, weight_map: Any, where: dict[str, Any]) -> Stored:
    if not isinstance(weight_map, dict) or not weight_map or not all(isinstance(v, str) for v in weight_map.values()):
        raise ValueError(
            f"{path}: {index} has no usable weight_map; expected the file of every tensor, by the tensor's name. Copy "
            "the file again from the checkpoint's source."
        )
    tensors: dict[str, torch.Tensor] = {}
    files: dict[str, list[str]] = {}
    for name in dict.fromkeys(weight_map.values()):
        file = find(path, name, **where)
        if file is None:
            raise FileNotFoundError(f"{path}: {index} names {name}, which is not there.")
        shard = _read_tensors(file)
        named = {key for key, holder in weight_map.items() if holder == name}
        apart = sorted(named ^ set(shard))
        if apart:
            raise ValueError(
                f"{path}: {index} and {name} disagree about {', '.join(apart[:8])}; one of the two is from another "
                "checkpoint."
            )
        tensors |= shard
        files[name] = list(shard)
    return Stored(tensors, files, index)


def _read_tensors(file: str | os.PathLike) -> dict[str, torch.Tensor]:
    try:
        if os.fspath(file).endswith(".safetensors"):
            return load_file(file)
        # Files from before torch 1.6 cannot be memory-mapped.
        tensors = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except OSError:
        raise
    except Exception as error:  # of any kind: what a pickle is taken for depends on its first bytes
        reason = "it holds other things" if isinstance(error, pickle.UnpicklingError) else _reason(error)
        raise ValueError(
            f"{file} cannot be read as tensors: {reason}; expected what torch.save or safetensors writes. Copy "
            "the file again from the checkpoint's source."
        ) from error
    if not isinstance(tensors, dict) or not all(map(torch.is_tensor, tensors.values())):
        raise ValueError(f"{file} holds something else than tensors by name.")
    return tensors


def _text(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _write_tensors(file: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    if file.suffix == ".safetensors":
        save_file(_apart(tensors), file, metadata={"format": "pt"})
    else:
        torch.save(_apart(tensors), file)


def _apart(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Copies tensors that are views of larger ones, which would be saved with the whole."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    return {
        name: value if value.untyped_storage().nbytes() == value.nbytes else value.clone()
        for name, value in tensors.items()
    }


def find(path: str | os.PathLike, name: str, **where: Any) -> str | None:
    """Finds a file of a folder or hub id; None if it has none of that name."""
    return cached_file(path, name, _raise_exceptions_for_missing_entries=False, **where)


def read_json(path: str | os.PathLike, name: str, **where: Any) -> dict[str, Any] | None:
    """Reads a JSON file of a folder or hub id; None if it has none of that name.

    Raises:
        ValueError: If it is no JSON object.
    """
    file = find(path, name, **where)
    if file is None:
        return None
    try:
        content = json.loads(Path(file).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: {name} is no JSON: {_reason(error)}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: {name} holds {type(content).__name__}; expected an object, {{...}}.")
    return content


def _reason(error: Exception) -> str:
    """Returns an error's message in one line."""
    return " ".join(str(error).split()) or type(error).__name__
