"""Images prepared ahead in worker processes, whatever becomes of those."""

import os
import signal

import pytest
import torch
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

import roc.scoring.sources
from roc.scoring import prepare


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
