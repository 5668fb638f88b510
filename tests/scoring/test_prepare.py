"""Images prepared ahead in worker processes, whatever becomes of those."""

import os
import signal
import warnings

import pytest
import torch
from heads import picture
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

import roc.scoring.sources
from roc.scoring import prepare
from roc.scoring.sources import Source


def test_a_picture_that_ends_its_reader_is_found(rows_of, photos, monkeypatch):
    opened = roc.scoring.sources.open_image

    def deadly(path):
        if path.endswith(("05.png", "06.png")):
            os.kill(os.getpid(), signal.SIGKILL)
        return opened(path)

    monkeypatch.setattr(roc.scoring.sources, "open_image", deadly)
    # Else it takes five seconds to notice.
    monkeypatch.setattr(_MultiProcessingDataLoaderIter._try_get_data, "__defaults__", (0.1,))
    rows, _ = rows_of(photos, workers=2)
    assert [row["image"] for row in rows if "error" in row] == ["05.png", "06.png"]
    assert "ended the process" in rows[5]["error"]
    assert [row["image"] for row in rows] == [source.name for source in photos]


@pytest.mark.slow
def test_workers_that_inherit_nothing(rows_of, photos, expected, monkeypatch):
    """As on a Mac: they are started anew and load the processor from the checkpoint."""
    monkeypatch.setattr(torch.multiprocessing, "get_start_method", lambda allow_none=False: "spawn")
    original = prepare.DataLoader
    monkeypatch.setattr(prepare, "DataLoader", lambda *a, **k: original(*a, multiprocessing_context="spawn", **k))
    rows, _ = rows_of(photos, workers=1)
    assert rows[-1]["prediction"] == pytest.approx(expected[-1].scores["overall"].value, abs=1e-4)


def test_warnings_of_pillow_are_not_passed_on(rows_of, tmp_path):
    picture(0).save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x0f\x01\x02\0\xff\xff\0\0\xff\xff\0\0")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        rows, _ = rows_of([Source("a.jpg", str(tmp_path / "a.jpg"))])
    assert "prediction" in rows[0]
    assert [str(warning.message) for warning in caught if "PIL" in warning.filename] == []


def test_more_workers_than_cores_are_told_in_one_line(rows_of, photos, monkeypatch, caplog):
    monkeypatch.setattr("roc.scoring.local.usable_cores", lambda: 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows_of(photos[:2], workers=2)
    assert caplog.messages == ["2 workers share 1 CPU cores; fewer may be faster"]
