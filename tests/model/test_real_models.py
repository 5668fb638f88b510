"""The ready configs against the real models at their real size, without downloads and without weights."""

import functools
from collections import Counter
from pathlib import Path

import pytest
import torch
import yaml
from real_models import CONFIGS, OTHERS, PARAMETERS, WORDS, real_config, real_model, real_processor

from roc.model.adapters import lora_targets
from roc.model.attachment import attach
from roc.model.memory import estimate, estimate_scoring
from roc.model.memory_table import memory_table
from roc.model.parts import parameter_parts
from roc.training.config import SETTINGS, load_config

ROOT = Path(__file__).parents[2]
MODELS = {path.stem: path for path in (ROOT / "configs" / "models").glob("*.yaml")}
DATASETS = {path.stem: path for path in (ROOT / "configs" / "datasets").glob("*.yaml")}

HUB_IDS = {
    "llava_1_5_7b": "llava-hf/llava-1.5-7b-hf",
    "qwen2_5_vl_7b": "Qwen/Qwen2.5-VL-7B-Instruct",
    "qwen3_vl_8b": "Qwen/Qwen3-VL-8B-Instruct",
    "internvl3_8b": "OpenGVLab/InternVL3-8B-hf",
    "smolvlm2_2b": "HuggingFaceTB/SmolVLM2-2.2B-Instruct",
    "mplug_owl2_7b": "MAGAer13/mplug-owl2-llama2-7b",
}
# Range, number of levels and of scores.
SCALES = {
    "ava": ((1, 10), 10, 1),
    "tad66k": ((0, 10), 10, 1),
    "para": ((1, 5), 9, 6),
    "aadb": ((0, 1), 10, 7),
    "icaa17k": ((0, 10), 10, 1),
}


@functools.cache
def with_head(name):
    """Builds a model once; tests that change a model build their own."""
    model = real_model(name)
    attach(model, real_processor(name), load_config([MODELS[name], DATASETS["ava"]]).score_space)
    return model


def test_the_published_script_makes_one_run_and_the_real_model_carries_it():
    config = load_config(ROOT / "configs" / "mplug_owl2_ava.yaml", {"data_path": "ava.json"})
    assert config.notes == () and config.model_name_or_path == HUB_IDS["mplug_owl2_7b"]
    assert (config.l1_weight, config.ce_weight, config.emd_weight) == (0, 10, 0)
    assert (config.learning_rate, config.lr_scheduler_type, config.warmup_ratio) == (2e-5, "cosine", 0.03)
    assert (config.num_train_epochs, config.per_device_train_batch_size, config.model_max_length) == (2, 16, 2048)
    model, processor = real_model("mplug_owl2_7b"), real_processor("mplug_owl2_7b")
    names = ("attributes", "question", "answer", "l1_weight", "ce_weight", "l1_scale", "image_aspect_ratio")
    attach(model, processor, config.score_space, **{name: getattr(config, name) for name in names})
    assert model.config.roc["token_id"] == 32_000 and model.config.roc["answer"].count("[SCORE]") == 1
    assert model.get_output_embeddings().weight.shape == (32_001, 4096)
    assert model.score_head.weight.shape == (10, 4096)
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS["mplug_owl2_7b"] + 2 * 4096 + 10 * 4096


def keys(path):
    return set(yaml.safe_load(path.read_text(encoding="utf-8")))


def test_every_config_is_known_here():
    assert set(MODELS) == set(HUB_IDS)
    assert set(DATASETS) == set(SCALES)
    assert set(CONFIGS) == set(HUB_IDS)


def test_a_setting_belongs_to_the_model_or_to_the_data_set():
    of_models = set().union(*map(keys, MODELS.values()))
    of_datasets = set().union(*map(keys, DATASETS.values()))
    assert of_models.isdisjoint(of_datasets)
    assert of_models | of_datasets <= set(SETTINGS)
    # What only the user knows.
    assert not (of_models | of_datasets) & {"data_path", "image_folder", "output_dir"}


@pytest.mark.parametrize("dataset", SCALES)
@pytest.mark.parametrize("name", HUB_IDS)
def test_model_and_data_set_make_one_run(name, dataset):
    config = load_config([MODELS[name], DATASETS[dataset]], {"data_path": "ratings.csv", "output_dir": "out"})
    (low, high), levels, scores = SCALES[dataset]
    assert config.model_name_or_path == HUB_IDS[name]
    assert (config.min_score, config.max_score, config.num_tokens) == (low, high, levels)
    assert len(config.attributes) == scores and config.attributes[0] == "overall"
    assert config.notes == ()
    # The recipe of the paper, for every model and data set.
    assert (config.learning_rate, config.num_train_epochs, config.weight_decay) == (2e-5, 2, 0)
    assert (config.l1_weight, config.emd_weight) == (1, 0)
    assert config.ce_weight == (1 if dataset == "ava" else 0)
    processes = 1 if name == "smolvlm2_2b" else 8
    assert processes * config.per_device_train_batch_size * config.gradient_accumulation_steps == 16


@pytest.mark.parametrize("dataset", SCALES)
@pytest.mark.parametrize("name", CONFIGS)
def test_the_real_model_carries_the_head(name, dataset):
    config = load_config([MODELS[name], DATASETS[dataset]])
    model, processor = real_model(name), real_processor(name)
    rows = model.get_input_embeddings().weight.shape[0]
    attach(
        model,
        processor,
        config.score_space,
        attributes=config.attributes,
        l1_weight=config.l1_weight,
        ce_weight=config.ce_weight,
        image_aspect_ratio=config.image_aspect_ratio,
    )
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
    token_id = model.config.roc["token_id"]
    assert token_id == WORDS[name]
    assert model.get_input_embeddings().weight.shape[0] == max(rows, token_id + 1)
    assert model.get_output_embeddings().weight.shape[0] == max(rows, token_id + 1)
    assert model.score_head.weight.shape == (SCALES[dataset][1], model.get_output_embeddings().weight.shape[1])
    assert model.config.roc["answer"].count("[SCORE]") == len(config.attributes)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_parameters_are_those_of_the_published_weights(name):
    model = real_model(name)
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[name]
    counts = Counter()
    for parameter, part in parameter_parts(with_head(name)).items():
        counts[part] += with_head(name).get_parameter(parameter).numel()
    text = model.config.get_text_config()
    assert counts["head"] == 10 * text.hidden_size
    assert counts["embeddings"] == 2 * text.hidden_size * max(text.vocab_size, WORDS[name] + 1)
    assert counts["language"] > 0.7 * PARAMETERS[name]
    assert 3e8 < counts["vision"] < 7e8 and 2e7 < counts["projector"] < 2e8


@pytest.mark.parametrize("name", OTHERS)
def test_what_has_no_settings_file_has_the_published_parameters_too(name):
    assert sum(parameter.numel() for parameter in real_model(name).parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", CONFIGS)
def test_lora_finds_its_layers(name):
    model = with_head(name)
    layers = model.config.get_text_config().num_hidden_layers
    kinds = Counter(target.partition(".multiway.")[0].rpartition(".")[2] for target in lora_targets(model))
    seven = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    ways = dict.fromkeys(seven, 1) | (dict.fromkeys(("k_proj", "v_proj"), 2) if name == "mplug_owl2_7b" else {})
    assert kinds == {kind: count * layers for kind, count in ways.items()}
    attention = lora_targets(model, targets=["q_proj", "v_proj"])
    assert len(attention) == (1 + ways["v_proj"]) * layers
    everywhere = lora_targets(model, parts=["language", "projector", "vision"])
    assert set(lora_targets(model)) < set(everywhere) and not any("lm_head" in target for target in everywhere)


@pytest.mark.parametrize("name", CONFIGS)
def test_what_it_takes_is_plausible(name):
    """Bounds one can redo on paper: 18 bytes per parameter in full, 2 to score, little beside the base with LoRA."""
    config, model, count = load_config(MODELS[name]), with_head(name), PARAMETERS[name]
    full = estimate(model, dtype=config.dtype, gradient_checkpointing=True)
    assert full.weights + full.gradients + full.optimizer == pytest.approx(16 * count, rel=1e-4)
    assert 1.8 * count < full.copies < 2 * count
    assert full.total < 19.5 * count + full.context
    spread = estimate(model, sharding="zero3", num_gpus=8)
    assert spread.total < 0.25 * full.total
    lora = estimate(model, tuning="lora", dtype="bfloat16")
    qlora = estimate(model, tuning="qlora", dtype="bfloat16")
    scoring = estimate_scoring(model)
    assert 2 * count < scoring.total < lora.total < 3.5 * count
    assert qlora.total < 0.75 * lora.total
    table = memory_table(real_config(name))
    assert f"{full.weights / 2**30:.1f}" in table and f"{qlora.weights / 2**30:.1f}" in table


class StoresNoSquare(torch.autograd.Function):
    """Attention as flash and sdpa compute it: it keeps q, k, v, the result, and one number per row and head."""

    @staticmethod
    def forward(context, query, key, value):
        batch, heads, tokens, width = query.shape
        result = query.new_empty(batch, tokens, heads, width).transpose(1, 2)
        context.save_for_backward(query, key, value, result, torch.empty(batch, heads, tokens, device=query.device))
        return result


@pytest.mark.parametrize("name", CONFIGS)
def test_the_activations_are_what_autograd_keeps(name, monkeypatch):
    """Counts in one forward of the language model at real size; `meta` itself has no flash kernel."""
    monkeypatch.setattr(
        torch.nn.functional, "scaled_dot_product_attention", lambda q, k, v, **_: StoresNoSquare.apply(q, k, v)
    )
    model = real_model(name).to(torch.bfloat16).train()
    attach(model, real_processor(name), load_config(DATASETS["ava"]).score_space)
    batch, tokens, text = 2, 512, model.config.get_text_config()
    weights = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    kept = {}

    def count(tensor):
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = storage
        return tensor

    rows = torch.empty(batch, tokens, text.hidden_size, device="meta", dtype=torch.bfloat16, requires_grad=True)
    mask = torch.ones(batch, 1, tokens, tokens, dtype=torch.bool, device="meta")
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        model.get_decoder()(inputs_embeds=rows, attention_mask=mask, position_ids=_positions(text, tokens))
    measured = sum(storage.nbytes() for storage in kept.values())
    computed = estimate(
        model,
        dtype="bfloat16",
        batch_size=batch,
        tokens=tokens,
        freeze=["vision"],
        gradient_checkpointing=False,
    ).activations
    assert computed == pytest.approx(measured, rel=0.02)


def _positions(text, tokens):
    positions = torch.arange(tokens, device="meta").unsqueeze(0)
    axes = 3 if "mrope_section" in (text.rope_parameters or {}) else 0
    return positions.expand(axes, 1, tokens) if axes else positions
