"""The visual abstractor against its recording, and its computed position embeddings against the stored ones."""

import copy

import numpy as np
import pytest
import torch
from recording import FOLDER, TOLERANCE, checkpoint, expected

from roc.model.mplug_owl2.abstractor import MplugOwl2VisualAbstractor, grid_positions, line_positions


def test_image_positions():
    with torch.no_grad():
        found = checkpoint().model.visual_abstractor(expected()["vision.last_hidden_state"])
    torch.testing.assert_close(found, expected()["abstractor.last_hidden_state"], **TOLERANCE)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_new_one_has_the_stored_places(dtype):
    stored = torch.load(FOLDER / "checkpoint" / "pytorch_model.bin", weights_only=True)
    config = copy.deepcopy(checkpoint().config.abstractor_config)
    abstractor = MplugOwl2VisualAbstractor._from_config(config, language_hidden_size=64, dtype=dtype)
    places = dict(abstractor.named_buffers())
    assert len(places) == 4
    for name, values in places.items():
        golden = stored[f"model.visual_abstractor.{name}"].to(dtype)
        torch.testing.assert_close(values, golden, atol=2e-7, rtol=torch.finfo(dtype).eps)
    assert len({values.data_ptr() for values in places.values()}) == 4  # a file may not hold one twice


def test_places_by_hand():
    line = line_positions(np.arange(3), 4)
    np.testing.assert_allclose(line[2], [np.sin(2), np.sin(0.02), np.cos(2), np.cos(0.02)], rtol=1e-6)
    grid = grid_positions(2, 8)
    assert grid.shape == (5, 8) and not grid[0].any()
    np.testing.assert_array_equal(grid[1 + 2], np.concatenate([line[0], line[1]]))  # second row, first column
