"""How far scores move: not at all if nothing visible changes, and the shares are computed correctly."""

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import tiny_llava

from roc.doctor.sensitivity import CHANGES, sensitivity, shift_table
from roc.evaluation.metrics import srcc
from roc.model.attachment import attach
from roc.model.collator import RocCollator
from roc.score_space import ScoreSpace
from roc.scoring.one_forward import one_forward


@pytest.fixture(scope="module")
def scorer():
    model, processor = tiny_llava()
    attach(model, processor, ScoreSpace(0, 50, 10))
    with torch.no_grad():
        model.score_head.weight.normal_(generator=torch.Generator().manual_seed(0))
    return model, RocCollator(processor, model.config.roc)


def noise(seed, size=(40, 30)):
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_one_colour_stays_one_colour(scorer):
    # Middle grey survives JPEG at any quality.
    shifts = sensitivity(*scorer, [Image.new("RGB", (40, 30), (128, 128, 128))])
    assert [shift.change for shift in shifts] == list(CHANGES)
    assert max(shift.largest for shift in shifts) <= 1e-5
    assert all(shift.of_spread is None and shift.srcc is None for shift in shifts)  # one picture has no spread


def test_the_figures_are_those_of_the_scores(scorer):
    model, collator = scorer
    pictures = [noise(seed) for seed in range(5)]
    shift = {shift.change: shift for shift in sensitivity(model, collator, pictures)}["cropped to 3/4 of its width"]
    before = one_forward(model, collator.scoring_batch(pictures)).scores[:, 0].numpy()
    cropped = [picture.crop((5, 0, 35, 30)) for picture in pictures]
    after = one_forward(model, collator.scoring_batch(cropped)).scores[:, 0].numpy()
    apart = np.abs(after - before)
    assert shift.mean == pytest.approx(apart.mean(), abs=1e-4) and shift.mean > 0.01
    assert shift.largest == pytest.approx(apart.max(), abs=1e-4)
    assert shift.of_range == pytest.approx(shift.mean / 50)
    assert shift.of_spread == pytest.approx(shift.mean / before.std(), rel=1e-3)
    assert shift.srcc == pytest.approx(srcc(after, before))


@pytest.mark.parametrize(
    ("change", "size"),
    [
        ("resized to 0.25 x", (10, 8)),
        ("resized to 2 x", (80, 60)),
        ("squeezed to 3/4 of its width", (30, 30)),
        ("squeezed to 3/4 of its height", (40, 22)),
        ("cropped to 3/4 of its height", (40, 22)),
        ("padded to 4/3 of its width", (53, 30)),
        ("padded to a square", (40, 40)),
        ("JPEG of quality 30", (40, 30)),
    ],
)
def test_what_the_changes_do(change, size):
    picture = noise(0)
    changed = CHANGES[change](picture)
    assert changed.size == size and changed.mode == "RGB"
    assert picture.size == (40, 30)


def test_padding_has_the_mean_colour_around_the_picture():
    changed = np.asarray(CHANGES["padded to 4/3 of its height"](noise(0)))
    assert changed.shape[0] == 40
    assert (changed[0] == np.asarray(noise(0)).mean(axis=(0, 1)).round()).all()
    assert (changed[5:35] == np.asarray(noise(0))).all()


def test_compression_changes_little_at_a_high_quality():
    smooth = Image.fromarray(np.tile(np.arange(64, dtype=np.uint8), (64, 1))).convert("RGB")
    errors = [
        np.abs(np.asarray(CHANGES[f"JPEG of quality {quality}"](smooth), dtype=int) - np.asarray(smooth)).mean()
        for quality in (75, 30)
    ]
    assert 0 < errors[0] < errors[1]


def test_the_table(scorer):
    lines = shift_table(sensitivity(*scorer, [noise(0), noise(1), noise(2)])).splitlines()
    assert len(lines) == 1 + len(CHANGES)
    assert lines[0].split() == ["change", "mean", "largest", "of", "range", "of", "spread", "SRCC"]
    assert len({len(line) for line in lines}) == 1


def test_what_says_nothing_is_refused(scorer):
    with pytest.raises(ValueError, match="No picture"):
        sensitivity(*scorer, [])
    model, processor = tiny_llava()
    attach(model, processor, ScoreSpace(1, 10, 10))
    with pytest.raises(ValueError, match="untrained .*scores 5.5"):
        sensitivity(model, RocCollator(processor, model.config.roc), [noise(0)])
