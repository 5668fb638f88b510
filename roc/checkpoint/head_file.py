"""The score head alone on disk: its weight, and a JSON file that says what the weight means."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roc.files import write_json
from roc.model.declaration import Declaration, declaration_of, declares_head
from roc.model.personal import base_of, is_personal, read_personal_file

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from roc.model.head import ScoreHead

HEAD_FILE, HEAD_KEY = "score_head.safetensors", "score_head.weight"
ROC_FILE = "roc.json"


def take_head(model: PreTrainedModel) -> tuple[Declaration, ScoreHead]:
    """Turns a model that carries the head back into its stock class; returns its declaration and its head.

    A temperature becomes a part of the head's weight.

    Raises:
        ValueError: If it has an extension, without which the stock model is another one.
    """
    refuse_extensions(getattr(model, "extensions", {}))
    declaration, head = model.declaration, model.score_head
    declaration, head.weight.data = _without_temperature(declaration, head.weight.data)
    head.temperature = 1.0
    del model.score_head, model.config.roc
    model.__class__ = model.roc_base_class
    return declaration, head


def refuse_extensions(names: Iterable[str]) -> None:
    """Refuses to take the head from a model whose scores come from more than it.

    Raises:
        ValueError: If there is any extension.
    """
    if extended := ", ".join(names):
        raise ValueError(
            f"this model has the extension {extended}, which only roc computes, and without which its scores are "
            "others; use roc serve"
        )


def read_extensions(checkpoint: str | os.PathLike) -> tuple[str, ...]:
    """Reads the names of a checkpoint's extensions (`roc.model.extensions`), without any weight.

    Args:
        checkpoint: Folder or hub id of a full checkpoint, an adapter or a published checkpoint; or a personal head.
    """
    return tuple(extension_settings(checkpoint))


def extension_settings(checkpoint: str | os.PathLike) -> dict[str, dict[str, Any]]:
    """Reads the settings of a checkpoint's extensions by name, as `read_extensions` does."""
    from roc.checkpoint.folder import ADAPTER_FILE, is_adapter, read_config
    from roc.model.extensions import declared_extensions
    from roc.model.mplug_owl2 import published

    checkpoint = base_of(checkpoint)
    if is_adapter(checkpoint):
        return dict((published.read_json(checkpoint, ADAPTER_FILE) or {}).get("extensions", {}))
    return declared_extensions(read_config(checkpoint))


def read_declaration(checkpoint: str | os.PathLike) -> Declaration:
    """Reads the declaration of a checkpoint, without any weight.

    Args:
        checkpoint: Folder or hub id of a full checkpoint, an adapter or a published checkpoint; or a personal head.

    Raises:
        FileNotFoundError: If it looks like a folder and there is none.
        ValueError: If it carries no score head.
    """
    from roc.checkpoint.names import check_exists

    check_exists(checkpoint)  # before anything heavy is imported
    if is_personal(checkpoint):
        return Declaration.from_dict(read_personal_file(checkpoint).get("roc"))

    from roc.checkpoint.folder import ADAPTER_FILE, is_adapter, read_config
    from roc.model.mplug_owl2 import published

    if is_adapter(checkpoint):
        about = published.read_json(checkpoint, ADAPTER_FILE) or {}
        if "roc" in about:
            return Declaration.from_dict(about["roc"])
    else:
        config = read_config(checkpoint)
        if declares_head(config):
            return declaration_of(config)
    raise ValueError(f"{checkpoint} carries no score head; name a checkpoint or an adapter that roc trained.")


def read_head(checkpoint: str | os.PathLike) -> tuple[Declaration, torch.Tensor]:
    """Reads the declaration of a checkpoint and the (N, H) weight of its head, without loading the model.

    A temperature becomes a part of the weight, for readers that know of none.

    Args:
        checkpoint: Folder or hub id of a full checkpoint, an adapter or a published checkpoint; or a personal head.

    Raises:
        ValueError: If it carries no head.
    """
    from roc.checkpoint.personal_head import moved_rows, read_personal_head

    if is_personal(checkpoint):
        head = read_personal_head(checkpoint)
        return head.declaration, moved_rows(_trained_head(head.base)[1], head)
    return _without_temperature(*_trained_head(checkpoint))


def _trained_head(checkpoint: str | os.PathLike) -> tuple[Declaration, torch.Tensor]:
    """Reads the declaration and the weight as it was trained, apart from a temperature."""
    from roc.checkpoint.folder import ADAPTER_FILE, is_adapter, read_config
    from roc.model.mplug_owl2 import published

    content = published.published_config(checkpoint)
    if content is not None:
        converted = published.read(checkpoint, content)
        return declaration_of(converted.config), converted.weights[HEAD_KEY]
    if is_adapter(checkpoint):
        about = published.read_json(checkpoint, ADAPTER_FILE) or {}
        declaration = Declaration.from_dict(about["roc"]) if "roc" in about else None
        file = published.find(checkpoint, "adapter_model.safetensors")
    else:
        config = read_config(checkpoint)
        declaration = declaration_of(config) if declares_head(config) else None
        index = published.read_json(checkpoint, "model.safetensors.index.json") or {}
        file = published.find(checkpoint, index.get("weight_map", {}).get(HEAD_KEY, "model.safetensors"))
    weight = None if file is None or declaration is None else _weight_in(file)
    if weight is None:
        raise ValueError(f"{checkpoint} carries no score head; name a checkpoint or an adapter that roc trained.")
    if weight.ndim != 2 or len(weight) != declaration.num_levels:
        raise ValueError(
            f"{file}: {HEAD_KEY} is {tuple(weight.shape)}, but num_levels is declared as {declaration.num_levels}; "
            "restore what roc wrote."
        )
    return declaration, weight


def _without_temperature(declaration: Declaration, weight: torch.Tensor) -> tuple[Declaration, torch.Tensor]:
    """Divides the weight by the temperature, which gives the same logits, and declares none."""
    calibration = declaration.calibration
    if calibration is None or calibration.temperature == 1:
        return declaration, weight
    plain = replace(declaration, calibration=replace(calibration, temperature=1.0))
    return plain, weight.float() / calibration.temperature


def _weight_in(file: str) -> torch.Tensor | None:
    from safetensors import safe_open

    from roc.checkpoint.weights import one_line

    try:
        with safe_open(file, "pt") as tensors:
            return next((tensors.get_tensor(key) for key in tensors.keys() if key.endswith(HEAD_KEY)), None)
    except Exception as error:  # SafetensorError is not public, and an empty file is another error
        raise ValueError(f"{file} is no whole safetensors file: {one_line(error)}. Copy it again.") from error


def mirror_note(declaration: Declaration) -> str:
    """Says what readers that see one picture at a time have to do for the scores of roc; empty where it is nothing."""
    if not declaration.score_flip:
        return ""
    note = (
        "The scores of roc are means over a picture and its mirror image here (`score_flip`): ask for both, and take "
        "the mean of the two."
    )
    if declaration.calibration is not None:
        note += (
            " A temperature, where `roc calibrate` fitted one, acts on each of the two here, so that such scores are "
        )
        note += "close to those of roc, not equal."
    return note


def write_head(folder: str | os.PathLike, declaration: Declaration, weight: torch.Tensor) -> None:
    """Writes the head: `score_head.safetensors` with the (N, H) weight in float32, and `roc.json`.

    Args:
        folder: Made if it is not there.
        declaration: Of the model that carried the head.
        weight: (N, H).
    """
    from safetensors.torch import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_file({HEAD_KEY: weight.detach().float().cpu().contiguous()}, folder / HEAD_FILE)
    write_json(folder / ROC_FILE, meaning(declaration))


def meaning(declaration: Declaration) -> dict[str, Any]:
    """The content of `roc.json`: the level values on the native scale, and the whole declaration.

    `levels` are those of the first attribute; `attribute_levels` holds those of each attribute where they differ.
    """
    levels: dict[str, Any] = {"levels": declaration.spaces[0].levels}
    if declaration.space.attribute_ranges:
        names = declaration.attributes
        levels["attribute_levels"] = {name: space.levels for name, space in zip(names, declaration.spaces, strict=True)}
    return {**levels, "roc": declaration.to_dict()}
