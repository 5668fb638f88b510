"""A tiny backbone that carries the branches of AGREE, saved."""

import torch
from backbones import backbone
from transformers import CLIPImageProcessorPil

from roc.checkpoint.folder import save
from roc.model.extensions import add_extension


def checkpoint(folder, **settings):
    """Saves one whose branches and predictor move its scores; `settings` are those of the extension."""
    model, processor, _ = backbone()
    images = CLIPImageProcessorPil()
    with torch.random.fork_rng():
        torch.manual_seed(5)
        given = {"width": 8, "mean": list(images.image_mean), "std": list(images.image_std), **settings}
        add_extension(model, "agree", given)
        for weight in model.extensions.parameters():
            torch.nn.init.normal_(weight, std=0.3)
    save(model, processor, folder)
    return str(folder)
