"""What the score head reads of an image, where it reads the mirror image too."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from heads import build, picture
from PIL import ImageOps

from roc.checkpoint.folder import save
from roc.checkpoint.personal_head import steps_of
from roc.model.declaration import declare
from roc.personal.features import Features
from roc.scoring.assessment import Assessment
from roc.scoring.features import FeatureScorer
from roc.scoring.local import score_images
from roc.scoring.sources import Source


def test_two_readings_of_a_photo_give_its_score_and_that_of_a_personal_head(tmp_path):
    model, processor, _ = build("llava")
    declare(model, replace(model.declaration, score_flip=True))
    save(model, processor, tmp_path / "model")
    for i in range(3):
        picture(i).save(tmp_path / f"{i}.png")
        ImageOps.mirror(picture(i)).save(tmp_path / f"{i}_mirrored.png")
    files = sorted(tmp_path.glob("*.png"))
    assessment = Assessment(tmp_path / "model", device="cpu", dtype="float32")
    sources = [Source(file.name, str(file)) for file in files]
    rows = list(score_images(FeatureScorer(assessment), sources, "mine", workers=0))
    logits, hidden = (np.array(part, dtype=np.float64) for part in zip(*(row["feature"] for row in rows), strict=True))
    assert logits.shape == (6, 2, 10) and hidden.shape[:2] == (6, 2)
    np.testing.assert_allclose(hidden[0], hidden[1][::-1], atol=1e-4)  # of a photo, and of it mirrored
    features = Features(logits, hidden, assessment.model.score_levels().numpy().astype(np.float64))

    def scores():
        return [one.scores["overall"].value for one in assessment.score(files, ["overall"])]

    before = scores()
    assert features.scores() == pytest.approx(before, abs=1e-4)
    direction = np.random.default_rng(0).normal(size=hidden.shape[-1])
    expected = features.scores(hidden @ direction)
    with torch.no_grad():
        rows = torch.tensor(np.outer(steps_of(10), direction), dtype=torch.float32)
        assessment.model.score_head.weight += rows
    moved = scores()
    assert np.abs(np.subtract(moved, before)).max() > 0.1
    assert moved == pytest.approx(expected, abs=1e-4)
