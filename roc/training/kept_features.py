"""Outputs of a frozen vision tower, kept on disk, so that each picture passes through the tower once.

`keep_features` puts a `KeptFeatures` in front of the tower of a trainer's model. It answers by the content of what the
tower is given, picture by picture: pixels that were seen before, in training or validation, in this run or another,
get the output that they got then. A mirrored picture is another picture, so flipping keeps two outputs for each. Once
the tower is trained, everything passes through to it.

Only what the rest of the model reads of the output is kept; `reads_of` finds that, and refuses towers that take the
pictures of a batch as one tensor of patches or whose output is not the same each time.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import nn
from torch.utils import _pytree as pytree

from roc.checkpoint.fingerprint import config_fingerprint, weights_fingerprint
from roc.files import write_whole
from roc.model.parts import part_modules
from roc.training.run import STATES, RunError

if TYPE_CHECKING:
    from roc.training.config import RunConfig
    from roc.training.data import RunData
    from roc.training.saved_states import SavesStates
    from roc.training.trainer import RocTrainer

logger = logging.getLogger(__name__)

Batch = Callable[[list[int]], dict[str, torch.Tensor]]

FOLDER = "features"
"""Folder in `output_dir`/training for the outputs of a run that shares them with no other."""

_ROWS = 2  # that `reads_of` looks at
_SHARE_OF_DISK = 0.5
_WITHOUT_EFFECT = {"use_cache"}  # arguments that a tower is given, and that change nothing of what is read
# A picture alone and in a batch may take different kernels; an output that depends on other pictures is far off.
_SAME = 2e-2


class CannotKeep(ValueError):
    """A tower whose outputs cannot be kept; the message says why."""


@dataclass(frozen=True)
class Reads:
    """What the rest of a model reads of its tower's output.

    Attributes:
        spec: Structure of the output, from `torch.utils._pytree`.
        leaves: Which of its tensors are read, by their places in the flattened output.
        bytes_per_row: Size of these tensors for a row of the data.
    """

    spec: Any
    leaves: tuple[int, ...]
    bytes_per_row: float

    def rebuilt(self, tensors: Sequence[torch.Tensor]) -> Any:
        """Makes an output that holds `tensors` at `leaves` and None in all other places."""
        whole: list[torch.Tensor | None] = [None] * self.spec.num_leaves
        for place, tensor in zip(self.leaves, tensors, strict=True):
            whole[place] = tensor
        return pytree.tree_unflatten(whole, self.spec)


class KeptFeatures:
    """Stands in front of a tower's `forward` and gives kept outputs for pictures that it has seen.

    Args:
        tower: The vision tower.
        reads: What is kept of its output.
        root: Folder for the outputs; those of other towers may lie there too.
    """

    def __init__(self, tower: nn.Module, reads: Reads, root: Path) -> None:
        self.tower, self.reads, self.root = tower, reads, root
        self.compute = tower.forward
        self.computed = self.found = 0
        self._broken = False
        tower.forward = self.forward

    @functools.cached_property
    def folder(self) -> Path:
        """Folder of this tower's outputs, named by all that decides them but the pictures."""
        return self.root / _fingerprint(self.tower, self.reads)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Takes and returns what the tower's own `forward` does; what nobody reads of the output may be None."""
        if any(parameter.requires_grad for parameter in self.tower.parameters()):
            return self.compute(*args, **kwargs)
        try:
            call = _Call(args, kwargs)
        except CannotKeep:  # a call of another kind than the one that `reads_of` saw
            return self.compute(*args, **kwargs)
        keys = call.keys()
        kept = {key: tensors for key in dict.fromkeys(keys) if (tensors := self._read(key)) is not None}
        missing = [keys.index(key) for key in dict.fromkeys(keys) if key not in kept]
        self.found += len(keys) - len(missing)
        if missing:
            self.computed += len(missing)
            tensors = self._computed(call, missing)
            for place, i in enumerate(missing):
                kept[keys[i]] = [tensor[place] for tensor in tensors]
                self._write(keys[i], kept[keys[i]])
        device = call.tensors[0].device
        return self.reads.rebuilt(
            [torch.stack([kept[key][n].to(device) for key in keys]) for n in range(len(self.reads.leaves))]
        )

    def share_with(self, model: nn.Module) -> None:
        """Answers for the tower of another model too, such as a reference; no tower of it may be trained later."""
        towers = list(part_modules(model, "vision").values())
        if len(towers) == 1:
            KeptFeatures(towers[0].requires_grad_(False), self.reads, self.root)
        else:
            logger.warning(
                "the tower of the reference computes every picture each time: it is not one module (%d found)",
                len(towers),
            )

    def _computed(self, call: _Call, rows: list[int]) -> list[torch.Tensor]:
        args, kwargs = call.of(rows)
        with torch.no_grad():
            leaves = pytree.tree_leaves(self.compute(*args, **kwargs))
        return [leaves[place] for place in self.reads.leaves]

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key[2:]}.safetensors"

    def _read(self, key: str) -> list[torch.Tensor] | None:
        path = self._path(key)
        try:
            tensors = load(path.read_bytes())
            return [tensors[str(place)] for place in self.reads.leaves]
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError, KeyError) as error:
            logger.warning("%s cannot be read (%s); the picture is computed again", path, error)
            return None

    def _write(self, key: str, tensors: list[torch.Tensor]) -> None:
        if self._broken:
            return
        named = {
            str(place): tensor.cpu().contiguous() for place, tensor in zip(self.reads.leaves, tensors, strict=True)
        }
        try:
            write_whole(self._path(key), lambda temporary: save_file(named, temporary))
        except (OSError, SafetensorError) as error:
            self._broken = True
            logger.warning("no more features are kept: %s cannot be written (%s)", self.folder, error)


class _Call:
    """The arguments of one call of a tower, told apart picture by picture.

    Raises:
        CannotKeep: If they are not tensors with one entry per picture, and plain values.
    """

    def __init__(self, args: tuple, kwargs: dict[str, Any]) -> None:
        self.leaves, self.spec = pytree.tree_flatten((args, kwargs))
        self.tensors = [leaf for leaf in self.leaves if torch.is_tensor(leaf)]
        pictures = next((leaf for leaf in self.tensors if leaf.is_floating_point()), None)
        if pictures is None or pictures.ndim < 4:
            shapes = ", ".join(str(tuple(tensor.shape)) for tensor in self.tensors) or "no tensor"
            raise CannotKeep(f"the tower takes the pictures of a batch in one piece ({shapes}), not one by one")
        self.count = len(pictures)
        odd = [tuple(tensor.shape) for tensor in self.tensors if not tensor.ndim or len(tensor) != self.count]
        if odd:
            raise CannotKeep(f"the tower takes a tensor {odd[0]} that is not divided by its {self.count} pictures")
        values = [leaf for leaf in self.leaves if not torch.is_tensor(leaf)]
        if not all(leaf is None or isinstance(leaf, bool | int | float | str | torch.dtype) for leaf in values):
            raise CannotKeep("the tower is called with more than tensors and plain values")
        told = {name: value for name, value in kwargs.items() if name not in _WITHOUT_EFFECT}
        found, spec = pytree.tree_flatten((args, told))
        self._told = [None if torch.is_tensor(leaf) else leaf for leaf in found], str(spec)

    def keys(self) -> list[str]:
        """Hashes what decides the output for each picture, beside the tower: its tensors, values, number formats."""
        kind = self.tensors[0].device.type
        autocast = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        shapes = [(tensor.dtype, tuple(tensor.shape[1:])) for tensor in self.tensors]
        common = hashlib.blake2b(repr((self._told, shapes, autocast)).encode(), digest_size=16)
        raw = [tensor.detach().contiguous().cpu().flatten(1).view(torch.uint8).numpy() for tensor in self._rows()]
        keys = []
        for i in range(self.count):
            digest = common.copy()
            for bytes_of in raw:
                digest.update(bytes_of[i])
            keys.append(digest.hexdigest())
        return keys

    def _rows(self) -> list[torch.Tensor]:
        return [tensor.unsqueeze(1) if tensor.ndim == 1 else tensor for tensor in self.tensors]

    def of(self, rows: list[int]) -> tuple[tuple, dict[str, Any]]:
        """Returns the arguments of a call with some of the pictures alone."""
        if len(rows) == self.count:
            return pytree.tree_unflatten(self.leaves, self.spec)
        return pytree.tree_unflatten([leaf[rows] if torch.is_tensor(leaf) else leaf for leaf in self.leaves], self.spec)


def _fingerprint(tower: nn.Module, reads: Reads) -> str:
    config = getattr(tower, "config", None)
    facts = (
        type(tower).__qualname__,
        weights_fingerprint(tower),
        None if config is None else (config_fingerprint(config), getattr(config, "_attn_implementation", None)),
        (str(reads.spec), reads.leaves),
        next(tower.parameters()).device.type,
        torch.get_float32_matmul_precision(),
        (torch.__version__, transformers.__version__),
    )
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def reads_of(model: nn.Module, tower: nn.Module, inputs: dict[str, torch.Tensor]) -> Reads:
    """Finds out what a model reads of its tower's output, by a forward pass on a batch.

    The random state stays as it was, and so does the model.

    Args:
        model: Carries the head. Nothing of the tower requires a gradient.
        tower: Its vision tower.
        inputs: A training batch of rows with pictures, on the model's device.

    Raises:
        CannotKeep: If the output cannot be kept picture by picture.
    """
    calls = []
    compute = tower.forward

    def watched(*args: Any, **kwargs: Any) -> Any:
        with torch.no_grad():
            leaves, spec = pytree.tree_flatten(compute(*args, **kwargs))
        if not all(leaf is None or (torch.is_tensor(leaf) and leaf.is_floating_point()) for leaf in leaves):
            raise CannotKeep("the tower's output holds more than tensors of numbers")
        leaves = [None if leaf is None else leaf.detach().requires_grad_() for leaf in leaves]
        calls.append((_Call(args, kwargs), leaves, spec))
        return pytree.tree_unflatten(leaves, spec)

    training = model.training
    devices = {tensor.device.index for tensor in inputs.values() if tensor.device.type == "cuda"}
    with torch.enable_grad(), torch.random.fork_rng(devices=sorted(devices)):
        tower.forward = watched
        model.eval()
        try:
            loss = model(**inputs).loss
            if len(calls) != 1:
                raise CannotKeep(f"the tower is called {len(calls)} times for a batch, not once")
            call, leaves, spec = calls[0]
            given = [i for i, leaf in enumerate(leaves) if leaf is not None]
            found = torch.autograd.grad(loss, [leaves[i] for i in given], allow_unused=True)
            read = tuple(i for i, gradient in zip(given, found, strict=True) if gradient is not None)
            _check_alike(call, leaves, read, lambda *args, **kwargs: _in_training(model, compute, args, kwargs))
        finally:
            tower.forward = compute
            model.train(training)
    size = sum(leaves[i].numel() * leaves[i].element_size() for i in read)
    return Reads(spec, read, size / len(inputs["input_ids"]))


def _in_training(model: nn.Module, compute: Any, args: tuple, kwargs: dict[str, Any]) -> list[torch.Tensor]:
    model.train()
    with torch.no_grad():
        return pytree.tree_leaves(compute(*args, **kwargs))


def _check_alike(call: _Call, leaves: list[torch.Tensor], read: tuple[int, ...], compute: Any) -> None:
    """Checks that training mode gives the same output, and a picture alone the same as among others.

    Raises:
        CannotKeep: If not, or if the output is not divided by pictures.
    """
    if not read:
        raise CannotKeep("the model reads nothing of the tower's output")
    odd = [tuple(leaves[i].shape) for i in read if not leaves[i].ndim or len(leaves[i]) != call.count]
    if odd:
        raise CannotKeep(f"the tower's output {odd[0]} is not divided by its {call.count} pictures")
    args, kwargs = call.of(list(range(call.count)))
    again = compute(*args, **kwargs)
    if not all(torch.equal(again[i], leaves[i]) for i in read):
        raise CannotKeep("the tower's output in training is random (dropout), or the kernels' is")
    args, kwargs = call.of([0])
    alone = compute(*args, **kwargs)
    for i in read:
        expected = leaves[i][:1].float()
        if not (alone[i].float() - expected).abs().max() <= _SAME * expected.abs().max():
            raise CannotKeep("the tower's output for a picture depends on the others of the batch")


def keep_features(config: RunConfig, data: RunData, trainer: RocTrainer) -> KeptFeatures | None:
    """Puts `KeptFeatures` in front of the tower of a trainer's model, as `config.keep_features` says.

    Args:
        config: The settings.
        data: The run's rows.
        trainer: Not yet training.

    Returns, Raises: As `keep_outputs`.
    """
    dataset = getattr(trainer.train_dataset, "samples", trainer.train_dataset)  # of pairs, their pictures

    def batch(places: list[int]) -> dict[str, torch.Tensor]:
        return trainer._prepare_inputs(trainer.data_collator([dataset[place] for place in places]))

    return keep_outputs(config, data, trainer, batch, passes=_passes(trainer))


def keep_outputs(
    config: RunConfig,
    data: RunData,
    trainer: SavesStates,
    batch: Batch,
    *,
    passes: float,
    formats: int = 1,
) -> KeptFeatures | None:
    """Puts `KeptFeatures` in front of the tower of any trainer's model, as `config.keep_features` says.

    Args:
        config: The settings.
        data: The run's rows.
        trainer: Not yet training.
        batch: Makes the inputs of a pass with a loss, on the trainer's device, of training rows by their places.
        passes: How often the run looks at a training row.
        formats: Number formats that the tower computes in.

    Returns:
        None where nothing is kept. With auto, a note says why if that makes a frozen tower work more than once.

    Raises:
        RunError: If it is asked for and cannot be.
    """
    frozen = config.joins.get("vision", 0.0) if config.trains("vision") else 1.0
    worth_it = trainer.args.device.type == "cpu" and passes * frozen > 1
    if not (worth_it if config.keep_features is None else config.keep_features):
        return None
    try:
        if not frozen:
            raise CannotKeep("the vision tower is trained; name it in freeze, or let it join later with vision_from")
        return _installed(config, data, trainer, batch, formats)
    except CannotKeep as reason:
        if config.keep_features:
            raise RunError(f"keep_features is on, but {reason}.") from reason
        logger.warning("the frozen vision tower computes every picture each time: %s", reason)
        return None


def _passes(trainer: RocTrainer) -> float:
    """Counts how often a run looks at a training row."""
    args = trainer.args
    if args.max_steps <= 0:
        return args.num_train_epochs
    rows = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
    return args.max_steps * rows / len(trainer.train_dataset)


def _installed(config: RunConfig, data: RunData, trainer: SavesStates, batch: Batch, formats: int) -> KeptFeatures:
    if trainer.launcher != "ddp":
        raise CannotKeep(f"with {trainer.launcher} the tower is spread over the processes")
    if config.augment_shift:
        raise CannotKeep("augment_shift makes another picture every time; set it to 0 (augment_flip is possible)")
    towers = list(part_modules(trainer.model, "vision").values())
    if len(towers) != 1:
        raise CannotKeep(f"the vision tower of this model is not one module ({len(towers)} found)")
    places = [i for i, record in enumerate(data.train) if record.images][:_ROWS]
    reads = _probed(trainer, towers[0], batch(places))
    root = Path(config.features_folder or Path(config.output_dir) / STATES / FOLDER)
    read_twice = trainer.model.declaration.score_flip
    pictures = len(data.train) * (2 if 0 < config.augment_flip < 1 else 1) + len(data.validated) * (1 + read_twice)
    needed, free = reads.bytes_per_row * pictures * formats, _free(root)
    if needed > _SHARE_OF_DISK * free:
        raise CannotKeep(
            f"the features of {pictures} pictures take about {needed / 2**30:.1f} GiB and {root} has "
            f"{free / 2**30:.1f} GiB free; name another features_folder"
        )
    logger.info("features of the frozen vision tower are kept in %s, up to %.2f GiB", root, needed / 2**30)
    return KeptFeatures(towers[0], reads, root)


def _probed(trainer: SavesStates, tower: nn.Module, inputs: dict[str, torch.Tensor]) -> Reads:
    """Runs `reads_of` with the tower frozen and in the trainer's number format."""
    trained = [parameter for parameter in tower.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        with trainer.accelerator.autocast():
            return reads_of(trainer.model, tower, inputs)
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


def _free(folder: Path) -> int:
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def remove_features(config: RunConfig) -> None:
    """Removes the features that no other run can use: those in `output_dir`."""
    shutil.rmtree(Path(config.output_dir) / STATES / FOLDER, ignore_errors=True)
