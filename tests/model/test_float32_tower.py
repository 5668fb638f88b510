"""A tower with batch normalisation stays in float32 beside a language model in half precision."""

import copy
import pickle
from typing import NamedTuple

import pytest
import torch
from heads import ATTRIBUTES, SPACE, build, fill_head, picture
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText
from transformers.modeling_outputs import BaseModelOutput

from roc.checkpoint.folder import load, save
from roc.demo.tiny_model import TinyLlavaConfig, build_tiny_llava
from roc.model.adapters import add_lora
from roc.model.attachment import attach
from roc.model.float32_tower import _cast, picture_dtype, towers
from roc.model.processing import load_processor, save_processor
from roc.prompts import answer, question
from roc.scoring.assessment import Assessment
from roc.scoring.batches import Scorer, Wanted
from roc.scoring.local import score_images
from roc.scoring.one_forward import one_forward
from roc.scoring.reasoning import Sampling
from roc.scoring.sources import Source
from roc.server.worker import facts, make_scorers

SMALL = TinyLlavaConfig(
    image_size=32, vision_widths=(8, 16, 32), vision_hidden_size=32, text_hidden_size=64, text_layers=1, text_heads=2
)
PICTURES = [picture(i) for i in range(8)]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A folder with a model without a head; the statistics of its tower come from a few images."""
    folder = tmp_path_factory.mktemp("base")
    model, processor = build_tiny_llava([question(ATTRIBUTES), answer(ATTRIBUTES)], SMALL)
    pixels = processor.image_processor(PICTURES, return_tensors="pt")["pixel_values"]
    model.train()
    with torch.no_grad():
        for _ in range(20):
            model.model.vision_tower(pixels)
    model.eval().save_pretrained(folder)
    save_processor(processor, folder)
    return folder


def with_head(base):
    model, processor = AutoModelForImageTextToText.from_pretrained(base), load_processor(base)
    attach(model, processor, SPACE, attributes=ATTRIBUTES)
    fill_head(model)
    return model, processor


@pytest.fixture(scope="module")
def checkpoint(base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    save(*with_head(base), folder)
    return folder


@pytest.fixture(scope="module")
def full(checkpoint):
    return Assessment(checkpoint, device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def half(checkpoint):
    return Assessment(checkpoint, device="cpu", dtype="bfloat16")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_tower_is_as_in_the_file_and_the_rest_in_half_precision(checkpoint, full, dtype):
    model, _ = load(checkpoint, dtype=dtype, scoring=True)
    stored = load_file(checkpoint / "model.safetensors")
    tower = 0
    for name, tensor in model.state_dict().items():
        if name.startswith("model.vision_tower."):
            tower += 1
            assert tensor.dtype == stored[name.removeprefix("model.")].dtype != dtype
            assert torch.equal(tensor, stored[name.removeprefix("model.")]), name
        elif name != "score_head.weight":
            assert torch.equal(tensor, full.model.state_dict()[name].to(dtype)), name
    assert tower > 20
    assert model.dtype == dtype and picture_dtype(model) == torch.float32


def test_other_loads_are_as_ever(checkpoint, half, full):
    assert type(half.model) is type(full.model)
    assert picture_dtype(full.model) == torch.float32 and full.model.picture_dtype is None
    plain, _ = load(checkpoint, dtype="bfloat16")
    assert type(plain) is type(half.model)
    assert {parameter.dtype for parameter in plain.model.parameters()} == {torch.bfloat16}
    assert picture_dtype(plain) == torch.bfloat16


def test_a_tower_without_batch_normalisation_is_left_alone(tmp_path):
    model, processor, _ = build("llava")
    save(model, processor, tmp_path)
    model, _ = load(tmp_path, dtype="bfloat16", scoring=True)
    assert towers(model) == {} and picture_dtype(model) == torch.bfloat16
    assert {parameter.dtype for parameter in model.model.parameters()} == {torch.bfloat16}
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.model.modules())


def test_batch_normalisation_elsewhere_does_not_count():
    model, _, _ = build("llava")
    model.model.language_model.layers[0].mlp.act_fn = torch.nn.BatchNorm1d(4)
    model.model.multi_modal_projector.act = torch.nn.BatchNorm1d(4)
    assert towers(model) == {}
    model.model.vision_tower.encoder.layers[1].mlp.activation_fn = torch.nn.BatchNorm1d(4)
    assert list(towers(model)) == ["model.vision_tower"]


def scores(assessed):
    return torch.tensor([[score.value for score in one.scores.values()] for one in assessed])


def test_the_language_model_sees_the_float32_features_rounded_once(half, full):
    # How far scores of a taught model move is in test_benchmark_scoring.py: 2e-3 of the range at most.
    def features(assessment):
        seen = []
        projector = assessment.model.model.multi_modal_projector
        handle = projector.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
        try:
            assessment.score(PICTURES)
        finally:
            handle.remove()
        return seen[0]

    assert torch.equal(features(half), features(full).bfloat16())
    assert (scores(half.score(PICTURES)) - scores(full.score(PICTURES))).abs().max() < 0.05 * SPACE.width


def test_pictures_come_to_the_tower_unrounded_whatever_the_way(half, checkpoint, tmp_path):
    PICTURES[0].save(tmp_path / "a.png")
    expected = half.collator.scoring_batch(PICTURES[:1])["pixel_values"]
    assert not torch.equal(expected, expected.bfloat16().float())
    seen = []
    tower = half.model.model.vision_tower
    handle = next(m for m in tower.modules() if isinstance(m, torch.nn.Conv2d)).register_forward_pre_hook(
        lambda module, args: seen.append(args[0])
    )
    sources = [Source("a.png", str(tmp_path / "a.png"))]
    try:
        half.score(PICTURES[0])
        half.describe(PICTURES[0], max_new_tokens=2)
        for describe in (False, True):
            wanted = Wanted(half.attributes, describe=describe, sampling=Sampling(max_new_tokens=2))
            for workers in (0, 1):
                assert "error" not in next(score_images(Scorer(half, wanted), sources, checkpoint, workers=workers))
    finally:
        handle.remove()
    assert len(seen) >= 6
    for pixels in seen:
        assert torch.equal(pixels, expected)


def test_the_server_s_readers_are_told(half, checkpoint):
    told = facts(half, str(checkpoint), make_scorers(half, None, 8))
    assert (told["dtype"], told["picture_dtype"]) == ("bfloat16", "float32")


def test_an_adapter_s_base_too(base, tmp_path, full):
    model, processor = with_head(base)
    adapted = add_lora(model, rank=4, alpha=8, dropout=0.0)
    save(adapted, processor, tmp_path)
    expected = scores(Assessment(tmp_path, device="cpu", dtype="float32").score(PICTURES))
    found = Assessment(tmp_path, device="cpu", dtype="bfloat16")
    plain = found.model.get_base_model()
    assert found.model.dtype == torch.bfloat16 and picture_dtype(found.model) == torch.float32
    for name, tensor in plain.model.vision_tower.state_dict().items():
        assert torch.equal(tensor, full.model.model.vision_tower.state_dict()[name]), name
    assert (scores(found.score(PICTURES)) - expected).abs().max() < 0.05 * SPACE.width


def test_it_survives_copying_and_pickling(half, checkpoint):
    batch = half.collator.scoring_batch(PICTURES[:2])
    expected = one_forward(half.model, batch).scores
    fresh, _ = load(checkpoint, dtype="bfloat16", scoring=True)
    for again in (copy.deepcopy(half.model), pickle.loads(pickle.dumps(fresh))):
        assert again.dtype == torch.bfloat16
        assert torch.equal(one_forward(again, batch).scores, expected)


class Pair(NamedTuple):
    left: torch.Tensor
    right: object


def test_whatever_holds_the_tensors_is_kept():
    one, many = torch.ones(2), torch.arange(2)
    output = BaseModelOutput(last_hidden_state=one, hidden_states=(one, one))
    found = _cast({"a": [output, many], "b": Pair(one, None), "c": "text"}, torch.bfloat16)
    assert type(found["a"][0]) is BaseModelOutput and found["a"][0].attentions is None
    assert [state.dtype for state in found["a"][0].hidden_states] == [torch.bfloat16] * 2
    assert found["a"][0].last_hidden_state.dtype == found["b"].left.dtype == torch.bfloat16
    assert found["a"][1] is many and type(found["b"]) is Pair and found["b"].right is None and found["c"] == "text"
