"""The language model against its recording: weights per modality, and positions."""

import json

import pytest
import torch
from recording import FOLDER, TOLERANCE, batch, case, checkpoint, expected
from torch import nn

from roc.model.mplug_owl2 import MplugOwl2Config
from roc.model.mplug_owl2.language import MplugOwl2Multiway, MplugOwl2MultiwayRMSNorm
from roc.model.mplug_owl2.modeling import MplugOwl2ForConditionalGeneration


def test_hidden_states_after_every_layer():
    inputs = case("single")
    length = int(inputs["attention_mask"][0].sum())
    with torch.no_grad():
        outputs = checkpoint()(inputs["input_ids"][:1, :length], inputs["pixel_values"][:1], output_hidden_states=True)
    states = torch.cat(outputs.hidden_states)
    torch.testing.assert_close(states, expected()["llm.hidden_states_single0"], **TOLERANCE)


def test_each_position_is_read_with_the_weights_of_its_modality():
    torch.manual_seed(0)
    layer = MplugOwl2Multiway(lambda: nn.Linear(4, 3))
    states, rows = torch.randn(2, 5, 4), torch.tensor([1, 2, 9])
    found = layer(states, rows).flatten(0, 1)
    text, image = (way(states).flatten(0, 1) for way in layer.multiway)
    for row in range(10):
        torch.testing.assert_close(found[row], image[row] if row in rows else text[row])
    torch.testing.assert_close(layer(states, None), layer.multiway[0](states))


def test_norms_differ_in_their_weight_only():
    norm = MplugOwl2MultiwayRMSNorm(4, eps=1e-5)
    norm.multiway[1].weight.data.fill_(2.0)
    states = torch.randn(1, 3, 4)
    plain = states * (states.square().mean(-1, keepdim=True) + 1e-5).rsqrt()
    torch.testing.assert_close(norm(states, torch.tensor([1])), plain * torch.tensor([1.0, 2.0, 1.0])[:, None])


@pytest.mark.parametrize(
    ("mask", "positions"),
    [
        ([[0, 0, 1, 1], [1, 1, 1, 1]], [[0, 0, 0, 1], [0, 1, 2, 3]]),
        ([[1, 1, 0, 0]], [[0, 1, 1, 1]]),
        (None, [[0, 1, 2, 3]]),
    ],
)
def test_positions_do_not_count_padding(mask, positions):
    model = checkpoint().model.language_model
    mask = None if mask is None else torch.tensor(mask)
    assert model._position_ids(torch.zeros(1, 4, 8), mask, None).tolist() == positions


def test_words_alone_need_no_images():
    ids = expected()["text_only.input_ids"]
    with torch.no_grad():
        states = checkpoint().model.language_model(ids).last_hidden_state
        torch.testing.assert_close(checkpoint().lm_head(states), expected()["text_only.logits"], **TOLERANCE)


def test_ids_and_embeddings_together_are_refused():
    ids = batch([[1, 2]])["input_ids"]
    with pytest.raises(ValueError, match="one of the two"):
        checkpoint().model.language_model(ids, inputs_embeds=torch.zeros(1, 2, 64))


def with_rope(**changes):
    """Loads the recorded weights with another published `rope_scaling`."""
    flat = json.loads((FOLDER / "checkpoint" / "config.json").read_text())
    model = MplugOwl2ForConditionalGeneration(MplugOwl2Config(**{**flat, **changes})).eval()
    model.load_state_dict(checkpoint().state_dict())
    return model


def test_scaled_positions():
    """As in transformers 4.31: linear divides positions by the factor; dynamic raises the base beyond the trained
    length."""
    inputs = case("single")
    length = int(inputs["attention_mask"][0].sum())
    inputs = {
        "pixel_values": inputs["pixel_values"][:1],
        **{k: inputs[k][:1, :length] for k in ("input_ids", "attention_mask")},
    }
    with torch.no_grad():
        plain = checkpoint()(**inputs).logits
        half = checkpoint()(**inputs, position_ids=torch.arange(length)[None] / 2).logits
        linear = with_rope(rope_scaling={"type": "linear", "factor": 2.0})(**inputs).logits
        short = with_rope(rope_scaling={"type": "dynamic", "factor": 2.0})(**inputs).logits
        dynamic = with_rope(rope_scaling={"type": "dynamic", "factor": 2.0}, max_position_embeddings=16)(
            **inputs
        ).logits
        base = 1e4 * (2 * length / 16 - (2 - 1)) ** (16 / (16 - 2))  # heads are 16 wide
        raised = with_rope(rope_theta=base)(**inputs).logits
    torch.testing.assert_close(linear, half, **TOLERANCE)
    torch.testing.assert_close(dynamic, raised, **TOLERANCE)
    torch.testing.assert_close(short, plain, **TOLERANCE)
    for scaled in (linear, dynamic):
        assert (scaled - plain).abs().max() > 0.1
