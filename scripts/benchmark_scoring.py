"""How fast a score is: the published way, ours, and what the machine could do at most; and photos from files to scores.

python scripts/benchmark_scoring.py                                       tiny model, CPU: ratios of paired runs
python scripts/benchmark_scoring.py --compile --batches 1 8               also with compiled layers
python scripts/benchmark_scoring.py --files 400 --shape small             also from JPEG files to scores
python scripts/benchmark_scoring.py --rounds 0 --trained 300              what speed does to a taught model's scores
python scripts/benchmark_scoring.py --shape llava-1.5-7b --compile --float8 --batches 1 8 32
                                                                          7B shape, random bfloat16 weights, GPU

Ways, all on the same pictures and prepared inputs:

    generate        the published way (ROC4MLLM): the answer is written token by token, cached, up to its last [SCORE]
    all logits      one forward pass with logits for every position (Q-Align, DeQA-Score), the head read from it
    one forward     ours: one pass, no vocabulary (roc/scoring/one_forward.py)
    backbone        the bare model under it: no vocabulary, no head, nothing read
    backbone again  the same once more: how far two equal things come out apart here (A/A)
    compiled        one forward, every layer compiled (--compile)
    float8          one forward, the language model's linear layers in 8 bits (--float8)

Each round runs every way once, in a random order. A ratio is the median over the rounds of the ratio within a round, so
that what slows the machine down for a while slows both sides. Those in float8 have rounds of their own, after all the
others: the wider weights are gone by then, so that the peak is theirs. "of the limit" is the share of what a large
matrix product reaches on this device, counting the multiplications of one bare pass. Peak memory is that of the
allocator, which only a GPU has. Weights and pictures are random, from the seed. The tiny models answer with the demo's
five scores, the 7B shapes (of tests/helpers/real_models.py) with one, after ten words.

--files: the pipeline of `roc score`. The cores suffice where there is one for the model and as many more as the workers
it keeps busy; where they do not, no more can come out than the slower of decoding and model.

--trained: a model of hidden size 256 is taught on demo scenes, and other scenes are scored in every way that could move
a score, beside float32 one at a time.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import transformers
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode
from transformers import LogitsProcessor, PreTrainedConfig, PreTrainedModel

import roc
from roc.checkpoint.folder import save
from roc.data.records import Record
from roc.demo.scenes import Scene, render_scene
from roc.demo.tiny_model import PRESETS, TinyLlavaConfig, build_tiny_llava
from roc.evaluation.metrics import srcc
from roc.files import write_json
from roc.model.attachment import attach
from roc.model.collator import RocCollator
from roc.model.declaration import declaration_of
from roc.model.float8 import use_float8
from roc.model.float32_tower import picture_dtype
from roc.model.head import read_levels
from roc.prompts import answer, question
from roc.score_space import ScoreSpace
from roc.scoring.assessment import Assessment
from roc.scoring.batches import Scorer, Wanted, merge
from roc.scoring.local import score_images
from roc.scoring.one_forward import compile_layers, one_forward, to_model
from roc.scoring.prepare import Preparation, prepare
from roc.scoring.sources import find_sources

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
REAL = {"llava-1.5-7b": "llava_1_5_7b", "qwen2.5-vl-7b": "qwen2_5_vl_7b", "mplug-owl2-7b": "mplug_owl2_7b"}
TAUGHT = ("focus",)
TAUGHT_SCENES = 1000
ATTRIBUTES = ("overall", "composition", "light", "colour", "focus")
SPACE = ScoreSpace(min_score=1, max_score=10, num_levels=10)
TEXT_TOKENS, ANSWER_TOKENS = 51, 10
"""Of the 7B shapes: words around the picture, and of the answer before its [SCORE]."""


class Inputs(NamedTuple):
    """The same pictures, ready for each way.

    Attributes:
        scoring: prompt and answer up to the last `[SCORE]`, and `score_mask`.
        prompt: the question alone, padded on the left.
        forced: token ids that generation is made to write, `[SCORE]` last.
    """

    scoring: dict[str, torch.Tensor]
    prompt: dict[str, torch.Tensor]
    forced: list[int]


class Forced(LogitsProcessor):
    """Makes generation write given tokens: an untrained model takes as long for them, but would choose others."""

    def __init__(self, ids: Sequence[int]) -> None:
        self.ids = list(ids)
        self.step = 0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        scores = torch.full_like(scores, float("-inf"))
        scores[:, self.ids[self.step]] = 0
        self.step += 1
        return scores


# --- ways ------------------------------------------------------------------------------------------------------------


def generate(model: PreTrainedModel, inputs: Inputs) -> torch.Tensor:
    """(B, K) scores, read while the answer is written."""
    count = len(inputs.forced)
    with torch.inference_mode():
        found = model.generate_with_scores(
            **to_model(model, inputs.prompt),
            do_sample=False,
            max_new_tokens=count,
            min_new_tokens=count,
            logits_processor=[Forced(inputs.forced)],
        )
    return read_levels(torch.stack(found.score_logits).float().cpu(), model.score_levels()).scores


@torch.inference_mode()
def all_logits(model: PreTrainedModel, inputs: Inputs) -> torch.Tensor:
    """(B, K) scores, from a pass with logits for every position."""
    batch = to_model(model, inputs.scoring)
    mask = batch.pop("score_mask")
    seen: list[torch.Tensor] = []
    hook = model.get_output_embeddings().register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    try:
        model(**batch, use_cache=False)
    finally:
        hook.remove()
    logits = model.score_head(seen[0][mask]).unflatten(0, (mask.shape[0], -1))
    return read_levels(logits.float().cpu(), model.score_levels()).scores


def ours(model: PreTrainedModel, inputs: Inputs) -> torch.Tensor:
    """(B, K) scores, as `Assessment` and `roc score` read them."""
    return one_forward(model, inputs.scoring).scores


@torch.inference_mode()
def backbone(model: PreTrainedModel, inputs: Inputs) -> None:
    """The hidden states, and no more; one number is fetched, so that a GPU is done."""
    batch = to_model(model, inputs.scoring)
    del batch["score_mask"]
    model.base_model(**batch, use_cache=False).last_hidden_state[0, 0, 0].item()


WAYS: dict[str, Callable[[PreTrainedModel, Inputs], torch.Tensor | None]] = {
    "generate": generate,
    "all logits": all_logits,
    "one forward": ours,
    "backbone": backbone,
    "backbone again": backbone,
}


# --- models and inputs -----------------------------------------------------------------------------------------------


def scenes(count: int, seed: int, size: int) -> list[Image.Image]:
    """Pictures to score."""
    return [render_scene(i, seed=seed, size=size).image for i in range(count)]


def tiny(shape: str, seed: int) -> tuple[PreTrainedModel, Any]:
    """A tiny LLaVA-type model with a random head, and its processor."""
    model, processor = build_tiny_llava([question(ATTRIBUTES), answer(ATTRIBUTES)], TINY[shape], seed=seed)
    attach(model, processor, SPACE, attributes=ATTRIBUTES)
    fill_head(model, seed)
    return model.eval(), processor


def tiny_inputs(model: PreTrainedModel, processor: Any, batch: int, seed: int) -> Inputs:
    """What the collator makes of scenes."""
    collator = RocCollator(processor, model.declaration)
    pictures = scenes(batch, seed, 96)
    ids = collator.answer_ids
    last = max(i for i, token in enumerate(ids) if token == model.declaration.token_id)
    return Inputs(collator.scoring_batch(pictures), collator.prompt_batch(pictures), ids[: last + 1])


def real_models() -> Any:
    """The published models' shapes, which are those of the tests."""
    file = Path(__file__).resolve().parents[1] / "tests" / "helpers" / "real_models.py"
    spec = importlib.util.spec_from_file_location("real_models", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def real_config_of(shape: str, layers: int | None) -> PreTrainedConfig:
    """The config of a published model, with the first few layers of each tower alone where that is asked for."""
    config = real_models().real_config(REAL[shape])
    if layers is not None:
        text, vision = config.text_config, config.vision_config
        text.num_hidden_layers = layers
        if getattr(text, "layer_types", None):
            text.layer_types = text.layer_types[:layers]
        if hasattr(vision, "depth"):
            vision.depth, vision.fullatt_block_indexes = layers, [0]
        else:
            vision.num_hidden_layers = layers + 1  # the last but one is read
    return config


def real(shape: str, layers: int | None, device: str, seed: int) -> PreTrainedModel:
    """A published model at its real size, with random bfloat16 weights and head."""
    config = real_config_of(shape, layers)
    torch.manual_seed(seed)
    with torch.device(device):
        model = transformers.AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16)
    attach(model, real_models().real_processor(REAL[shape]), SPACE, attributes=["overall"])
    model.to(device)
    fill_head(model, seed)
    return model.eval()


def real_inputs(model: PreTrainedModel, batch: int, seed: int) -> Inputs:
    """Random pixels and words of the lengths a photo and the usual question have."""
    generator = torch.Generator().manual_seed(seed)
    config, score_id = model.config, declaration_of(model.config).token_id
    square = config.model_type in ("llava", "mplug_owl2")
    if square:
        side = config.vision_config.image_size
        marked = config.image_token_index if config.model_type == "llava" else config.image_token_id
        pixels = {"pixel_values": torch.randn(batch, 3, side, side, generator=generator)}
        tokens = config.image_seq_length
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
        if not square:
            made["mm_token_type_ids"] = (token_ids == marked).long()
        return made

    mask = torch.zeros(ids.shape, dtype=torch.bool)
    mask[:, -1] = True
    return Inputs({**made(ids), "score_mask": mask}, made(prompt_ids), [*said[0].tolist(), score_id])


@torch.no_grad()
def fill_head(model: PreTrainedModel, seed: int) -> None:
    """Random rows, so that scores differ, small enough that they stay away from the ends."""
    weight = model.score_head.weight
    rows = torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed))
    weight.copy_(rows / weight.shape[1] ** 0.5)


# --- measuring -------------------------------------------------------------------------------------------------------


def synchronised(device: str) -> float:
    """The time, once the device has done what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


class Compiled:
    """One forward with compiled layers; the model itself stays as it is for the other ways."""

    def __init__(self, model: PreTrainedModel) -> None:
        compile_layers(model)
        self.forwards = {layer: vars(layer).pop("forward") for layer in model.modules() if "forward" in vars(layer)}

    def __call__(self, model: PreTrainedModel, inputs: Inputs) -> torch.Tensor:
        """(B, K) scores."""
        for layer, forward in self.forwards.items():
            vars(layer)["forward"] = forward
        try:
            return ours(model, inputs)
        finally:
            for layer in self.forwards:
                del vars(layer)["forward"]


def measure(
    model: PreTrainedModel, inputs: Inputs, ways: dict[str, Callable], rounds: int, device: str, seed: int
) -> dict[str, dict[str, Any]]:
    """Seconds of each way in each round, its scores and its peak memory."""
    found: dict[str, dict[str, Any]] = {}
    for name, way in ways.items():
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        scores = None
        for _ in range(3):
            scores = way(model, inputs)
        peak = torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else None
        found[name] = {"scores": scores, "peak": peak, "seconds": []}
    order = np.random.default_rng(seed)
    for _ in range(rounds):
        for name in order.permutation(list(ways)):
            start = synchronised(device)
            ways[name](model, inputs)
            found[name]["seconds"].append(synchronised(device) - start)
    return found


def ratio(over: Sequence[float], under: Sequence[float]) -> tuple[float, float, float]:
    """Median of the ratios within rounds, and a 95% interval of it (bootstrap, 1,000 resamples, seed 0)."""
    ratios = np.array(over) / np.array(under)
    draws = np.random.default_rng(0).integers(len(ratios), size=(1000, len(ratios)))
    low, high = np.percentile(np.median(ratios[draws], axis=1), [2.5, 97.5])
    return float(np.median(ratios)), float(low), float(high)


def limit(device: str, dtype: torch.dtype) -> float:
    """Multiply-adds counted double, per second, of a large matrix product."""
    side = 8192 if device == "cuda" else 1024
    left = torch.randn(side, side, device=device, dtype=dtype)
    seconds = []
    for _ in range(8):
        start = synchronised(device)
        left @ left
        seconds.append(synchronised(device) - start)
    return 2 * side**3 / min(seconds)


def operations(model: PreTrainedModel, inputs: Inputs) -> float:
    """Floating-point operations of one pass of the bare backbone, per image."""
    with FlopCounterMode(display=False) as counter:
        backbone(model, inputs)
    return counter.get_total_flops() / len(inputs.scoring["input_ids"])


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        "| way | batch | images/s | x generate | of the limit | peak GiB | largest score difference |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        peak = "-" if row["peak_gib"] is None else f"{row['peak_gib']:.1f}"
        apart = "-" if row["score_difference"] is None else f"{row['score_difference']:.1e}"
        times = "-" if row["over_generate"] is None else f"{row['over_generate'][0]:.2f}"
        lines.append(
            f"| {row['way']} | {row['batch']} | {row['images_per_second']:.1f} | {times} "
            f"| {100 * row['share_of_limit']:.0f}% | {peak} | {apart} |"
        )
    return "\n".join(lines)


def benchmark_ways(given: argparse.Namespace, device: str) -> list[dict[str, Any]]:
    """A row for each way and batch size."""
    if given.shape in TINY:
        model, processor = tiny(given.shape, given.seed)
        model = model.to(device)
    else:
        model, processor = real(given.shape, given.layers, device, given.seed), None
    model.requires_grad_(False)
    peak = limit(device, model.dtype)
    inputs = {
        batch: tiny_inputs(model, processor, batch, given.seed) if processor else real_inputs(model, batch, given.seed)
        for batch in given.batches
    }
    needed = {batch: operations(model, one) for batch, one in inputs.items()}
    ways = {**WAYS, "compiled": Compiled(model)} if given.compile else WAYS
    found = {batch: measure(model, one, ways, given.rounds, device, given.seed) for batch, one in inputs.items()}
    if given.float8:
        use_float8(model, device)
        torch.compiler.reset()
        ways = {"float8": ours, "float8, compiled": Compiled(model)} if given.compile else {"float8": ours}
        for batch, one in inputs.items():
            found[batch] |= measure(model, one, ways, given.rounds, device, given.seed)
    rows = []
    for batch, measured in found.items():
        base = measured["one forward"]["scores"]
        for name, way in measured.items():
            speed = batch / statistics.median(way["seconds"])
            rows.append(
                {
                    "way": name,
                    "batch": batch,
                    "images_per_second": speed,
                    "over_generate": ratio(measured["generate"]["seconds"], way["seconds"]),
                    "over_backbone": ratio(way["seconds"], measured["backbone"]["seconds"]),
                    "share_of_limit": speed * needed[batch] / peak,
                    "gflop_per_image": needed[batch] / 1e9,
                    "peak_gib": way["peak"],
                    "score_difference": None if way["scores"] is None else float((way["scores"] - base).abs().max()),
                }
            )
    print(table(rows))
    for row in rows:
        if row["way"] in ("one forward", "backbone again", "compiled"):
            middle, low, high = row["over_backbone"]
            told = f"{middle:.3f} (95% {low:.3f} to {high:.3f}) of the backbone's time"
            print(f"batch {row['batch']}: {row['way']} takes {told}")
    return rows


# --- from files to scores --------------------------------------------------------------------------------------------


def write_photos(folder: Path, count: int, size: tuple[int, int], seed: int) -> None:
    """JPEG files with the grain of a photo; a few scenes many times, for drawing takes longer than decoding."""
    rng = np.random.default_rng(seed)
    drawn = [
        np.asarray(scene.resize(size), dtype=np.float32) for scene in scenes(min(12, count), seed, min(512, *size))
    ]
    for i in range(count):
        grain = drawn[i % len(drawn)] + rng.normal(0, 5, (size[1], size[0], 3))
        Image.fromarray(grain.clip(0, 255).astype(np.uint8)).save(folder / f"{i:06d}.jpg", quality=90)


class Ready(Preparation):
    """Gives the same prepared image at no cost: what is left is the way from worker to model."""

    def __getitem__(self, index: int) -> Any:
        if not hasattr(self, "one"):
            self.one = super().__getitem__(0)
        return self.one._replace(index=index, inputs={name: value.clone() for name, value in self.one.inputs.items()})


def benchmark_files(given: argparse.Namespace, device: str) -> dict[str, Any]:
    """Rates of each stage alone and of all together, images/s."""
    with tempfile.TemporaryDirectory() as name:
        checkpoint, photos = Path(name, "checkpoint"), Path(name, "photos")
        photos.mkdir()
        save(*tiny(given.shape, given.seed), checkpoint)
        write_photos(photos, given.files, tuple(given.photo_size), given.seed)
        assessment = Assessment(checkpoint, device=device)
        sources = find_sources([photos]).sources
        places = assessment.places(assessment.attributes)
        made = (sources, str(checkpoint), assessment.collator, picture_dtype(assessment.model), places)
        dataset, ready = Preparation(*made), Ready(*made)
        scorer = Scorer(assessment, Wanted(assessment.attributes), given.batches[-1])

        def rate(work: Callable[[], Any]) -> tuple[float, float]:
            start, busy = time.perf_counter(), time.process_time()
            work()
            busy = time.process_time() - busy
            return len(sources) / (time.perf_counter() - start), 1e3 * busy / len(sources)

        decoded = [dataset[i] for i in range(len(sources))]
        size = given.batches[-1]
        batches = [decoded[i : i + size] for i in range(0, len(decoded), size)]
        shares = []

        def whole() -> None:
            start, before = time.perf_counter(), scorer.seconds
            list(score_images(scorer, sources, str(checkpoint), workers=given.workers))
            shares.append((scorer.seconds - before) / (time.perf_counter() - start))

        works = {
            "decode": lambda: [dataset[i] for i in range(len(sources))],
            "transfer": lambda: list(prepare(ready, given.workers)),
            "model": lambda: list(scorer.score(batches)),
            "end to end": whole,
        }
        list(scorer.score(batches[:2]))
        stages: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
        # In turns, so that what slows the machine down for a while slows all of them.
        for _ in range(given.repeats):
            for name, work in works.items():
                stages[name].append(rate(work))
    found: dict[str, Any] = {name: statistics.median(speed for speed, _ in runs) for name, runs in stages.items()}
    busy = {name: statistics.median(busy for _, busy in runs) for name, runs in stages.items()}
    rounds = list(zip(stages["end to end"], stages["model"], stages["decode"], strict=True))
    found["share"] = statistics.median(whole[0] / model[0] for whole, model, _ in rounds)
    workers = max(1, given.workers)
    most = [min(model[0], workers * decode[0]) for _, model, decode in rounds]
    found["share_of_possible"] = statistics.median(
        whole[0] / possible for (whole, _, _), possible in zip(rounds, most, strict=True)
    )
    found |= {"workers": given.workers, "workers_needed": found["model"] / found["decode"]}
    cores = machine(device)["cores"] - (device == "cpu") * torch.get_num_threads()
    found["cores_suffice"] = min(cores, given.workers) >= found["workers_needed"]
    found["in_model"] = statistics.median(shares)
    found |= {"main_process_ms": busy["end to end"], "model_ms": busy["model"]}
    width, height = given.photo_size
    print(f"\n{given.files} JPEG files of {width} x {height}, batches of {size}, {given.workers} workers; images/s:\n")
    print(
        "| decode and resize, one worker | worker to model | model, in memory | files to scores | of the model's "
        "| of the slower of decoding and model |"
    )
    print("|---|---|---|---|---|---|")
    print(
        f"| {found['decode']:.0f} | {found['transfer']:.0f} | {found['model']:.0f} | {found['end to end']:.0f} "
        f"| {100 * found['share']:.0f}% | {100 * found['share_of_possible']:.0f}% |\n"
    )
    print(
        f"The model keeps {found['workers_needed']:.2f} workers busy: the cores "
        f"{'suffice' if found['cores_suffice'] else 'do not suffice'}. From files to scores, "
        f"{100 * found['in_model']:.0f}% of the time is spent in the model, start of the workers included."
    )
    if device == "cpu":
        print(
            f"The main process takes {busy['end to end']:.2f} ms of processor time an image, {busy['model']:.2f} of "
            f"them the model alone. Where workers have cores of their own, that leaves "
            f"{100 * busy['model'] / busy['end to end']:.0f}% of the model's speed."
        )
    return found


# --- what speed does to scores ---------------------------------------------------------------------------------------


def teach(steps: int, seed: int) -> tuple[PreTrainedModel, Any]:
    """A model of hidden size 256 that has learnt to see focus in demo scenes, and its processor."""
    shape = TinyLlavaConfig(text_hidden_size=256)
    model, processor = build_tiny_llava([question(TAUGHT), answer(TAUGHT)], shape, seed=seed)
    attach(model, processor, SPACE, attributes=TAUGHT)
    collator = RocCollator(processor, model.declaration)
    rows = [
        (Record(id=str(i), images=(str(i),), scores={name: scene.true_scores[name] for name in TAUGHT}), [scene.image])
        for i, scene in enumerate(drawn(TAUGHT_SCENES, seed))
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
    """Scenes of the size that the taught model sees."""
    return [render_scene(i, seed=seed, size=64) for i in range(first, first + count)]


def differences(model: PreTrainedModel, processor: Any, compiled: bool, seed: int) -> list[dict[str, Any]]:
    """How far scores of new scenes move, as shares of the range, beside one at a time in float32."""
    collator = RocCollator(processor, model.declaration)
    scene = drawn(96, seed, first=TAUGHT_SCENES)
    truth = np.array([one.true_scores[TAUGHT[0]] for one in scene])
    # Of several sizes, so that what the processor does to each is in it.
    pictures = [one.image.resize((64 + 8 * (i % 5), 64 + 4 * (i % 7))) for i, one in enumerate(scene)]
    order = np.random.default_rng(seed).permutation(len(pictures)).tolist()
    batches = [collator.scoring_batch([picture]) for picture in pictures]
    longer = dict(batches[0])
    for name, fill in (("input_ids", collator.answer_ids[0]), ("attention_mask", 1), ("score_mask", 0)):
        longer[name] = torch.nn.functional.pad(longer[name], (0, 20), value=fill)
    pad_id = processor.tokenizer.pad_token_id

    def scores(of: PreTrainedModel, size: int, among: Sequence[int] = range(len(pictures))) -> torch.Tensor:
        found = torch.empty(len(pictures), len(TAUGHT))
        for start in range(0, len(among), size):
            part = list(among[start : start + size])
            found[part] = one_forward(of, merge([batches[i] for i in part], pad_id=pad_id)).scores
        return found

    def padded(of: PreTrainedModel) -> torch.Tensor:
        return torch.cat([one_forward(of, merge([one, longer], pad_id=pad_id)).scores[:1] for one in batches])

    with tempfile.TemporaryDirectory() as folder:
        save(model, processor, folder)
        half, eight = (Assessment(folder, device="cpu", dtype=dtype).model for dtype in ("bfloat16", "float8"))
    found = {
        "one at a time": scores(model, 1),
        "batches of 8": scores(model, 8),
        "batches of 32": scores(model, 32),
        "other neighbours, batches of 7": scores(model, 7, order),
        "padded, beside a longer row": padded(model),
        "bfloat16, one at a time": scores(half, 1),
        "bfloat16, batches of 32": scores(half, 32),
        "bfloat16, other neighbours": scores(half, 7, order),
        "vision tower in bfloat16 too": scores(throughout_in_bfloat16(model), 1),
        "float8, one at a time": scores(eight, 1),
        "float8, batches of 32": scores(eight, 32),
        "float8, other neighbours": scores(eight, 7, order),
    }
    if compiled:
        compile_layers(model)
        compile_layers(half)
        compile_layers(eight)
        found |= {
            "compiled, batches of 8": scores(model, 8),
            "bfloat16, compiled": scores(half, 8),
            "float8, compiled": scores(eight, 8),
        }
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
    """A copy whose vision tower is in bfloat16 as well, as no scoring here has it."""
    model = copy.deepcopy(model).to(torch.bfloat16)
    model.score_head.float()
    return model


def benchmark_trained(given: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each way that could move a score."""
    rows = differences(*teach(given.trained, given.seed), given.compile, given.seed)
    print(f"\nA model of hidden size 256, {given.trained} steps on demo scenes; shares of the range:\n")
    print("| way | largest difference | mean | largest between neighbours | SRCC with float32 | SRCC with the truth |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['way']} | {row['largest']:.1e} | {row['mean']:.1e} | {row['from_neighbours']:.1e} "
            f"| {row['srcc_with_plain']:.4f} | {row['srcc']:.3f} |"
        )
    return rows


def machine(device: str) -> dict[str, Any]:
    """What the numbers depend on."""
    names = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "roc": roc.__version__,
    }


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def main(argv: Sequence[str] | None = None) -> int:
    """Runs what is asked for; exit status 0, or 2 for bad input."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--shape", choices=[*TINY, *REAL], default="tiny")
    parser.add_argument("--batches", type=int, nargs="+", default=[8], help="images per pass (8)")
    parser.add_argument("--rounds", type=int, default=200, help="runs of each way (200)")
    parser.add_argument("--layers", type=int, help="of a 7B shape: only the first few, to try the script out")
    parser.add_argument("--compile", action="store_true", help="also with compiled layers")
    parser.add_argument("--float8", action="store_true", help="also with linear layers in 8 bits")
    parser.add_argument("--trained", type=int, default=0, metavar="STEPS", help="teach a model, compare its scores")
    parser.add_argument("--files", type=int, default=0, help="JPEG files to score, of a tiny model (none)")
    parser.add_argument("--photo-size", type=int, nargs=2, default=[1024, 768], metavar=("W", "H"))
    parser.add_argument("--workers", type=int, default=1, help="processes that decode the files (1)")
    parser.add_argument("--repeats", type=int, default=5, help="runs over the files (5)")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch on a CPU (1)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="file for the numbers")
    given = parser.parse_args(argv)
    if given.files and given.shape in REAL:
        print("benchmark_scoring: --files needs a tiny model, which has a processor", file=sys.stderr)
        return 2
    if given.shape in REAL and given.device == "cpu" and given.layers is None and given.rounds:
        print(
            f"benchmark_scoring: {given.shape} is measured on a GPU, and there is none here; --layers 1 tries it out "
            "on a CPU",
            file=sys.stderr,
        )
        return 2
    torch.set_num_threads(given.threads)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    facts = {**machine(given.device), "seed": given.seed, "shape": given.shape, "rounds": given.rounds}
    print(", ".join(f"{name} {value}" for name, value in facts.items() if value is not None) + "\n")
    results: dict[str, Any] = {"machine": facts, "ways": benchmark_ways(given, given.device) if given.rounds else []}
    if given.files:
        results["files"] = benchmark_files(given, given.device)
    if given.trained:
        results["trained"] = benchmark_trained(given)
    if given.json is not None:
        write_json(given.json, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
