"""Scores over a picture and its mirror image: their arithmetic, and which models can be shown mirror images."""

from dataclasses import replace

import pytest
import torch
from backbones import backbone
from heads import build, picture
from PIL import Image, ImageOps
from tiny_models import FAMILY_BUILDERS

from roc.model.attachment import attach
from roc.model.calibration import Calibration
from roc.model.collator import RocCollator
from roc.model.declaration import declare
from roc.model.mirror import check_mirrors, mean_logits, mirrored
from roc.score_space import ScoreSpace
from roc.scoring.one_forward import level_logits, one_forward

WHOLE = ("gemma3", "llava", "paligemma")
"""Families whose processors give whole pictures."""

OTHERS = ("qwen2_5_vl", "mistral3", "internvl")
"""Patches in rows, pictures padded to the largest of a batch, and tiles."""


@pytest.fixture(scope="module")
def flipping():
    """Gives a model that declares score_flip, and its collator."""
    model, _, collator = build("llava")
    declare(model, replace(model.declaration, score_flip=True))
    return model.eval(), collator


def test_the_mean_of_two_distributions_by_hand():
    """(1/2, 1/2) and (1/4, 3/4) have the mean (3/8, 5/8); a temperature of 2 gives its square roots, normalised."""
    one, other = torch.tensor([0.5, 0.5]).log() + 3, torch.tensor([0.25, 0.75]).log()
    torch.testing.assert_close(mean_logits(one, other, 1.0).softmax(-1), torch.tensor([3 / 8, 5 / 8]))
    tempered = mean_logits(one / 2, other / 2, 2.0).softmax(-1)
    roots = torch.tensor([3 / 8, 5 / 8]).sqrt()
    torch.testing.assert_close(tempered, roots / roots.sum())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_scores_are_the_mean_of_picture_and_mirror_image_in_their_order(flipping, dtype):
    model, collator = flipping
    model.to(dtype)
    pictures = [picture(seed, size) for seed, size in ((0, (40, 30)), (1, (30, 40)), (2, (28, 28)))]
    both = [collator.scoring_batch(some) for some in (pictures, [ImageOps.mirror(one) for one in pictures])]
    found = one_forward(model, both[0])
    plain = [one_forward(model, batch, with_mirror=False) for batch in both]
    model.to(torch.float32)
    apart = (plain[0].scores - plain[1].scores).abs()
    assert apart.min() > 0.01  # a picture and its mirror image get different scores
    # Resizing may mirror to the last bit or not; bfloat16 rounds that.
    tolerance = 1e-4 if dtype == torch.float32 else 0.1 * float(apart.min())
    torch.testing.assert_close(found.scores, (plain[0].scores + plain[1].scores) / 2, atol=tolerance, rtol=0)
    expected = (plain[0].probabilities + plain[1].probabilities) / 2
    torch.testing.assert_close(found.probabilities, expected, atol=tolerance, rtol=0)


def test_a_symmetric_picture_scores_as_without(flipping):
    model, collator = flipping
    half = picture(3, (14, 28))
    whole = Image.new("RGB", (28, 28))
    whole.paste(half, (0, 0))
    whole.paste(ImageOps.mirror(half), (14, 0))
    batch = collator.scoring_batch([whole, picture(4)])
    found, plain = (one_forward(model, batch, with_mirror=flips).scores for flips in (None, False))
    torch.testing.assert_close(found[0], plain[0], atol=1e-5, rtol=0)
    assert (found[1] - plain[1]).abs().max() > 0.01


def test_rows_with_fewer_scores_have_none_at_the_others(flipping):
    model, collator = flipping
    batch = collator.scoring_batch([picture(0), picture(1)])
    batch["score_mask"][1, batch["score_mask"][1].nonzero()[-1]] = False
    logits = level_logits(model, batch)
    assert logits[1, 1].isnan().all() and not logits[0].isnan().any() and not logits[1, 0].isnan().any()


def test_a_temperature_acts_on_the_mean(flipping):
    model, collator = flipping
    batch = collator.scoring_batch([picture(0)])
    plain = one_forward(model, batch).probabilities
    declared = model.declaration
    try:
        declare(model, replace(declared, calibration=Calibration(data="a", rows=9, temperature=2.0)))
        found = one_forward(model, batch).probabilities
    finally:
        declare(model, declared)
    roots = plain.sqrt()
    torch.testing.assert_close(found, roots / roots.sum(dim=-1, keepdim=True))


def test_a_vision_backbone_reads_mirror_images():
    model, _, collator = backbone()
    check_mirrors(collator)
    batch = collator.scoring_batch([picture(0)])
    plain = one_forward(model, batch).scores
    other = one_forward(model, mirrored(batch)).scores
    found = one_forward(model, batch, with_mirror=True).scores
    torch.testing.assert_close(found, (plain + other) / 2)
    assert not torch.equal(plain, other)


@pytest.mark.parametrize(
    "family",
    [
        *WHOLE,
        *OTHERS,
        *(pytest.param(one, marks=pytest.mark.slow) for one in FAMILY_BUILDERS if one not in (*WHOLE, *OTHERS)),
    ],
)
def test_only_whole_pictures_can_be_mirrored(family):
    model, processor = FAMILY_BUILDERS[family]()
    attach(model, processor, ScoreSpace(1, 10, 10))
    collator = RocCollator(processor, model.declaration)
    if family in WHOLE:
        check_mirrors(collator)
        return
    with pytest.raises(ValueError, match="^its pictures"):
        check_mirrors(collator)


def test_a_checkpoint_that_declares_what_its_pictures_cannot_be_says_so():
    with pytest.raises(ValueError, match=r"declares score_flip, and pixel_values are \(2, 588\)"):
        mirrored({"pixel_values": torch.zeros(2, 588)})


def test_rows_without_pictures_are_read_once():
    assert mirrored({"input_ids": torch.zeros(1, 3)}) is None
