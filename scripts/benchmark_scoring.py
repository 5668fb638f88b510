"""Speed of scoring: the published way, ours, the limit of the machine; from files to scores; what it does to scores.

python scripts/benchmark_scoring.py                                       tiny model, CPU: ratios of paired runs
python scripts/benchmark_scoring.py --compile --batches 1 8               also with compiled layers
python scripts/benchmark_scoring.py --files 400 --shape small             also from JPEG files to scores
python scripts/benchmark_scoring.py --rounds 0 --trained 300              what speed does to a trained model's scores
python scripts/benchmark_scoring.py --shape starter-full --half --int8    a model of `roc starter`, formats of a CPU
python scripts/benchmark_scoring.py --shape smolvlm-256m --half --int8 --batches 4 --rounds 3
                                                                          a published shape on a CPU, in minutes
python scripts/benchmark_scoring.py --shape llava-1.5-7b --compile --float8 --batches 1 8 32
                                                                          7B shape, random bfloat16 weights, GPU

Ways, all on the same images and prepared inputs:

    generate        the published way (ROC4MLLM): generation, token by token with a cache, up to the last [SCORE]
    all logits      one forward pass with logits at every position (Q-Align, DeQA-Score), from which the head is read
    one forward     ours: one pass, no vocabulary (roc/scoring/one_forward.py)
    backbone        the bare model under it: no vocabulary, no head, nothing read
    backbone again  the same once more: how far two equal things differ here (A/A)
    compiled        one forward, every layer compiled (--compile)
    bfloat16        one forward, loaded as by `roc score --dtype bfloat16` (--half)
    int8            one forward, loaded as by `roc score --dtype int8` (--int8, on a CPU)
    float8          one forward, the language model's linear layers in 8 bits (--float8)

Each way is run before the clock starts, once on a CPU and three times on a GPU; each round then runs every way once, in
a random order. A ratio is the median over the rounds of the ratio within a round, so that whatever slows the machine
down for a while slows both sides. The float8 ways have rounds of their own, after all others, when the wider weights
are gone, so that the peak memory is theirs. The limit is what one large linear layer reaches on this device in the
number format of the way, rounding included; the share of it counts the operations of one bare pass. Peak memory is that
of the allocator, which only a GPU has. Models and inputs are described in scripts/benchmark_models.py.

--files: the pipeline of `roc score` (scripts/benchmark_files.py). The cores suffice where there is one for the model
and one for each worker that it keeps busy; where they do not, the slower of decoding and model is the limit.

--trained: a model of hidden size 256 is trained on demo scenes, and other scenes are scored in every way that could
move a score, compared with float32 one at a time (scripts/benchmark_trained.py).
"""

from __future__ import annotations

import argparse
import functools
import os
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from benchmark_files import benchmark_files
from benchmark_models import (
    ON_CPU,
    REAL,
    STARTERS,
    TINY,
    Inputs,
    in_formats,
    limit,
    machine,
    ratio,
    real,
    real_inputs,
    starter,
    synchronised,
    tiny,
    tiny_inputs,
)
from benchmark_trained import benchmark_trained
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import LogitsProcessor, PreTrainedModel

from roc.files import write_json
from roc.model.float8 import use_float8
from roc.model.head import read_levels
from roc.scoring.one_forward import compile_layers, one_forward, to_model


class Forced(LogitsProcessor):
    """Forces generation to given tokens: an untrained model takes as long for them, but would choose others."""

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
    """Gives (B, K) scores, read during generation."""
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
    """Gives (B, K) scores, from a pass with logits at every position."""
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
    """Gives (B, K) scores as `Assessment` and `roc score` do."""
    return one_forward(model, inputs.scoring).scores


@torch.inference_mode()
def backbone(model: PreTrainedModel, inputs: Inputs) -> None:
    """Computes the hidden states and no more; one number is fetched, so that a GPU has finished."""
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


# --- measuring -------------------------------------------------------------------------------------------------------


class Compiled:
    """One forward with compiled layers; for the other ways the model stays as it is."""

    def __init__(self, model: PreTrainedModel) -> None:
        compile_layers(model)
        self.forwards = {layer: vars(layer).pop("forward") for layer in model.modules() if "forward" in vars(layer)}

    def __call__(self, model: PreTrainedModel, inputs: Inputs) -> torch.Tensor:
        """Gives (B, K) scores."""
        for layer, forward in self.forwards.items():
            vars(layer)["forward"] = forward
        try:
            return ours(model, inputs)
        finally:
            for layer in self.forwards:
                del vars(layer)["forward"]


def another(model: PreTrainedModel) -> Callable[[PreTrainedModel, Inputs], torch.Tensor]:
    """Makes a way that scores with this model instead of the given one."""
    return functools.wraps(ours)(lambda _, inputs: ours(model, inputs))


def measure(
    model: PreTrainedModel, inputs: Inputs, ways: dict[str, Callable], rounds: int, device: str, seed: int
) -> dict[str, dict[str, Any]]:
    """Measures the seconds of each way in each round, its scores and its peak memory."""
    found: dict[str, dict[str, Any]] = {}
    for name, way in ways.items():
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        scores = None
        for _ in range(3 if device == "cuda" else 1):
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


def operations(model: PreTrainedModel, inputs: Inputs) -> float:
    """Counts the operations of one bare pass, per image."""
    # The counter knows plain products, not the fused attention of a CPU.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        backbone(model, inputs)
    return counter.get_total_flops() / len(inputs.scoring["input_ids"])


def prepared(given: argparse.Namespace, device: str) -> tuple[dict[str, PreTrainedModel], Callable[[int], Inputs]]:
    """Loads the model in its own number format, the first, and in those asked for; gives also what makes its inputs."""
    if given.shape in REAL:
        model, processor = real(given.shape, given.layers, device, given.seed)
    else:
        model, processor = (starter if given.shape in STARTERS else tiny)(given.shape, given.seed)
    own = str(model.dtype).removeprefix("torch.")
    formats = dict.fromkeys([own] + ["bfloat16"] * given.half + ["int8"] * given.int8)
    if list(formats) == [own] and device == "cuda":
        models = {own: model.to(device)}  # loading would change nothing, and 7B takes long
    else:
        models = in_formats(model, processor, formats, device)
    if given.shape in REAL:
        return models, lambda batch: real_inputs(models[own], batch, given.seed)
    return models, lambda batch: tiny_inputs(models[own], processor, batch, given.seed)


def measure_all(
    given: argparse.Namespace, models: dict[str, PreTrainedModel], inputs: dict[int, Inputs], device: str
) -> dict[int, dict[str, dict[str, Any]]]:
    """Measures every way that was asked for, by batch size and name."""
    model = next(iter(models.values()))
    ways = dict(WAYS)
    if given.compile:
        ways["compiled"] = Compiled(model)
    ways |= {name: another(other) for name, other in models.items() if other is not model}
    found = {batch: measure(model, one, ways, given.rounds, device, given.seed) for batch, one in inputs.items()}
    if given.float8:
        use_float8(model, device)
        torch.compiler.reset()
        ways = {"float8": ours, "float8, compiled": Compiled(model)} if given.compile else {"float8": ours}
        for batch, one in inputs.items():
            found[batch] |= measure(model, one, ways, given.rounds, device, given.seed)
    return found


def rows_of(
    found: dict[int, dict[str, dict[str, Any]]], needed: float, limits: dict[str, float]
) -> list[dict[str, Any]]:
    """Makes a row for each batch size and way.

    Args:
        found: Of `measure_all`.
        needed: Operations per image.
        limits: Operations per second by number format, the model's own first.
    """
    own = next(iter(limits))
    rows = []
    for batch, measured in found.items():
        base = measured["one forward"]["scores"]
        for name, way in measured.items():
            speed = batch / statistics.median(way["seconds"])
            number_format = name.partition(",")[0]
            if number_format not in limits:
                number_format = own
            rows.append(
                {
                    "way": name,
                    "batch": batch,
                    "images_per_second": speed,
                    "over_generate": ratio(measured["generate"]["seconds"], way["seconds"]),
                    "over_backbone": ratio(way["seconds"], measured["backbone"]["seconds"]),
                    "format": number_format,
                    "limit_gflops": limits[number_format] / 1e9,
                    "share_of_limit": speed * needed / limits[number_format],
                    "gflop_per_image": needed / 1e9,
                    "peak_gib": way["peak"],
                    "score_difference": None if way["scores"] is None else float((way["scores"] - base).abs().max()),
                }
            )
    return rows


def report(rows: Sequence[dict[str, Any]]) -> str:
    """Formats the rows as a Markdown table, between the limits and the comparison with the bare backbone."""
    limits = {row["format"]: row["limit_gflops"] for row in rows}
    told = ", ".join(f"{name} {speed:.0f}" for name, speed in limits.items())
    lines = [
        f"One large linear layer, in GFLOP/s: {told}. A pass takes {rows[0]['gflop_per_image']:.3g} GFLOP per image.",
        "",
        "| way | batch | images/s | x generate | of its format's limit | peak GiB | largest score difference |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        peak = "-" if row["peak_gib"] is None else f"{row['peak_gib']:.1f}"
        apart = "-" if row["score_difference"] is None else f"{row['score_difference']:.1e}"
        lines.append(
            f"| {row['way']} | {row['batch']} | {row['images_per_second']:.3g} | {row['over_generate'][0]:.2f} "
            f"| {100 * row['share_of_limit']:.0f}% {row['format']} | {peak} | {apart} |"
        )
    for row in rows:
        if row["way"] in ("one forward", "backbone again", "compiled"):
            middle, low, high = row["over_backbone"]
            told = f"{middle:.3f} (95% {low:.3f} to {high:.3f}) of the backbone's time"
            lines.append(f"batch {row['batch']}: {row['way']} takes {told}")
    return "\n".join(lines)


def benchmark_ways(given: argparse.Namespace, device: str) -> list[dict[str, Any]]:
    """Measures and prints a row for each way and batch size."""
    models, inputs_of = prepared(given, device)
    needed = operations(next(iter(models.values())), inputs_of(1))
    limits = {name: limit(device, name) for name in [*models, *["float8"] * given.float8]}
    found = measure_all(given, models, {batch: inputs_of(batch) for batch in given.batches}, device)
    rows = rows_of(found, needed, limits)
    print(report(rows))
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmarks; exit status 0, or 2 for bad input."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--shape", choices=[*TINY, *STARTERS, *REAL], default="tiny")
    parser.add_argument("--batches", type=int, nargs="+", default=[8], help="images per pass (8)")
    parser.add_argument("--rounds", type=int, default=200, help="timed runs of each way; 0 = no table (200)")
    parser.add_argument("--layers", type=int, help="with a published shape: the first few layers only, to try it out")
    parser.add_argument("--compile", action="store_true", help="also with compiled layers")
    parser.add_argument("--half", action="store_true", help="also in bfloat16")
    parser.add_argument("--int8", action="store_true", help="also with linear layers in 8-bit integers (CPU)")
    parser.add_argument("--float8", action="store_true", help="also with linear layers in 8 bits")
    parser.add_argument("--trained", type=int, default=0, metavar="STEPS", help="train a model, compare its scores")
    parser.add_argument("--files", type=int, default=0, help="JPEG files to score with a tiny model (none)")
    parser.add_argument("--photo-size", type=int, nargs=2, default=[1024, 768], metavar=("W", "H"))
    parser.add_argument("--workers", type=int, default=1, help="processes that decode the files (1)")
    parser.add_argument("--repeats", type=int, default=5, help="runs over the files (5)")
    parser.add_argument("--threads", type=int, default=1, help="threads of PyTorch on a CPU (1)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="file for the numbers")
    given = parser.parse_args(argv)
    if given.files and given.shape not in TINY:
        print(f"benchmark_scoring: --files needs a tiny model ({', '.join(TINY)}), not {given.shape}", file=sys.stderr)
        return 2
    if given.int8 and given.device != "cpu":
        print(f"benchmark_scoring: --int8 is for a CPU, and the device is {given.device}", file=sys.stderr)
        return 2
    on_gpu = given.shape in REAL and given.shape not in ON_CPU
    if on_gpu and given.device == "cpu" and given.layers is None and given.rounds:
        print(
            f"benchmark_scoring: {given.shape} is measured on a GPU, and there is none here; --layers 1 tries it out "
            "on a CPU",
            file=sys.stderr,
        )
        return 2
    torch.set_num_threads(given.threads)
    transformers.utils.logging.disable_progress_bar()
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
