"""The module of AGREE in a model: it looks at the maps of each picture beside the picture itself.

It stands behind the vision tower of a backbone (roc/model/backbone/). When the tower has encoded pictures, the same
tower encodes their five maps, and the branches (`roc.agree.branches`) add a residual to the picture's feature map.

Weights of attributes come with the batch (`routing_weights`), as in training from the table of sensitivities. Where a
batch brings none, a small predictor gives them from the features of the picture; it is trained beside, by its
divergence from the table, and moves nothing else. So a checkpoint scores new photos without the table and without
further passes.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BackboneOutput

from roc.agree.attributes import ATTRIBUTES
from roc.agree.branches import BRANCHES, OVERALL, Branches
from roc.agree.maps import attribute_maps
from roc.model.backbone import BackboneForScoring
from roc.model.backbone.encoder import map_of
from roc.model.extensions import Extension

logger = logging.getLogger(__name__)

NAME = "agree"
WEIGHTS, ANCHORS = "routing_weights", "anchors"

_PREDICTED = 128
_DROPOUT = 0.3


class Agree(Extension):
    """Branches, fusion, routing and predictor.

    Args:
        channels: Of the tower's feature map.
        width: Of the branches.
        mean, std: With which the processor normalises the channels of a picture.
        anchor_width: D, width of the anchors; None = there is no fusion.
        routing: Whether weights of attributes are used; otherwise all weigh alike.
        predictor_weight: Weight of the predictor's divergence in the loss.

    Attributes:
        anchors: (6, D) anchors of `BRANCHES` that are the same for all photos; a batch may bring others.
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
    ) -> None:
        super().__init__()
        self.module = Branches(channels, width, anchor_width)
        self.routing, self.predictor_weight = routing, predictor_weight
        self.mean, self.std = tuple(mean), tuple(std)
        if anchor_width is not None:
            self.register_buffer("anchors", torch.zeros(len(BRANCHES), anchor_width))
        if routing:
            self.predictor = nn.Sequential(
                nn.Linear(width, _PREDICTED), nn.ReLU(), nn.Dropout(_DROPOUT), nn.Linear(_PREDICTED, len(ATTRIBUTES))
            )
        self._given: Mapping[str, Tensor] = {}
        self._divergence: Tensor | None = None
        self._at_work = False

    def join(self, model: PreTrainedModel) -> None:
        """Hooks itself behind the vision tower."""
        model.vision_tower.register_forward_hook(_Behind(model), with_kwargs=True)

    def begin(self, given: Mapping[str, Tensor]) -> None:
        """Takes weights (B, 5) and anchors (B, 6, D) of the batch, where it has some."""
        self._given, self._divergence = given, None

    def loss(self) -> Tensor | None:
        """Returns the predictor's weighted divergence from the weights that the batch brought."""
        return None if self._divergence is None else self.predictor_weight * self._divergence

    def predicted(self, features: Tensor) -> Tensor:
        """Computes the logits (B, 5) of the attributes' weights from the features (B, T, C) of the picture."""
        return self.predictor(features.detach().mean(dim=1))

    def behind(self, tower: nn.Module, pixel_values: Tensor, output: Any) -> BackboneOutput | None:
        """Computes what the tower gives in place of its own output; None while it encodes the maps."""
        if self._at_work:
            return None
        found = map_of(output, pixel_values)
        encoded = {OVERALL: _cells(found), **self._encoded_maps(tower, pixel_values)}
        dtype = self.module.reduce.weight.dtype  # a tower may be kept in float32 beside it
        encoded = {name: cells.to(dtype) for name, cells in encoded.items()}
        features = self.module.features(encoded, self._anchors(len(found)))
        residual = self.module(features, self._weights(features[OVERALL]))
        self._given = {}
        return BackboneOutput(feature_maps=(found + residual.to(found.dtype).transpose(1, 2).reshape(found.shape),))

    def _encoded_maps(self, tower: nn.Module, pixel_values: Tensor) -> dict[str, Tensor]:
        """Has the tower encode the maps of pictures, all in one pass; attribute -> (B, T, channels)."""
        mean, std = (pixel_values.new_tensor(values).view(1, 3, 1, 1) for values in (self.mean, self.std))
        maps = attribute_maps((pixel_values * std + mean).clamp(0, 1))
        shown = torch.cat([(maps[name] - mean) / std for name in ATTRIBUTES])
        self._at_work = True
        try:
            with _kept_statistics(tower):
                cells = _cells(map_of(tower(shown), shown))
        finally:
            self._at_work = False
        return dict(zip(ATTRIBUTES, cells.chunk(len(ATTRIBUTES)), strict=True))

    def _weights(self, features: Tensor) -> Tensor:
        """Gives the weights (B, 5): the batch's, the predictor's, or the same for all."""
        if not self.routing:
            return features.new_full((len(features), len(ATTRIBUTES)), 1 / len(ATTRIBUTES))
        given, logits = self._given.get(WEIGHTS), self.predicted(features)
        if given is None:
            return logits.float().softmax(dim=-1)
        given = given.to(logits.device, torch.float32)
        if given.shape != logits.shape:
            raise ValueError(f"{WEIGHTS} is {tuple(given.shape)} for {len(logits)} pictures; expected (B, 5).")
        self._divergence = nn.functional.kl_div(logits.float().log_softmax(dim=-1), given, reduction="batchmean")
        return given

    def _anchors(self, count: int) -> dict[str, Tensor] | None:
        if not len(self.module.fusions):
            return None
        given = self._given.get(ANCHORS)
        anchors = self.anchors.expand(count, -1, -1) if given is None else given
        if anchors.shape != (count, *self.anchors.shape):
            raise ValueError(
                f"{ANCHORS} is {tuple(anchors.shape)} for {count} pictures; expected {(count, *self.anchors.shape)}."
            )
        anchors = anchors.to(self.module.reduce.weight)
        return dict(zip(BRANCHES, anchors.unbind(dim=1), strict=True))


class _Behind:
    """The hook; it finds the module through its model, so that a copy of the model has hooks of its own."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model

    def __call__(self, tower: nn.Module, args: tuple, kwargs: dict[str, Any], output: Any) -> Any:
        pixel_values = args[0] if args else kwargs["pixel_values"]
        return self.model.extensions[NAME].behind(tower, pixel_values, output)


def build(model: PreTrainedModel, settings: dict[str, Any]) -> Agree:
    """Builds the module for a model.

    Args:
        model: A backbone with the head.
        settings: Those of `Agree` by name.

    Raises:
        ValueError: If the model has no feature map that the branches could stand behind, or a setting is unknown.
    """
    if not isinstance(model, BackboneForScoring):
        raise ValueError(
            f"AGREE stands behind the feature map of a vision backbone, and this is a {type(model).__name__}; train "
            "with --host backbone."
        )
    try:
        made = Agree(model.config.vision_channels, **settings)
    except TypeError as error:
        raise ValueError(f"the extension {NAME} has settings that this release does not know: {error}") from error
    if made.routing:
        logger.info("AGREE: photos that come without routing weights get theirs from the predictor in the checkpoint")
    return made


def _cells(features: Tensor) -> Tensor:
    """Turns a feature map (B, C, h, w) into rows of cells (B, T, C)."""
    return features.flatten(2).transpose(1, 2)


@contextlib.contextmanager
def _kept_statistics(tower: nn.Module) -> Iterator[None]:
    """Keeps batch normalisation at its running statistics, which are those of pictures, not of maps."""
    layers = [
        module for module in tower.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training
    ]
    for layer in layers:
        layer.eval()
    try:
        yield
    finally:
        for layer in layers:
            layer.train()
