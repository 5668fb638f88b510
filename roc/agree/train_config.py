"""The settings of `roc agree train`: those of `roc finetune`, and the switches of AGREE."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from roc.settings import Fault, option, settings_of
from roc.training.config import RunConfig
from roc.training.mixing_config import MixingConfig

NOT_HERE = ("keep_features", "features_folder", *settings_of(MixingConfig))
"""Settings of `roc finetune` that make no sense here; `--help` leaves them out."""


@dataclass(frozen=True)
class AgreeConfig(RunConfig):
    """The parts of AGREE, each a switch. With all of them off, the run is that of `roc finetune`.

    The fourth part, error-aware weights, is the setting `error_aware` of every run.
    """

    TITLE = "AGREE"

    host: Literal["multimodal", "backbone"] = option(
        "backbone", "what carries the head: a vision encoder (docs/training.md), or a multimodal LLM"
    )
    decoupling: bool = option(True, "a branch for each attribute, which looks at its map; the other two build on it")
    fusion: bool = option(False, "join each branch with the text anchor of its attribute; needs anchors")
    routing: bool = option(False, "weigh the branches by how sensitive each photo is; needs sensitivity")
    sensitivity: str | None = option(None, "table of `roc agree sensitivity` that holds every training photo")
    calibrated: bool = option(
        True, "divide sensitivities by the median of their attribute first; false is Eq. 6 as published"
    )
    anchors: str | None = option(
        None, "file of `roc agree anchors`: a sentence for each attribute, or anchors of every photo (docs/agree.md)"
    )
    anchor_loss: float = option(
        0.0,
        "weight of a loss that draws branches towards their anchors and apart from each other; needs anchors",
        low=0,
    )
    branch_width: int = option(256, "width of the branches", low=8)
    predictor_weight: float = option(
        0.2,
        "weight of the loss of the predictor, which gives new photos their weights; it changes nothing else",
        low=0,
    )

    def faults(self) -> list[Fault]:
        """Finds switches without what they need or beside what they cannot use, and files that no switch uses."""
        found: list[Fault] = []
        for switch, wanted in (("routing", "sensitivity"), ("fusion", "anchors"), ("anchor_loss", "anchors")):
            on = bool(getattr(self, switch))
            if on and not self.decoupling:
                found.append((switch, f"{switch} is on and decoupling is off, so there are no branches; switch it on"))
            elif on and getattr(self, wanted) is None:
                off = "0" if switch == "anchor_loss" else "false"
                found.append(
                    (wanted, f"{switch} is on and {wanted} is not set; give --{wanted} FILE, or --{switch} {off}")
                )
        if self.sensitivity is not None and not self.routing:
            text = f"sensitivity is {self.sensitivity} and routing is off; add --routing true, or leave it out"
            found.append(("routing", text))
        if self.anchors is not None and not (self.fusion or self.anchor_loss):
            text = (
                f"anchors is {self.anchors} and fusion is off; add --fusion true or --anchor_loss 0.1, or leave it out"
            )
            found.append(("fusion", text))
        if self.routing and self.pairs_path is not None:
            found.append(
                (
                    "routing",
                    "routing is on and pairs_path is given, and pairs get no weights of the table; use one of them",
                )
            )
        if self.mix:
            found.append(("mix", "mix is given, and roc agree train learns from one data set; give --data_path"))
        if self.decoupling and self.keep_features:
            found.append(
                ("keep_features", "keep_features is on, and the maps are made anew for each pass; leave it out")
            )
        return found

    def without_effect(self) -> set[str]:
        """Names the settings that change nothing beside the others."""
        names = super().without_effect()
        if not self.decoupling:
            names.add("branch_width")
        if not self.routing:
            names |= {"calibrated", "predictor_weight"}
        return names
