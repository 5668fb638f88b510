"""Near-duplicates and bursts: the best of them is kept."""

import datetime

import numpy as np
import pytest
from PIL import Image

from roc.scoring.bursts import best_of_groups, capture_time
from roc.scoring.selection import choose
from roc.scoring.sources import Source


def scene(seed):
    """A picture of large shapes, as its looks are compared by."""
    small = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((140, 100), Image.Resampling.BICUBIC)


@pytest.fixture
def sources(tmp_path):
    """Two scenes, each twice, a plain one twice; taken at 0, 1, 3.5 and 60 s, the plain ones without a time."""
    pictures = {"a": scene(0), "a2": scene(0).resize((70, 50)), "b": scene(1), "b2": scene(1).point(lambda v: v * 0.9)}
    pictures |= {"plain": Image.new("RGB", (64, 64)), "plain2": Image.new("RGB", (64, 64))}
    found = {}
    for name, picture in pictures.items():
        exif = Image.Exif()
        seconds = {"a": (0, "0"), "a2": (1, "0"), "b": (3, "5"), "b2": (60, None)}.get(name)
        if seconds is not None:
            block = exif.get_ifd(0x8769)
            block[0x9003] = (datetime.datetime(2026, 5, 1) + datetime.timedelta(seconds=seconds[0])).strftime(
                "%Y:%m:%d %H:%M:%S"
            )
            if seconds[1] is not None:
                block[0x9291] = seconds[1]
        path = tmp_path / f"{name}.jpg"
        picture.save(path, quality=95, exif=exif)
        found[name] = Source(name, str(path))
    return found


ORDER = ["a2", "b", "plain", "a", "plain2", "b2"]
"""Best first."""


def test_of_photos_that_look_the_same_the_best_is_kept(sources):
    assert best_of_groups(ORDER, sources, "looks", seconds=2) == ["a2", "b", "plain", "plain2"]


def test_of_a_burst_the_best_is_kept(sources, caplog):
    assert best_of_groups(ORDER, sources, "time", seconds=2) == ["a2", "b", "plain", "plain2", "b2"]
    assert "2 of 6 photos have no time of capture and stand alone" in caplog.text
    assert best_of_groups(ORDER, sources, "time", seconds=2.6) == ["a2", "plain", "plain2", "b2"]  # a chain of three
    assert capture_time(sources["b"]).microsecond == 500_000 and capture_time(sources["plain"]) is None


def test_the_best_of_groups_come_before_the_k_best(sources):
    rows = [{"image": name, "prediction": float(-place)} for place, name in enumerate(ORDER)]

    def kept(names):
        return best_of_groups(names, sources, "looks", seconds=2)

    assert [row["image"] for row in choose(lambda: iter(rows), top=3, kept=kept)] == ["a2", "b", "plain"]
    assert [row["image"] for row in choose(lambda: iter(rows), at_least=-3, kept=kept)] == ["a2", "b", "plain"]
