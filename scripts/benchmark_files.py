"""The pipeline of `roc score`, stage by stage: decoding, transfer from worker to model, the model, and all together."""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmark_models import machine, scenes, tiny
from PIL import Image

from roc.checkpoint.folder import save
from roc.model.float32_tower import picture_dtype
from roc.scoring.assessment import Assessment
from roc.scoring.batches import Scorer, Wanted
from roc.scoring.local import score_images
from roc.scoring.prepare import Preparation, prepare
from roc.scoring.sources import find_sources


def write_photos(folder: Path, count: int, size: tuple[int, int], seed: int) -> None:
    """Writes JPEG files with the grain of a photo: a few scenes many times, since rendering is slower than decoding."""
    rng = np.random.default_rng(seed)
    drawn = [
        np.asarray(scene.resize(size), dtype=np.float32) for scene in scenes(min(12, count), seed, min(512, *size))
    ]
    for i in range(count):
        grain = drawn[i % len(drawn)] + rng.normal(0, 5, (size[1], size[0], 3))
        Image.fromarray(grain.clip(0, 255).astype(np.uint8)).save(folder / f"{i:06d}.jpg", quality=90)


class Ready(Preparation):
    """Gives the same prepared image at no cost, so that only the transfer from worker to model is left."""

    def __getitem__(self, index: int) -> Any:
        if not hasattr(self, "one"):
            self.one = super().__getitem__(0)
        return self.one._replace(index=index, inputs={name: value.clone() for name, value in self.one.inputs.items()})


def benchmark_files(given: argparse.Namespace, device: str) -> dict[str, Any]:
    """Measures each stage alone and all together, in images/s."""
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
    print_files(given, size, found)
    return found


def print_files(given: argparse.Namespace, size: int, found: dict[str, Any]) -> None:
    """Prints the rates as a table, with what they say about workers and the main process."""
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
    if given.device == "cpu":
        print(
            f"The main process takes {found['main_process_ms']:.2f} ms of processor time an image, "
            f"{found['model_ms']:.2f} of them the model alone. Where workers have cores of their own, that leaves "
            f"{100 * found['model_ms'] / found['main_process_ms']:.0f}% of the model's speed."
        )
