"""How fast a training step is: the published way, ours, and what each thing that differs contributes by itself.

python scripts/benchmark_training.py                                              small model, CPU
python scripts/benchmark_training.py --vocab 150000 --batches 4 --rounds 3        what a large vocabulary takes
python scripts/benchmark_training.py --without compile                            which ones are left out
python scripts/benchmark_training.py --shape llava-1.5-7b --batches 16 32         7B shape, random bfloat16 weights, GPU

A step is forward, backward, clipping and AdamW, with LoRA in all linear layers of the language model, the row of
`[SCORE]` and the head. Model, rows and number format are the same for every way. The published way checkpoints every
layer, as transformers' Trainer does it, and has the model's own forward compute the text loss from logits at every
position. From there the ways form a ladder: each has one ingredient more than the one above it.

    logits         the language-model head runs at the supervised positions only (roc/model/modeling.py)
    frozen         no gradient is sent through parts that are not trained. With checkpointing the Trainer asks for one
                   at the output of every embedding, the vision tower's too, which only reentrant checkpointing needs
    checkpointing  only as many layers as memory asks for by the formula of roc/model/memory.py: none, or one in n
    cache          no keys and values are kept for a generation that never comes; checkpointing turns it off by itself
    optimizer      the fused AdamW
    compile        every transformer layer is compiled

The last rung is ours; "own" is the time of the rung above over that of this one. Each round runs every way once, in a
random order; a ratio is the median over the rounds of the ratio within a round, with a 95% interval, so that what slows
the machine down for a while slows both sides. "published again" is the published way once more: how far two equal
things come out apart here (A/A).

Peak memory is the most that tensors take during a step, weights and optimiser included: what the allocator of the GPU
says, on a CPU the sum over its allocations that torch's profiler lists. Losses and gradients are compared with the
published way's before the first step, the gradients parameter by parameter, relative to their norms, the worst is told.
In bfloat16 those of compiled layers differ, which round less often. Weights, pictures and words are random, from the
seed. Rows have one length. No dropout is drawn unless --lora-dropout asks for it: compiled layers draw other random
numbers, so that losses could not be compared.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shlex
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import peft
import torch
import transformers
from benchmark_models import REAL, SPACE, machine, ratio, real_inputs, synchronised
from transformers import AutoConfig, AutoModelForImageTextToText, PretrainedConfig, PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from roc.files import write_json
from roc.model.adapters import add_lora
from roc.model.attachment import attach
from roc.model.head import read_levels
from roc.model.losses import IGNORE_INDEX, smooth_l1
from roc.model.memory import GIB, estimate, meta_model
from roc.model.positions import score_positions

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "helpers"))
from real_models import real_config, real_processor  # noqa: E402  the shapes are those of the tests

INGREDIENTS = ("logits", "frozen", "checkpointing", "cache", "optimizer", "compile")
BACKEND = "inductor"
# Proportions of a 7B model: 64 image tokens, the vocabulary 4% of the language model's work.
TINY = {
    "model_type": "llava",
    "image_token_index": 1022,
    "image_seq_length": 64,
    "vision_config": {"model_type": "clip_vision_model", "hidden_size": 128, "intermediate_size": 512,
                      "num_hidden_layers": 4, "num_attention_heads": 4, "image_size": 112, "patch_size": 14},
    "text_config": {"model_type": "llama", "vocab_size": 1024, "hidden_size": 256, "intermediate_size": 688,
                    "num_hidden_layers": 8, "num_attention_heads": 4, "num_key_value_heads": 4,
                    "max_position_embeddings": 1024},
}  # fmt: skip
TINY_WORDS = 1023
RANKS = {"tiny": 4, **dict.fromkeys(REAL, 64)}
CHECKPOINTED = (0, 4, 3, 2, 1)
"""One layer in so many is checkpointed, from the least memory saved to the most; 0 checkpoints none."""


class Way(NamedTuple):
    """How a step is made.

    Attributes:
        name: in the table.
        ingredients: of `INGREDIENTS`, what is done our way.
    """

    name: str
    ingredients: frozenset[str]


def ladder(without: Sequence[str] = ()) -> list[Way]:
    """The published way, the same again, then one ingredient more each time; the last is ours."""
    used = [name for name in INGREDIENTS if name not in without]
    ways = [Way("published", frozenset()), Way("published again", frozenset())]
    ways += [Way(f"+ {name}", frozenset(used[: i + 1])) for i, name in enumerate(used)]
    return [*ways[:-1], Way(f"{ways[-1].name} (ours)", ways[-1].ingredients)] if used else ways


# --- model and rows --------------------------------------------------------------------------------------------------


def config_of(shape: str, vocab: int | None = None, layers: int | None = None) -> PretrainedConfig:
    """The config of a shape, with at least `vocab` rows of vocabulary and at most `layers` layers in each tower."""
    config = AutoConfig.for_model(**TINY) if shape == "tiny" else real_config(REAL[shape])
    text, vision = config.text_config, config.vision_config
    text.vocab_size = max(vocab or 0, text.vocab_size)
    if layers is not None:
        text.num_hidden_layers = min(layers, text.num_hidden_layers)
        if getattr(text, "layer_types", None):
            text.layer_types = text.layer_types[:layers]
        if hasattr(vision, "depth"):
            vision.depth, vision.fullatt_block_indexes = min(layers, vision.depth), [0]
        else:
            vision.num_hidden_layers = min(layers + 1, vision.num_hidden_layers)  # the last but one is read
    return config


def build(shape: str, config: PretrainedConfig, given: argparse.Namespace) -> peft.PeftModel:
    """A model with random weights and head, LoRA in its language model, on the device from the start."""
    torch.manual_seed(given.seed)
    with torch.device(given.device):
        model = AutoModelForImageTextToText.from_config(config, dtype=getattr(torch, given.dtype))
        processor = real_processor("llava_1_5_7b" if shape == "tiny" else REAL[shape])
        if shape == "tiny":
            processor.tokenizer.count = TINY_WORDS
        attach(model, processor, SPACE)
        model = add_lora(model, rank=given.rank, dropout=given.lora_dropout)
    model.to(given.device)
    # As they start, LoRA adds nothing and the head gives the midpoint: no difference could be seen.
    generator = torch.Generator().manual_seed(given.seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name or "score_head" in name:
                scale = 0.02 if "lora_B" in name else 1.0
                parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
    return model.train()


def rows_of(model: peft.PeftModel, batch: int, given: argparse.Namespace) -> dict[str, torch.Tensor]:
    """A training batch: picture, question, an answer with one `[SCORE]` and its end, all supervised, and the scores."""
    made = real_inputs(model.get_base_model(), batch, given.seed)
    prompt = made.prompt["input_ids"]
    end = 2
    answer = torch.tensor([[*made.forced, end]]).expand(batch, -1)
    ids = torch.cat([prompt, answer], dim=1)
    labels = torch.cat([torch.full_like(prompt, IGNORE_INDEX), answer], dim=1)
    more = {name: torch.zeros_like(answer) for name in ("mm_token_type_ids",) if name in made.prompt}
    whole = {name: torch.cat([made.prompt[name], zeros], dim=1) for name, zeros in more.items()}
    scores = torch.linspace(SPACE.min_score, SPACE.max_score, batch).unsqueeze(1)
    found = {**made.prompt, "input_ids": ids, "attention_mask": torch.ones_like(ids), **whole}
    found = {name: value.to(getattr(torch, given.dtype)) if "pixel" in name else value for name, value in found.items()}
    return {name: value.to(given.device) for name, value in {**found, "labels": labels, "score_labels": scores}.items()}


def checkpointed(config: PretrainedConfig, batch: dict[str, torch.Tensor], given: argparse.Namespace) -> int:
    """One layer in how many has to be checkpointed, so that the step fits into `given.memory` GiB; 0 = none.

    Raises:
        ValueError: where it does not fit even with all layers checkpointed.
    """
    if given.memory is None:
        return 0
    rows, tokens = batch["input_ids"].shape
    pixels = batch["pixel_values"]
    vision = config.vision_config
    patches = len(pixels) // rows if pixels.ndim == 2 else (vision.image_size // vision.patch_size) ** 2 + 1
    shape = {
        "tuning": "lora",
        "dtype": given.dtype,
        "bf16": given.dtype == "bfloat16",
        "batch_size": rows,
        "tokens": tokens,
        "patches": patches,
        "supervised_tokens": int((batch["labels"] != IGNORE_INDEX).sum()) // rows,
        "lora_rank": given.rank,
    }
    model = meta_model(config, SPACE.num_levels)
    none, all_ = (estimate(model, **shape, gradient_checkpointing=on) for on in (False, True))
    for every in CHECKPOINTED:
        share = 1 / every if every else 0
        if none.total + share * (all_.total - none.total) <= given.memory * GIB:
            return every
    raise ValueError(
        f"A step of {rows} rows of {tokens} tokens takes about {all_.total / GIB:.1f} GiB with every layer "
        f"checkpointed; there are {given.memory:.1f}. Give smaller --batches."
    )


# --- a step ----------------------------------------------------------------------------------------------------------


def published_loss(model: peft.PeftModel, batch: dict[str, torch.Tensor], **settings: bool) -> torch.Tensor:
    """The same loss from the model's own forward, which gives logits for every position."""
    inner = model.get_base_model()
    batch = dict(batch)
    scores = batch.pop("score_labels")
    seen: list[torch.Tensor] = []
    hook = inner.get_output_embeddings().register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    try:
        text_loss = type(inner).roc_base_class.forward(inner, **batch, **settings).loss
    finally:
        hook.remove()
    at_score = score_positions(batch["labels"], inner.declaration.token_id)
    read = read_levels(inner.score_head(seen[0][at_score]), inner.score_levels(scores.device)).scores
    return text_loss + smooth_l1(read, scores.flatten(), scale=9 / SPACE.width)


class Job:
    """A model and a batch, and the steps that the ways make of them.

    Args:
        model: what `build` gave.
        batch: what `rows_of` gave.
        every: one layer in how many is checkpointed where memory asks; 0 = none.
        given: the settings.
    """

    def __init__(
        self, model: peft.PeftModel, batch: dict[str, torch.Tensor], every: int, given: argparse.Namespace
    ) -> None:
        self.model, self.batch, self.every = model, batch, every
        self.device, self.bf16 = given.device, given.dtype == "bfloat16"
        self.trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.optimizers = {
            fused: torch.optim.AdamW(self.trained, lr=1e-5, weight_decay=0.0, fused=fused or None)
            for fused in (False, True)
        }
        self.layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
        # transformers' older name before 5.23.
        enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
        enable()
        torch.compiler.reset()
        for layer in self.layers:
            layer.compile(backend=BACKEND)
        self.compiled = [layer._compiled_call_impl for layer in self.layers]

    def take(self, way: Way) -> None:
        """Prepares the model for steps of one way."""
        self.way = way
        every = self.every if "checkpointing" in way.ingredients else 1
        for module in self.model.modules():
            if hasattr(module, "gradient_checkpointing"):
                module.gradient_checkpointing = every > 0
        # Whether layers are compiled is set here, not by torch.compiler.set_stance, which costs the others time.
        for i, (layer, compiled) in enumerate(zip(self.layers, self.compiled, strict=True)):
            layer.gradient_checkpointing = every > 0 and i % every == 0
            layer._compiled_call_impl = compiled if "compile" in way.ingredients else None
        inner = self.model.get_base_model()
        inner.disable_input_require_grads()
        if "frozen" not in way.ingredients:
            PreTrainedModel.enable_input_require_grads(inner)
        self.optimizer = self.optimizers["optimizer" in way.ingredients]

    def loss(self) -> torch.Tensor:
        """Loss of the batch, as the current way computes it."""
        settings = {"use_cache": "cache" not in self.way.ingredients}
        with torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.bf16):
            if "logits" in self.way.ingredients:
                return self.model(**self.batch, **settings).loss
            return published_loss(self.model, self.batch, **settings)

    def step(self) -> None:
        """One optimiser step."""
        self.loss().backward()
        torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def loss_and_gradients(self) -> tuple[float, list[torch.Tensor]]:
        """Without a step."""
        loss = self.loss()
        loss.backward()
        gradients = [parameter.grad for parameter in self.trained]
        self.optimizer.zero_grad()
        return loss.item(), gradients

    def resident(self) -> int:
        """Bytes between two steps: weights, batch, and the moments of the optimiser in use."""
        moments = [value for state in self.optimizer.state.values() for value in state.values()]
        held = [*self.model.parameters(), *self.model.buffers(), *self.batch.values(), *moments]
        return sum(tensor.nbytes for tensor in held if torch.is_tensor(tensor))


# --- measuring -------------------------------------------------------------------------------------------------------


def allocated(work: Callable[[], Any]) -> int:
    """Most bytes that tensors made within `work` took at once, on a CPU."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        work()
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder, "trace.json")
        profile.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    moves = sorted((event["ts"], event["args"]["Bytes"]) for event in events if event.get("name") == "[memory]")
    return max(np.cumsum([0, *(size for _, size in moves)]).tolist())


def peak_of(job: Job) -> tuple[int, int]:
    """Bytes at the peak of a step, and those of them that were there before it."""
    before = job.resident()
    if job.device != "cuda":
        return before + allocated(job.step), before
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    job.step()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated(), before


def measure(job: Job, ways: Sequence[Way], rounds: int, seed: int) -> dict[str, dict[str, Any]]:
    """Measures each way: loss and gradient against the published ones, peak memory, and the seconds of each round."""
    found: dict[str, dict[str, Any]] = {}
    published = None
    for way in ways:
        job.take(way)
        start = synchronised(job.device)
        loss, gradients = job.loss_and_gradients()
        first = synchronised(job.device) - start
        published = published or (loss, gradients)
        apart = [float((one - other).norm() / other.norm()) for one, other in zip(gradients, published[1], strict=True)]
        found[way.name] = {"loss": loss, "apart": abs(loss - published[0]), "gradient": max(apart), "first": first}
    published = gradients = None
    for way in ways:
        job.take(way)
        for optimizer in job.optimizers.values():
            optimizer.state.clear()
        for _ in range(2):
            job.step()
        peak, before = peak_of(job)
        found[way.name] |= {"peak": peak, "before": before, "seconds": []}
    order = np.random.default_rng(seed)
    for i in range(-1, rounds):  # the first makes both optimisers' moments, and is not counted
        for k in order.permutation(len(ways)):
            job.take(ways[k])
            start = synchronised(job.device)
            job.step()
            if i >= 0:
                found[ways[k].name]["seconds"].append(synchronised(job.device) - start)
    return found


def rows_for(found: dict[str, dict[str, Any]], batch: int, every: int) -> list[dict[str, Any]]:
    """The table's rows of one batch size."""
    rows, above = [], None
    for name, way in found.items():
        own = ratio(above["seconds"], way["seconds"]) if name.startswith("+") else None
        rows.append(
            {
                "way": name,
                "batch": batch,
                "images_per_second": batch / statistics.median(way["seconds"]),
                "over_published": ratio(found["published"]["seconds"], way["seconds"]),
                "own": own,
                "peak_bytes": way["peak"],
                "bytes_above_model": way["peak"] - way["before"],
                "loss": way["loss"],
                "loss_difference": way["apart"],
                "relative_gradient_difference": way["gradient"],
                "first_seconds": way["first"],
                "one_layer_checkpointed_in": every,
            }
        )
        if name != "published again":
            above = way
    return rows


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        "| way | batch | images/s | x published (95%) | own (95%) | peak GiB | above weights and moments "
        "| largest loss difference | gradient difference |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        times, own = (
            "-" if one is None else f"{one[0]:.3f} ({one[1]:.3f} to {one[2]:.3f})"
            for one in (row["over_published"], row["own"])
        )
        lines.append(
            f"| {row['way']} | {row['batch']} | {row['images_per_second']:.1f} | {times} | {own} "
            f"| {row['peak_bytes'] / GIB:.3f} | {row['bytes_above_model'] / GIB:.3f} "
            f"| {row['loss_difference']:.1e} | {row['relative_gradient_difference']:.1e} |"
        )
    return "\n".join(lines)


def summary(rows: Sequence[dict[str, Any]]) -> str:
    """What it comes to, a line for each batch size."""
    lines = []
    for size in dict.fromkeys(row["batch"] for row in rows):
        published, again, *rungs = [row for row in rows if row["batch"] == size]
        if rungs:
            lines.append(
                f"batch {size}: {rungs[-1]['over_published'][0]:.2f} times the published images/s "
                f"(A/A {again['over_published'][0]:.3f})"
            )
        if rungs and rungs[0]["way"].startswith("+ logits"):
            saved = published["bytes_above_model"] - rungs[0]["bytes_above_model"]
            lines[-1] += f"; without the unused logits the peak is {saved / GIB:.3f} GiB lower"
    return "\n".join(f"{line}." for line in lines)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the libraries' advice."""
    before = transformers.utils.logging.get_verbosity()
    transformers.utils.logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers.utils.logging.set_verbosity(before)


def run(given: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each way and batch size."""
    config = config_of(given.shape, given.vocab, given.layers)
    model = build(given.shape, config, given)
    rows = []
    for size in given.batches:
        batch = rows_of(model, size, given)
        every = checkpointed(config, batch, given)
        job = Job(model, batch, every, given)
        rows += rows_for(measure(job, ladder(given.without), given.rounds, given.seed), size, every)
        supervised = int((batch["labels"] != IGNORE_INDEX).sum())
        told = f"one layer in {every}" if every else "no layer"
        print(
            f"{size} rows of {batch['input_ids'].shape[1]} tokens, {supervised} of them supervised; vocabulary "
            f"{model.get_output_embeddings().weight.shape[0]}; memory asks for {told} to be checkpointed."
        )
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Runs what is asked for; exit status 0, or 2 for bad input."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--shape", choices=[*RANKS], default="tiny")
    parser.add_argument("--batches", type=int, nargs="+", help="rows of a step (4; 16 and 32 of a 7B shape)")
    parser.add_argument("--rounds", type=int, help="steps of each way (20; 5 of a 7B shape)")
    parser.add_argument("--without", nargs="+", choices=INGREDIENTS, default=[], help="ingredients to leave out")
    parser.add_argument("--vocab", type=int, help="rows of vocabulary, where more than the shape has")
    parser.add_argument("--memory", type=float, help="GiB that memory may ask for (a GPU's own; a CPU: no limit)")
    parser.add_argument("--rank", type=int, help="of LoRA (4; 64 of a 7B shape)")
    parser.add_argument("--lora-dropout", type=float, default=0.0, help="above 0 losses cannot be compared (0)")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], help="(float32; bfloat16 of a 7B shape)")
    parser.add_argument("--layers", type=int, help="only the first few of each tower, to try the script out")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch on a CPU (1)")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="file for the numbers")
    given = parser.parse_args(argv)
    is_tiny = given.shape == "tiny"
    given.batches = given.batches or ([4] if is_tiny else [16, 32])
    given.rounds = (20 if is_tiny else 5) if given.rounds is None else given.rounds
    given.rank = given.rank or RANKS[given.shape]
    given.dtype = given.dtype or ("float32" if is_tiny else "bfloat16")
    if min([*given.batches, given.rounds]) < 1:
        parser.error("--batches and --rounds are at least 1")
    if given.memory is None and given.device == "cuda":
        # What the formula does not see, such as fragments between blocks, has a tenth.
        given.memory = 0.9 * torch.cuda.mem_get_info()[1] / GIB
    torch.set_num_threads(given.threads)
    settings = ("shape", "dtype", "rank", "lora_dropout", "rounds", "seed", "without", "memory", "layers")
    facts = {**machine(given.device), "peft": peft.__version__, **{name: getattr(given, name) for name in settings}}
    words = sys.argv[1:] if argv is None else argv
    facts["command"] = shlex.join(["python", "scripts/benchmark_training.py", *words])
    print(", ".join(f"{name} {value}" for name, value in facts.items() if value not in (None, [])) + "\n")
    start = time.perf_counter()
    try:
        with quiet():
            rows = run(given)
    except ValueError as error:
        print(f"benchmark_training: {error}", file=sys.stderr)
        return 2
    print("\n" + table(rows) + "\n\n" + summary(rows))
    if given.json is not None:
        results = {"machine": facts, "seconds": time.perf_counter() - start, "ways": rows}
        write_json(given.json, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
