"""What tells one set of weights from another."""

import torch
from heads import build

from roc.checkpoint.fingerprint import weights_fingerprint


def test_the_fingerprint_of_weights_tells_them_apart():
    model, _, _ = build("qwen2_5_vl")
    before = weights_fingerprint(model)
    assert before == weights_fingerprint(build("qwen2_5_vl")[0]) and len(before) == 16
    with torch.no_grad():
        model.score_head.weight[0, 0] += 1e-3
    assert weights_fingerprint(model) != before
