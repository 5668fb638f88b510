"""Whether the scores of a trained checkpoint depend on the picture, and whether its adapter does anything.

A model whose architecture passes the picture on may still have learnt to answer without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image
from transformers import PreTrainedModel

from roc.demo.scenes import render_scene
from roc.doctor.candidate import Candidate, Finding
from roc.evaluation.image_effect import BLIND, effect_text, image_effect
from roc.model.collator import RocCollator
from roc.scoring.one_forward import one_forward

SCENES = 6
"""Drawn scenes that are shown; each is scored three times."""

_BATCH_SIZE = 4


def first_scores(model: PreTrainedModel, collator: RocCollator, pictures: Sequence[Image.Image]) -> np.ndarray:
    """Scores pictures of any size: (n,) scores of the first attribute, native scale."""
    parts = [pictures[start : start + _BATCH_SIZE] for start in range(0, len(pictures), _BATCH_SIZE)]
    return np.concatenate([one_forward(model, collator.scoring_batch(part, 1)).scores[:, 0] for part in parts])


def picture_findings(candidate: Candidate) -> Iterable[Finding]:
    """Shows a trained model other pictures and black ones; an untrained head has learnt nothing to judge it by."""
    name = "score depends on the picture"
    if candidate.lora == "initial":
        figure = "its low-rank matrices are untrained, so it scores as its base does"
        yield Finding("adapter changes the model", None, figure)
    elif candidate.lora == "zero":
        yield Finding(
            "adapter changes the model",
            False if candidate.trained else None,
            "all its low-rank matrices are zero, so it scores as its base does",
            "Its weights were lost, or it was never trained: train again, or take an earlier copy.",
        )
    if not candidate.trained:
        yield Finding(name, None, "not tried: the head is untrained, so there is nothing that it has learnt")
        return
    pictures = [render_scene(index, seed=1, size=128).image for index in range(SCENES)]
    effect = image_effect(lambda images: first_scores(candidate.model, candidate.collator, images), pictures)
    width = candidate.model.score_space.width
    blind = effect.is_blind(width)
    advice = (
        f"Below {BLIND:.1%} of the range: it scores without looking. Train longer, with a higher learning rate or with "
        "the vision tower and projector, and see that the ratings vary."
    )
    yield Finding(name, not blind, effect_text(effect.to_metrics(), width), advice if blind else "")
