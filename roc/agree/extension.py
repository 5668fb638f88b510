"""The module of AGREE in a model: it looks at the maps of each picture beside the picture itself.

It joins the features of a picture where the model takes them up: behind the feature map of a vision backbone
(roc/model/backbone/), or at the visual tokens of a multimodal model, as its `get_image_features` gives them. The same
encoder then encodes the five maps, and the branches (`roc.agree.branches`) add a residual to the picture's features.

Weights of attributes come with the batch (`routing_weights`), as in training from the table of sensitivities. Where a
batch brings none, or NaN for a photo, a small predictor gives them from the features of the picture; it is trained
beside, by its divergence from the table, and moves nothing else. So a checkpoint scores new photos without
the table and without further passes.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BackboneOutput

from roc.agree.attributes import ATTRIBUTES
from roc.agree.branches import BRANCHES, OVERALL, Branches
from roc.agree.maps import attribute_maps
from roc.agree.weights import FILE, KnownWeights
from roc.checkpoint.head_file import extension_settings
from roc.model.backbone import BackboneForScoring
from roc.model.backbone.encoder import map_of
from roc.model.extensions import Extension

logger = logging.getLogger(__name__)

NAME = "agree"
WEIGHTS, ANCHORS = "routing_weights", "anchors"

_NOT_PADDING = 1e-6
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
        medians: Attribute -> median of the sensitivities that the weights of training were divided by; None for the
            published form. Kept for the weights of other photos (`roc.agree.weights`).

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
        medians: dict[str, float] | None = None,
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
        """Takes its place: behind the vision tower of a backbone, or in front of the visual tokens of another model."""
        if isinstance(model, BackboneForScoring):
            model.vision_tower.register_forward_hook(_Behind(model), with_kwargs=True)
        else:
            _inner(model).get_image_features = ImageFeatures(model)

    def begin(self, given: Mapping[str, Tensor]) -> None:
        """Takes weights (B, 5) and anchors (B, 6, D) of the batch, where it has some."""
        self._given, self._divergence = given, None

    def loss(self) -> Tensor | None:
        """Returns the predictor's weighted divergence from the weights that the batch brought."""
        return None if self._divergence is None else self.predictor_weight * self._divergence

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
        features = self.module.features(cells, self._anchors(repeats))
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
            with _kept_statistics(tower):
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

    def _anchors(self, repeats: Tensor) -> dict[str, Tensor] | None:
        """Gives the anchor (N, D) of each branch for each cell."""
        if not len(self.module.fusions):
            return None
        given, count = self._given.get(ANCHORS), len(repeats)
        anchors = self.anchors.expand(count, -1, -1) if given is None else given
        if anchors.shape != (count, *self.anchors.shape):
            raise ValueError(
                f"{ANCHORS} is {tuple(anchors.shape)} for {count} pictures; expected {(count, *self.anchors.shape)}."
            )
        anchors = anchors.to(self.module.reduce.weight).repeat_interleave(repeats, dim=0)
        return dict(zip(BRANCHES, anchors.unbind(dim=1), strict=True))


class _Behind:
    """The hook; it finds the module through its model, so that a copy of the model has hooks of its own."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model

    def __call__(self, tower: nn.Module, args: tuple, kwargs: dict[str, Any], output: Any) -> Any:
        pixel_values = args[0] if args else kwargs["pixel_values"]
        return self.model.extensions[NAME].behind(tower, pixel_values, output)


class ImageFeatures:
    """Stands in for `get_image_features` of a multimodal model: its visual tokens, with the residual of the branches.

    Args:
        model: Carries the module.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model

    @property
    def __signature__(self) -> inspect.Signature:
        # `generate` chooses by it what it passes on.
        inner = _inner(self.model)
        return inspect.signature(type(inner).get_image_features.__get__(inner))

    def __call__(self, pixel_values: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Computes the features of pictures, and of their maps.

        Raises:
            ValueError: If they are not one piece of tokens for each picture.
        """
        inner, module = _inner(self.model), self.model.extensions[NAME]
        own = type(inner).get_image_features
        output = own(inner, pixel_values, *args, **kwargs)
        tokens = _tokens(inner, output)
        patches = Patches.of(inner.config)
        grids = next((one for one in (*args, kwargs.get("image_grid_thw")) if torch.is_tensor(one)), None)
        encoded = {OVERALL: torch.cat(tokens)}
        with _kept_statistics(inner):
            for name, pixels in module.maps(pixel_values, grids if pixel_values.ndim == 2 else None, patches).items():
                encoded[name] = torch.cat(_tokens(inner, own(inner, pixels, *args, **kwargs)))
        counts = [len(part) for part in tokens]
        added = module.residual(encoded, counts).split(counts)
        joined = [part + more for part, more in zip(tokens, added, strict=True)]
        output.pooler_output = torch.stack(joined) if torch.is_tensor(output.pooler_output) else joined
        return output


@dataclass(frozen=True)
class Patches:
    """How a processor cuts pictures into rows of patches: those that become one token stand together.

    Attributes:
        side: Side of a patch in pixels.
        frames: Frames of a patch; those of a still picture are alike.
        merged: Patches along each side of a token.
    """

    side: int
    frames: int
    merged: int

    @classmethod
    def of(cls, config: PreTrainedConfig) -> Patches | None:
        """Reads the layout off a configuration; None where it has none."""
        vision = getattr(config, "vision_config", None)
        values = [getattr(vision, name, None) for name in ("patch_size", "temporal_patch_size", "spatial_merge_size")]
        return None if None in values else cls(*values)

    def divided(self, pixel_values: Tensor, grids: Tensor) -> Iterator[tuple[Tensor, list[int]]]:
        """Gives the rows of each picture with its grid."""
        return zip(pixel_values.split(grids.prod(dim=1).tolist()), grids.tolist(), strict=True)

    def picture(self, rows: Tensor, grid: Sequence[int]) -> Tensor:
        """Puts rows of patches together to a picture (T F, 3, H, W)."""
        time, height, width = grid
        m, side = self.merged, self.side
        parts = rows.view(time, height // m, width // m, m, m, 3, self.frames, side, side)
        # time, frame, channel, then for each axis: token, patch within it, pixel
        return parts.permute(0, 6, 5, 1, 3, 7, 2, 4, 8).reshape(time * self.frames, 3, height * side, width * side)

    def rows(self, picture: Tensor, grid: Sequence[int]) -> Tensor:
        """Cuts a picture into rows again."""
        time, height, width = grid
        m, side = self.merged, self.side
        parts = picture.reshape(time, self.frames, 3, height // m, m, side, width // m, m, side)
        return parts.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(time * height * width, -1)


def build(model: PreTrainedModel, settings: dict[str, Any]) -> Agree:
    """Builds the module for a model.

    Args:
        model: Carries the head.
        settings: Those of `Agree` by name.

    Raises:
        ValueError: If the model has no place for the branches, or a setting is unknown.
    """
    if isinstance(model, BackboneForScoring):
        channels = model.config.vision_channels
    else:
        _inner(model)
        channels = model.get_input_embeddings().weight.shape[1]
    try:
        made = Agree(channels, **settings)
    except TypeError as error:
        raise ValueError(f"the extension {NAME} has settings that this release does not know: {error}") from error
    return made


def lookup(checkpoint: str | os.PathLike[str]) -> KnownWeights | None:
    """Opens the routing weights that a checkpoint knows (`roc agree weights`); None where it knows none."""
    return KnownWeights(checkpoint) if os.path.exists(os.path.join(checkpoint, FILE)) else None


def note(checkpoint: str | os.PathLike[str]) -> str | None:
    """Says where the routing weights of a checkpoint come from; None where it does not route."""
    if not extension_settings(checkpoint)[NAME].get("routing", True):
        return None
    known = lookup(checkpoint)
    if known is None:
        return "AGREE: routing weights come from the predictor in the checkpoint"
    return (
        f"AGREE: routing weights of {len(known)} photos come from the table {known.facts['table']}; those of others, "
        "and of written answers, from the predictor in the checkpoint"
    )


def _inner(model: PreTrainedModel) -> PreTrainedModel:
    """Finds the part of a multimodal model that encodes pictures.

    Raises:
        ValueError: If there is none.
    """
    inner = getattr(model, "model", None)
    if not hasattr(type(inner), "get_image_features"):
        raise ValueError(
            f"AGREE joins the features of pictures, and a {type(model).__name__} has no get_image_features that its "
            "forward takes them from; train with --host backbone."
        )
    return inner


def _tokens(inner: PreTrainedModel, output: Any) -> list[Tensor]:
    """Reads the visual tokens (T, H) of each picture off what `get_image_features` gives."""
    found = getattr(output, "pooler_output", None)
    parts = [found] if found is None else list(found)
    if not all(torch.is_tensor(part) and part.ndim == 2 for part in parts):
        shapes = ", ".join(str(tuple(part.shape)) if torch.is_tensor(part) else type(part).__name__ for part in parts)
        raise ValueError(
            f"{type(inner).__name__}.get_image_features gives {shapes or 'nothing'}; AGREE expects the tokens (T, H) "
            "of each picture."
        )
    return parts


def _blank(pictures: Tensor) -> Tensor:
    """Tells which pictures (B, 3, H, W) are zeros alone, (B, 1, 1, 1)."""
    return (pictures == 0).flatten(1).all(dim=1).view(-1, 1, 1, 1)


def _cells(features: Tensor) -> Tensor:
    """Turns feature maps (B, C, h, w) into the cells of all pictures, (B h w, C)."""
    return features.flatten(2).transpose(1, 2).flatten(0, 1)


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
