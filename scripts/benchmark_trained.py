"""What speed does to scores: a model trained on demo scenes scores new ones in every way that could move a score."""

from __future__ import annotations

import argparse
import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from benchmark_models import SPACE, in_formats
from transformers import PreTrainedModel

from roc.data.records import Record
from roc.demo.scenes import Scene, render_scene
from roc.demo.tiny_model import TinyLlavaConfig, build_tiny_llava
from roc.evaluation.metrics import srcc
from roc.model.attachment import attach
from roc.model.collator import RocCollator
from roc.prompts import answer, question
from roc.scoring.batches import merge
from roc.scoring.one_forward import compile_layers, one_forward

ATTRIBUTES = ("focus",)
SCENES = 1000
"""Scenes to train on; the next ones are scored."""


def train(steps: int, seed: int) -> tuple[PreTrainedModel, Any]:
    """Trains a model of hidden size 256 to score focus in demo scenes; gives it and its processor."""
    shape = TinyLlavaConfig(text_hidden_size=256)
    model, processor = build_tiny_llava([question(ATTRIBUTES), answer(ATTRIBUTES)], shape, seed=seed)
    attach(model, processor, SPACE, attributes=ATTRIBUTES)
    collator = RocCollator(processor, model.declaration)
    rows = [
        (
            Record(id=str(i), images=(str(i),), scores={name: scene.true_scores[name] for name in ATTRIBUTES}),
            [scene.image],
        )
        for i, scene in enumerate(drawn(SCENES, seed))
    ]
    sees = {name: parameter for name, parameter in model.named_parameters() if "vision" in name or "projector" in name}
    speaks = [parameter for name, parameter in model.named_parameters() if name not in sees]
    optimizer = torch.optim.AdamW([{"params": list(sees.values())}, {"params": speaks}], weight_decay=0.05)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, [6e-4, 3e-4], total_steps=steps, pct_start=0.1)
    order = np.random.default_rng(seed)
    model.train()
    for _ in range(steps):
        batch = collator([rows[i] for i in order.choice(len(rows), 16, replace=False)])
        model(**batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        rate.step()
    return model.eval(), processor


def drawn(count: int, seed: int, first: int = 0) -> list[Scene]:
    """Renders scenes of the size that the trained model sees."""
    return [render_scene(i, seed=seed, size=64) for i in range(first, first + count)]


def differences(model: PreTrainedModel, processor: Any, compiled: bool, seed: int) -> list[dict[str, Any]]:
    """Measures how far scores of new scenes move from float32 one at a time, as shares of the range."""
    collator = RocCollator(processor, model.declaration)
    scene = drawn(96, seed, first=SCENES)
    truth = np.array([one.true_scores[ATTRIBUTES[0]] for one in scene])
    # Of several sizes, so that resizing is part of it.
    pictures = [one.image.resize((64 + 8 * (i % 5), 64 + 4 * (i % 7))) for i, one in enumerate(scene)]
    order = np.random.default_rng(seed).permutation(len(pictures)).tolist()
    batches = [collator.scoring_batch([picture]) for picture in pictures]
    longer = dict(batches[0])
    for name, fill in (("input_ids", collator.answer_ids[0]), ("attention_mask", 1), ("score_mask", 0)):
        longer[name] = torch.nn.functional.pad(longer[name], (0, 20), value=fill)
    pad_id = processor.tokenizer.pad_token_id

    def scores(of: PreTrainedModel, size: int, among: Sequence[int] = range(len(pictures))) -> torch.Tensor:
        found = torch.empty(len(pictures), len(ATTRIBUTES))
        for start in range(0, len(among), size):
            part = list(among[start : start + size])
            found[part] = one_forward(of, merge([batches[i] for i in part], pad_id=pad_id)).scores
        return found

    def padded(of: PreTrainedModel) -> torch.Tensor:
        return torch.cat([one_forward(of, merge([one, longer], pad_id=pad_id)).scores[:1] for one in batches])

    narrow = in_formats(model, processor, ("bfloat16", "float8", "int8"), "cpu")
    found = {
        "one at a time": scores(model, 1),
        "batches of 8": scores(model, 8),
        "batches of 32": scores(model, 32),
        "other neighbours, batches of 7": scores(model, 7, order),
        "padded, beside a longer row": padded(model),
        "vision tower in bfloat16 too": scores(throughout_in_bfloat16(model), 1),
    }
    for name, other in narrow.items():
        found |= {
            f"{name}, one at a time": scores(other, 1),
            f"{name}, batches of 32": scores(other, 32),
            f"{name}, other neighbours": scores(other, 7, order),
        }
    if compiled:
        compile_layers(model)
        found["compiled, batches of 8"] = scores(model, 8)
        for name, other in narrow.items():
            compile_layers(other)
            found[f"{name}, compiled"] = scores(other, 8)
    plain = found["one at a time"]
    width = SPACE.max_score - SPACE.min_score
    rows = []
    for way, moved in found.items():
        beside = found.get(f"{way.partition(', ')[0]}, one at a time", plain)
        apart = (moved - plain).abs() / width
        rows.append(
            {
                "way": way,
                "largest": float(apart.max()),
                "mean": float(apart.mean()),
                "from_neighbours": float((moved - beside).abs().max() / width),
                "srcc_with_plain": srcc(moved[:, 0].numpy(), plain[:, 0].numpy()),
                "srcc": srcc(moved[:, 0].numpy(), truth),
            }
        )
    return rows


def throughout_in_bfloat16(model: PreTrainedModel) -> PreTrainedModel:
    """Copies a model with its vision tower in bfloat16 too, which scoring never does."""
    model = copy.deepcopy(model).to(torch.bfloat16)
    model.score_head.float()
    return model


def benchmark_trained(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Prints a table with a row for each way that could move a score."""
    rows = differences(*train(given.trained, given.seed), given.compile, given.seed)
    print(f"\nA model of hidden size 256, {given.trained} steps on demo scenes; shares of the range:\n")
    print("| way | largest difference | mean | largest between neighbours | SRCC with float32 | SRCC with the truth |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['way']} | {row['largest']:.1e} | {row['mean']:.1e} | {row['from_neighbours']:.1e} "
            f"| {row['srcc_with_plain']:.4f} | {row['srcc']:.3f} |"
        )
    return rows
