"""Checkpoints to export, and the computations of a reader of an export."""

import numpy as np
from heads import ATTRIBUTES, SPACE, fill_head, picture, scores_of
from safetensors import safe_open
from tiny_models import FAMILY_BUILDERS

import roc
from roc.checkpoint.folder import save
from roc.model.families import family

PICTURES = [picture(0), picture(1)]


def tensor_names(folder):
    return {name for file in folder.glob("*.safetensors") for name in safe_open(file, "np").keys()}


def expectation(logits, levels):
    """Computes scores of (..., N) logits with numpy alone."""
    probabilities = np.exp(logits - logits.max(-1, keepdims=True))
    return probabilities / probabilities.sum(-1, keepdims=True) @ np.array(levels)


def attached_checkpoint(name, folder, **settings):
    """Saves a checkpoint of a family; returns its folder, the tensor names of its stock model, and its scores."""
    model, processor = FAMILY_BUILDERS[name]()
    model.save_pretrained(folder / "stock")
    if processor.chat_template is None:
        processor.chat_template = family(name).chat_template
    roc.attach(model, processor, SPACE, attributes=ATTRIBUTES, **settings)
    fill_head(model)
    save(model, processor, folder / "roc")
    return folder / "roc", tensor_names(folder / "stock"), scores_of(model, processor).numpy()
