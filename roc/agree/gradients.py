"""Gradients of the score loss by photos that lean on an attribute, of any checkpoint of roc.

    model, loss = score_loss(checkpoint)
    shared = shared_block(model)
    found = subset_gradients(model, loss, subsets, dict.fromkeys(subsets, shared.parameters))
    found.cosines()

Every photo is one pass backward of its own, in evaluation mode and float32, so that photos can be drawn again for
intervals. Means are exact. For the intervals each photo's gradient is kept, as a sketch of 2^18 numbers where it has
more: parameters are thrown into that many sums with random signs, which keeps inner products to within 0.2% of the
product of the norms (one standard deviation). Two kinds of parameters can be asked: a block that all photos share, or
the branches of AGREE, each by its own photos (`branch_parameters`).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from roc.agree.attributes import ATTRIBUTES
from roc.agree.conflicts import cosines_of_products
from roc.data.images import open_image
from roc.data.records import Record
from roc.model.blocks import find_blocks
from roc.model.parts import parameter_parts

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from roc.agree.anchor_features import AnchorFeatures

Loss = Callable[[Record], Tensor]
"""Loss of one photo, a scalar with a graph."""
Watch = Callable[[Iterator[Any], int], Iterable[Any]]
"""Takes photos as they are done and their number; gives them on."""

_SKETCH = 1 << 18
_PIECE = 1 << 22
_SCORE_LOSSES = ("l1", "ce", "emd")


class Place(NamedTuple):
    """Parameters that gradients are taken of.

    Attributes:
        name: Of the module, as in `named_modules`.
        parameters: Its parameters in floating point.
    """

    name: str
    parameters: list[nn.Parameter]


@dataclass(frozen=True)
class SubsetGradients:
    """Mean gradients of subsets of photos, by their inner products.

    Attributes:
        names: Of the K subsets.
        counts: Photos in each.
        products: (K, K) inner products of the mean gradients.
        photo_products: (N, N) inner products of the N photos' gradients, subset by subset.
        parameters: How many numbers a gradient has.
    """

    names: tuple[str, ...]
    counts: tuple[int, ...]
    products: NDArray[np.float64]
    photo_products: NDArray[np.float64]
    parameters: int

    def cosines(self) -> NDArray[np.float64]:
        """The cosine of each pair of subsets, (K, K); NaN where a gradient is 0."""
        return cosines_of_products(self.products)

    def resampled(self, n_resamples: int, seed: int) -> NDArray[np.float64]:
        """Draws the photos of each subset again.

        Args:
            n_resamples: R, at least 1.
            seed: Of the draws.

        Returns:
            (R, K, K) inner products of the mean gradients.
        """
        generator = np.random.default_rng(seed)
        ends = np.cumsum(self.counts)
        shares = np.zeros((n_resamples, len(self.photo_products)))
        owner = np.zeros((len(self.photo_products), len(self.counts)))
        for place, (end, count) in enumerate(zip(ends, self.counts, strict=True)):
            own = slice(end - count, end)
            shares[:, own] = generator.multinomial(count, np.full(count, 1 / count), size=n_resamples) / count
            owner[own, place] = 1
        drawn = shares[:, :, None] * owner  # (R, N, K)
        return np.einsum("rnk,nm,rml->rkl", drawn, self.photo_products, drawn, optimize=True)


def with_all(products: NDArray[np.float64], shares: Sequence[float]) -> NDArray[np.float64]:
    """Computes the cosine of each subset's mean gradient with that of all photos.

    Args:
        products: (..., K, K) inner products of the mean gradients.
        shares: (K,) share of each subset among all photos.

    Returns:
        (..., K); NaN where a gradient is 0.
    """
    weights = np.asarray(shares, dtype=float)
    one = products @ weights  # (..., K)
    joined = np.concatenate([products, one[..., None]], axis=-1)
    last = np.concatenate([one, (one @ weights)[..., None]], axis=-1)
    return cosines_of_products(np.concatenate([joined, last[..., None, :]], axis=-2))[..., :-1, -1]


def score_loss(
    checkpoint: str,
    device: torch.device,
    routing: Mapping[str, Sequence[float]] | None = None,
    anchors: str | os.PathLike[str] | None = None,
) -> tuple[PreTrainedModel, Loss]:
    """Loads a checkpoint and makes the loss of a photo: its score losses with the weights they were trained with.

    Args:
        checkpoint: Folder or hub id of a model with a score head.
        device: Where it computes.
        routing: Id of a photo -> its five routing weights, which a model with branches is given as in its training;
            None leaves them to its predictor.
        anchors: File of text anchors that a model with anchors of single photos was trained with.

    Returns:
        The model, in evaluation mode and float32, and the loss; the words of the answer are not part of it.

    Raises:
        ValueError: The checkpoint cannot be used, it declares no score loss, or it joins anchors of single photos and
            their file is not there.
    """
    from roc.agree.extension import ANCHORS, WEIGHTS
    from roc.checkpoint.folder import load
    from roc.model.collator import RocCollator

    model, processor = load(checkpoint, device=device, dtype="float32")
    declaration = model.declaration
    weights = {name: getattr(declaration, f"{name}_weight") for name in _SCORE_LOSSES}
    weights = {name: weight for name, weight in weights.items() if weight > 0}
    if not weights:
        raise ValueError(
            f"{checkpoint} was trained with l1_weight, ce_weight and emd_weight 0, so it has no score loss to take a "
            "gradient of; name another run, or leave the gradients out with --no_gradients"
        )
    collator = RocCollator(processor, declaration)

    routed = routing is not None and branch_parameters(model) is not None
    own = _own_anchors(checkpoint, anchors)

    def loss(record: Record) -> Tensor:
        batch = collator([(record, [open_image(path) for path in record.images])])
        if routed:
            batch[WEIGHTS] = torch.tensor([list(routing[record.id])], dtype=torch.float32)
        if own is not None:
            batch[ANCHORS] = own.rows([record.id])
        outputs = model(**{name: tensor.to(device) for name, tensor in batch.items()})
        return sum(weight * outputs[f"{name}_loss"] for name, weight in weights.items())

    return model, loss


def _own_anchors(checkpoint: str, file: str | os.PathLike[str] | None) -> AnchorFeatures | None:
    """Opens the anchors of single photos that a checkpoint was trained with; None where it was trained without."""
    from roc.agree.anchor_features import AnchorFeatures
    from roc.agree.attributes import NAME
    from roc.agree.known import check_alike, joins_own_anchors
    from roc.checkpoint.head_file import extension_settings

    settings = extension_settings(checkpoint).get(NAME, {})
    if not joins_own_anchors(settings):
        return None
    if file is None or not os.path.isfile(file):
        where = "its run.json does not say where they are" if file is None else f"{file} is not there"
        raise ValueError(
            f"{checkpoint} was trained with text anchors of single photos, and {where}; bring the file back, or leave "
            "the gradients out with --no_gradients"
        )
    found = AnchorFeatures.read(file)
    check_alike(found, settings, checkpoint)
    return found


def shared_block(model: PreTrainedModel, part: str | None = None) -> Place:
    """Finds the last block that all photos share; of a tower without blocks of linear layers, its last stage.

    Args:
        model: Plain or wrapped by PEFT.
        part: "language" or "vision"; None takes the language model's, or the vision tower's where there is none.

    Raises:
        ValueError: The model has no such block.
    """
    part_of = parameter_parts(model)
    last = {block.part: block.module for block in find_blocks(model, part_of)}
    if "vision" not in last and (stage := _last_stage(model, part_of)) is not None:
        last["vision"] = stage
    wanted = part or ("language" if "language" in last else "vision")
    if wanted not in last:
        raise ValueError(
            f"{type(model).__name__} has no {wanted} block to take gradients of; it has "
            f"{', '.join(sorted(last)) or 'none'}: give --part accordingly"
        )
    module = last[wanted]
    name = next(name for name, one in model.named_modules() if one is module)
    return Place(name, [one for one in module.parameters() if one.is_floating_point()])


def _last_stage(model: PreTrainedModel, part_of: Mapping[str, str]) -> nn.Module | None:
    """Finds the last module of the outermost list in the vision tower."""
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList):
            inside = {part_of[f"{name}.{one}"] for one, _ in module.named_parameters()}
            if inside == {"vision"} and list(module[-1].parameters()):
                return module[-1]
    return None


def branch_parameters(model: nn.Module) -> dict[str, Place] | None:
    """Finds the five branches of AGREE: modules side by side in a `ModuleDict`, under the names of the attributes.

    Returns:
        Attribute -> its parameters, as many for each; None where the model has no branches.
    """
    for name, module in model.named_modules():
        if "original_module" in name.split("."):  # PEFT trains a copy of it
            continue
        if isinstance(module, nn.ModuleDict) and all(attribute in module for attribute in ATTRIBUTES):
            found = {one: Place(f"{name}.{one}", list(module[one].parameters())) for one in ATTRIBUTES}
            sizes = {sum(parameter.numel() for parameter in place.parameters) for place in found.values()}
            if len(sizes) == 1 and sizes != {0}:
                return found
    return None


def subset_gradients(
    model: nn.Module,
    loss: Loss,
    subsets: Mapping[str, Sequence[Record]],
    parameters: Mapping[str, Sequence[nn.Parameter]],
    watch: Watch = lambda photos, total: photos,
) -> SubsetGradients:
    """Takes the gradient of every photo's loss.

    Args:
        model: What `loss` runs; its parameters require gradients again afterwards as they did before.
        loss: Of one photo.
        subsets: Name -> its photos, at least one each.
        parameters: Name -> what the gradient of its photos is taken of, as many numbers for each.
        watch: Sees every photo that is done.

    Raises:
        ValueError: A loss or gradient is no number.
    """
    sizes = {sum(parameter.numel() for parameter in parameters[name]) for name in subsets}
    if len(sizes) != 1:
        raise ValueError(f"the parameters of the subsets have {sorted(sizes)} numbers; expected as many for each")
    size = sizes.pop()
    sketch = _Sketch(size)
    kept: list[Tensor] = []
    means: list[Tensor] = []

    def gradients() -> Iterator[tuple[str, Tensor]]:
        for name, records in subsets.items():
            for record in records:
                yield name, _gradient(loss(record), parameters[name], record)

    chosen = [parameter for name in subsets for parameter in parameters[name]]
    counts = [len(records) for records in subsets.values()]
    with _requiring(model, chosen):
        seen: list[str] = []
        for name, gradient in watch(gradients(), sum(counts)):
            if name not in seen:
                seen.append(name)
                means.append(torch.zeros(size, dtype=torch.float32))
            means[-1] += gradient
            kept.append(sketch(gradient))
    for mean, count in zip(means, counts, strict=True):
        mean /= count
    return SubsetGradients(tuple(subsets), tuple(counts), _products(means), _products(kept), size)


def _gradient(loss: Tensor, parameters: Sequence[nn.Parameter], record: Record) -> Tensor:
    """One vector on the CPU; parameters that the loss does not depend on have 0."""
    found = torch.autograd.grad(loss, list(parameters), allow_unused=True)
    pieces = [
        torch.zeros(parameter.numel()) if one is None else one.detach().float().flatten().cpu()
        for one, parameter in zip(found, parameters, strict=True)
    ]
    gradient = torch.cat(pieces)
    if not gradient.isfinite().all():
        raise ValueError(
            f"the gradient of the loss of {record.id} is no number (NaN or infinite); has training diverged?"
        )
    return gradient


def _products(rows: Sequence[Tensor]) -> NDArray[np.float64]:
    """Inner products of all pairs, summed in float64 piece by piece."""
    total = torch.zeros(len(rows), len(rows), dtype=torch.float64)
    for start in range(0, len(rows[0]), _PIECE):
        piece = torch.stack([row[start : start + _PIECE] for row in rows]).double()
        total += piece @ piece.T
    return total.numpy()


class _Sketch:
    """Brings a gradient to at most 2^18 numbers whose inner products are those of the gradients on average."""

    def __init__(self, size: int) -> None:
        self._places: Tensor | None = None
        if size > _SKETCH:
            generator = torch.Generator().manual_seed(0)
            self._places = torch.randint(_SKETCH, (size,), generator=generator)
            self._signs = torch.randint(2, (size,), generator=generator, dtype=torch.int8) * 2 - 1

    def __call__(self, gradient: Tensor) -> Tensor:
        if self._places is None:
            return gradient
        return torch.zeros(_SKETCH).index_add_(0, self._places, gradient * self._signs)


@contextlib.contextmanager
def _requiring(model: nn.Module, chosen: Iterable[nn.Parameter]) -> Iterator[None]:
    """Asks gradients of some parameters alone, so that the backward pass ends there."""
    before = {parameter: parameter.requires_grad for parameter in model.parameters()}
    try:
        for parameter in before:
            parameter.requires_grad_(False)
        for parameter in chosen:
            parameter.requires_grad_(True)
        yield
    finally:
        for parameter, required in before.items():
            parameter.requires_grad_(required)
