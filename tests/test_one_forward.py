"""The fast path gives what the whole forward gives, in float32 on the CPU, whatever the backbone's dtype."""

import pytest
import torch
from test_modeling import build, picture
from tiny_models import BUILDERS

from roc.one_forward import one_forward, to_model


@pytest.mark.parametrize("family", BUILDERS)
def test_a_score_does_not_depend_on_its_neighbours(family):
    model, _, collator = build(family)
    pictures = [picture(seed, size) for seed, size in ((0, (40, 30)), (1, (56, 56)), (2, (28, 42)))]
    together = one_forward(model, collator.scoring_batch(pictures))
    assert together.probabilities.shape == (3, 2, 10)
    for row, one in enumerate(pictures):
        alone = one_forward(model, collator.scoring_batch([one]))
        torch.testing.assert_close(alone.scores[0], together.scores[row], atol=1e-5, rtol=0)


def test_a_bfloat16_backbone_is_fed_bfloat16_and_read_in_float32():
    model, _, collator = build("llava")
    full = one_forward(model, collator.scoring_batch([picture(0)])).scores
    model.to(torch.bfloat16)
    batch = to_model(model, collator.scoring_batch([picture(0)]))
    assert batch["pixel_values"].dtype == torch.bfloat16
    assert batch["input_ids"].dtype == torch.long and batch["score_mask"].dtype == torch.bool
    half = one_forward(model, collator.scoring_batch([picture(0)]))
    assert half.scores.dtype == torch.float32
    assert (half.scores - full).abs().max() < 0.3
