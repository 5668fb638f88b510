"""The visual abstractor against its recording, and the places it computes against the stored ones."""

import numpy as np
import torch

from mplug_owl2.recording import FOLDER, TOLERANCE, checkpoint, expected
from roc.mplug_owl2.abstractor import grid_positions, line_positions


def test_image_positions():
    with torch.no_grad():
        found = checkpoint().model.visual_abstractor(expected()["vision.last_hidden_state"])
    torch.testing.assert_close(found, expected()["abstractor.last_hidden_state"], **TOLERANCE)


def test_places_are_the_stored_ones():
    stored = torch.load(FOLDER / "checkpoint" / "pytorch_model.bin", weights_only=True)
    abstractor = checkpoint().model.visual_abstractor
    for layer in range(2):
        prefix = f"model.visual_abstractor.encoder.layers.{layer}.crossattention.attention"
        for places, key in ((abstractor.query_positions, "q_pos_embed"), (abstractor.patch_positions, "k_pos_embed")):
            torch.testing.assert_close(places, stored[f"{prefix}.{key}"], atol=2e-7, rtol=0)


def test_places_by_hand():
    line = line_positions(np.arange(3), 4)
    np.testing.assert_allclose(line[2], [np.sin(2), np.sin(0.02), np.cos(2), np.cos(0.02)], rtol=1e-6)
    grid = grid_positions(2, 8)
    assert grid.shape == (5, 8) and not grid[0].any()
    np.testing.assert_array_equal(grid[1 + 2], np.concatenate([line[0], line[1]]))  # second row, first column
