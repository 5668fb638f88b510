"""What each size is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from roc.starter.decoder import Decoder
from roc.starter.language import LanguageReference
from roc.starter.packages import EFFICIENTNET_LITE0, SMOLLM2, Package
from roc.starter.tower import LITE0, Stage, TowerReference


@dataclass(frozen=True)
class Tower:
    """A pretrained vision tower.

    Attributes:
        package: Where its weights come from.
        stages: Its architecture.
        reference: Its recorded features.
    """

    package: Package
    stages: tuple[Stage, ...]
    reference: TowerReference


@dataclass(frozen=True)
class Language:
    """A pretrained language model.

    Attributes:
        package: Where its weights come from.
        reference: Its recorded logits.
    """

    package: Package
    reference: LanguageReference


@dataclass(frozen=True)
class Size:
    """The parts of one size.

    Attributes:
        tower: The vision tower.
        language: The language model: pretrained, or the sizes of one that starts from nothing.
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
    LITE0,
    # By the code that the weights were published for (efficientnet_lite_pytorch 0.1.0); the stock class gave its bits.
    TowerReference(
        channels=(0, 245, 315, 403, 576, 704),
        values=(1.210474, 4.553288, 4.665263, 4.204643, 3.960576, 0.443007),
        mean=0.231333,
    ),
)
_TOWER_CHANGES = "without the classifier of 1,000 classes"

SIZES: dict[str, Size] = {
    "small": Size(
        _TOWER,
        Decoder(),
        story="A vision tower that was trained to name what is on a photo, and a short decoder that was not trained at "
        "all:\nits weights are random, its tokenizer knows every byte and some words about photos.",
        changes={EFFICIENTNET_LITE0.name: _TOWER_CHANGES},
    ),
    "full": Size(
        _TOWER,
        Language(
            SMOLLM2,
            # Tokens: the first three special ones, then Ġthe, ĠParis, ĠLondon.
            LanguageReference(
                text="The capital of France is",
                ids=(504, 3575, 282, 4649, 314),
                continuations=(0, 1, 2, 260, 7042, 4528),
                logits=(1.613643, -11.871887, -7.944453, 14.888597, 17.371265, 13.244978),
            ),
        ),
        story="A vision tower that was trained to name what is on a photo, and a language model of 135 million "
        "parameters\nthat was trained to chat, rounded to 4 bits before it was published.",
        changes={
            EFFICIENTNET_LITE0.name: _TOWER_CHANGES,
            SMOLLM2.name: "expanded to float32, one more token for a picture, another chat template",
        },
    ),
}
"""The choices of the setting `size`."""
