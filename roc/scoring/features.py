"""What the score head reads of an image, beside the score: its level logits and the hidden state they come from."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from roc.scoring.assessment import Assessment
from roc.scoring.batches import Scorer, Wanted, merge
from roc.scoring.one_forward import level_logits
from roc.scoring.prepare import Prepared


class Feature(NamedTuple):
    """What is read of one image, at the first `[SCORE]` of the answer.

    Where the model declares `score_flip`, the logits are those of the mean distribution over the image and its mirror
    image, and the hidden state is the mean of both. Scores that a personal head moves are then those that its
    checkpoint gives up to terms of second order in what sets the two images apart.

    Attributes:
        logits: (N,) float32, of the levels, without a temperature.
        hidden: (H,) float32, the input of the score head.
    """

    logits: NDArray[np.float32]
    hidden: NDArray[np.float32]

    def packed(self) -> str:
        """Gives the numbers as text: N logits, then H values, little-endian float32 in base64."""
        return base64.b64encode(np.concatenate(self).astype("<f4").tobytes()).decode("ascii")


class FeatureScorer(Scorer):
    """A scorer whose rows are `{"feature": Feature}` in place of the columns of a table.

    Args:
        assessment: The model.
        batch_size: Images per forward pass; None finds a good size while scoring.
    """

    def __init__(self, assessment: Assessment, batch_size: int | None = None) -> None:
        super().__init__(assessment, Wanted(assessment.attributes[:1]), batch_size)

    def _start(self, batch: Sequence[Prepared]) -> Callable[[], list[Any]]:
        model, seen = self.assessment.model, []
        handle = model.score_head.register_forward_pre_hook(lambda head, args: seen.append(args[0]))
        try:
            logits = level_logits(model, merge([one.inputs for one in batch], pad_id=self._pad_id))  # (B, 1, N)
        finally:
            handle.remove()
        hidden = torch.stack(seen).mean(dim=0)  # (B, H); of the image, or of it and its mirror image

        def finish() -> list[Feature]:
            trained = logits[:, 0] * model.declaration.temperature
            both = (part.to("cpu", torch.float32).numpy() for part in (trained, hidden))
            return [Feature(*pair) for pair in zip(*both, strict=True)]

        return finish

    def row(self, feature: Any) -> dict[str, Any]:
        """Gives `feature`; or `error`, where a number of it is not finite."""
        if not all(np.isfinite(part).all() for part in feature):
            return {"error": "the model gave no number"}
        return {"feature": feature}
