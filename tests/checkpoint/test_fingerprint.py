"""Fingerprints tell weights, configurations and processors apart."""

import json

import pytest
import torch
from heads import build

from roc.checkpoint.fingerprint import (
    config_fingerprint,
    processor_fingerprint,
    weights_fingerprint,
    weights_sample_fingerprint,
)
from roc.checkpoint.folder import load, save


def test_the_fingerprint_of_weights_tells_them_apart():
    model, _, _ = build("qwen2_5_vl")
    before, sample = weights_fingerprint(model), weights_sample_fingerprint(model)
    assert before == weights_fingerprint(build("qwen2_5_vl")[0]) and len(before) == 16
    largest = max(model.parameters(), key=torch.numel)
    with torch.no_grad():
        largest.view(-1)[-1] += 1e-3
    # The sample, which journals of roc 0.1.0 hold, reads no further than the 16th value.
    assert weights_fingerprint(model) != before and weights_sample_fingerprint(model) == sample
    with torch.no_grad():
        largest.view(-1)[0] += 1e-3
    assert weights_sample_fingerprint(model) != sample


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_fingerprint_of_weights_depends_on_their_dtype(dtype):
    model, _, _ = build("llava")
    assert weights_fingerprint(model) != weights_fingerprint(model.to(dtype))


def test_the_fingerprint_of_the_processor_survives_a_move_and_sees_a_change(tmp_path):
    model, processor, _ = build("qwen2_5_vl")
    save(model, processor, tmp_path / "one")
    save(model, processor, tmp_path / "two")
    first, second = (load(tmp_path / name) for name in ("one", "two"))
    assert processor_fingerprint(first[1]) == processor_fingerprint(second[1])
    assert config_fingerprint(first[0].config) == config_fingerprint(second[0].config)
    file = tmp_path / "two/processor_config.json"
    content = json.loads(file.read_text())
    content["image_processor"]["image_mean"][0] += 0.01
    file.write_text(json.dumps(content))
    assert processor_fingerprint(load(tmp_path / "two")[1]) != processor_fingerprint(first[1])
    second[0].config.text_config.rms_norm_eps *= 2
    assert config_fingerprint(second[0].config) != config_fingerprint(first[0].config)
