"""A vision tower kept in float32 beside a language model in half precision, where bfloat16 would move scores.

Batch normalisation divides by training statistics, channel by channel, and the convolutions in between amplify small
rounding errors: in a tower like the demo's, bfloat16 moves a score by up to 5e-3 of the range, in the language model
beside it by 1e-3 (`scripts/benchmark_scoring.py --trained 300`). Vision transformers tolerate bfloat16 as language
models do, so towers without batch normalisation are left alone.

Such a tower is read from the file in float32 (`keeping_towers`), and tensors are cast where they enter and leave it
(`join_towers`). This is for scoring only; training casts as its engine does.
"""

from __future__ import annotations

import functools
import re
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from roc.model.parts import part_modules

_HALF = (torch.bfloat16, torch.float16)


def towers(model: PreTrainedModel) -> dict[str, nn.Module]:
    """Finds the largest modules that hold only vision parameters and batch normalisation among them, by name."""
    if not _normalises(model):
        return {}
    return {name: module for name, module in part_modules(model, "vision").items() if _normalises(module)}


def keeping_towers(cls: type[PreTrainedModel]) -> type[PreTrainedModel]:
    """Makes a class whose `from_pretrained` reads such towers in float32, whatever dtype the rest is read in.

    It serves one load, so that `cls` stays as it is; `join_towers` turns the model into a `cls` again.
    """

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        super(made, self).__init__(*args, **kwargs)
        inside = tuple(f"{name}." for name in towers(self))
        names = [name for name, tensor in self.state_dict().items() if tensor.is_floating_point()]
        kept = {f"^{re.escape(name)}$" for name in names if inside and name.startswith(inside)}
        self._keep_in_fp32_modules_strict = {*(self._keep_in_fp32_modules_strict or ()), *kept}

    namespace = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__init__": __init__}
    made = type(cls.__name__, (cls,), namespace)
    return made


def join_towers(model: PreTrainedModel, cls: type[PreTrainedModel]) -> PreTrainedModel:
    """Turns a model of `keeping_towers(cls)` into one of `cls`, with casts around its float32 towers."""
    model.__class__ = cls
    dtype = _dtype(model.get_decoder())
    found = towers(model) if dtype in _HALF else {}
    for tower in found.values():
        tower.float()  # buffers that are computed and in no file
        tower.register_forward_pre_hook(_enter, with_kwargs=True)
        tower.register_forward_hook(functools.partial(_leave, dtype))
    if found:
        model.picture_dtype = torch.float32
    return model


def picture_dtype(model: PreTrainedModel) -> torch.dtype:
    """Returns the dtype in which a model takes images: its own, or float32 for a tower that is kept in it."""
    return getattr(model, "picture_dtype", None) or model.dtype


def _enter(tower: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
    return _cast((args, kwargs), torch.float32)


def _leave(dtype: torch.dtype, tower: nn.Module, args: tuple, output: Any) -> Any:
    return _cast(output, dtype)


def _cast(values: Any, dtype: torch.dtype) -> Any:
    """Casts the floating tensors in nested containers; an output class of `transformers` is a dictionary."""
    if torch.is_tensor(values):
        return values.to(dtype) if values.is_floating_point() else values
    if isinstance(values, dict):
        cast = {name: _cast(value, dtype) for name, value in values.items()}
        return cast if type(values) is dict else type(values)(**cast)
    if isinstance(values, tuple | list):
        cast = [_cast(value, dtype) for value in values]
        return type(values)(*cast) if hasattr(values, "_fields") else type(values)(cast)
    return values


def _normalises(module: nn.Module) -> bool:
    return any(isinstance(inner, nn.modules.batchnorm._BatchNorm) for inner in module.modules())


def _dtype(module: nn.Module) -> torch.dtype:
    return next(parameter.dtype for parameter in module.parameters() if parameter.is_floating_point())
