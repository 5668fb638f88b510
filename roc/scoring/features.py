"""What the score head reads of an image, beside the score: its level logits and the hidden state they come from."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from roc.model.mirror import mirrored
from roc.scoring.assessment import Assessment
from roc.scoring.batches import Scorer, Wanted, merge
from roc.scoring.one_forward import level_logits
from roc.scoring.prepare import Prepared


class Feature(NamedTuple):
    """What is read of one image, at the first `[SCORE]` of the answer.

    Where the model declares `score_flip`, there are two readings, of the image and of its mirror image.

    Attributes:
        logits: (N,) float32, of the levels, without a temperature; of two readings (2, N).
        hidden: (H,) float32, the input of the score head; of two readings (2, H).
    """

    logits: NDArray[np.float32]
    hidden: NDArray[np.float32]

    def packed(self) -> str:
        """Gives the numbers as text: all logits, then all hidden values, little-endian float32 in base64."""
        return base64.b64encode(np.concatenate([part.ravel() for part in self]).astype("<f4").tobytes()).decode("ascii")


class FeatureScorer(Scorer):
    """A scorer whose rows are `{"feature": Feature}` in place of the columns of a table.

    Args:
        assessment: The model.
        batch_size: Images per forward pass; None finds a good size while scoring.
    """

    def __init__(self, assessment: Assessment, batch_size: int | None = None) -> None:
        super().__init__(assessment, Wanted(assessment.attributes[:1]), batch_size)

    def _start(self, batch: Sequence[Prepared]) -> Callable[[], list[Any]]:
        model = self.assessment.model
        declaration, inputs = model.declaration, merge([one.inputs for one in batch], pad_id=self._pad_id)
        readings = [self._read(inputs)]
        if declaration.score_flip and (other := mirrored(inputs)) is not None:
            readings.append(self._read(other))

        def finish() -> list[Feature]:
            parts = [torch.stack(part, dim=1) for part in zip(*readings, strict=True)]  # (B, 1 or 2, N or H)
            if len(readings) == 1:
                parts = [part[:, 0] for part in parts]
            parts[0] = parts[0] * declaration.temperature
            both = (part.to("cpu", torch.float32).numpy() for part in parts)
            return [Feature(*pair) for pair in zip(*both, strict=True)]

        return finish

    def _read(self, inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Reads level logits (B, N) and hidden states (B, H) in one pass."""
        model, seen = self.assessment.model, []
        handle = model.score_head.register_forward_pre_hook(lambda head, args: seen.append(args[0]))
        try:
            logits = level_logits(model, inputs, with_mirror=False)  # (B, 1, N)
        finally:
            handle.remove()
        (hidden,) = seen
        return logits[:, 0], hidden

    def row(self, feature: Any) -> dict[str, Any]:
        """Gives `feature`; or `error`, where a number of it is not finite."""
        if not all(np.isfinite(part).all() for part in feature):
            return {"error": "the model gave no number"}
        return {"feature": feature}
