"""A checkpoint, photos of several shapes and their scores, for the tests of the scoring pipeline."""

import pytest
from heads import build, picture

from roc.checkpoint.folder import save
from roc.scoring.assessment import Assessment
from roc.scoring.batches import Scorer, Wanted
from roc.scoring.local import score_images
from roc.scoring.sources import Source

SIZES = [(40, 30), (30, 60), (64, 20), (28, 28)]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """A Qwen2.5-VL, whose pictures keep their shapes."""
    folder = tmp_path_factory.mktemp("checkpoint")
    model, processor, _ = build("qwen2_5_vl")
    save(model, processor, folder)
    return str(folder)


@pytest.fixture(scope="session")
def assessment(checkpoint):
    return Assessment(checkpoint)


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    sources = []
    for i in range(30):
        path = folder / f"{i:02d}.png"
        picture(i, SIZES[i % 7 % len(SIZES)]).save(path)
        sources.append(Source(path.name, str(path)))
    return sources


@pytest.fixture(scope="session")
def expected(assessment, photos):
    return assessment.score([source.path for source in photos])


@pytest.fixture(scope="session")
def rows_of(assessment, checkpoint):
    """Scores sources with the local engine: -> (rows, scorer)."""

    def rows_of(sources, *, workers=0, batch_size=None, **wanted):
        scorer = Scorer(assessment, Wanted(**{"attributes": assessment.attributes, **wanted}), batch_size)
        return list(score_images(scorer, sources, checkpoint, workers=workers)), scorer

    return rows_of
