"""The scoring benchmark: every way gives the same scores, and the figures are what they say."""

import json
import math
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from roc.model.declaration import Declaration
from roc.model.int8 import int8_layers
from roc.score_space import ScoreSpace

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import benchmark_models  # noqa: E402
import benchmark_scoring as benchmark  # noqa: E402
import benchmark_trained  # noqa: E402


def test_every_way_gives_the_same_scores():
    model, processor = benchmark_models.tiny("tiny", 1)
    inputs = benchmark_models.tiny_inputs(model, processor, 3, 1)
    scores = {name: way(model, inputs) for name, way in benchmark.WAYS.items() if way is not benchmark.backbone}
    assert scores["one forward"].shape == (3, 5) and len(scores["one forward"].unique()) == 15
    for found in scores.values():
        assert torch.allclose(found, scores["one forward"], atol=1e-3)


def test_the_ratio_is_taken_within_rounds():
    # The machine slowed down fourfold in the second half: each side alone would say nothing.
    ours, theirs = [1.0, 1.0, 1.0, 4.0, 4.0, 4.0], [5.0, 5.0, 5.0, 20.0, 20.0, 20.0]
    assert benchmark_models.ratio(theirs, ours) == (5.0, 5.0, 5.0)
    middle, low, high = benchmark_models.ratio([1.0, 2.0, 3.0, 4.0], [1.0, 1.0, 1.0, 1.0])
    assert middle == 2.5 and 1 <= low < middle < high <= 4


def test_operations_of_attention_are_counted():
    def attend(input_ids, use_cache):
        states = torch.zeros(len(input_ids), 12, 1024, 64)
        return SimpleNamespace(last_hidden_state=torch.nn.functional.scaled_dot_product_attention(*[states] * 3)[0])

    model = SimpleNamespace(base_model=attend, device="cpu", dtype=torch.float32)
    ids = torch.zeros(2, 1024, dtype=torch.long)
    found = benchmark.operations(model, benchmark_models.Inputs({"input_ids": ids, "score_mask": ids == 0}, {}, []))
    # Two products of 1024 x 64 x 1024 in each head, and a multiply-add counts as two.
    assert found == 2 * 2 * 12 * 1024 * 64 * 1024


@pytest.mark.parametrize("shape", ["tiny", pytest.param("smolvlm-256m", marks=pytest.mark.slow)])
def test_what_is_measured_is_what_scoring_loads(shape):
    given = SimpleNamespace(shape=shape, layers=1, seed=0, half=True, int8=True)
    models, inputs_of = benchmark.prepared(given, "cpu")
    assert list(models) == ["float32", "bfloat16", "int8"]
    dtypes = [next(model.get_decoder().parameters()).dtype for model in models.values()]
    assert dtypes == [torch.float32, torch.bfloat16, torch.float32] and int8_layers(models["int8"]) == []
    for name, model in models.items():
        if shape == "tiny":
            tower = [layer for layer in model.modules() if isinstance(layer, torch.nn.Conv2d)]
            assert {layer.weight.dtype for layer in tower} == {torch.float32}, name
            # As `roc score` lays them out on a CPU.
            assert all(layer.weight.is_contiguous(memory_format=torch.channels_last) for layer in tower), name
        assert benchmark.ours(model, inputs_of(1)).isfinite().all(), name


def test_a_shape_for_a_gpu_is_refused_without_one(capsys):
    assert benchmark.main(["--shape", "mplug-owl2-7b", "--device", "cpu"]) == 2
    assert "mplug-owl2-7b is measured on a GPU, and there is none here" in capsys.readouterr().err


@pytest.mark.parametrize("shape", ["llava-1.5-7b", "qwen2.5-vl-7b", "mplug-owl2-7b", "smolvlm-256m"])
def test_inputs_of_the_real_shapes_hold_as_many_places_as_pictures_need(shape):
    config = benchmark_models.real_config_of(shape, layers=None)
    config.roc = Declaration(space=ScoreSpace(), token_id=7).to_dict()
    inputs = benchmark_models.real_inputs(SimpleNamespace(config=config), 2, 0)
    marked = config.image_token_index if shape.startswith("llava") else config.image_token_id
    places = {"llava-1.5-7b": 576, "qwen2.5-vl-7b": 384, "mplug-owl2-7b": 65, "smolvlm-256m": 64}[shape]
    assert (inputs.scoring["input_ids"] == marked).sum(1).tolist() == [places] * 2
    assert inputs.scoring["input_ids"].shape == (
        2,
        places + benchmark_models.TEXT_TOKENS + benchmark_models.ANSWER_TOKENS,
    )


MOVED = {"bfloat16": 2e-3, "float8": 1e-2, "int8": 5e-3}
"""Largest share of the range by which a format may move a score of a trained model; processors differ."""


@pytest.mark.slow
def test_fast_is_not_different(threads_kept, monkeypatch, tmp_path):
    """With a trained model, batch size, neighbours, padding and compiling move no score, number formats hardly any."""
    # Kernels kept by runs outside the tests use instructions that conftest.py hides here, and would not compile.
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch.set_num_threads(1)
    model, processor = benchmark_trained.train(300, 0)
    rows = benchmark_trained.differences(model, processor, shutil.which("g++") is not None, 0)
    found = {row["way"]: row for row in rows}
    assert model.config.text_config.hidden_size >= 256
    assert found["one at a time"]["srcc"] > 0.5
    assert {f"{name}, one at a time" for name in MOVED} <= set(found)
    for way, row in found.items():
        assert row["srcc_with_plain"] >= 0.999, way
        if way != "vision tower in bfloat16 too":
            assert max(row["largest"], row["from_neighbours"]) <= MOVED.get(way.partition(",")[0], 1e-6), way
    # What the tower is kept in float32 for.
    assert found["vision tower in bfloat16 too"]["largest"] > MOVED["bfloat16"]


@pytest.fixture
def threads_kept():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_it_prints_a_table_and_writes_json(tmp_path, capsys, threads_kept):
    out = tmp_path / "figures.json"
    words = [
        "--rounds",
        "2",
        "--batches",
        "2",
        "--files",
        "8",
        "--photo-size",
        "64",
        "48",
        "--repeats",
        "1",
        "--float8",
        "--half",
        "--int8",
    ]
    assert benchmark.main([*words, "--workers", "0", "--json", str(out)]) == 0
    told = capsys.readouterr().out
    assert told.count("| one forward |") == 1 and "| files to scores |" in told
    figures = json.loads(out.read_text())
    assert figures["machine"]["seed"] == 0 and figures["machine"]["torch"] == torch.__version__
    rows = figures["ways"]
    assert [row["batch"] for row in rows] == [2] * 8
    assert [row["way"] for row in rows][-3:] == ["bfloat16", "int8", "float8"]
    assert all(0 < row["score_difference"] < 0.9 for row in rows[-3:])
    assert all(row["images_per_second"] > 0 and 0 < row["share_of_limit"] < 2 for row in rows)
    assert [row["format"] for row in rows] == ["float32"] * 5 + ["bfloat16", "int8", "float8"]
    assert len({row["limit_gflops"] for row in rows}) == 4 and all(row["limit_gflops"] > 0 for row in rows)
    assert all(math.isclose(row["over_generate"][0], 1) for row in rows if row["way"] == "generate")
    assert all(figures["files"][name] > 0 for name in ("decode", "transfer", "model", "end to end", "in_model"))
