"""The module of AGREE in a model: it looks at the maps of each picture beside the picture itself.

It joins the features of a picture where the model takes them up: behind the feature map of a vision backbone
(roc/model/backbone/), or at the visual tokens of a multimodal model, as its `get_image_features` gives them. The same
encoder then encodes the five maps, and the branches (`roc.agree.branches`) add a residual to the picture's features.

Weights of attributes come with the batch (`routing_weights`), as in training from the table of sensitivities. Where a
batch brings none, or NaN for a photo, a small predictor gives them from the features of the picture; it is trained
beside, by its divergence from the table, and moves nothing else. So a checkpoint scores new photos without
the table and without further passes.

Text anchors are joined with the branches (fusion), draw them in training (anchor loss), or both. Where photos have
anchors of their own, these come with the batch too (`anchors`); where a photo's are missing, the mean anchors of the
training photos stand in.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor, nn
from transformers import PreTrainedModel, ProcessorMixin
from transformers.modeling_outputs import BackboneOutput

from roc.agree import hosts, known
from roc.agree.anchor_loss import anchor_loss as loss_of_anchors
from roc.agree.attributes import ATTRIBUTES, NAME
from roc.agree.branches import BRANCHES, OVERALL, Branches
from roc.agree.maps import attribute_maps
from roc.model.backbone.encoder import map_of
from roc.model.backbone.inputs import pictures_of
from roc.model.collator import RocCollator
from roc.model.extensions import Extension, add_extension, remove_extension
from roc.scoring.one_forward import level_logits

if TYPE_CHECKING:
    from roc.agree.hosts import Patches

WEIGHTS, ANCHORS = "routing_weights", "anchors"

_NOT_PADDING = 1e-6
_PREDICTED = 128
_DROPOUT = 0.3
_TRIED = 8
"""Width of the branches on trial."""


class Agree(Extension):
    """Branches, fusion, routing and predictor.

    Args:
        channels: Of the tower's feature map.
        width: Of the branches.
        mean, std: With which the processor normalises the channels of a picture.
        anchor_width: D, width of the anchors; None = there are none.
        fusion: Whether branches are joined with the anchors, where there are some.
        anchor_loss: Weight of the loss that draws branches towards their anchors in training (`roc.agree.anchor_loss`).
            It reads the branches before they are joined with the anchors, which could be copied afterwards.
        own_anchors: Whether each photo of the training had anchors of its own.
        anchors_by: What made the anchors; kept, so that those of new photos are made alike.
        routing: Whether weights of attributes are used; otherwise all weigh alike.
        predictor_weight: Weight of the predictor's divergence in the loss.
        medians: Attribute -> median of the sensitivities that the weights of training were divided by; None for the
            published form. Kept for the weights of other photos (`roc.agree.weights`).

    Attributes:
        anchors: (6, D) anchors of `BRANCHES` of every photo for which a batch brings none: the same for all photos, or
            the mean of those of the training photos.
    """

    inputs = (WEIGHTS, ANCHORS)

    def __init__(
        self,
        channels: int,
        *,
        width: int,
        mean: list[float],
        std: list[float],
        anchor_width: int | None = None,
        routing: bool = True,
        predictor_weight: float = 0.2,
        medians: dict[str, float] | None = None,
        fusion: bool = True,
        anchor_loss: float = 0.0,
        own_anchors: bool = False,
        anchors_by: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.module = Branches(channels, width, anchor_width if fusion else None)
        self.routing, self.predictor_weight = routing, predictor_weight
        self.mean, self.std = tuple(mean), tuple(std)
        if anchor_width is not None:
            self.register_buffer("anchors", torch.zeros(len(BRANCHES), anchor_width))
        if routing:
            self.predictor = nn.Sequential(
                nn.Linear(width, _PREDICTED), nn.ReLU(), nn.Dropout(_DROPOUT), nn.Linear(_PREDICTED, len(ATTRIBUTES))
            )
        self.anchor_weight = anchor_loss
        if anchor_loss:
            # One for all branches: with one for each, none would have to learn anything.
            self.project = nn.Linear(width, anchor_width, bias=False)
        self._given: Mapping[str, Tensor] = {}
        self._divergence: Tensor | None = None
        self._apart: Tensor | None = None
        self._at_work = False

    def join(self, model: PreTrainedModel) -> None:
        """Takes its place: behind the vision tower of a backbone, or in front of the visual tokens of another model."""
        hosts.join(model)

    def leave(self, model: PreTrainedModel) -> None:
        """Gives its place up again."""
        hosts.leave(model)

    def begin(self, given: Mapping[str, Tensor]) -> None:
        """Takes weights (B, 5) and anchors (B, 6, D) of the batch, where it has some."""
        self._given, self._divergence, self._apart = given, None, None

    def loss(self) -> Tensor | None:
        """Returns the predictor's divergence from the weights that the batch brought, and the anchor loss, weighted."""
        parts = ((self.predictor_weight, self._divergence), (self.anchor_weight, self._apart))
        found = [weight * part for weight, part in parts if part is not None]
        return sum(found[1:], start=found[0]) if found else None

    def maps(self, pixel_values: Tensor, grids: Tensor | None, patches: Patches | None) -> dict[str, Tensor]:
        """Computes the maps of pictures in the form in which the model takes the pictures.

        Args:
            pixel_values: (..., 3, H, W) as the processor makes them, or patches in rows.
            grids: (B, 3) patches of each picture along time, height and width, where there are rows of patches.
            patches: Their layout.

        Returns:
            Attribute -> pixels of the same shape; pictures that are padding stay as they are.
        """
        if grids is not None:
            shown = [patches.picture(rows, grid) for rows, grid in patches.divided(pixel_values, grids)]
            found = [self.maps(picture, None, None) for picture in shown]
            return {
                name: torch.cat(
                    [patches.rows(one[name], grid) for one, grid in zip(found, grids.tolist(), strict=True)]
                )
                for name in ATTRIBUTES
            }
        pictures = pixel_values.flatten(end_dim=-4) if pixel_values.ndim > 4 else pixel_values
        mean, std = (pictures.new_tensor(values).view(1, 3, 1, 1) for values in (self.mean, self.std))
        padding = _blank(pictures)
        shown = {}
        for name, plane in attribute_maps((pictures * std + mean).clamp(0, 1)).items():
            pixels = (plane - mean) / std
            # Families that drop pictures of zeros as padding would drop the hue of a grey photo too.
            pixels = torch.where(_blank(pixels), pixels + _NOT_PADDING, pixels)
            shown[name] = torch.where(padding, pictures, pixels).view_as(pixel_values)
        return shown

    def residual(self, encoded: Mapping[str, Tensor], counts: Sequence[int]) -> Tensor:
        """Computes what is added to the features of pictures.

        Args:
            encoded: Branch -> (N, channels): cells or visual tokens of all pictures, one picture after the other.
            counts: (B,) how many each picture has; their sum is N.

        Returns:
            (N, channels), in the number format of the pictures' features.
        """
        dtype = self.module.reduce.weight.dtype  # a tower may be kept in float32 beside it
        cells = {name: features.to(dtype).unsqueeze(1) for name, features in encoded.items()}  # (N, 1, channels)
        repeats = torch.tensor(counts, device=cells[OVERALL].device)
        features, anchors = self.module.visual(cells), self._anchors(len(counts))
        if self.anchor_weight and self.training:
            self._apart = self._distance(features, anchors, counts)
        if len(self.module.fusions):
            own = anchors.to(dtype).repeat_interleave(repeats, dim=0)  # (N, 6, D)
            features = self.module.fused(features, dict(zip(BRANCHES, own.unbind(dim=1), strict=True)))
        weights = self._weights(features[OVERALL].squeeze(1), counts)
        self._given = {}
        return self.module(features, weights.repeat_interleave(repeats, dim=0)).squeeze(1).to(encoded[OVERALL].dtype)

    def behind(self, tower: nn.Module, pixel_values: Tensor, output: Any) -> BackboneOutput | None:
        """Computes what the tower of a backbone gives in place of its own output; None while it encodes the maps."""
        if self._at_work:
            return None
        found = map_of(output, pixel_values)
        maps = self.maps(pixel_values, None, None)
        shown = torch.cat([maps[name] for name in ATTRIBUTES])
        self._at_work = True
        try:
            with hosts.kept_statistics(tower):
                parts = map_of(tower(shown), shown).chunk(len(ATTRIBUTES))
        finally:
            self._at_work = False
        count, cells = len(found), found[0, 0].numel()
        encoded = {name: _cells(part) for name, part in zip((OVERALL, *ATTRIBUTES), (found, *parts), strict=True)}
        residual = self.residual(encoded, [cells] * count).view(count, cells, -1)
        return BackboneOutput(feature_maps=(found + residual.transpose(1, 2).reshape(found.shape),))

    def _weights(self, features: Tensor, counts: Sequence[int]) -> Tensor:
        """Gives the weights (B, 5): the batch's, the predictor's, or the same for all; features are (N, C)."""
        if not self.routing:
            return features.new_full((len(counts), len(ATTRIBUTES)), 1 / len(ATTRIBUTES))
        means = torch.stack([part.mean(dim=0) for part in features.detach().split(list(counts))])
        given, logits = self._given.get(WEIGHTS), self.predictor(means)
        if given is None:
            return logits.float().softmax(dim=-1)
        given = given.to(logits.device, torch.float32)
        if given.shape != logits.shape:
            raise ValueError(
                f"{WEIGHTS} is {tuple(given.shape)}, and the model gives the features of {len(logits)} pictures; "
                "expected (B, 5): one picture in each row, in one piece."
            )
        unknown = given.isnan().any(dim=-1, keepdim=True)
        if unknown.any():  # photos that the checkpoint's file of weights lacks; training knows all of a batch, or none
            return torch.where(unknown, logits.float().softmax(dim=-1), given)
        self._divergence = nn.functional.kl_div(logits.float().log_softmax(dim=-1), given, reduction="batchmean")
        return given

    def _anchors(self, count: int) -> Tensor | None:
        """Gives the anchors (B, 6, D): the batch's, or the checkpoint's for photos of which it brings none (NaN)."""
        if not hasattr(self, "anchors"):
            return None
        given, own = self._given.get(ANCHORS), self.anchors.expand(count, -1, -1)
        if given is None:
            return own
        if given.shape != own.shape:
            raise ValueError(f"{ANCHORS} is {tuple(given.shape)} for {count} pictures; expected {tuple(own.shape)}.")
        given = given.to(own)
        return torch.where(given.isnan().flatten(1).any(dim=1).view(-1, 1, 1), own, given)

    def _distance(self, features: Mapping[str, Tensor], anchors: Tensor, counts: Sequence[int]) -> Tensor:
        """Computes the anchor loss: the mean of each branch over a picture, projected, against its anchor."""
        every = torch.cat([features[name] for name in BRANCHES], dim=1)  # (N, 6, C)
        pooled = self.project(torch.stack([part.mean(dim=0) for part in every.split(list(counts))]))  # (B, 6, D)
        own, aims = (dict(zip(BRANCHES, rows.unbind(dim=1), strict=True)) for rows in (pooled, anchors))
        return loss_of_anchors(own, aims)


def build(model: PreTrainedModel, settings: dict[str, Any]) -> Agree:
    """Builds the module for a model.

    Args:
        model: Carries the head.
        settings: Those of `Agree` by name.

    Raises:
        ValueError: If the model has no place for the branches, or a setting is unknown.
    """
    channels = hosts.channels_of(model)
    try:
        made = Agree(channels, **settings)
    except TypeError as error:
        raise ValueError(f"the extension {NAME} has settings that this release does not know: {error}") from error
    return made


@contextlib.contextmanager
def on_trial(model: PreTrainedModel, processor: ProcessorMixin) -> Iterator[str]:
    """Gives a model the module for a while, as it is before training.

    Args:
        model: Carries the head, and no module yet.
        processor: The model's.

    Yields:
        Where it has joined.

    Raises:
        Exception: If it cannot; a ValueError says why, others come from the model.
    """
    shown = pictures_of(processor.image_processor)
    settings = {"width": _TRIED, "mean": list(shown.mean), "std": list(shown.std)}
    with torch.random.fork_rng(devices=[]):
        add_extension(model, NAME, settings)
    try:
        try_out(model, processor)
        yield hosts.place_text(model)
    finally:
        remove_extension(model, NAME)


def try_out(model: PreTrainedModel, processor: ProcessorMixin) -> None:
    """Scores two pictures of different shapes with weights of their own, which a model may not be able to take.

    Raises:
        ValueError: If the model's forward goes past the module.
    """
    pictures = [Image.new("RGB", size, "grey") for size in ((160, 120), (96, 144))]
    batch = RocCollator(processor, model.declaration).scoring_batch(pictures)
    seen: list[bool] = []
    handle = model.extensions[NAME].module.register_forward_hook(lambda *_: seen.append(True))
    was_training = model.training
    model.eval()
    try:
        level_logits(model, {**batch, WEIGHTS: torch.full((len(pictures), len(ATTRIBUTES)), 1 / len(ATTRIBUTES))})
    finally:
        handle.remove()
        model.train(was_training)
    if not seen:
        raise ValueError(
            f"a {type(model).__name__} has get_image_features, but its forward takes the features of pictures from "
            "elsewhere, so the branches would add nothing"
        )


def lookup(checkpoint: str | os.PathLike[str]) -> known.Known | None:
    """Opens what a checkpoint knows of single photos (`roc agree weights`); None where it knows nothing."""
    return known.lookup(checkpoint)


def note(checkpoint: str | os.PathLike[str]) -> str | None:
    """Says where routing weights and anchors of photos come from; None where every photo is scored alike."""
    return known.note(checkpoint)


def _blank(pictures: Tensor) -> Tensor:
    """Tells which pictures (B, 3, H, W) are zeros alone, (B, 1, 1, 1)."""
    return (pictures == 0).flatten(1).all(dim=1).view(-1, 1, 1, 1)


def _cells(features: Tensor) -> Tensor:
    """Turns feature maps (B, C, h, w) into the cells of all pictures, (B h w, C)."""
    return features.flatten(2).transpose(1, 2).flatten(0, 1)
