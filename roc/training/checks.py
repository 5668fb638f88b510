"""Checks that cost nothing: missing files, packages and models, found before PyTorch is loaded or images decoded."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING

from roc.checkpoint.names import check_exists
from roc.data.rows import DataError, Faults, iter_rows
from roc.model.personal import is_personal
from roc.training.processes import sharding
from roc.training.run import Refused, folder_faults

if TYPE_CHECKING:
    from roc.training.config import RunConfig


def check_settings(config: RunConfig) -> None:
    """Checks what the settings name: files, folders, the model, packages, the launcher.

    Raises:
        Refused: With every fault, one a line.
    """
    faults = [
        *package_faults(config),
        *file_faults(config),
        *_model_faults(config),
        *folder_faults(config),
    ]
    faults = faults or _launcher_faults(config)
    if faults:
        raise Refused("\n".join(faults))


def package_faults(config: RunConfig) -> list[str]:
    """Finds packages that the settings need and that are not installed."""
    wanted = {"accelerate": "train", "matplotlib": "train"}
    if config.report_to == "tensorboard":
        wanted["tensorboard"] = "train"
    if config.tuning != "full":
        wanted["peft"] = "lora"
    if config.tuning == "qlora":
        wanted["bitsandbytes"] = "qlora"
    faults = [
        f"This run needs the package {package}: pip install 'roc-mllm[{extra}]'"
        for package, extra in wanted.items()
        if importlib.util.find_spec(package) is None
    ]
    if config.report_to == "wandb" and importlib.util.find_spec("wandb") is None:
        faults.append("report_to is wandb, and the package is not installed: pip install wandb")
    return faults


def file_faults(config: RunConfig) -> list[str]:
    """Finds data files and folders that are not there or cannot be read."""
    faults = []
    for path in config.data_files:
        try:
            next(iter_rows(Path(path), Faults(Path(path))), None)
        except DataError as error:
            faults += error.faults
    if config.image_folder is not None and not Path(config.image_folder).is_dir():
        faults.append(f"{config.image_folder}: no such folder; image_folder has to be the folder of the images")
    faults += [
        f"{one.image_folder}: no such folder; mix_folders has to name the folder of the images of {one.name}"
        for one in config.data_sets
        if one.image_folder not in (None, config.image_folder) and not Path(one.image_folder).is_dir()
    ]
    if config.deepspeed is not None:
        try:
            json.loads(Path(config.deepspeed).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            faults.append(f"deepspeed {config.deepspeed!r} is no DeepSpeed configuration that can be read: {error}")
    return faults


def _model_faults(config: RunConfig) -> list[str]:
    """Finds out whether the model to start from is there, by its configuration alone."""
    source = config.model_name_or_path
    if config.starter is not None:
        return []
    if source is None:
        name = "mix" if config.mix else "data_path" if config.data_path is not None else "pairs_path"
        given = " ".join(config.mix) or getattr(config, name)
        if not given or config.tiny_model is not None:
            return []
        return [
            f"{name} is {given} and no model is named; give --model_name_or_path MODEL (a hub name or a folder), or, "
            "to only try the software, --tiny_model demo: a small untrained stand-in whose scores mean nothing"
        ]
    if (Path(source) / "adapter_config.json").is_file() or is_personal(source):
        return [adapter_refused(source)]
    try:
        check_exists(source)
    except (FileNotFoundError, ValueError) as error:
        return [f"model_name_or_path {source!r}: {error}"]
    return []


def _launcher_faults(config: RunConfig) -> list[str]:
    """Finds settings that do not go with the way the launcher spreads the model."""
    faults, spread = [], sharding(config)
    if config.tuning != "full" and spread in ("fsdp2", "zero3"):
        faults.append(
            f"tuning {config.tuning} where the model is spread over the processes is not supported; use --launcher ddp "
            "or zero2. The frozen base, a copy of which is then on every GPU, has no gradients and no optimiser state."
        )
    if config.joins and spread != "ddp":
        part = next(iter(config.joins))
        faults.append(
            f"{part}_from is {config.joins[part]:g}; where the model is spread over the processes, all parts are "
            "trained from the first step: leave it out, or use --launcher ddp."
        )
    if config.mixes and spread != "ddp":
        faults.append(
            f"mix names {len(config.mix)} data sets; where the model is spread over the processes, no links are "
            "learnt: use --launcher ddp."
        )
    if config.ema_decay and spread != "ddp":
        faults.append(
            f"ema_decay is {config.ema_decay:g}; a mean of sharded weights is not kept, set it to 0 or use --launcher "
            "ddp."
        )
    return faults


def adapter_refused(source: str) -> str:
    """Says why an adapter, or a personal head, cannot be trained further, and what can."""
    what = "a personal head" if is_personal(source) else "an adapter"
    return (
        f"model_name_or_path {source!r} is {what}; `roc export {source} --merge OUT` makes a model of it and its "
        "base that can be trained on."
    )
