"""Parts that a method adds to a model beside the head: declared in its config, built, saved and loaded with it.

The config names an extension and its settings in the section `roc_extensions`; the extension called `name` is made by
`build` in `roc/<name>/extension.py`. Nothing else here knows a method: without its room, only its checkpoints cannot be
loaded. Where that file has `on_trial(model, processor)`, a context manager in which the model has the extension, `roc
doctor` tells whether a model can take it. The modules are `model.extensions[name]` and count as the part `head`.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

_SECTION = "roc_extensions"


class Extension(nn.Module):
    """What a model's forward asks of an extension.

    Attributes:
        inputs: Names of the entries of a batch that are meant for it, not for the model.
    """

    inputs: tuple[str, ...] = ()

    def join(self, model: PreTrainedModel) -> None:
        """Takes its place in a model, by hooks on modules."""
        raise NotImplementedError

    def leave(self, model: PreTrainedModel) -> None:
        """Gives its place in a model up again."""
        raise NotImplementedError

    def begin(self, given: Mapping[str, torch.Tensor]) -> None:
        """Begins a forward pass.

        Args:
            given: Its `inputs`, as far as the batch has them.
        """

    def loss(self) -> torch.Tensor | None:
        """Returns what the pass adds to the loss, a mean over the rows of its batch; None where it adds nothing."""
        return None


def add_extension(model: PreTrainedModel, name: str, settings: Mapping[str, Any]) -> None:
    """Gives a model that carries the head an extension, in place.

    Args:
        model: Not wrapped by PEFT.
        name: Of the extension and its room.
        settings: What its `build` takes; JSON values.

    Raises:
        ValueError: If it has one of this name, the room is missing, or the model cannot have it.
    """
    sections = declared_extensions(model.config)
    if name in sections:
        raise ValueError(f"This {type(model).__name__} has the extension {name} already; train it on as it is.")
    if not hasattr(model, "extensions"):
        model.extensions = nn.ModuleDict()
    made = _builder(name)(model, dict(settings)).to(model.score_head.weight.device)
    model.extensions[name] = made.train(model.training)
    made.join(model)
    setattr(model.config, _SECTION, {**sections, name: dict(settings)})


def remove_extension(model: PreTrainedModel, name: str) -> None:
    """Takes an extension out of a model, which is as it was before `add_extension`.

    Args:
        model: Not wrapped by PEFT.
        name: Of an extension that it has.
    """
    model.extensions[name].leave(model)
    del model.extensions[name]
    if not len(model.extensions):
        del model.extensions
    left = {other: settings for other, settings in declared_extensions(model.config).items() if other != name}
    if left:
        setattr(model.config, _SECTION, left)
    else:
        delattr(model.config, _SECTION)


def trials() -> dict[str, Callable[[PreTrainedModel, Any], AbstractContextManager[str]]]:
    """Finds the extensions that a model can be given for a trial.

    Returns:
        Name -> a context manager that takes a model with the head and its processor: within, the model has the
        extension, and what it gives is a line that says where. It raises an error where the model cannot have it.
    """
    import roc

    found = {}
    for room in pkgutil.iter_modules(roc.__path__):
        if room.ispkg and importlib.util.find_spec(f"roc.{room.name}.extension") is not None:
            module = importlib.import_module(f"roc.{room.name}.extension")
            if hasattr(module, "on_trial"):
                found[room.name] = module.on_trial
    return found


def build_extensions(model: PreTrainedModel) -> None:
    """Builds the extensions that a model's config declares, while the model is built.

    Raises:
        ValueError: If a room is missing, or its settings cannot be.
    """
    for name, settings in declared_extensions(model.config).items():
        if not hasattr(model, "extensions"):
            model.extensions = nn.ModuleDict()
        model.extensions[name] = _builder(name)(model, dict(settings))
        model.extensions[name].join(model)


def declared_extensions(config: PreTrainedConfig) -> dict[str, dict[str, Any]]:
    """Reads which extensions a configuration declares, with their settings."""
    return dict(getattr(config, _SECTION, None) or {})


def extensions_of(model: nn.Module) -> dict[str, Extension]:
    """Returns the extensions of a model by name; empty where it has none."""
    return dict(getattr(model, "extensions", {}).items())


def begin_pass(model: nn.Module, inputs: dict[str, Any]) -> dict[str, Any]:
    """Hands the entries of a batch that are meant for extensions to them, and returns the others."""
    for extension in extensions_of(model).values():
        extension.begin({name: inputs[name] for name in extension.inputs if name in inputs})
        inputs = {name: value for name, value in inputs.items() if name not in extension.inputs}
    return inputs


def _builder(name: str) -> Any:
    try:
        if not name.isidentifier():
            raise ModuleNotFoundError(name)
        return importlib.import_module(f"roc.{name}.extension").build
    except ModuleNotFoundError as error:
        raise ValueError(
            f"the model has the extension {name!r}, and this installation of roc has no such room; install a release "
            "that has it"
        ) from error
