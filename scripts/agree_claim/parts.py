"""What the runs of a data set share: the encoder they start from, the table of sensitivities, the anchors."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from stages import timed

from roc.agree.anchor_options import AnchorOptions
from roc.agree.anchors import extract
from roc.agree.config import FoldsOptions, SensitivityOptions
from roc.agree.folds import FOLDS_FILE, write_folds
from roc.agree.sensitivity import measure
from roc.demo.tiny_model import PRESETS, build_tiny_llava, resnet_config
from roc.files import write_folder
from roc.model.backbone.assembly import build_host
from roc.model.backbone.encoder import build_encoder
from roc.model.backbone.inputs import Pictures
from roc.model.from_nothing import scale_to_width
from roc.starter.build import build_starter
from roc.starter.kept import keep_starter
from roc.starter.options import StarterOptions
from roc.starter.plan import plan

from .data import Data

FOLDS = 2
LEARN_TABLE, TEST_TABLE, ANCHORS = "sens_learn.parquet", "sens_test.parquet", "anchors.safetensors"
_SCORED_AT_ONCE = 50
_MEAN, _STD = (0.5,) * 3, (0.25,) * 3


@dataclass(frozen=True)
class Encoder:
    """What every arm starts from.

    Attributes:
        title: In the report.
        folder: Of the model; the runs of a seed share one where it is built from nothing.
        by_seed: Whether there is one for each seed.
        side: Of the pictures, where it is built from nothing.
        settings: Of the runs that begin from it.
    """

    title: str
    folder: Path
    by_seed: bool = False
    side: int = 0
    settings: dict[str, Any] = field(default_factory=dict)

    def source(self, seed: int) -> Path:
        """Names the folder of the model that a seed begins from, and builds it where it is built from nothing."""
        if not self.by_seed:
            return self.folder
        folder = self.folder / f"seed{seed}"
        if not folder.is_dir():
            write_folder(folder, lambda partial: _save_untrained(partial, self.side, seed))
        return folder


def untrained(folder: Path, side: int) -> Encoder:
    """Gives a small ResNet of random weights, others for each seed; all of it is trained."""
    return Encoder("a small ResNet, untrained, trained whole", folder, by_seed=True, side=side)


def starter_tower(folder: Path, side: int) -> Encoder:
    """Gives the starter's EfficientNet-Lite0 for pictures of another size; it stays frozen.

    Raises:
        OSError, ValueError, ModuleNotFoundError: If it cannot be fetched or built.
    """
    if not folder.is_dir():
        options = StarterOptions(out=str(folder), size="small", image_size=side)
        build_starter(options, plan(options))
    title = "EfficientNet-Lite0, trained on ImageNet and frozen (the starter's)"
    return Encoder(title, folder, settings={"freeze": ("vision",)})


@dataclass(frozen=True)
class Parts:
    """The files that runs of one data set share.

    Attributes:
        data: The data set.
        encoder: What every arm starts from.
        folder: Of the files.
    """

    data: Data
    encoder: Encoder
    folder: Path

    @property
    def learn_table(self) -> Path:
        """Sensitivities of the training and validation photos."""
        return self.folder / LEARN_TABLE

    @property
    def test_table(self) -> Path:
        """Sensitivities of the test photos."""
        return self.folder / TEST_TABLE

    @property
    def anchors(self) -> Path:
        """Text features of the attributes."""
        return self.folder.parent / ANCHORS

    def divide(self) -> None:
        """Divides the photos into folds, unless that is done."""
        out = self.folder / "folds"
        if not (out / FOLDS_FILE).is_file():
            write_folds(FoldsOptions(data_path=str(self.data.learn), out=str(out), folds=FOLDS, overwrite=True))

    def fold_file(self, number: int) -> Path:
        """Names the rows that the model of a fold is trained on, counted from 1."""
        return self.folder / "folds" / f"train_{number}.csv"

    def fold_model(self, number: int) -> Path:
        """Names the checkpoint of a fold, counted from 1."""
        return self.folder / "folds" / f"model_{number}"

    def measure_sensitivities(self, out: Path) -> None:
        """Measures both tables with the models of the folds, or goes on with it.

        Args:
            out: Folder of the comparison, for the times.
        """
        for file, table in ((self.data.learn, self.learn_table), (self.data.test, self.test_table)):
            if table.is_file():
                continue
            print(f"{self.data.name}: sensitivities of {file.name}", flush=True)
            options = SensitivityOptions(
                checkpoint=tuple(str(self.fold_model(number)) for number in range(1, FOLDS + 1)),
                data_path=str(file), out=str(table), folds=FOLDS, side=None, batch_size=_SCORED_AT_ONCE, workers=0,
                device="cpu",
            )  # fmt: skip
            with timed(out, f"{self.data.name}: sensitivities"):
                measure(options)


def write_anchors(out: Path, text_model: str | None, *, quick: bool) -> None:
    """Writes the features of one fixed sentence for each attribute, unless they are there.

    Args:
        out: Folder of the comparison.
        text_model: Multimodal LLM that reads them; None takes the starter `full`, and where it is quick an untrained
            one, whose features mean nothing.
        quick: Whether nothing is fetched.
    """
    if (out / ANCHORS).is_file():
        return
    print("anchors", flush=True)
    if text_model is None:
        text_model = str(_untrained_words(out / "text_model") if quick else keep_starter("full"))
    with timed(out, "anchors"):
        extract(AnchorOptions(model=text_model, fixed=True, out=str(out / ANCHORS), device="cpu", dtype="float32"))


def _untrained_words(folder: Path) -> Path:
    if not folder.is_dir():
        from roc.agree.anchor_text import QUESTIONS, SENTENCES

        built = build_tiny_llava([*QUESTIONS.values(), *SENTENCES.values()])
        write_folder(folder, lambda partial: [part.save_pretrained(partial) for part in built])
    return folder


def _save_untrained(folder: Path, side: int, seed: int) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = build_encoder(resnet_config(PRESETS["demo"]))
        scale_to_width(encoder)
        _, processor = build_host(encoder, Pictures(side, _MEAN, _STD))
    encoder.save_pretrained(folder)
    processor.image_processor.save_pretrained(folder)
