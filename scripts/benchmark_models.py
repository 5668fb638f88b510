"""Models, inputs and clocks that the benchmarks share.

Weights and pictures are random, from the seed. The tiny models and the starters answer with the demo's five scores, the
published shapes (of tests/helpers/real_models.py) with one, after ten words.
"""

from __future__ import annotations

import importlib.util
import platform
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import stages
import torch
import transformers
from PIL import Image
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import (
    CLIPImageProcessorPil,
    LlavaProcessor,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

import roc
from roc.checkpoint.folder import save
from roc.demo.scenes import render_scene
from roc.demo.tiny_model import CHAT_TEMPLATE, PRESETS, TinyLlavaConfig, build_tiny_llava
from roc.model.attachment import attach
from roc.model.collator import RocCollator
from roc.model.declaration import declaration_of
from roc.model.device import usable_cores
from roc.model.float8 import Float8Linear
from roc.model.int8 import Int8Linear
from roc.prompts import answer, question
from roc.score_space import ScoreSpace
from roc.scoring.assessment import Assessment
from roc.starter.kept import keep_starter

TINY = {
    "tiny": PRESETS["demo"],
    "photos": PRESETS["photos"],
    # About the work that a core has with a photo of a megapixel.
    "small": TinyLlavaConfig(
        image_size=192,
        vision_widths=(32, 64, 128, 256),
        vision_depths=(1, 1, 1, 1),
        vision_hidden_size=256,
        text_hidden_size=256,
        text_layers=6,
    ),
}
STARTERS = {"starter-small": "small", "starter-full": "full"}
REAL = {
    "llava-1.5-7b": "llava_1_5_7b",
    "qwen2.5-vl-7b": "qwen2_5_vl_7b",
    "mplug-owl2-7b": "mplug_owl2_7b",
    "smolvlm-256m": "smolvlm_256m",
}
ON_CPU = ("smolvlm-256m",)
"""Shapes of published models that are small enough to be measured on a CPU, in float32 there."""
ATTRIBUTES = ("overall", "composition", "light", "colour", "focus")
SPACE = ScoreSpace(min_score=1, max_score=10, num_levels=10)
TEXT_TOKENS, ANSWER_TOKENS = 51, 10
"""With the published shapes: tokens of text around the image, and of the answer before its [SCORE]."""


class Inputs(NamedTuple):
    """The same images, prepared for each way.

    Attributes:
        scoring: Prompt and answer up to the last `[SCORE]`, and `score_mask`.
        prompt: The question alone, padded on the left.
        forced: Token ids that generation is forced to, `[SCORE]` last.
    """

    scoring: dict[str, torch.Tensor]
    prompt: dict[str, torch.Tensor]
    forced: list[int]


def scenes(count: int, seed: int, size: int) -> list[Image.Image]:
    """Renders images to score."""
    return [render_scene(i, seed=seed, size=size).image for i in range(count)]


def tiny(shape: str, seed: int) -> tuple[PreTrainedModel, Any]:
    """Builds a tiny LLaVA-type model with a random head, and its processor."""
    model, processor = build_tiny_llava([question(ATTRIBUTES), answer(ATTRIBUTES)], TINY[shape], seed=seed)
    attach(model, processor, SPACE, attributes=ATTRIBUTES)
    fill_head(model, seed)
    return model.eval(), processor


def tiny_inputs(model: PreTrainedModel, processor: Any, batch: int, seed: int) -> Inputs:
    """Prepares scenes with the collator."""
    collator = RocCollator(processor, model.declaration)
    pictures = scenes(batch, seed, 96)
    ids = collator.answer_ids
    last = max(i for i, token in enumerate(ids) if token == model.declaration.token_id)
    return Inputs(collator.scoring_batch(pictures), collator.prompt_batch(pictures), ids[: last + 1])


def real_models() -> Any:
    """Loads tests/helpers/real_models.py, which knows the shapes of the published models."""
    file = Path(__file__).resolve().parents[1] / "tests" / "helpers" / "real_models.py"
    spec = importlib.util.spec_from_file_location("real_models", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def real_config_of(shape: str, layers: int | None) -> PreTrainedConfig:
    """Gives the config of a published model, with the first few layers of each tower alone where asked."""
    config = real_models().real_config(REAL[shape])
    if layers is not None:
        text, vision = config.text_config, config.vision_config
        text.num_hidden_layers = layers
        if getattr(text, "layer_types", None):
            text.layer_types = text.layer_types[:layers]
        if hasattr(vision, "depth"):
            vision.depth, vision.fullatt_block_indexes = layers, [0]
        else:
            vision.num_hidden_layers = layers + 1  # the features come from the last layer but one
    return config


def starter(shape: str, seed: int) -> tuple[PreTrainedModel, Any]:
    """Builds a starter, or takes the one that is kept, and attaches a random head to it."""
    folder = keep_starter(STARTERS[shape])
    model = transformers.AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
    processor = transformers.AutoProcessor.from_pretrained(folder)
    attach(model, processor, SPACE, attributes=ATTRIBUTES)
    fill_head(model, seed)
    return model.eval(), processor


def real(shape: str, layers: int | None, device: str, seed: int) -> tuple[PreTrainedModel, Any]:
    """Builds a published model at its real size, with random weights and head: float32 on a CPU, else bfloat16.

    Its processor is not the published one, but serves to save the model: the tokenizer has as many words.
    """
    config = real_config_of(shape, layers)
    torch.manual_seed(seed)
    dtype = torch.float32 if device == "cpu" and shape in ON_CPU else torch.bfloat16
    with torch.device(device):
        model = transformers.AutoModelForImageTextToText.from_config(config, dtype=dtype)
    words = {str(word): word for word in range(real_models().WORDS[REAL[shape]])}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel(words, unk_token="0")))
    processor = LlavaProcessor(CLIPImageProcessorPil(), tokenizer, chat_template=CHAT_TEMPLATE)
    attach(model, processor, SPACE, attributes=["overall"])
    model.to(device)
    fill_head(model, seed)
    return model.eval(), processor


def real_inputs(model: PreTrainedModel, batch: int, seed: int) -> Inputs:
    """Makes random pixels and tokens of the lengths that a photo and the usual question have."""
    generator = torch.Generator().manual_seed(seed)
    config, score_id = model.config, declaration_of(model.config).token_id
    square = config.model_type in ("llava", "mplug_owl2")
    if square:
        side = config.vision_config.image_size
        marked = config.image_token_index if config.model_type == "llava" else config.image_token_id
        pixels = {"pixel_values": torch.randn(batch, 3, side, side, generator=generator)}
        tokens = config.image_seq_length
    elif config.model_type == "smolvlm":  # one tile
        side, marked = config.vision_config.image_size, config.image_token_id
        pixels = {"pixel_values": torch.randn(batch, 1, 3, side, side, generator=generator)}
        tokens = (side // config.vision_config.patch_size // config.scale_factor) ** 2
    else:  # a photo of 448 x 672 pixels
        rows, columns, marked = 32, 48, config.image_token_id
        width = 3 * config.vision_config.temporal_patch_size * config.vision_config.patch_size**2
        pixels = {
            "pixel_values": torch.randn(batch * rows * columns, width, generator=generator),
            "image_grid_thw": torch.tensor([[1, rows, columns]] * batch),
        }
        tokens = rows * columns // config.vision_config.spatial_merge_size**2
    words = torch.randint(100, 1000, (batch, TEXT_TOKENS), generator=generator)
    picture = torch.full((batch, tokens), marked)
    prompt_ids = torch.cat([words[:, :5], picture, words[:, 5:]], dim=1)
    said = torch.randint(100, 1000, (1, ANSWER_TOKENS), generator=generator)
    ids = torch.cat([prompt_ids, said.expand(batch, -1)], dim=1)

    def made(token_ids: torch.Tensor) -> dict[str, torch.Tensor]:
        made = {"input_ids": token_ids, "attention_mask": torch.ones_like(token_ids), **pixels}
        if "image_grid_thw" in pixels:
            made["mm_token_type_ids"] = (token_ids == marked).long()
        return made

    mask = torch.zeros(ids.shape, dtype=torch.bool)
    mask[:, -1] = True
    return Inputs({**made(ids), "score_mask": mask}, made(prompt_ids), [*said[0].tolist(), score_id])


@torch.no_grad()
def fill_head(model: PreTrainedModel, seed: int) -> None:
    """Fills the head with random rows: scores differ, and stay away from the ends of the scale."""
    weight = model.score_head.weight
    rows = torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed))
    weight.copy_(rows / weight.shape[1] ** 0.5)


def in_formats(
    model: PreTrainedModel, processor: Any, formats: Iterable[str], device: str
) -> dict[str, PreTrainedModel]:
    """Loads a model in number formats, each as `roc score --dtype` does."""
    with tempfile.TemporaryDirectory() as folder:
        save(model, processor, folder)
        return {name: Assessment(folder, device=device, dtype=name).model for name in formats}


def synchronised(device: str) -> float:
    """Gives the time once the device has finished its work."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def ratio(over: Sequence[float], under: Sequence[float]) -> tuple[float, float, float]:
    """Gives the median of the ratios within rounds and its 95% interval (bootstrap, 1,000 resamples, seed 0)."""
    ratios = np.array(over) / np.array(under)
    draws = np.random.default_rng(0).integers(len(ratios), size=(1000, len(ratios)))
    low, high = np.percentile(np.median(ratios[draws], axis=1), [2.5, 97.5])
    return float(np.median(ratios)), float(low), float(high)


@torch.inference_mode()
def limit(device: str, number_format: str) -> float:
    """Measures the operations per second of a large linear layer in a format; a multiply-add counts as two."""
    side = 8192 if device == "cuda" else 2048
    dtype = {"int8": torch.float32, "float8": torch.bfloat16}.get(number_format) or getattr(torch, number_format)
    layer: torch.nn.Module = torch.nn.Linear(side, side, bias=False, device=device, dtype=dtype)
    if number_format == "int8":
        layer = Int8Linear(layer)
    elif number_format == "float8":
        layer = Float8Linear(layer, device)
    rows = torch.randn(side, side, device=device, dtype=dtype)
    seconds = []
    for _ in range(8):
        start = synchronised(device)
        layer(rows)
        seconds.append(synchronised(device) - start)
    return 2 * side**3 / min(seconds)


def machine(device: str) -> dict[str, Any]:
    """Names what the numbers depend on; `cores` are those that this process may use."""
    return {
        "machine": stages.machine(),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "roc": roc.__version__,
    }
