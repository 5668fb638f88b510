"""Published keys and rows in our layout and back: every key has a place, every contradiction is named."""

import json

import pytest
import torch
from recording import FOLDER, load
from transformers import AddedToken

from roc.model.attachment import attach
from roc.model.mplug_owl2 import convert
from roc.model.mplug_owl2.configuration import MplugOwl2Config
from roc.model.processing import load_processor
from roc.score_space import ScoreSpace

CONFIG = json.loads((FOLDER / "checkpoint" / "config.json").read_text(encoding="utf-8"))
KEYS_7B = json.loads((FOLDER / "keys_7b.json").read_text(encoding="utf-8"))
QUERIES = "model.visual_abstractor.encoder.layers.1.crossattention.attention.q_pos_embed"
FREQUENCIES = "model.layers.2.self_attn.rotary_emb.inv_freq"


@pytest.fixture(scope="module")
def tensors():
    return torch.load(FOLDER / "checkpoint" / "pytorch_model.bin", weights_only=True)


@pytest.fixture(scope="module")
def split(tensors):
    return convert.to_roc(CONFIG, tensors)


# The configuration


def test_what_the_head_means():
    roc = convert.head_of(CONFIG).to_dict()
    model, processor = load("base"), load_processor(FOLDER / "base")
    attach(model, processor, ScoreSpace(1, 10, 10), question=convert.QUESTION, answer=convert.ANSWER)
    differing = {"base", "l1_weight", "ce_weight", "emd_weight", "l1_scale", "image_aspect_ratio"}
    assert set(roc) == set(model.config.roc)
    assert {key for key in roc if roc[key] != model.config.roc[key]} == differing | {"distribution_supervised"}
    assert (roc["l1_weight"], roc["ce_weight"], roc["emd_weight"]) == (0.5, 2.0, 1.0)
    assert roc["l1_scale"] == "native" and roc["image_aspect_ratio"] == "pad" and roc["published_losses"] is False
    recorded = json.loads((FOLDER / "generate.json").read_text(encoding="utf-8"))
    assert recorded["prompt"].endswith(f"USER: <|image|>\n{roc['question']} ASSISTANT:")


@pytest.mark.parametrize(
    ("ce", "emd", "supervised"), [(0, 0, False), (10, 0, True), (0, 0.5, True), (None, None, False)]
)
def test_distributions_were_supervised_where_a_loss_on_them_counted(ce, emd, supervised):
    assert convert.head_of({**CONFIG, "ce_weight": ce, "emd_weight": emd}).distribution_supervised is supervised


def test_the_configuration_has_the_vocabulary_without_the_levels():
    config = convert.to_roc_config(CONFIG)
    assert config.text_config.vocab_size == 561 and config.roc == convert.head_of(CONFIG).to_dict()
    assert not hasattr(config, "num_tokens") and not hasattr(config, "min_score")
    assert config.visual_abstractor_lr is None  # of the published keys that say nothing of scores, all stay
    again = MplugOwl2Config(**config.to_dict())
    assert again.to_dict() == config.to_dict()


def test_the_published_configuration_comes_back():
    config = convert.to_roc_config(CONFIG)
    assert convert.to_published_config(config, CONFIG) == CONFIG
    made_up = convert.to_published_config(config)
    assert "roc" not in made_up and convert.to_roc_config(made_up).roc == config.roc
    # Written without the original, it holds what that says of the model and of scores; int or float is the same.
    for key in ("architectures", "vocab_size", "rope_theta", "rope_scaling", "torch_dtype", "hidden_size", "score_id"):
        assert made_up[key] == CONFIG[key]
    assert {key for key in made_up if key in CONFIG and made_up[key] != CONFIG[key]} == {"visual_config"}
    for section, published in CONFIG["visual_config"].items():
        ours = made_up["visual_config"][section]
        assert ours == {key: published.get(key) for key in ours}


def test_what_published_keys_cannot_say_stands_under_roc():
    config = convert.to_roc_config(CONFIG)
    config.roc |= {"attributes": ["overall", "light"], "answer": "[SCORE] [SCORE]", "max_score": 5.0, "ce_weight": 0.0}
    for original in (CONFIG, None):
        written = json.loads(json.dumps(convert.to_published_config(config, original)))
        assert (written["max_score"], written["ce_weight"], written["roc"]) == (5, 0, config.roc)
        assert convert.to_roc_config(written).roc == config.roc
        with pytest.raises(ValueError, match=r"say max_score 5\.0 and 10"):
            convert.head_of({**written, "max_score": 10})


def test_scaled_positions_come_back():
    flat = {**CONFIG, "rope_scaling": {"type": "linear", "factor": 2.0}}
    config = convert.to_roc_config(flat)
    made_up = convert.to_published_config(config)
    assert made_up["rope_scaling"] == {"type": "linear", "factor": 2.0} and made_up["rope_theta"] == 10000.0
    assert convert.to_roc_config(made_up).text_config.rope_parameters == config.text_config.rope_parameters


def test_only_checkpoints_with_levels_are_published_ones():
    base = json.loads((FOLDER / "base" / "config.json").read_text(encoding="utf-8"))
    assert convert.is_published(CONFIG)
    assert not convert.is_published(base)
    assert not convert.is_published({**CONFIG, "num_tokens": 0})
    assert not convert.is_published({**CONFIG, "model_type": "llava"})
    assert not convert.is_published(convert.to_roc_config(CONFIG).to_dict())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_tokens": 5}, r"last 5 of 571 rows, 566\.\.570, but output_first_id is 561"),
        ({"vocab_size": 576}, r"last 10 of 576 rows, 566\.\.575, but output_first_id is 561"),
        ({"output_last_id": 565}, "but output_last_id is 565"),
        ({"score_id": 561}, "score_id is 561, but .* at 561"),
        ({"score_id": None}, "has score_id None; a published checkpoint with score levels needs a number"),
        ({"min_score": "1"}, "has min_score '1'"),
        ({"num_tokens": 2.5}, "num_tokens 2.5; expected a whole number"),
        ({"min_score": 10}, "the score range 10..10 is empty"),
        ({"ce_weight": -1}, "loss weight below 0: ce_weight -1"),
        ({"tie_word_embeddings": True}, "tie_word_embeddings is true"),
    ],
)
def test_contradictions_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        convert.to_roc_config({**CONFIG, **changes})


def test_ids_that_are_not_stored_are_the_last_rows():
    without = {key: value for key, value in CONFIG.items() if not key.startswith("output_")}
    assert convert.level_rows(without) == convert.level_rows(CONFIG) == (561, 10, 560)


def test_the_levels_are_no_words():
    added = {1: "<s>", 560: "[SCORE]", **{561 + level: f"[IMG{level}]" for level in range(10)}}
    added = {index: AddedToken(token) for index, token in added.items()}
    assert list(convert.tokens_of(CONFIG, added)) == [1, 560]
    with pytest.raises(ValueError, match=r"\[SCORE\] is token 560, but its id in the tokenizer is 3"):
        convert.tokens_of(CONFIG, {3: AddedToken("[SCORE]")})
    with pytest.raises(ValueError, match="its id in the tokenizer is None"):
        convert.tokens_of(CONFIG, {})
    with pytest.raises(ValueError, match=r"after the score levels, for which there are no rows: {'\[MORE\]': 571}"):
        convert.tokens_of(CONFIG, {**added, 571: AddedToken("[MORE]")})


# The tensors


def test_the_last_rows_become_the_head(tensors, split):
    weights, extras = split
    head, output, words = weights["score_head.weight"], weights["lm_head.weight"], weights["model.embed_tokens.weight"]
    assert torch.equal(torch.cat([output, head]), tensors["lm_head.weight"])
    assert torch.equal(torch.cat([words, extras["model.embed_tokens.weight"]]), tensors["model.embed_tokens.weight"])
    assert (len(head), len(words)) == (10, 561)
    rest = set(tensors) - {"lm_head.weight", "model.embed_tokens.weight"}
    assert all(tensors[name] is (weights | extras)[name] for name in rest)
    assert set(extras) - {"model.embed_tokens.weight"} == rest - set(weights)
    # One number no forward reads and inverse frequencies of 3 layers; places of queries and patches are read.
    assert len(extras) == 1 + 1 + 3 and QUERIES in weights


def test_there_and_back(tensors, split):
    config = convert.to_roc_config(CONFIG)
    back = convert.to_published(config, *split)
    assert set(back) == set(tensors)
    assert all(torch.equal(back[name], value) and back[name].dtype == value.dtype for name, value in tensors.items())
    again = convert.to_roc(CONFIG, back)
    for parts, others in zip(again, split, strict=True):
        assert set(parts) == set(others) and all(torch.equal(parts[name], value) for name, value in others.items())


def test_what_was_trained_here_gets_rows_that_no_input_reads(split):
    config = convert.to_roc_config(CONFIG)
    weights = {name.replace("model.layers.", "model.language_model.layers."): v for name, v in split.weights.items()}
    made_up = convert.to_published(config, weights)
    assert set(made_up) == set(convert.to_published(config, *split))
    rows = made_up["model.embed_tokens.weight"]
    torch.testing.assert_close(rows[561:], rows[:560].mean(dim=0).expand(10, -1))
    assert made_up["learned_weight"].tolist() == [0]
    for name, computed in convert.buffers(config).items():
        torch.testing.assert_close((split.weights | split.extras)[name], computed, atol=1e-6, rtol=1e-6)
    # Written before places were among the weights, it holds none; they are computed.
    older = {name: value for name, value in weights.items() if not convert.is_optional(name)}
    assert len(weights) - len(older) == 4
    computed = convert.to_published(config, older)
    assert set(computed) == set(made_up) and torch.equal(computed[QUERIES], convert.buffers(config)[QUERIES])
    again = convert.to_roc(CONFIG, made_up).weights
    assert all(torch.equal(again[name], value) for name, value in split.weights.items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_and_the_head_is_float32(tensors, dtype):
    half = {name: value.to(dtype) for name, value in tensors.items()}
    weights, extras = convert.to_roc(CONFIG, half)
    assert weights.pop("score_head.weight").dtype == torch.float32
    assert {value.dtype for value in (weights | extras).values()} == {dtype}
    back = convert.to_published(convert.to_roc_config(CONFIG), *convert.to_roc(CONFIG, half))
    assert all(torch.equal(back[name], value) and back[name].dtype == dtype for name, value in half.items())
    assert convert.is_exact(half["lm_head.weight"].float(), dtype)
    assert not convert.is_exact(tensors["lm_head.weight"], dtype)


def test_what_does_not_fit_is_named(tensors):
    def refused(message, **changes):
        changed = {name: value for name, value in {**tensors, **changes}.items() if value is not None}
        with pytest.raises(ValueError, match=message):
            convert.to_roc(CONFIG, changed)

    some = torch.zeros(3)
    refused(r"do not fit config.json: model\.norm\.weight is missing\.", **{"model.norm.weight": None})
    refused(r"model\.layers\.3\.self_attn\.rotary_emb\.inv_freq is not known", **{FREQUENCIES.replace("2", "3"): some})
    refused(r"extra is not known, score_head\.weight is not known", extra=some, **{"score_head.weight": some})
    refused(r"lm_head\.weight is \(561, 64\), not \(571, 64\)", **{"lm_head.weight": tensors["lm_head.weight"][:561]})
    refused(r"q_pos_embed is \(3,\), not \(6, 48\)", **{QUERIES: some})
    refused("and 2 more faults", **{f"extra{i}": some for i in range(10)})
    refused("inv_freq differs by .*rope_theta", **{FREQUENCIES: tensors[FREQUENCIES] * 1.001})
    # Rounding is none.
    convert.to_roc(CONFIG, {**tensors, FREQUENCIES: tensors[FREQUENCIES].bfloat16()})
    # Newer versions of transformers store no buffers, and the published base has no learned_weight.
    gone = [name for name in tensors if name.endswith(("inv_freq", "_pos_embed", "learned_weight"))]
    fewer = {name: value for name, value in tensors.items() if name not in gone}
    assert len(gone) == 8 and set(convert.to_roc(CONFIG, fewer).extras) == {"model.embed_tokens.weight"}


def test_extras_of_another_model_are_refused(split):
    config = convert.to_roc_config(CONFIG)
    extras = {**split.extras, "model.embed_tokens.weight": split.extras["model.embed_tokens.weight"][1:]}
    with pytest.raises(ValueError, match=r"no model\.embed_tokens\.weight of shape \(10, 64\)"):
        convert.to_published(config, split.weights, extras)
    without = {name: value for name, value in split.weights.items() if name != "score_head.weight"}
    with pytest.raises(ValueError, match=r"no score_head\.weight among the weights"):
        convert.to_published(config, without)


# Full size


def test_every_key_of_the_published_size_has_its_place():
    config = MplugOwl2Config()
    read, unused = convert.sort_keys(config, KEYS_7B["shapes"])
    assert len(read) + len(unused) == len(KEYS_7B["shapes"]) == 895
    numbers = {name: torch.Size(shape).numel() for name, shape in KEYS_7B["shapes"].items()}
    places = {name for name in KEYS_7B["buffers"] if name.endswith("_pos_embed")}
    assert set(unused) == {*KEYS_7B["buffers"], "learned_weight"} - places
    assert len(places) == 12 and places < set(read)
    parameters = [name for name in read if name not in places]
    assert sum(numbers[name] for name in parameters) == KEYS_7B["parameter_count"] - 1 == 8_197_859_328


def test_so_it_has_with_levels():
    flat = {**CONFIG, "visual_config": {"visual_model": {}, "visual_abstractor": {}}, "hidden_size": 4096}
    flat |= {"num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32, "intermediate_size": 11008}
    flat |= {"vocab_size": 32_011, "score_id": 32_000, "output_first_id": 32_001, "output_last_id": 32_010}
    config = convert.to_roc_config(flat)
    shapes = {**KEYS_7B["shapes"], "lm_head.weight": [32_011, 4096], "model.embed_tokens.weight": [32_011, 4096]}
    read, unused = convert.sort_keys(config, shapes, rows_of_levels=10)
    assert len(read) == 862 and len(unused) == 33
    with pytest.raises(ValueError, match=r"lm_head\.weight is \(32000, 4096\), not \(32011, 4096\)"):
        convert.sort_keys(config, {**shapes, "lm_head.weight": [32_000, 4096]}, rows_of_levels=10)
