"""Tiny random vision encoders of their real classes, alone and as hosts of the score head."""

import torch
from heads import ATTRIBUTES, SPACE, fill_head
from transformers import AutoConfig

from roc.model.attachment import attach
from roc.model.backbone.assembly import build_host
from roc.model.backbone.encoder import build_encoder
from roc.model.backbone.inputs import Pictures
from roc.model.collator import RocCollator

SIDE = 32

ENCODERS = {
    "resnet": {"embedding_size": 8, "hidden_sizes": [8, 16, 24], "depths": [1, 1, 1], "layer_type": "basic"},
    "convnext": {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2},
    "swinv2": {"image_size": SIDE, "embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4},
    "dinov2": {
        "image_size": SIDE,
        "patch_size": 8,
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "mlp_ratio": 2,
    },
}


def encoder(kind="resnet", seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build_encoder(AutoConfig.for_model(kind, **ENCODERS[kind])).eval()


def backbone(kind="resnet", *, attributes=ATTRIBUTES, seed=0):
    """Makes `(model, processor, collator)` with a head that was filled at random."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model, processor = build_host(encoder(kind, seed), Pictures(SIDE))
    answer = " ".join(["[SCORE]"] * len(attributes))
    attach(model, processor, SPACE, attributes=attributes, answer=answer, text_weight=0.0)
    fill_head(model)
    model.score_head.weight.data.mul_(0.1)
    return model, processor, RocCollator(processor, model.declaration)
