"""A vision tower that stays in float32 beside a language model in half precision, where bfloat16 would move scores.

Batch normalisation divides by what it saw while training, channel by channel, and convolutions between make small
roundings large: on a tower like the demo's bfloat16 moves a score by up to 4e-3 of the range, on the language model
beside it by 5e-4 (`scripts/benchmark_scoring.py --trained 300`).
Vision transformers take bfloat16 as language models do, so that towers without batch normalisation stay as they are.

Such a tower is read in float32 from the file (`keeping_towers`), and numbers are cast where they enter and leave it
(`join_towers`). For scoring only: training casts as its engine does.
"""

from __future__ import annotations

import functools
import re
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from roc.model.parts import parameter_parts

_HALF = (torch.bfloat16, torch.float16)


def towers(model: PreTrainedModel) -> dict[str, nn.Module]:
    """The largest modules that look at nothing but pictures and hold batch normalisation, by name."""
    if not _normalises(model):
        return {}
    parts = parameter_parts(model)
    looks = {id(parameter): parts[name] == "vision" for name, parameter in model.named_parameters()}
    found: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        inside = [looks[id(parameter)] for parameter in module.parameters()]
        if inside and all(inside) and _normalises(module) and not any(name.startswith(f"{one}.") for one in found):
            found[name] = module
    return found


def keeping_towers(cls: type[PreTrainedModel]) -> type[PreTrainedModel]:
    """A class whose `from_pretrained` reads such towers in float32, whatever half precision the rest is read in.

    It is made for one load, so that `cls` stays as it is; `join_towers` gives the model `cls` back.
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
    """A model of `keeping_towers(cls)` as one of `cls`, its float32 towers joined to what is in half precision."""
    model.__class__ = cls
    dtype = _dtype(model.get_decoder())
    found = towers(model) if dtype in _HALF else {}
    for tower in found.values():
        tower.float()  # what is in no file: buffers that are computed
        tower.register_forward_pre_hook(_enter, with_kwargs=True)
        tower.register_forward_hook(functools.partial(_leave, dtype))
    if found:
        model.picture_dtype = torch.float32
    return model


def picture_dtype(model: PreTrainedModel) -> torch.dtype:
    """What a model takes pictures in: its own dtype, or that of its tower."""
    return getattr(model, "picture_dtype", None) or model.dtype


def _enter(tower: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
    return _cast((args, kwargs), torch.float32)


def _leave(dtype: torch.dtype, tower: nn.Module, args: tuple, output: Any) -> Any:
    return _cast(output, dtype)


def _cast(values: Any, dtype: torch.dtype) -> Any:
    """Floating tensors in `dtype`, in whatever holds them; an output class of `transformers` is a dictionary."""
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
