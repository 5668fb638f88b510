"""The ten views of each photo: which is which, and that a photo is read once for all of them."""

import pickle

import numpy as np
import pytest
from heads import picture
from PIL import Image

from roc.agree.attributes import ATTRIBUTES
from roc.agree.batches import as_image, as_tensor
from roc.agree.perturbations import both_ways
from roc.agree.views import CHANGES, Views
from roc.data.images import ImageError
from roc.scoring.sources import Source
from roc.scoring.stamps import stamp_of


@pytest.fixture
def sources(tmp_path):
    for i in range(2):
        picture(i, (40, 20)).save(tmp_path / f"{i}.png")
    return [Source(f"{i}.png", str(tmp_path / f"{i}.png")) for i in range(2)]


@pytest.fixture
def opened(monkeypatch):
    """Names of the photos that were read, in order."""
    names, read = [], Source.open

    def open(source):
        names.append(source.name)
        return read(source)

    monkeypatch.setattr(Source, "open", open)
    return names


def test_each_view_is_the_perturbation_it_stands_for(sources, opened):
    views = Views(sources, 0.15, None)
    assert len(views) == 2 * len(CHANGES) == 20
    found = [np.asarray(view.open()) for view in views]
    assert opened == ["0.png", "1.png"]
    for place, source in enumerate(sources):
        photo = as_tensor(Image.open(source.path))
        expected = [as_image(one[0]) for name in ATTRIBUTES for one in both_ways(photo, name, 0.15)]
        for index, image in enumerate(expected):
            assert np.array_equal(found[10 * place + index], np.asarray(image)), CHANGES[index]


def test_a_view_is_bound_to_the_file_and_travels_to_a_worker(sources):
    views = Views(sources, 0.2, 16)
    assert views[3].open().size == (16, 8) and stamp_of(views[13]) == stamp_of(sources[1])
    there = pickle.loads(pickle.dumps(views))
    assert there[3].name == "0.png" and np.array_equal(there[3].open(), views[3].open())
    with pytest.raises(IndexError):
        views[20]


def test_a_photo_that_cannot_be_read_is_tried_once(sources, opened, tmp_path):
    (tmp_path / "0.png").write_bytes(b"no picture")
    Image.new("RGB", (9, 1)).save(tmp_path / "1.png")
    views = Views(sources, 0.2, None)
    for index in range(10):
        with pytest.raises(ImageError):
            views[index].open()
    assert opened == ["0.png"]
    with pytest.raises(ImageError, match="the pictures are 9 x 1 pixels; expected at least 2"):
        views[10].open()
