"""The flat published form and ours are the same configuration."""

import json

import pytest
from recording import FOLDER
from transformers import AutoConfig

from roc.model.mplug_owl2.configuration import MplugOwl2Config

FLAT = {"visual_config": {"visual_model": {}, "visual_abstractor": {}}}


def published():
    return AutoConfig.from_pretrained(FOLDER / "checkpoint")


def test_the_published_form_is_read():
    config = published()
    assert type(config) is MplugOwl2Config
    text, vision, abstractor = config.text_config, config.vision_config, config.abstractor_config
    assert (text.hidden_size, text.num_hidden_layers, text.num_attention_heads, text.vocab_size) == (64, 3, 4, 571)
    assert (text.intermediate_size, text.rms_norm_eps, text.eos_token_id) == (128, 1e-5, 2)
    assert text.rope_parameters == {"rope_theta": 10000.0, "rope_type": "default"}
    assert (vision.hidden_size, vision.image_size, vision.patch_size, vision.hidden_act) == (48, 56, 14, "quick_gelu")
    assert (abstractor.num_learnable_queries, abstractor.intermediate_size, abstractor.grid_size) == (6, 64, 4)
    assert config.image_seq_length == 7


def test_what_the_model_does_not_need_stays_readable():
    config, written = published(), json.loads((FOLDER / "checkpoint" / "config.json").read_text())
    for name in ("score_id", "num_tokens", "min_score", "max_score", "l1_weight", "output_first_id"):
        assert getattr(config, name) == written[name]
    assert not hasattr(config, "hidden_size") and not hasattr(config, "visual_config")


def test_our_own_form_round_trips(tmp_path):
    config = published()
    config.save_pretrained(tmp_path)
    again = AutoConfig.from_pretrained(tmp_path)
    assert again.to_dict() == {**config.to_dict(), "_name_or_path": str(tmp_path)}
    assert "visual_config" not in json.loads((tmp_path / "config.json").read_text())
    assert MplugOwl2Config(**config.to_dict()).to_dict() == config.to_dict()


def test_older_rope_settings_are_understood():
    flat = {**FLAT, "rope_theta": 5e5, "vocab_size": 32}
    text = MplugOwl2Config(**flat, rope_scaling={"type": "linear", "factor": 2.0}).text_config
    assert text.rope_parameters["rope_theta"] == 5e5 and text.rope_parameters["factor"] == 2.0


def test_tied_embeddings_are_read_from_the_flat_form():
    config = MplugOwl2Config(**FLAT, tie_word_embeddings=True)
    assert config.tie_word_embeddings and config.text_config.tie_word_embeddings


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"vision_config": {"hidden_size": 512}}, "widths must agree: vision hidden_size 512"),
        ({"abstractor_config": {"encoder_hidden_size": 512}}, "abstractor encoder_hidden_size 512"),
        ({"vision_config": {"image_size": 224}}, "16 patches along a side, but the abstractor's grid_size is 32"),
        ({"abstractor_config": {"num_attention_heads": 7}}, "abstractor hidden_size 1024 cannot be divided among 7"),
        ({"visual_config": {"visual_model": {}}}, "visual_abstractor; visual_abstractor is missing"),
        ({"visual_config": None}, "visual_config is None; expected visual_model and visual_abstractor"),
        ({"visual_config": {"visual_model": None, "visual_abstractor": {}}}, "visual_model in visual_config is None"),
        ({"text_config": {"hidden_act": "gelu_foo"}}, "language hidden_act is 'gelu_foo'; expected an activation"),
        ({"vision_config": {"hidden_act": None}}, "vision hidden_act is None; expected an activation"),
        ({"vision_config": {"patch_size": 0}}, "vision patch_size is 0; expected a whole number above 0"),
        ({"abstractor_config": {"num_hidden_layers": "6"}}, "abstractor num_hidden_layers is '6'; expected a whole"),
        ({"abstractor_config": {"layer_norm_eps": None}}, "abstractor layer_norm_eps is None; expected a number"),
        ({"text_config": {"num_key_value_heads": 0}}, "language num_key_value_heads is 0; expected a whole number"),
        ({**FLAT, "rope_theta": None}, "rope_theta is None; expected a number above 0"),
        (
            {**FLAT, "rope_scaling": {"type": "foo", "factor": 2.0}},
            "rope_scaling is {'type': 'foo', .* linear or dynamic",
        ),
        ({**FLAT, "rope_scaling": {"type": "linear"}}, "rope_scaling is {'type': 'linear'}; expected .* a factor"),
        ({**FLAT, "rope_scaling": 2.0}, r"rope_scaling is 2\.0"),
        ({"image_token_id": 31999}, "31999 is a row of the embedding"),
        ({"text_config": {}, "visual_config": {}}, "visual_config .* or sections, not both"),
    ],
)
def test_what_does_not_fit_is_refused(sections, message):
    with pytest.raises(ValueError, match=message):
        MplugOwl2Config(**sections)
