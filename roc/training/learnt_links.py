"""Links between a shared score and the scales of several data sets, learnt beside the model.

`learn_links` puts `ScaleLinks` into the model before it is trained, `MixedCollator` tells each row's data set, and
`LearnsLinks` is mixed into the Trainer: saved states keep the links in a file of their own and in their declaration, so
that a state is a checkpoint as well. `settle_links` takes them out of the trained model again: what remains of them are
the numbers in its declaration, so merging, exporting and loading it need to know nothing of them.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from roc.model.declaration import declare
from roc.model.links import ScaleLinks
from roc.model.modeling import RocMixin
from roc.model.scales import DataScale
from roc.training.samples import Sample

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from roc.data.records import Record
    from roc.model.collator import RocCollator
    from roc.training.config import RunConfig

logger = logging.getLogger(__name__)

LINKS_FILE = "links.safetensors"
"""File in a saved state with the parameters of the links."""


def learn_links(model: PreTrainedModel, config: RunConfig, rows: Sequence[Record]) -> None:
    """Gives a model the links of several data sets, each the identity of the ranges.

    Args:
        model: Carries the head; PEFT may wrap it, and leaves the links alone.
        config: With `mix`.
        rows: The training rows, which tell what each data set rates.
    """
    rated = {(record.dataset, name) for record in rows for name in (*record.scores, *record.histograms)}
    learnt = []
    anchored: set[str] = set()
    for one in config.data_sets:
        here = {name for name in config.attributes if (one.name, name) in rated}
        learnt.append([name in here and name in anchored for name in config.attributes])
        anchored |= here
    scales = tuple(DataScale(one.name, one.range) for one in config.data_sets)
    links = ScaleLinks(scales, config.attributes, learnt, config.link_pieces)
    carrier = _carrier(model)
    carrier.scale_links = links.to(carrier.score_head.weight.device)
    declare(carrier, replace(carrier.declaration, scales=links.scales()))


def settle_links(model: PreTrainedModel) -> None:
    """Takes the links out of a trained model and declares them as numbers; without links, nothing is done."""
    links = links_of(model)
    if links is None:
        return
    declare_links(model)
    del _carrier(model).scale_links


def declare_links(model: nn.Module) -> None:
    """Declares the links of a model as they are now."""
    carrier = _carrier(model)
    declare(carrier, replace(carrier.declaration, scales=carrier.scale_links.scales()))


def links_of(model: nn.Module) -> ScaleLinks | None:
    """Finds the links that a model is learning, wrapped or not; None where it learns none."""
    return next((module for module in model.modules() if isinstance(module, ScaleLinks)), None)


def _carrier(model: nn.Module) -> nn.Module:
    """The model that carries the head, inside what wraps it."""
    return next(module for module in model.modules() if isinstance(module, RocMixin))


class MixedCollator:
    """A collator that adds `score_sets` (B,), the number of each row's data set, to the batches of another one.

    Args:
        collator: Makes the batches.
        names: Of the data sets, in their order.
    """

    def __init__(self, collator: RocCollator, names: Sequence[str]) -> None:
        self.collator = collator
        self.numbers = {name: number for number, name in enumerate(names)}

    def __call__(self, samples: Sequence[Sample]) -> dict[str, torch.Tensor]:
        """Makes a training batch."""
        sets = torch.tensor([self.numbers[record.dataset] for record, _ in samples])
        return {**self.collator(samples), "score_sets": sets}


class LearnsLinks:
    """Part of a Trainer: keeps the links of its model in saved states, beside the weights, and validates with them."""

    def on_their_scales(self, scores: torch.Tensor, sets: torch.Tensor) -> torch.Tensor:
        """Reads shared scores (B, K) on the scales of their rows' data sets (B,), which are (B, K) again."""
        links, spaces = links_of(self.model), self.accelerator.unwrap_model(self.model).declaration.spaces
        columns = torch.arange(scores.shape[1], device=scores.device).expand_as(scores)
        known = [spaces[column] if column < len(spaces) else spaces[0] for column in range(scores.shape[1])]
        lows, widths = (scores.new_tensor([getattr(one, end) for one in known]) for end in ("min_score", "width"))
        units = (scores - lows) / widths
        with torch.no_grad():
            return links(units.flatten(), sets.repeat_interleave(scores.shape[1]), columns.flatten()).view_as(scores)

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        """Saves the weights, with the links of this moment in the declaration."""
        if links_of(self.model) is not None:
            declare_links(self.model)
        super()._save(output_dir, state_dict)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        links = links_of(self.model)
        if links is not None and self.args.should_save:
            save_file(links.state(), os.path.join(output_dir, LINKS_FILE))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            self._load_links(checkpoint)

    def _load_best_model(self) -> None:
        super()._load_best_model()
        self._load_links(self.state.best_model_checkpoint)

    def _load_links(self, folder: Any) -> None:
        links = links_of(self.model)
        if links is not None:
            links.load(load_file(Path(folder) / LINKS_FILE))
