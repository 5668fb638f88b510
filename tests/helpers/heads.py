"""Tiny models that carry a head, and images and records to try them on."""

import numpy as np
import torch
from PIL import Image
from tiny_models import BUILDERS
from transformers import AutoModelForImageTextToText

from roc.checkpoint.folder import load
from roc.data.records import Record
from roc.model.adapters import add_lora, four_bit
from roc.model.attachment import attach
from roc.model.collator import RocCollator
from roc.model.processing import load_processor, save_processor
from roc.score_space import ScoreSpace
from roc.scoring.one_forward import one_forward

SPACE = ScoreSpace(1, 10, 10)
ATTRIBUTES = ("overall", "light")


def picture(seed, size=(40, 30)):
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def record(name="a", scores=None, votes=None, **fields):
    scores = {"overall": 6.0, "light": 3.0} if scores is None else scores
    return Record(id=name, images=(name,), scores=scores, histograms=votes or {}, **fields)


def sample(seed, **fields):
    return record(str(seed), **fields), [picture(seed)]


def talk(question, answer):
    return (("user", f"<|image|>{question}"), ("assistant", answer))


def build(family, **settings):
    model, processor = BUILDERS[family]()
    attach(model, processor, SPACE, attributes=ATTRIBUTES, **settings)
    fill_head(model)
    return model, processor, RocCollator(processor, model.config.roc)


def fill_head(model):
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        model.score_head.weight.copy_(torch.randn(model.score_head.weight.shape, generator=generator))


VOTES = tuple(np.array([0, 0, 1, 2, 3, 2, 1, 1, 0, 0]) / 10)


def mixed_batch(collator):
    """Makes a batch of rows with zero, one and two scores, with and without histograms."""
    return collator(
        [
            sample(0),
            sample(1, scores={"overall": 8.0}, votes={"overall": VOTES}),
            sample(2, scores={}, conversations=talk("What is it?", "A quiet scene.")),
            sample(3, scores={"overall": 2.5}, conversations=talk("Rate it.", "I say [SCORE], no more.")),
        ]
    )


def inputs_of(processor, words):
    messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": words}]}]
    text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    return processor(text=[text], images=[[picture(7)]], return_tensors="pt")


def scores_of(model, processor):
    batch = RocCollator(processor, model.config.roc).scoring_batch([picture(0), picture(1)])
    return one_forward(model.eval(), batch).scores


def save_base(family, folder, **changes):
    """Saves a base without a head, as it would come from a hub."""
    model, processor = BUILDERS[family](hidden_size=64, **changes)
    model.save_pretrained(folder)
    save_processor(processor, folder)
    return folder


def trained_adapter(base, *, quantized=False, steps=4, **lora):
    """Trains LoRA on a saved base for a few steps, so that every trainable weight moves; `(model, processor)`."""
    torch.manual_seed(0)  # of LoRA's first matrices
    model = AutoModelForImageTextToText.from_pretrained(base)
    if quantized:
        settings = four_bit(model.config, torch.float32)
        model = AutoModelForImageTextToText.from_pretrained(base, quantization_config=settings)
    processor = load_processor(base)
    if getattr(model.config, "roc", None) is None:
        attach(model, processor, SPACE, attributes=ATTRIBUTES)
    else:
        model, processor = load(base)
    model = add_lora(model, **{"rank": 4, "alpha": 8, "dropout": 0.0, **lora})
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=1e-2)
    batch = mixed_batch(RocCollator(processor, model.config.roc))
    losses = []
    for _ in range(steps):
        loss = model.train()(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    return model, processor
