"""A tiny checkpoint with photos, and ratings of them that follow what its score head reads."""

import numpy as np
import pytest
from heads import build, picture
from PIL import Image
from scipy.special import softmax

from roc.checkpoint.folder import save
from roc.scoring.assessment import Assessment
from roc.scoring.features import FeatureScorer
from roc.scoring.local import score_images
from roc.scoring.sources import Source

COUNT = 40


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("personal") / "llava"
    model, processor, _ = build("llava")
    save(model, processor, folder)
    return folder


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for index in range(COUNT):
        shades = np.asarray(picture(index)) // (1 + index % 7)
        Image.fromarray(shades).save(folder / f"{index:02}.png")
    return folder


@pytest.fixture(scope="session")
def taste(checkpoint, photos):
    """A number of each photo, by name: a direction of the hidden states that the general score does not follow."""
    scorer = FeatureScorer(Assessment(checkpoint, device="cpu"))
    sources = [Source(path.name, str(path)) for path in sorted(photos.iterdir())]
    rows = list(score_images(scorer, sources, checkpoint, workers=0))
    hidden = np.array([row["feature"].hidden for row in rows], dtype=np.float64)
    steps = np.arange(len(rows[0]["feature"].logits))
    scores = [float(softmax(row["feature"].logits) @ steps) for row in rows]
    states = (hidden - hidden.mean(0)) / hidden.std(0)
    _, _, main = np.linalg.svd(states, full_matrices=False)
    found = states @ main[:4].T
    beside = min(range(4), key=lambda k: abs(np.corrcoef(found[:, k], scores)[0, 1]))
    return {row["image"]: float(value) for row, value in zip(rows, found[:, beside], strict=True)}


@pytest.fixture(scope="session")
def stars(taste, photos):
    """A file of stars by that taste."""
    ordered = sorted(taste, key=taste.get)
    lines = [f"{name},{1 + 5 * ordered.index(name) // len(ordered)}" for name in sorted(taste)]
    file = photos.parent / "stars.csv"
    file.write_text("\n".join(["image,score", *(f"{photos.name}/{line}" for line in lines)]))
    return file
