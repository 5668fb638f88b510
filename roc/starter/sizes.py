"""What each size is made of: facts, no code; light, so that they are known before torch is imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from roc.starter.packages import EFFICIENTNET_LITE0, SMOLLM2, Package


@dataclass(frozen=True)
class Stage:
    """Blocks of a tower that have the same width.

    Attributes:
        kernel: Side of the depthwise kernel.
        stride: Stride of the first block.
        channels: Output channels, a multiple of 8.
        repeats: Number of blocks.
        expansion: Width inside a block over its input channels.
    """

    kernel: int
    stride: int
    channels: int
    repeats: int
    expansion: int


@dataclass(frozen=True)
class TowerRecord:
    """Features of the picture of `tower.check_pixels`, recorded from the code that the weights were published for.

    Attributes:
        channels: Some channels of the features.
        values: Their means over the cells.
        mean: The mean of all features.
    """

    channels: tuple[int, ...]
    values: tuple[float, ...]
    mean: float


@dataclass(frozen=True)
class Tower:
    """A pretrained vision tower.

    Attributes:
        package: Where its weights come from.
        stages: Its architecture.
        record: Its recorded features.
    """

    package: Package
    stages: tuple[Stage, ...]
    record: TowerRecord


@dataclass(frozen=True)
class LanguageRecord:
    """What a language model makes of a text, recorded from the file that is pinned.

    Attributes:
        text: The text.
        ids: Its tokens.
        continuations: Some tokens.
        logits: Their logits after the text.
    """

    text: str
    ids: tuple[int, ...]
    continuations: tuple[int, ...]
    logits: tuple[float, ...]


@dataclass(frozen=True)
class Language:
    """A pretrained language model.

    Attributes:
        package: Where its weights come from.
        record: Its recorded logits.
    """

    package: Package
    record: LanguageRecord


@dataclass(frozen=True)
class Decoder:
    """A short language model that starts from nothing.

    Attributes:
        hidden_size: Width; a multiple of `2 * heads`.
        layers: Number of layers.
        heads: Number of attention heads.
        intermediate_size: Width of the feed-forward layers.
        vocab_size: Upper bound of the tokenizer's size.
        max_positions: Longest sequence in tokens, image tokens included.
    """

    hidden_size: int = 256
    layers: int = 2
    heads: int = 4
    intermediate_size: int = 512
    vocab_size: int = 1536
    max_positions: int = 2048


@dataclass(frozen=True)
class Size:
    """The parts of one size.

    Attributes:
        tower: The vision tower.
        language: The language model, pretrained or not.
        story: What it is, for the model card.
        changes: Package -> what was changed of its weights, for the model card.
    """

    tower: Tower
    language: Language | Decoder
    story: str
    changes: Mapping[str, str]

    @property
    def packages(self) -> list[Package]:
        """The packages that are needed, that of the tower first."""
        return [part.package for part in (self.tower, self.language) if not isinstance(part, Decoder)]


_TOWER = Tower(
    EFFICIENTNET_LITE0,
    (
        Stage(3, 1, 16, 1, 1),
        Stage(3, 2, 24, 2, 6),
        Stage(5, 2, 40, 2, 6),
        Stage(3, 2, 80, 3, 6),
        Stage(5, 1, 112, 3, 6),
        Stage(5, 2, 192, 4, 6),
        Stage(3, 1, 320, 1, 6),
    ),
    # By the code that the weights were published for (efficientnet_lite_pytorch 0.1.0); the stock class gave its bits.
    TowerRecord(
        channels=(0, 245, 315, 403, 576, 704),
        values=(1.210474, 4.553288, 4.665263, 4.204643, 3.960576, 0.443007),
        mean=0.231333,
    ),
)
_TOWER_CHANGES = "without the classifier of 1,000 classes"

_LANGUAGE = Language(
    SMOLLM2,
    # Continuations: the first three special tokens, then Ġthe, ĠParis, ĠLondon.
    LanguageRecord(
        text="The capital of Italy is Rome, the capital of Spain is Madrid, a photo is rated from 1 to 10, and the "
        "capital of France is",
        ids=(
            504, 3575, 282, 7158, 314, 7268, 28, 260, 3575, 282, 7476, 314, 28030, 28, 253, 8003,
            314, 18361, 429, 216, 33, 288, 216, 33, 32, 28, 284, 260, 3575, 282, 4649, 314,
        ),
        continuations=(0, 1, 2, 260, 7042, 4528),
        logits=(-1.919802, -15.178260, -11.884479, 11.104971, 17.236443, 12.342527),
    ),
)  # fmt: skip

SIZES: dict[str, Size] = {
    "small": Size(
        _TOWER,
        Decoder(),
        story="A vision tower that was trained to name what is on a photo, and a short decoder that was not trained at "
        "all: its weights are random, its tokenizer knows every byte and some words about photos.",
        changes={EFFICIENTNET_LITE0.name: _TOWER_CHANGES},
    ),
    "full": Size(
        _TOWER,
        _LANGUAGE,
        story="A vision tower that was trained to name what is on a photo, and a language model of 135 million "
        "parameters that was trained to chat, rounded to 4 bits before it was published.",
        changes={
            EFFICIENTNET_LITE0.name: _TOWER_CHANGES,
            SMOLLM2.name: "expanded to float32, one more token for a picture, another chat template",
        },
    ),
}
"""The choices of the setting `size`."""
