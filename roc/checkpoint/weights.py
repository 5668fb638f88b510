"""Loads weights, and refuses files that do not hold exactly what the model needs.

`transformers` fills what a file lacks with random numbers and drops what it does not know, with a warning. A score
head on such a model gives numbers that look right, so here both are errors. Exceptions are those that the model class
declares: tied weights and keys to ignore.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import PreTrainedModel
from transformers.utils import logging as transformers_logging

logger = logging.getLogger(__name__)

_SHOWN = 3
_HEAD = "score_head.weight"
_COPY_AGAIN = "Copy the files again from where they were written."


def load_weights(
    cls: type[PreTrainedModel], path: str | os.PathLike | None, *, name: str | os.PathLike | None = None, **kwargs: Any
) -> PreTrainedModel:
    """Calls `cls.from_pretrained` and makes sure that every tensor found its place.

    Args:
        cls: Class of the model, with or without the head.
        path: Folder or hub id; None where `kwargs` holds a `state_dict`.
        name: What messages call it; None = `path`.
        **kwargs: Arguments of `from_pretrained`.

    Raises:
        OSError: If there are no weights.
        ValueError: If a file cannot be read as tensors, or tensors are missing, surplus or have other shapes than
            config.json says. A surplus in a model without the head is a warning: published ones have some.
    """
    name = os.fspath(path if name is None else name)
    arguments = {"ignore_mismatched_sizes": True, **kwargs, "trust_remote_code": False}
    try:
        with _no_loading_report():
            model, info = cls.from_pretrained(path, output_loading_info=True, **arguments)
    except (OSError, ImportError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # safetensors, pickle and the conversions of transformers raise errors of many kinds
        raise ValueError(_unreadable(name, path, error)) from error
    surplus = set(info["unexpected_keys"])
    if surplus and not hasattr(model, "score_head"):
        logger.warning("%s holds %d tensors that no model of its kind has: %s", name, len(surplus), some(surplus))
        surplus = set()
    misshapen = {key: (found, expected) for key, found, expected in info["mismatched_keys"]}
    check_complete(name, set(info["missing_keys"]) - set(misshapen), surplus, misshapen)
    return model


def check_complete(name: str, missing: set[str], surplus: set[str], misshapen: dict[str, tuple]) -> None:
    """Refuses weights that do not fit.

    Args:
        name: Folder or hub id, for the message.
        missing, surplus: Names of tensors.
        misshapen: Shapes in the file and by config.json, by the tensor's name.

    Raises:
        ValueError: In one line, with the number of the tensors and some of their names.
    """
    shapes = [f"{key} is {_shape(misshapen[key][0])}, not {_shape(misshapen[key][1])}" for key in _first(misshapen)]
    faults = [
        f"{len(keys)} {what}: {shown}"
        for keys, what, shown in (
            (missing, "missing", some(missing)),
            (surplus, "that the model does not have", some(surplus)),
            (misshapen, "of another shape than config.json says", "; ".join(shapes) + _more(misshapen)),
        )
        if keys
    ]
    if not faults:
        return
    if any(key.endswith(_HEAD) for key in missing):
        advice = (
            "The score head is not there; a stock save_pretrained drops it: take the folder that roc wrote, or save "
            "with roc.checkpoint.folder.save."
        )
    elif any(key.endswith(_HEAD) for key in misshapen):
        advice = "The score head has another number of levels than num_levels in config.json; restore what roc wrote."
    else:
        advice = f"Weights and config.json are not of one model, or a file was changed. {_COPY_AGAIN}"
    raise ValueError(f"The weights of {name} do not fit its model: tensors {' and '.join(faults)}. {advice}")


def some(keys: Any) -> str:
    """Names a few keys, the score head before all others."""
    return ", ".join(_first(keys)) + _more(keys)


def one_line(error: BaseException) -> str:
    """Returns the beginning of an error's message as one line."""
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= 300 else words[:300] + " ..."


def broken_file(folder: str | os.PathLike) -> str | None:
    """Names the first safetensors file of a folder that cannot be opened; None if all can, or it is no folder."""
    for file in sorted(Path(folder).glob("*.safetensors")) if os.path.isdir(folder) else ():
        try:
            with safe_open(file, "pt"):
                pass
        except Exception:  # SafetensorError is not public, and an empty file is another error
            return file.name
    return None


def _unreadable(name: str, path: str | os.PathLike | None, error: Exception) -> str:
    file = None if path is None else broken_file(path)
    if file is not None:
        return f"{Path(name) / file} is no whole safetensors file: {one_line(error)}. {_COPY_AGAIN}"
    return (
        f"The weights of {name} cannot be loaded: {one_line(error).rstrip('.')}. roc reads tensors alone, from "
        f"safetensors or what torch.save writes of them. {_COPY_AGAIN}"
    )


def _first(keys: Any) -> list[str]:
    return sorted(keys, key=lambda key: (not key.endswith(_HEAD), key))[:_SHOWN]


def _more(keys: Any) -> str:
    return ", ..." if len(keys) > _SHOWN else ""


def _shape(shape: Any) -> str:
    return str(tuple(shape))


@contextlib.contextmanager
def _no_loading_report() -> Iterator[None]:
    """Keeps back the table of missing tensors that transformers logs: they are refused, or named in one line."""
    noisy = transformers_logging.get_logger("transformers.modeling_utils")

    def is_no_report(record: logging.LogRecord) -> bool:
        return "LOAD REPORT" not in record.getMessage()

    noisy.addFilter(is_no_report)
    try:
        yield
    finally:
        noisy.removeFilter(is_no_report)
