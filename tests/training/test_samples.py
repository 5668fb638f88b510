"""Samples depend on seed, epoch and record alone."""

import numpy as np
import pytest
from heads import picture

from roc.data.augment import Augmentation
from roc.data.images import ImageError
from roc.data.records import Record
from roc.training.samples import Samples


@pytest.fixture
def records(tmp_path):
    found = []
    for i in range(3):
        picture(i).save(tmp_path / f"{i}.png")
        found.append(Record(id=str(i), images=(str(tmp_path / f"{i}.png"),), scores={"overall": 5.0}))
    return found


def pixels(samples, index):
    return np.asarray(samples[index][1][0])


def test_pictures_come_with_their_record(records):
    samples = Samples(records)
    assert len(samples) == 3
    record, pictures = samples[1]
    assert record is records[1]
    assert np.array_equal(np.asarray(pictures[0]), np.asarray(picture(1)))


def test_augmentation_depends_on_seed_epoch_and_record_only(records):
    changes = Augmentation(shift=0.3, flip=0.5)
    one, again = (Samples(records, augmentation=changes, seed=1) for _ in range(2))
    for index in (2, 0, 1):
        one[index]
    assert np.array_equal(pixels(one, 0), pixels(again, 0))
    shuffled = Samples(records[::-1], augmentation=changes, seed=1)
    assert np.array_equal(pixels(one, 0), pixels(shuffled, 2))
    before = pixels(one, 0)
    one.set_epoch(1)
    assert not np.array_equal(pixels(one, 0), before)
    one.set_epoch(0)
    assert np.array_equal(pixels(one, 0), before)


def test_pictures_of_one_row_are_changed_alike(records):
    twice = Record(id="pair", images=records[0].images * 2, scores={"overall": 5.0})
    samples = Samples([twice], augmentation=Augmentation(shift=0.3, flip=0.5), seed=1)
    for epoch in range(6):
        samples.set_epoch(epoch)
        first, second = samples[0][1]
        assert np.array_equal(np.asarray(first), np.asarray(second))


def test_cached_pictures_are_the_same(records):
    cached = Samples(records, cache=True)
    first = pixels(cached, 0)
    records[0].images[0]
    assert np.array_equal(pixels(cached, 0), first)
    assert cached[0][1][0] is cached[0][1][0]


def test_limits_apply(records):
    with pytest.raises(ImageError):
        Samples(records, pixel_limit=10)[0]
