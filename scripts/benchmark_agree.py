"""What AGREE costs: its maps, sensitivities, and the module in a training step and in scoring.

python scripts/benchmark_agree.py
python scripts/benchmark_agree.py --hosts backbone --batch 8 --side 224 --rounds 9

Two hosts with random weights: a ResNet-18 (`backbone`) and the demo's tiny LLaVA (`multimodal`). A ratio is that of two
processor times of one thread, both taken in the same round; rounds run every arm once, in a random order. What is
printed is the median over the rounds, with a 95% interval. "plain again" is the plain model once more: how far two
equal things come out apart here.

    maps           the five attribute maps of a picture
    perturbations  its ten perturbed forms
    sensitivity    all of `roc agree sensitivity` for a photo: read, perturbed, scored ten times; beside scoring it once
    training       forward, backward and AdamW of every parameter
    scoring        the pass of `roc score`, without reading the pictures
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmark_models import ATTRIBUTES as SCORES
from benchmark_models import SPACE, machine, ratio, scenes, tiny
from transformers import AutoConfig, PreTrainedModel

from roc.agree.attributes import ATTRIBUTES
from roc.agree.config import SensitivityOptions
from roc.agree.extension import NAME, WEIGHTS
from roc.agree.maps import attribute_maps
from roc.agree.perturbations import both_ways
from roc.agree.sensitivity import measure
from roc.checkpoint.folder import save
from roc.data.records import Record
from roc.data.rows import write_rows
from roc.model.attachment import attach
from roc.model.backbone.assembly import build_host
from roc.model.backbone.encoder import build_encoder
from roc.model.backbone.inputs import Pictures, pictures_of
from roc.model.collator import RocCollator
from roc.model.device import keep_freed_memory, lay_out_convolutions
from roc.model.extensions import add_extension
from roc.scoring.assessment import Assessment
from roc.scoring.one_forward import level_logits

RESNET_18 = {"depths": [2, 2, 2, 2], "hidden_sizes": [64, 128, 256, 512], "layer_type": "basic"}
ANCHOR_WIDTH = 576
"""As the hidden states of SmolVLM-256M, which may write the anchors."""
_MORE = {"training": 1, "scoring": 4}
"""Passes of scoring are short, so that there are more rounds of them."""
ARMS: dict[str, dict[str, Any] | None] = {
    "plain": None,
    "plain again": None,
    "decoupling": {"routing": False},
    "+ routing": {},
    "+ routing, fusion": {"anchor_width": ANCHOR_WIDTH},
    "+ routing, fusion, anchor loss": {"anchor_width": ANCHOR_WIDTH, "anchor_loss": 0.1},
}
"""Name -> settings of the module; None = there is none."""


def host(kind: str, side: int, seed: int) -> tuple[PreTrainedModel, Any]:
    """Builds `(model, processor)` of a host with an untrained head."""
    if kind == "multimodal":
        return tiny("tiny", seed)
    torch.manual_seed(seed)
    model, processor = build_host(build_encoder(AutoConfig.for_model("resnet", **RESNET_18)), Pictures(side))
    attach(model, processor, SPACE, attributes=SCORES, answer=" ".join(["[SCORE]"] * len(SCORES)), text_weight=0.0)
    return model, processor


def arm(kind: str, settings: dict[str, Any] | None, given: argparse.Namespace) -> tuple[PreTrainedModel, Any]:
    """Builds a host with the module of an arm."""
    model, processor = host(kind, given.side, given.seed)
    if settings is not None:
        shown = pictures_of(processor.image_processor)
        about = {"width": given.width, "mean": list(shown.mean), "std": list(shown.std)}
        add_extension(model, NAME, {**about, **settings})
        if settings.get("anchor_width"):
            torch.nn.init.normal_(model.extensions[NAME].anchors)
    lay_out_convolutions(model)
    return model, processor


def seconds_of(work: Callable[[], object]) -> float:
    """Measures the processor time of some work."""
    start = time.process_time()
    work()
    return time.process_time() - start


def training_step(model: PreTrainedModel, batch: dict[str, Any]) -> Callable[[], None]:
    """Makes the step of one arm."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)

    def step() -> None:
        model.train()
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def scoring_pass(model: PreTrainedModel, batch: dict[str, Any]) -> Callable[[], None]:
    """Makes the pass of one arm."""

    def score() -> None:
        level_logits(model.eval(), batch)

    return score


def works(kind: str, given: argparse.Namespace) -> dict[str, dict[str, Callable[[], None]]]:
    """Makes the work of every arm of a host, `{"training" or "scoring": {arm: work}}`; each has a model of its own."""
    pictures = scenes(given.batch, given.seed, given.side)
    scores = dict.fromkeys(SCORES, 5.0)
    samples = [(Record(id=str(i), images=("",), scores=scores), [shown]) for i, shown in enumerate(pictures)]
    found: dict[str, dict[str, Callable[[], None]]] = {"training": {}, "scoring": {}}
    for name, settings in ARMS.items():
        model, processor = arm(kind, settings, given)
        collator = RocCollator(processor, model.declaration)
        taught = collator(samples)
        if settings is not None and settings.get("routing", True):
            taught[WEIGHTS] = torch.full((given.batch, len(ATTRIBUTES)), 1 / len(ATTRIBUTES))
        found["training"][name] = training_step(model, taught)
        found["scoring"][name] = scoring_pass(model, collator.scoring_batch(pictures))
    return found


def interleaved(arms: dict[str, Callable[[], None]], rounds: int, seed: int) -> dict[str, list[float]]:
    """Runs every arm once in each round, in a random order; name -> seconds of each round."""
    order, taken = np.random.default_rng(seed), {name: [] for name in arms}
    for work in arms.values():
        work()
    for _ in range(rounds):
        for name in order.permutation(list(arms)):
            taken[name].append(seconds_of(arms[name]))
    return taken


def cost_rows(kind: str, given: argparse.Namespace) -> Iterator[str]:
    """Gives the rows of a host: what each arm takes, over what the plain model takes."""
    for what, arms in works(kind, given).items():
        taken = interleaved(arms, given.rounds * _MORE[what], given.seed)
        for name, seconds in taken.items():
            middle, low, high = ratio(seconds, taken["plain"])
            each = 1e3 * statistics.median(seconds) / given.batch
            over = "1" if name == "plain" else f"{middle:.2f} [{low:.2f}, {high:.2f}]"
            yield f"| {kind} | {what} | {name} | {each:,.1f} | {over} |"


def map_rows(given: argparse.Namespace) -> Iterator[str]:
    """Gives the rows of maps and perturbations, of one picture."""
    picture = torch.rand(1, 3, given.size, given.size, generator=torch.Generator().manual_seed(given.seed))
    arms = {
        "five maps": lambda: attribute_maps(picture),
        "ten perturbations": lambda: [both_ways(picture, name) for name in ATTRIBUTES],
    }
    for name, seconds in interleaved(arms, 4 * given.rounds, given.seed).items():
        yield f"| {name} | {given.size} x {given.size} | {1e3 * statistics.median(seconds):.1f} | |"


def sensitivity_rows(kind: str, folder: Path, given: argparse.Namespace) -> Iterator[str]:
    """Gives the row of the sensitivities of a host, beside scoring each photo once."""
    model, processor = host(kind, given.side, given.seed)
    torch.nn.init.normal_(model.score_head.weight, std=0.01)
    save(model, processor, folder / kind)
    photos = [folder / f"{i}.png" for i in range(given.photos)]
    for path, picture in zip(photos, scenes(given.photos, given.seed, given.size), strict=True):
        picture.save(path)
    write_rows(folder / "photos.csv", [{"image": path.name} for path in photos])
    assessment = Assessment(folder / kind, device="cpu", dtype="float32")
    ten, once = [], []
    for _ in range(given.rounds):
        once.append(seconds_of(lambda: assessment.score([str(path) for path in photos])))
        ten.append(sensitivity_seconds(folder, kind))
    middle, low, high = ratio(ten, once)
    each = 1e3 * statistics.median(ten) / given.photos
    over = f"{middle:.1f} [{low:.1f}, {high:.1f}] times scoring it once"
    yield f"| sensitivity, {kind} | {given.size} x {given.size} | {each:.0f} | {over} |"


def sensitivity_seconds(folder: Path, kind: str) -> float:
    """Measures the processor time of all photos' sensitivities, without loading the model."""
    taken: list[float] = []

    def watch(rows: Iterator[Any], total: int, done: int) -> Iterator[Any]:
        start = time.process_time()
        yield from rows
        taken.append(time.process_time() - start)

    options = SensitivityOptions(
        data_path=str(folder / "photos.csv"), checkpoint=(str(folder / kind),), out=str(folder / f"{kind}.parquet"),
        overwrite=True, workers=0, device="cpu", batch_size=8,
    )  # fmt: skip
    measure(options, watch)
    return sum(taken)


def main(argv: Sequence[str] | None = None) -> None:
    """Prints two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", nargs="+", choices=("backbone", "multimodal"), default=["backbone", "multimodal"])
    parser.add_argument("--batch", type=int, default=4, help="pictures of a step")
    parser.add_argument("--side", type=int, default=128, help="side in pixels of the backbone's pictures")
    parser.add_argument("--width", type=int, default=256, help="width of the branches")
    parser.add_argument("--rounds", type=int, default=5, help="of training steps; four times as many of short work")
    parser.add_argument("--size", type=int, default=512, help="side in pixels of the photos of maps and sensitivities")
    parser.add_argument("--photos", type=int, default=4, help="photos whose sensitivities are measured in a round")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(argv)
    torch.set_num_threads(1)
    keep_freed_memory()
    print(machine("cpu"))
    print("\n| | pixels | ms of a picture | |\n|---|---|---:|---|")
    for row in map_rows(given):
        print(row, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for kind in given.hosts:
            for row in sensitivity_rows(kind, Path(folder), given):
                print(row, flush=True)
    print("\n| host | | arm | ms of a picture | over plain |\n|---|---|---|---:|---:|")
    for kind in given.hosts:
        for row in cost_rows(kind, given):
            print(row, flush=True)


if __name__ == "__main__":
    main()
