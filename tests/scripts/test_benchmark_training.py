"""The training benchmark: every way has the same loss and gradients, memory is counted right, the figures are told."""

import argparse
import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from real_models import Words

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import benchmark_training as benchmark  # noqa: E402

SETTINGS = {"shape": "tiny", "vocab": None, "layers": 1, "seed": 1, "rank": 4, "lora_dropout": 0.0, "memory": None}
PUBLISHED, AGAIN, *RUNGS = benchmark.ladder()


@pytest.fixture(scope="module")
def given():
    return argparse.Namespace(**SETTINGS, dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def model(given):
    return benchmark.build("tiny", benchmark.config_of("tiny", layers=1), given)


@pytest.fixture
def job(given, model, monkeypatch):
    monkeypatch.setattr(benchmark, "BACKEND", "eager")
    return benchmark.Job(model, benchmark.rows_of(model, 2, given), 0, given)


def test_each_rung_adds_one_ingredient():
    assert PUBLISHED.ingredients == AGAIN.ingredients == frozenset()
    assert [len(way.ingredients) for way in RUNGS] == [1, 2, 3, 4, 5, 6]
    assert RUNGS[-1].ingredients == set(benchmark.INGREDIENTS)
    left = benchmark.ladder(without=["frozen", "compile"])
    assert [way.name for way in left[2:]] == ["+ logits", "+ checkpointing", "+ cache", "+ optimizer (ours)"]
    assert [way.name for way in benchmark.ladder(without=benchmark.INGREDIENTS)] == ["published", "published again"]


@pytest.mark.slow
def test_every_way_has_the_same_loss_and_gradients(job):
    job.take(PUBLISHED)
    loss, gradients = job.loss_and_gradients()
    assert loss > 1 and all(float(gradient.norm()) > 0 for gradient in gradients)
    for way in RUNGS:
        job.take(way)
        found, others = job.loss_and_gradients()
        assert found == pytest.approx(loss, abs=3e-6)
        for one, other in zip(gradients, others, strict=True):
            assert float((one - other).norm()) <= 1e-4 * float(one.norm())


def test_each_ingredient_does_what_it_says(job):
    inner = job.model.get_base_model()
    text, tower, head = inner.model.language_model, inner.model.vision_tower, inner.get_output_embeddings()
    seen = {}
    hooks = [
        head.register_forward_hook(lambda m, args, out: seen.update(head=tuple(out.shape[:2]))),
        tower.register_forward_hook(lambda m, args, out: seen.update(tower=out.last_hidden_state.requires_grad)),
        text.register_forward_hook(lambda m, args, out: seen.update(cache=out.past_key_values is not None)),
        text.layers[0].self_attn.register_forward_hook(lambda m, args, out: seen.update(runs=seen["runs"] + 1)),
    ]

    def did(way):
        seen["runs"] = 0
        job.take(way)
        job.loss().backward()
        return dict(seen)

    tokens, supervised = job.batch["labels"].shape[1], int((job.batch["labels"] != -100).sum())
    assert did(PUBLISHED) == {"head": (2, tokens), "tower": True, "cache": False, "runs": 2}
    assert did(RUNGS[0])["head"] == (1, supervised)
    assert did(RUNGS[1])["tower"] is False
    assert did(RUNGS[2]) == {"head": (1, supervised), "tower": False, "cache": True, "runs": 1}
    assert did(RUNGS[3])["cache"] is False
    for hook in hooks:
        hook.remove()
    job.take(RUNGS[3])
    assert not job.optimizer.defaults["fused"]
    job.take(RUNGS[4])
    assert job.optimizer.defaults["fused"] and all(layer._compiled_call_impl is None for layer in job.layers)
    job.take(RUNGS[5])
    assert len(job.layers) == 3 and all(layer._compiled_call_impl is not None for layer in job.layers)


def test_one_layer_in_so_many_is_checkpointed(given, model):
    job = benchmark.Job(model, benchmark.rows_of(model, 1, given), 2, given)
    job.take(RUNGS[1])
    assert [layer.gradient_checkpointing for layer in job.layers] == [True, True, True]
    job.take(RUNGS[2])
    assert [layer.gradient_checkpointing for layer in job.layers] == [True, False, True]


def test_peak_memory_counts_what_is_alive_at_once():
    def work():
        first = torch.ones(1000, 1000)
        second = first + 1
        del first
        return torch.ones(500, 1000), second

    assert benchmark.allocated(work) == pytest.approx(8_000_000, abs=100)  # and the 1
    assert benchmark.allocated(lambda: None) == 0


def test_checkpointing_is_asked_for_by_memory(given, model):
    config, batch = benchmark.config_of("tiny", layers=1), benchmark.rows_of(model, 2, given)

    def every(memory):
        return benchmark.checkpointed(config, batch, argparse.Namespace(**{**vars(given), "memory": memory}))

    # The formula has 1 GiB for what CUDA takes.
    found = [every(1 + extra / 1024) for extra in (400, 29, 28, 27, 26)]
    assert every(None) == found[0] == 0
    with pytest.raises(ValueError, match="with every layer checkpointed; there are 0.5. Give smaller --batches"):
        every(0.5)
    assert found == sorted(found, key=benchmark.CHECKPOINTED.index)


def test_a_vocabulary_can_be_made_larger_only():
    assert benchmark.config_of("tiny", vocab=5000).text_config.vocab_size == 5000
    assert benchmark.config_of("qwen2.5-vl-7b", vocab=5000, layers=3).text_config.vocab_size == 152064


@pytest.mark.parametrize("shape", benchmark.REAL)
def test_the_real_shapes_train_as_well(shape, given, monkeypatch):
    """With one layer, and narrow ones: the rows are laid out as each family wants them, and the ways agree."""
    config = benchmark.config_of(shape, layers=1)
    text, vision = config.text_config, config.vision_config
    vision.hidden_size, vision.intermediate_size, vision.out_hidden_size = 64, 64, 128
    text.hidden_size, text.intermediate_size, text.num_attention_heads, text.num_key_value_heads = 128, 64, 1, 1
    text.vocab_size, config.image_token_id = 1100, 1001
    if config.model_type == "smolvlm":
        vision.num_attention_heads = 4
    if config.model_type == "mplug_owl2":
        queries = config.abstractor_config
        queries.hidden_size = queries.encoder_hidden_size = queries.intermediate_size = 64
    monkeypatch.setattr(benchmark, "real_processor", lambda name: SimpleNamespace(tokenizer=Words(1002)))
    model = benchmark.build(shape, config, given)
    job = benchmark.Job(model, benchmark.rows_of(model, 1, given), 0, given)
    losses = []
    for way in (PUBLISHED, RUNGS[3]):
        job.take(way)
        losses.append(job.loss_and_gradients()[0])
    assert losses[0] == pytest.approx(losses[1], abs=1e-5) and losses[0] > 1


@pytest.mark.slow
def test_it_prints_a_table_and_writes_json(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)
    out = tmp_path / "figures.json"
    words = ["--rounds", "2", "--batches", "2", "--layers", "1", "--device", "cpu"]
    words += ["--without", "frozen", "cache", "optimizer", "compile"]
    assert benchmark.main([*words, "--json", str(out)]) == 0
    told = capsys.readouterr().out
    assert "memory asks for no layer to be checkpointed" in told and told.count("| published again |") == 1
    assert "times the published images/s (A/A " in told and "without the unused logits the peak is" in told
    figures = json.loads(out.read_text())
    assert figures["machine"]["seed"] == 0 and "--without frozen" in figures["machine"]["command"]
    rows = {row["way"]: row for row in figures["ways"]}
    assert list(rows) == ["published", "published again", "+ logits", "+ checkpointing (ours)"]
    assert all(row["loss_difference"] < 1e-5 and row["images_per_second"] > 0 for row in rows.values())
    assert math.isclose(rows["published"]["over_published"][0], 1) and rows["published"]["own"] is None
    assert rows["+ logits"]["own"] == rows["+ logits"]["over_published"]
    assert rows["+ checkpointing (ours)"]["peak_bytes"] > rows["+ logits"]["peak_bytes"]


def test_a_large_vocabulary_takes_memory_only_in_the_published_way(given):
    wide = argparse.Namespace(**{**vars(given), "vocab": 20_000})
    model = benchmark.build("tiny", benchmark.config_of("tiny", 20_000, 1), wide)
    job = benchmark.Job(model, benchmark.rows_of(model, 2, wide), 0, wide)
    peaks = []
    for way in (PUBLISHED, RUNGS[0]):
        job.take(way)
        peaks.append(benchmark.allocated(job.step))
    unused = job.batch["labels"].numel() - int((job.batch["labels"] != -100).sum())
    assert peaks[0] - peaks[1] > 2 * unused * 20_000 * 4  # the logits and their gradient, float32


def test_too_little_memory_is_told(capsys, monkeypatch):
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)
    assert benchmark.main(["--layers", "1", "--memory", "0.1", "--device", "cpu"]) == 2
    assert "Give smaller --batches" in capsys.readouterr().err
