"""The vision encoder against its recording."""

import pytest
import torch
from recording import TOLERANCE, checkpoint, expected, pixels


@pytest.fixture(scope="module")
def outputs():
    with torch.no_grad():
        return checkpoint().model.vision_model(pixels(*range(6)), output_hidden_states=True)


def test_embeddings(outputs):
    torch.testing.assert_close(outputs.hidden_states[0], expected()["vision.embeddings"], **TOLERANCE)


def test_hidden_states_after_every_layer(outputs):
    states = torch.stack([states[0] for states in outputs.hidden_states])
    torch.testing.assert_close(states, expected()["vision.hidden_states_image0"], **TOLERANCE)


def test_all_tokens_are_normed_and_returned(outputs):
    torch.testing.assert_close(outputs.last_hidden_state, expected()["vision.last_hidden_state"], **TOLERANCE)


def test_pictures_of_another_size_are_refused():
    with pytest.raises(ValueError, match="images of 56 x 56 pixels; got 56 x 42"):
        checkpoint().model.vision_model(pixels(0)[..., :42])
